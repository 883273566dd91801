"""Public functions inside a user's own `@njit` function: what they take there, what they give, what they say is wrong.

Every function of the table is made known to Numba under its public name, with the parameters that it has in Python, any
of which may be positional. Types are checked here, when the user's function is compiled; `_lowering.py` makes the
machine code of a call. Importing fastgrad registers the names alone: nothing is compiled before a user's function is.
"""

import inspect
from importlib import import_module

from numba.core import types
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from ._arguments import NO_AXIS, check, missing_out
from ._functions import FUNCTIONS
from .kernels._cache import stamp

_FLOATS = (types.float32, types.float64)


def register():
    """Makes every function of the table known to Numba."""
    stamp(__package__)  # now, of the files that are being imported
    for function in FUNCTIONS.values():
        if function.is_loss:
            continue
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
        from ._lowering import lower  # with what it needs of Numba, a third of the time of importing fastgrad

        named = dict(zip(_parameters(function).parameters, zip(sig.args, args, strict=True), strict=True))
        return lower(context, builder, function, sig.return_type, named)

    return lowered


# --- types -----------------------------------------------------------------------------------------------------------


def _result(function, given):
    """The type of the result of a call with arguments of these types by name; TypingError where one is wrong."""
    name = function.name
    arrays = {}
    for operand in function.signature.inputs:
        ty = given[operand.name]
        if operand.optional and ty == types.none:
            continue
        if not (isinstance(ty, types.Array) and ty.dtype in _FLOATS):
            choice = ", or None" if operand.optional else ""
            raise TypingError(f"{name}: {operand.name} is {ty} but needs an array of float32 or float64{choice}")
        arrays[operand.name] = ty
    for option, kind, what in (("axis", types.Integer, "one integer"), ("accumulate", types.Boolean, "a bool")):
        ty = given.get(option)
        if ty is not None and not isinstance(ty, (kind, types.Omitted)):
            raise TypingError(f"{name}: {option} is {ty} but must be {what}")
    if function.choice:
        option, kernels = function.choice
        ty = given[option]
        if not isinstance(ty, types.Omitted) and getattr(ty, "literal_value", None) not in kernels:
            values = " or ".join(f'"{value}"' for value in kernels)
            raise TypingError(f"{name}: {option} is {ty} but must be {values}, written out")
    dtype = max((ty.dtype for ty in arrays.values()), key=lambda dtype: dtype.bitwidth)
    lead = _lead(function, arrays)
    results = [types.Array(dtype, _ndim(operand, lead), "C") for operand in function.signature.outputs]
    out = given.get("out")
    if out is not None and out != types.none:
        _check_out(function, out, results)
        return out
    results = [ty if ty.ndim else ty.dtype for ty in results]  # without axes a scalar, as in NumPy
    return types.Tuple(results) if len(results) > 1 else results[0]


def _lead(function, arrays):
    """The number of leading axes."""
    lead = None
    for operand in function.signature.inputs:
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


def _check_out(function, out, results):
    names = ["out"] if len(results) == 1 else [f"out[{p}] ({o.name})" for p, o in enumerate(function.signature.outputs)]
    if len(results) > 1 and not (isinstance(out, types.BaseTuple) and len(out) == len(results)):
        raise TypingError(f"{function.name}: out is {out} but must be a tuple of {len(results)} arrays")
    for name, ty, result in zip(names, out.types if len(results) > 1 else [out], results, strict=True):
        if not (isinstance(ty, types.Array) and ty.dtype == result.dtype and ty.ndim == result.ndim and ty.mutable):
            needed = f"a writeable array of {result.dtype} with {_count(result.ndim)}"
            raise TypingError(f"{function.name}: {name} is {ty} but needs {needed}")


# --- errors ----------------------------------------------------------------------------------------------------------


def explain(name, *arguments):
    """What Python would say of arguments that compiled code did not accept: the message of its error, or nothing.

    Compiled code calls this with the arguments as Python objects. It looks at the bounds of memory alone, so it asks
    about outputs that only interleave with an input, too.
    """
    function = FUNCTIONS[name]
    given = dict(zip(_parameters(function).parameters, arguments, strict=True))
    inputs = {operand.name: given[operand.name] for operand in function.signature.inputs}
    try:
        if given.get("accumulate") and given["out"] is None:
            raise missing_out(name)
        check(name, function.signature, inputs, given.get("out"), given.get("axis", NO_AXIS))
    except ValueError as error:
        return str(error)
    return None
