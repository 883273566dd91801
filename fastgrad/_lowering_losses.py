"""What `_lowering.py` does, for the losses: a kernel for each kind of target, values that are looked at, a loss."""

import math
from importlib import import_module

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import signature
from numba.np import arrayobj

from ._losses import REDUCTIONS
from ._lowering import Call, Plain
from .kernels import cross_entropy

_WORD, _DOUBLE = ir.IntType(64), ir.DoubleType()


class LossCall(Call):
    """A call to `cross_entropy` or `linear_cross_entropy`, or to one of them with its gradient."""

    def __init__(self, context, builder, function, given):
        self.kernels = import_module(f".kernels.{function.family}", __package__)
        self.by_index = isinstance(given["target"][0].dtype, types.Integer)
        self.has_gradient = "out" in given
        reduction = given["reduction"][0]
        self.reduction = reduction.value if isinstance(reduction, types.Omitted) else reduction.literal_value
        super().__init__(context, builder, function, given)

    def _signature(self):
        """The kernel's, of its results the gradients: those that `out` takes."""
        kernel = self.kernels.of_indices if self.by_index else self.kernels.of_probabilities
        return kernel.signature.of_gradients()

    def run(self, result_type):
        context, builder = self.context, self.builder
        plain = self._plain_inputs()
        result = cgutils.alloca_once(builder, context.get_value_type(result_type), zfill=True)
        good = cgutils.alloca_once_value(builder, self._values_fit(plain))
        with cgutils.if_unlikely(builder, builder.not_(builder.load(good))):
            builder.store(self.accepted_by_python(), good)
        with builder.if_then(builder.load(good)):
            builder.store(self._work(plain, result_type), result)
        self._release(plain)
        return builder.load(result)

    def _work(self, plain, result_type):
        context, builder = self.context, self.builder
        results = self._results() if self.has_gradient else {}
        of_results = self._plain_results(results)
        loss = self._empty(self.lead)
        arrays = plain | of_results | {"loss": Plain(loss.struct.data)}
        if not self.by_index:
            self._with_weights(self.kernels.of_probabilities, arrays)
        elif isinstance(self.given["label_smoothing"][0], types.Omitted):
            self._run_kernel(self.kernels.of_indices, arrays)
        else:
            smooth = builder.fcmp_ordered("!=", self._number("label_smoothing"), _DOUBLE(0))
            with builder.if_else(smooth) as (smoothed, sharp):
                with smoothed:
                    self._with_weights(self.kernels.of_smoothed_indices, arrays)
                with sharp:
                    self._run_kernel(self.kernels.of_indices, arrays)
        self._hand_back(results, of_results)
        self._release(of_results)
        value = self._reduced(loss)
        if not self.has_gradient:
            return value
        return context.make_tuple(builder, result_type, [value, self._result(result_type[1])])

    def _with_weights(self, kernel, arrays):
        """Runs a kernel that needs the weight of each class: 1 where there is none."""
        if "weight" in arrays:
            self._run_kernel(kernel, arrays)
            return
        weights = self._empty([self.sizes["k"]])
        with cgutils.for_range(self.builder, self.sizes["k"]) as loop:
            one = self.context.get_constant(self.dtype, 1)
            self.builder.store(one, self.builder.gep(weights.struct.data, [loop.index]))
        self._run_kernel(kernel, arrays | {"weight": Plain(weights.struct.data)})
        self.context.nrt.decref(self.builder, weights.type, weights.struct._getvalue())

    def _run_kernel(self, kernel, arrays):
        upstream = self.given.get("dloss", (types.none, None))[0]
        options = {
            "ignore_index": self._ignore_index(),
            "smoothing": self._number("label_smoothing"),
            "z_loss": self._number("z_loss"),
            "scale": self._number("dloss") if isinstance(upstream, types.Number) else _DOUBLE(1),
            "reduction": _WORD(REDUCTIONS[self.reduction]),
        }
        ready = self._arrays(kernel.signature, arrays)
        settings = [_WORD(setting) for setting in self.kernels.SETTINGS]
        known = [options[name] for name in kernel.options if name in options]
        self._call_kernel(kernel, self.dtype, ready, known + settings)

    def _number(self, name):
        return self._cast(name, types.float64)

    def _ignore_index(self):
        return self._cast("ignore_index", types.int64)

    def _cast(self, name, to):
        ty, value = self.given[name]
        if isinstance(ty, types.Omitted):
            return self.context.get_constant(to, ty.value)
        return self.context.cast(self.builder, value, ty, to)

    def _reduced(self, loss):
        """The loss as it is given back: of each row, or the first element, which is 0 where there are no rows."""
        context, builder = self.context, self.builder
        if self.reduction == "none" or not self.lead:
            return self._finished(loss)
        first = cgutils.alloca_once_value(builder, context.get_constant(self.dtype, 0))
        with builder.if_then(builder.icmp_signed("!=", loss.struct.nitems, _WORD(0))):
            builder.store(arrayobj.load_item(context, builder, loss.type, loss.struct.data), first)
        context.nrt.decref(builder, loss.type, loss.struct._getvalue())
        return builder.load(first)

    # --- values ---

    def _values_fit(self, plain):
        """Whether all values are in their range; of what is wrong with them Python knows more."""
        smoothing = self._number("label_smoothing")
        builder = self.builder
        fit = builder.and_(
            builder.fcmp_ordered(">=", smoothing, _DOUBLE(0)), builder.fcmp_ordered("<=", smoothing, _DOUBLE(1))
        )
        for name in ("weight", "sample_weight"):
            if name in plain:
                fit = builder.and_(fit, self._ask(_are_not_negative, [self._vector(plain, name)]))
        if not self.by_index:
            return builder.and_(fit, self._are_distributions(plain))
        target = self._vector(plain, "target")
        if self.inputs["target"].type.dtype == types.uint64:  # as int64, 2⁶⁴ − 100 would be −100, which may be ignored
            fit = builder.and_(fit, self._ask(_are_not_negative, [target]))
        if self.given["ignore_index"][0] == types.uint64:
            fit = builder.and_(fit, builder.icmp_signed(">=", self._ignore_index(), _WORD(0)))
        options = [(types.int64, self.sizes["k"]), (types.int64, self._ignore_index())]
        return builder.and_(fit, self._ask(cross_entropy.in_range.py_func, [target, *options]))

    def _are_distributions(self, plain):
        context, builder = self.context, self.builder
        tolerance = math.sqrt(np.finfo(str(self.inputs["target"].type.dtype)).eps)
        wrong = self._empty(self.lead)
        arrays = self._arrays(cross_entropy.DISTRIBUTIONS, plain | {"wrong": Plain(wrong.struct.data)})
        self._call_kernel(cross_entropy.distributions, self.dtype, arrays, [_DOUBLE(tolerance)])
        right = self._ask(_are_zero, [self._vector({"wrong": Plain(wrong.struct.data)}, "wrong")])
        context.nrt.decref(builder, wrong.type, wrong.struct._getvalue())
        return right

    def _vector(self, plain, name):
        """(type, value) of an array of the leading axes or of a weight of classes, seen as one axis."""
        dtype = types.int64 if name == "target" else self.dtype
        size = self.sizes["k"] if name == "weight" else self._rows()
        return types.Array(dtype, 1, "C"), self._array(plain[name], dtype, [size])

    def _ask(self, question, arguments):
        """What a function in Python says of arguments, as a bit."""
        argtypes, values = zip(*arguments, strict=True)
        answer = self.context.compile_internal(
            self.builder, question, signature(types.boolean, *argtypes), list(values)
        )
        return self.context.cast(self.builder, answer, types.boolean, types.boolean)


def _are_not_negative(values):
    fit = True
    for value in values:
        fit &= value >= 0
    return fit


def _are_zero(values):
    fit = True
    for value in values:
        fit &= value == 0
    return fit
