"""Public functions inside a user's own `@njit` function: what they take there, what they give, what they say is wrong.

Every function of the table is made known to Numba under its public name, with the parameters that it has in Python, any
of which may be positional. Types are checked here, when the user's function is compiled; `_lowering.py` makes the
machine code of a call. Importing fastgrad registers the names alone: nothing is compiled before a user's function is.
"""

import inspect
import threading
import warnings
from importlib import import_module

from numba.core import types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from ._arguments import NO_AXIS, as_arrays, check, missing_out
from ._functions import FUNCTIONS
from ._losses import REDUCTIONS, check_loss, checked_options
from .kernels._cache import stamp

_FLOATS = (types.float32, types.float64)
_REAL = (types.Integer, types.Float)


def register():
    """Makes every function of the table known to Numba."""
    stamp(__package__)  # now, of the files that are being imported
    for function in FUNCTIONS.values():
        public = _public(function)
        infer_global(public)(type(function.name, (_Template,), {"key": staticmethod(public), "function": function}))
        lower_builtin(public, types.VarArg(types.Any))(_lowered(function))


def _public(function):
    return getattr(import_module(f".{function.family}", __package__), function.name)


def _parameters(function):
    """The signature of the public function, each parameter positional as well."""
    pysig = inspect.signature(_public(function))
    return pysig.replace(parameters=[p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in pysig.parameters.values()])


class _Template(AbstractTemplate):
    """What Numba asks for the types of a call to one function of the table."""

    prefer_literal = True  # a string that chooses a kernel

    def generic(self, args, kws):
        pysig = _parameters(self.function)
        try:
            given = pysig.bind(*args, **kws).arguments
        except TypeError as error:  # too many, or too few
            raise TypingError(f"{self.function.name}: {error}") from None
        given = {name: given.get(name, _default(p.default)) for name, p in pysig.parameters.items()}
        return signature(_result(self.function, given), *given.values()).replace(pysig=pysig)


def _default(value):
    return types.none if value is None else types.Omitted(value)


def _lowered(function):
    def lowered(context, builder, sig, args):
        # With what they need of Numba, a third of the time of importing fastgrad.
        from ._lowering import Call, lower
        from ._lowering_losses import LossCall

        named = dict(zip(_parameters(function).parameters, zip(sig.args, args, strict=True), strict=True))
        kind = LossCall if function.is_loss else Call
        return lower(kind(context, builder, function, named), sig.return_type)

    return lowered


# --- types -----------------------------------------------------------------------------------------------------------


def _result(function, given):
    """The type of the result of a call with arguments of these types by name; TypingError where one is wrong."""
    operands = _operands(function, given)
    arrays = {}
    for operand in operands:
        ty = given[operand.name]
        if operand.optional and ty == types.none:
            continue
        right = isinstance(ty, types.Array) and (operand.integer or ty.dtype in _FLOATS)
        if not right:
            choice = ", or None" if operand.optional else ""
            raise TypingError(
                f"{function.name}: {operand.name} is {ty} but needs an array of float32 or float64{choice}"
            )
        arrays[operand.name] = ty
    _check_options(function, given)
    floats = [arrays[operand.name].dtype for operand in operands if operand.name in arrays and not operand.integer]
    dtype = max(floats, key=lambda dtype: dtype.bitwidth)
    lead = _lead(function, operands, arrays)
    if function.is_loss:
        return _loss_and_gradients(function, given, dtype, lead)
    results = [types.Array(dtype, _ndim(operand, lead), "C") for operand in function.signature.outputs]
    return _given_or_made(function, given, function.signature.outputs, results)


def _operands(function, given):
    """The arrays that the call takes: for a loss they depend on the kind of target, and `dloss` may be one."""
    if not function.is_loss:
        return function.signature.inputs
    target = given["target"]
    if not isinstance(target, types.Array) or not (isinstance(target.dtype, types.Integer) or target.dtype in _FLOATS):
        needed = "an array of integers, float32 or float64"
        raise TypingError(f"{function.name}: target is {target} but needs {needed}")
    kernels = import_module(f".kernels.{function.family}", __package__)
    kernel = kernels.of_indices if isinstance(target.dtype, types.Integer) else kernels.of_probabilities
    is_number = isinstance(given.get("dloss", types.none), (*_REAL, types.NoneType))
    return [operand for operand in kernel.signature.inputs if operand.name != "dloss" or not is_number]


_KINDS = {
    "axis": (types.Integer, "one integer"),
    "accumulate": (types.Boolean, "a bool"),
    "ignore_index": (types.Integer, "one integer"),
    "label_smoothing": (_REAL, "a number"),
    "z_loss": (_REAL, "a number"),
}


def _check_options(function, given):
    for option, (kind, what) in _KINDS.items():
        ty = given.get(option, types.Omitted(None))
        if not isinstance(ty, (kind, types.Omitted)):
            raise TypingError(f"{function.name}: {option} is {ty} but must be {what}")
    choices = dict([function.choice]) if function.choice else {"reduction": REDUCTIONS} if function.is_loss else {}
    for option, values in choices.items():
        ty = given[option]
        if not isinstance(ty, types.Omitted) and getattr(ty, "literal_value", None) not in values:
            needed = " or ".join(f'"{value}"' for value in values)
            raise TypingError(f"{function.name}: {option} is {ty} but must be {needed}, written out")


def _loss_and_gradients(function, given, dtype, lead):
    reduction = given["reduction"]
    by_row = (reduction.value if isinstance(reduction, types.Omitted) else reduction.literal_value) == "none"
    if isinstance(given.get("dloss"), types.Array) and not by_row:
        raise TypingError(f"{function.name}: dloss is {given['dloss']} but the loss is one number")
    loss = types.Array(dtype, lead, "C") if by_row and lead else dtype
    if "out" not in given:
        return loss
    gradients = function.signature.outputs[1:]
    results = [types.Array(dtype, _ndim(operand, lead), "C") for operand in gradients]
    return types.Tuple([loss, _given_or_made(function, given, gradients, results)])


def _given_or_made(function, given, operands, results):
    """The type of the results, of `out` where it is given."""
    out = given.get("out")
    if out is not None and out != types.none:
        _check_out(function, out, operands, results)
        return out
    results = [ty if ty.ndim else ty.dtype for ty in results]  # without axes a scalar, as in NumPy
    return types.Tuple(results) if len(results) > 1 else results[0]


def _lead(function, operands, arrays):
    """The number of leading axes."""
    lead = None
    for operand in operands:
        if operand.name in arrays:
            ndim, letters = arrays[operand.name].ndim, _ndim(operand, 0)
            leading = "..." in operand.axes
            if ndim < letters or (not leading and ndim > letters):
                least, text = "at least " if leading else "", f"({', '.join(operand.axes)})"
                raise TypingError(
                    f"{function.name}: {operand.name} has {_count(ndim)} but needs {least}{_count(letters)}, {text}"
                )
            if leading and lead is not None and ndim - letters != lead:
                needed = _count(lead + letters)
                raise TypingError(f"{function.name}: {operand.name} has {_count(ndim)} but needs {needed} here")
            lead = ndim - letters if leading else lead
    return lead


def _ndim(operand, lead):
    return sum(lead if axis == "..." else 1 for axis in operand.axes)


def _count(ndim):
    return f"{ndim} {'axis' if ndim == 1 else 'axes'}"


def _check_out(function, out, operands, results):
    names = ["out"] if len(results) == 1 else [f"out[{place}] ({o.name})" for place, o in enumerate(operands)]
    if len(results) > 1 and not (isinstance(out, types.BaseTuple) and len(out) == len(results)):
        raise TypingError(f"{function.name}: out is {out} but must be a tuple of {len(results)} arrays")
    for name, ty, result in zip(names, out.types if len(results) > 1 else [out], results, strict=True):
        if not (isinstance(ty, types.Array) and ty.dtype == result.dtype and ty.ndim == result.ndim and ty.mutable):
            needed = f"a writeable array of {result.dtype} with {_count(result.ndim)}"
            raise TypingError(f"{function.name}: {name} is {ty} but needs {needed}")


# --- what compiled code asks Python ----------------------------------------------------------------------------------


def explain(name, *arguments):
    """What Python would say of arguments that compiled code did not accept: the message of its error, or nothing.

    Compiled code calls this with the arguments as Python objects. It looks at the bounds of memory alone, so it asks
    about outputs that only interleave with an input, too.
    """
    function = FUNCTIONS[name]
    given = dict(zip(_parameters(function).parameters, arguments, strict=True))
    inputs = {operand.name: given[operand.name] for operand in function.signature.inputs}
    try:
        if function.is_loss:
            options = checked_options(
                name, *(given[o] for o in ("ignore_index", "label_smoothing", "z_loss", "reduction"))
            )
            family = import_module(f".kernels.{function.family}", __package__)
            check_loss(name, family, inputs, options, given.get("dloss"), given.get("out"))
            return None
        if given.get("accumulate") and given["out"] is None:
            raise missing_out(name)
        arrays = as_arrays(name, function.signature, inputs)
        check(name, function.signature, arrays, given.get("out"), given.get("axis", NO_AXIS))
    except ValueError as error:
        return _told(error)
    return None


def _told(error):
    """The message of an error; and a warning where nobody would see it, as Numba hands on no error from the threads of
    a prange but the calling one."""
    if threading.get_ident() not in [thread.ident for thread in threading.enumerate()]:
        warnings.warn(f"{error} (in a prange, where Numba loses the error)", RuntimeWarning, stacklevel=1)
    return str(error)
