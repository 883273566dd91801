"""The machine code of a call to a public function from a user's `@njit` function.

It does what `_arguments.py` does for Python: checks shapes and overlap, makes results, brings arrays into the form
that kernels take, and calls the kernel by its symbol (`_linking.py`), to run serially: so the user's function compiles
fast, and runs the very code that Python runs. Nothing is copied that lies as kernels take it: contiguous, aligned, of
the dtype of the result.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import combinations, pairwise
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.np import arrayobj

from ._linking import link
from ._lowering_errors import explained, leave_unless, set_error
from .kernels._arrays import new_array
from .kernels._wrapper import FROM_COMPILED

_WORD = ir.IntType(64)
_TRUE, _FALSE = (ir.Constant(ir.IntType(1), value) for value in (1, 0))
_MEMORY = types.MemInfoPointer(types.voidptr)


def lower(call, result_type):
    """The result of a call."""
    context, builder = call.context, call.builder
    result = cgutils.alloca_once(builder, context.get_value_type(result_type), zfill=True)
    good = cgutils.alloca_once_value(builder, call.fits)
    with cgutils.if_unlikely(builder, builder.not_(call.fits)):
        builder.store(call.accepted_by_python(), good)
    with builder.if_then(builder.load(good)):
        builder.store(call.run(result_type), result)
    return builder.load(result)


@dataclass
class _View:
    """An array of the user's, perhaps with its axes turned: the type says whether it is contiguous and aligned."""

    type: types.Array
    struct: Any
    shape: list
    strides: list

    def pointer(self, context, builder, indices):
        return cgutils.get_item_pointer2(context, builder, self.struct.data, self.shape, self.strides, "A", indices)


@dataclass
class Plain:
    """An array as kernels take it: where its elements lie; the memory of a copy that had to be made for it, a slot,
    which holds null where the array itself is such, None where it is known to be; a bit that says whether it lies by
    columns, None where it does not."""

    data: Any
    copy: Any = None
    by_columns: Any = None


class Call:
    """One call while it is built; `given` is (type, value) by the name of the parameter. `fits` says at run time
    whether the arguments fit, with nothing done yet."""

    def __init__(self, context, builder, function, given):
        self.context, self.builder, self.function, self.given = context, builder, function, given
        self.signature = self._signature()
        self.takes, self.gives = self.signature.inputs, self.signature.outputs
        self.inputs = {o.name: self._view(*given[o.name]) for o in self.takes if self._is_given(o)}
        floats = [self.inputs[o.name].type.dtype for o in self.takes if o.name in self.inputs and not o.integer]
        self.dtype = max(floats, key=lambda dtype: dtype.bitwidth)
        self.out_type, self.out = given.get("out", (types.none, None))
        self.outs = None if self.out_type == types.none else self._each(self.out_type, self.out)
        self.ndim = next(iter(self.inputs.values())).type.ndim
        self.axis, axis_fits = self._axis()
        self.inputs = {name: self._turned(view) for name, view in self.inputs.items()}
        agree, self.lead, self.sizes = self._bind()
        self.fits = builder.and_(axis_fits, agree)
        if self.outs is None:
            self.fits = builder.and_(self.fits, builder.not_(self._option("accumulate")))
        else:
            self.outs = [self._turned(view) for view in self.outs]
            self.fits = builder.and_(self.fits, self._outs_fit())

    # --- arguments ---

    def _signature(self):
        return self.function.signature

    def _is_given(self, operand):
        return isinstance(self.given.get(operand.name, (None, None))[0], types.Array)

    def _view(self, ty, value):
        struct = self.context.make_array(ty)(self.context, self.builder, value)
        return _View(ty, struct, *(cgutils.unpack_tuple(self.builder, part) for part in (struct.shape, struct.strides)))

    def _each(self, ty, value):
        """The views of an array, or of a tuple of them."""
        if isinstance(ty, types.Array):
            return [self._view(ty, value)]
        return [self._view(*one) for one in zip(ty.types, cgutils.unpack_tuple(self.builder, value), strict=True)]

    def _option(self, name):
        """An argument that is true or false, as a bit; false where the function has none of this name. Axes have been
        moved to the end, so along them an element is the neighbour of the one before."""
        if name == "inner":
            return _WORD(1)
        ty, value = self.given.get(name, (types.Omitted(False), None))
        if isinstance(ty, types.Omitted):
            return _TRUE if ty.value else _FALSE
        return self.context.cast(self.builder, value, ty, types.boolean)

    def _axis(self):
        """The axis as it is counted from the front, None for the last one, and whether there is one."""
        ty, value = self.given.get("axis", (types.Omitted(-1), None))
        if isinstance(ty, types.Omitted):
            return None, _TRUE
        builder = self.builder
        ndim = _WORD(self.ndim)
        axis = self.context.cast(builder, value, ty, types.intp)
        if ty == types.uint64:  # what is too large for int64 would count from the back
            axis = builder.select(builder.icmp_signed("<", axis, _WORD(0)), ndim, axis)
        axis = builder.select(builder.icmp_signed("<", axis, _WORD(0)), builder.add(axis, ndim), axis)
        return axis, builder.icmp_unsigned("<", axis, ndim)

    def _turned(self, view):
        """The array with its axis moved to the end, where it has that axis."""
        if self.axis is None or view.type.ndim != self.ndim:
            return view
        ty = view.type.copy(layout="A")
        return _View(ty, view.struct, self._moved_last(view.shape), self._moved_last(view.strides))

    def _moved_last(self, values):
        builder, moved = self.builder, []
        for place, (value, following) in enumerate(pairwise(values)):
            moved.append(builder.select(builder.icmp_signed("<", _WORD(place), self.axis), value, following))
        last = values[0]
        for place, value in enumerate(values):
            last = builder.select(builder.icmp_signed("==", _WORD(place), self.axis), value, last)
        return [*moved, last]

    def _moved_back(self, values):
        if self.axis is None or len(values) != self.ndim:
            return values
        builder, back = self.builder, []
        for place, (value, before) in enumerate(zip(values, values[:1] + values, strict=False)):
            behind = builder.icmp_signed(">", _WORD(place), self.axis)
            here = builder.icmp_signed("==", _WORD(place), self.axis)
            back.append(builder.select(here, values[-1], builder.select(behind, before, value)))
        return back

    # --- checks ---

    def _equal(self, values, others):
        pairs = zip(values, others, strict=True)
        return reduce(self.builder.and_, [self.builder.icmp_signed("==", a, b) for a, b in pairs], _TRUE)

    def _bind(self):
        """Whether equal letters are equal sizes; the sizes of the leading axes, and of each letter."""
        agree, lead, sizes = _TRUE, None, {}
        for operand in self.takes:
            if operand.name in self.inputs:
                shape = self.inputs[operand.name].shape
                letters = [axis for axis in operand.axes if axis != "..."]
                front, back = shape[: len(shape) - len(letters)], shape[len(shape) - len(letters) :]
                if "..." in operand.axes:
                    lead = front if lead is None else lead
                    agree = self.builder.and_(agree, self._equal(front, lead))
                known = [sizes.setdefault(letter, size) for letter, size in zip(letters, back, strict=True)]
                agree = self.builder.and_(agree, self._equal(back, known))
        return agree, lead, sizes

    def _outs_fit(self):
        """Whether each output has its shape, and memory of its own or that of an input which it may replace."""
        builder, signature = self.builder, self.signature
        axes = {operand.name: operand.axes for operand in self.takes}
        answer = _TRUE
        for operand, out in zip(self.gives, self.outs, strict=True):
            answer = builder.and_(answer, self._equal(out.shape, self._shape(operand)))
            if out.type.layout != "C":
                for size, stride in zip(out.shape, out.strides, strict=True):
                    moves = builder.icmp_signed("!=", stride, _WORD(0))
                    answer = builder.and_(answer, builder.or_(moves, builder.icmp_signed("<=", size, _WORD(1))))
            for name, view in self.inputs.items():
                apart = self._apart(out, view)
                if signature.inplace and axes[name] == operand.axes and view.type.dtype == out.type.dtype:
                    start = builder.bitcast(view.struct.data, out.struct.data.type)
                    same = builder.icmp_unsigned("==", out.struct.data, start)
                    apart = builder.or_(apart, builder.and_(same, self._equal(out.strides, view.strides)))
                answer = builder.and_(answer, apart)
        for one, other in combinations(self.outs, 2):
            answer = builder.and_(answer, self._apart(one, other))
        return answer

    def _apart(self, *views):
        """Whether the bounds of two arrays in memory do not overlap."""
        ends = [
            arrayobj.get_array_memory_extents(
                self.context, self.builder, view.type, view.struct, view.shape, view.strides, view.struct.data
            )
            for view in views
        ]
        return self.builder.not_(arrayobj.extents_may_overlap(self.context, self.builder, *ends[0], *ends[1]))

    def accepted_by_python(self):
        """Whether Python's checks find nothing wrong, at run time; raises ValueError with what they find."""
        with explained(self.context, self.builder, self.function, self.given) as (api, answer):
            accepted = self.builder.icmp_unsigned("==", answer, api.borrow_none())
            set_error(self.context, self.builder, api, answer, self.builder.not_(accepted))
        leave_unless(self.context, self.builder, accepted)
        return accepted

    # --- work ---

    def run(self, result_type):
        """Calls the kernel; the result."""
        results = self._results()
        plain = self._plain_inputs() | self._plain_results(results)
        kernel = self.function.kernel(self._chosen())
        self._call_kernel(kernel, self.dtype, self._arrays(self.signature, plain), map(self._option, kernel.options))
        self._hand_back(results, plain)
        self._release(plain)
        return self._result(result_type)

    def _results(self):
        """The outputs, made here or the user's."""
        self.made = [] if self.outs else [self._empty(self._moved_back(self._shape(o))) for o in self.gives]
        return dict(zip([o.name for o in self.gives], self.outs or map(self._turned, self.made), strict=True))

    def _plain_inputs(self):
        return {
            o.name: self._plain(self.inputs[o.name], types.int64 if o.integer else self.dtype, o.by_columns)
            for o in self.takes
            if o.name in self.inputs
        }

    def _plain_results(self, results):
        return {name: self._plain(view, self.dtype) for name, view in results.items()}

    def _arrays(self, signature, plain):
        """What the kernel takes: for each leading axes one of rows, and an array of no elements for what is missing."""
        rows = [self._rows()]
        arrays = []
        for operand in signature.inputs + signature.outputs:
            dtype = types.int64 if operand.integer else self.dtype
            if operand.name in plain:
                arrays.append(self._array(plain[operand.name], dtype, shape_of(operand, rows, self.sizes)))
            else:
                nothing = Plain(cgutils.get_null_value(self.context.get_data_type(dtype).as_pointer()))
                arrays.append(self._array(nothing, dtype, [_WORD(0)] * len(operand.axes)))
        return arrays

    def _hand_back(self, results, plain):
        """Copies to the user's outputs what was computed beside them."""
        for name, view in results.items():
            copy = plain[name].copy
            if copy is not None:
                with self.builder.if_then(cgutils.is_not_null(self.builder, self.builder.load(copy))):
                    ty = types.Array(self.dtype, len(view.shape), "C")
                    self._assign(view, self._view(ty, self._array(plain[name], self.dtype, view.shape)))

    def _release(self, plain):
        for array in plain.values():
            if array.copy is not None:
                self.context.nrt.decref(self.builder, _MEMORY, self.builder.load(array.copy))

    def _result(self, result_type):
        if self.outs:
            self.context.nrt.incref(self.builder, self.out_type, self.out)
            return self.out
        values = [self._finished(view) for view in self.made]
        return self.context.make_tuple(self.builder, result_type, values) if len(values) > 1 else values[0]

    def _rows(self):
        return reduce(self.builder.mul, self.lead, _WORD(1))

    def _shape(self, operand):
        return shape_of(operand, self.lead, self.sizes)

    def _empty(self, shape, dtype=None):
        ty = types.Array(dtype or self.dtype, len(shape), "C")
        return self._view(ty, arrayobj._empty_nd_impl(self.context, self.builder, ty, shape)._getvalue())

    def _finished(self, view):
        """A result that was made here: without axes a scalar, as in NumPy."""
        value = view.struct._getvalue()
        if view.type.ndim:
            return value
        scalar = arrayobj.load_item(self.context, self.builder, view.type, view.struct.data)
        self.context.nrt.decref(self.builder, view.type, value)
        return scalar

    def _plain(self, view, dtype, may_lie_by_columns=False):
        """The array as kernels take it."""
        context, builder = self.context, self.builder
        same = view.type.dtype == dtype and view.type.aligned
        if same and view.type.layout == "C":
            return Plain(view.struct.data)
        pointer = context.get_data_type(dtype).as_pointer()
        data = cgutils.alloca_once_value(builder, builder.bitcast(view.struct.data, pointer))
        copy = cgutils.alloca_once(builder, context.get_value_type(_MEMORY), zfill=True)
        contiguous, by_columns = (_TRUE if same else _FALSE), None
        contiguous = builder.and_(contiguous, self._lies_along(view, reversed))
        if may_lie_by_columns and same and len(view.shape) == 2:
            by_columns = builder.and_(builder.not_(contiguous), self._lies_along(view, iter))
            contiguous = builder.or_(contiguous, by_columns)
        with builder.if_then(builder.not_(contiguous)):
            other = self._empty(view.shape, dtype)
            self._assign(other, view)
            builder.store(other.struct.data, data)
            builder.store(other.struct.meminfo, copy)
        return Plain(builder.load(data), copy, by_columns)

    def _lies_along(self, view, order):
        """Whether elements are next to each other along the axes in this order, from the innermost."""
        builder, answer, expected = self.builder, _TRUE, view.struct.itemsize
        for size, stride in zip(order(view.shape), order(view.strides), strict=True):
            here = builder.or_(builder.icmp_signed("==", stride, expected), builder.icmp_signed("==", size, _WORD(1)))
            answer, expected = builder.and_(answer, here), builder.mul(expected, size)
        return answer

    def _assign(self, target, source):
        """Copies every element."""
        context, builder = self.context, self.builder
        with cgutils.loop_nest(builder, source.shape, _WORD) as indices:
            value = arrayobj.load_item(context, builder, source.type, source.pointer(context, builder, indices))
            value = context.cast(builder, value, source.type.dtype, target.type.dtype)
            arrayobj.store_item(context, builder, target.type, value, target.pointer(context, builder, indices))

    def _array(self, plain, dtype, shape):
        """A contiguous array, which keeps nothing alive."""
        ty = types.Array(dtype, len(shape), "C")
        return new_array(self.context, self.builder, ty, plain.data, shape, plain.by_columns)

    def _call_kernel(self, kernel, dtype, arrays, options):
        context, builder = self.context, self.builder
        argtypes = kernel.types(dtype)
        args = [*arrays, *options, _WORD(FROM_COMPILED)]
        symbol, environment = link(kernel.__module__, kernel.__name__, str(dtype))
        context.declare_env_global(builder.module, environment.env_name)
        function_type = context.call_conv.get_function_type(types.int64, argtypes)
        callee = cgutils.get_or_insert_function(builder.module, function_type, symbol)
        status, _ = context.call_conv.call_function(builder, callee, types.int64, argtypes, args)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)

    def _chosen(self):
        """The value of the parameter that chooses the kernel: known when the user's function is compiled."""
        if not self.function.choice:
            return None
        ty, _ = self.given[self.function.choice[0]]
        return ty.value if isinstance(ty, types.Omitted) else ty.literal_value


def shape_of(operand, lead, sizes):
    return [size for axis in operand.axes for size in (lead if axis == "..." else [sizes[axis]])]
