"""From what a user passes to what a kernel takes: conversions, checks, results, and every error message.

Public functions try their kernel at once: it takes plain arrays that fit, makes results, and refuses all else. What it
refuses comes here, untouched. `call` turns anything `np.asarray` takes into plain arrays, or says what is wrong before
anything is computed.
"""

import math

import numpy as np

from ._shapes import as_axis, shape_plan
from .kernels.copies import by_rows

# What trying a kernel on unusual arguments can raise.
UNUSUAL = (AttributeError, LookupError, MemoryError, TypeError, ValueError)

_HALF, _SINGLE, _DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
_MANY = 2**15  # elements; a kernel that copies fewer would have to be compiled for a few microseconds
NO_AXIS = object()  # for a function that has no such argument
# The axis that kernels take, the second of a matrix. Asked for by identity, which costs nothing; another -1 takes
# the longer way.
LAST, _SECOND = -1, 1


def is_second(axis, array):
    """Whether this is the second axis of a matrix."""
    return axis is _SECOND and getattr(array, "ndim", 0) == 2


def missing_out(function):
    """The error of accumulate=True without out."""
    return ValueError(f"{function}: accumulate=True adds to out, which must be given")


def call(function, kernel, signature, inputs, *options, out=None, accumulate=None, axis=NO_AXIS):
    """Runs a kernel on any arguments: `inputs` by name; returns the result, or a tuple of several.

    `accumulate` is None where the function has no such argument; `options` follow the arrays, and where there is an
    axis, how far apart its elements are. What works element by element, or along an axis, on arrays in Fortran order
    makes its result in that order, as NumPy does.
    """
    if accumulate is not None:
        options = (*options, accumulate)
    if axis is not NO_AXIS:
        axis = as_axis(function, axis)
    if _is_of_rows(signature, axis):
        try:
            return _of_rows(kernel, list(inputs.values()), options, out, axis)
        except UNUSUAL:
            pass
    arrays = as_arrays(function, signature, inputs)
    try:
        return _of_copies(kernel, signature, arrays, options, out, axis)
    except UNUSUAL:
        pass
    plan, dtype, compute, outs = check(function, signature, arrays, out, axis)
    order = "F" if _lie_by_columns(signature, arrays, axis) else "C"
    results = [np.empty(shape, dtype, order) for shape in plan.results] if outs is None else outs
    direct = all(result.dtype == compute and result.flags.carray for result in results)
    targets = results if direct else [np.empty(result.shape, compute) for result in results]
    ready = plain_inputs(plan, arrays, compute)
    ready += [np.asarray(target).reshape(shape) for target, shape in zip(targets, plan.outputs, strict=True)]
    if accumulate is not None:
        options = (*options[:-1], bool(accumulate) and direct)
    if axis is not NO_AXIS:
        options = (*options, plan.inner)
    kernel(*ready, *options)
    if not direct:
        for result, target in zip(results, targets, strict=True):
            if accumulate:
                np.add(result, target, out=result, casting="same_kind")
            else:
                assign(result, target)
    if len(results) > 1:
        return tuple(results)
    (result,) = results
    return result if result.ndim or out is not None else result[()]  # without axes a scalar, as in NumPy


def _is_of_rows(signature, axis):
    """Whether a function works element by element, or along an axis."""
    return signature.inplace or axis is not NO_AXIS


def _lie_by_columns(signature, arrays, axis):
    """Whether results are to lie in Fortran order, as all arrays do."""
    return _is_of_rows(signature, axis) and all(array.flags.fnc for array in arrays.values())


def _of_rows(kernel, arrays, options, out, axis):
    """What works element by element or along an axis, of arrays of one shape that all lie in C order, or all in Fortran
    order: without a check or a copy, as the rows of a matrix. Raises one of UNUSUAL where they are not such."""
    given = arrays if out is None else [*arrays, out]
    shape = given[0].shape
    if not all(array.shape == shape for array in given):
        raise LookupError
    if not all(array.flags.c_contiguous for array in given):
        if not all(array.flags.f_contiguous for array in given):
            raise LookupError
        transposes, target = [array.T for array in arrays], None if out is None else out.T
        result = _of_rows(kernel, transposes, options, target, axis if axis is NO_AXIS else -1 - axis)
        return result.T if out is None else out
    kernel = kernel[given[0].dtype]
    if axis is NO_AXIS:
        return kernel(*arrays, out, *options)
    classes, before, behind = shape[axis], shape[:axis], shape[axis:][1:]
    rows = [array.reshape(-1, classes) for array in arrays]
    target = None if out is None else out.reshape(-1, classes)
    result = kernel(*rows, target, *options, math.prod(behind))
    if out is not None:
        return out
    if result.ndim > 1:
        return result.reshape(shape)
    result = result.reshape(before + behind)
    return result if result.ndim else result[()]


def _of_copies(kernel, signature, arrays, options, out, axis):
    """What a kernel takes once it is copied, without a check. Raises one of UNUSUAL where there is no such."""
    several = [None for _ in signature.outputs] if out is None else out
    targets = several if len(signature.outputs) > 1 else [out]
    if out is not None and any(target is None for target in targets):  # which the kernel would make
        raise TypeError
    if out is None and _lie_by_columns(signature, arrays, axis):
        transposes = {name: array.T for name, array in arrays.items()}
        return _of_copies(kernel, signature, transposes, options, None, axis if axis is NO_AXIS else -1 - axis).T
    copies, fresh = _copies(signature, arrays, targets)
    if not _is_of_rows(signature, axis):
        return kernel(*copies, *targets, *options)
    result = _of_rows(kernel, copies, options, fresh if out is None and signature.inplace else out, axis)
    return result if result.ndim or out is not None else result[()]


def _copies(signature, arrays, targets):
    """The arrays as kernels take them; and one that had to be copied, to take the result: two large arrays that are new
    to a process take it four times as long as one. Raises one of UNUSUAL where results are not of the dtype that is
    computed in, or targets may overlap what is copied."""
    dtype, compute = common_dtypes(arrays.values())
    if dtype is not compute:
        raise TypeError
    ready, fresh = [], None
    for operand in signature.inputs:
        array = plain = arrays.get(operand.name)
        if array is not None:
            plain = _plain(operand, array, compute)
        if plain is not array and not np.may_share_memory(plain, array):  # a view, if its dtype is not NumPy's own
            fresh = plain
            if any(target is not None and np.may_share_memory(array, target) for target in targets):
                raise ValueError
        ready.append(plain)
    return ready, fresh


def plain_inputs(plan, arrays, dtype):
    """The arrays as kernels take them: floats in this dtype, integers in int64, None for what is missing."""
    return [
        None if shape is None else _plain(operand, arrays[name], np.int64 if operand.integer else dtype).reshape(shape)
        for operand, (name, shape) in zip(plan.signature.inputs, plan.inputs, strict=True)
    ]


def check(function, signature, arrays, out, axis):
    """The plan, the dtypes of results and kernel, `out` as a list; raises what is wrong with them or the arrays."""
    dtype, compute = common_dtypes(arrays.values())
    shapes = tuple([(name, array.shape) for name, array in arrays.items()])
    plan = shape_plan(function, signature, shapes, None if axis is NO_AXIS else axis)
    outs = None if out is None else checked_outs(function, signature, arrays, plan.results, dtype, out)
    return plan, dtype, compute, outs


# --- arrays ----------------------------------------------------------------------------------------------------------


def as_arrays(function, signature, inputs):
    """The inputs by name that are not missing, as arrays."""
    for operand in signature.inputs:
        if not operand.optional and inputs[operand.name] is None:
            raise TypeError(f"{function}: {operand.name} is None but must be an array")
    return {name: as_array(function, name, value) for name, value in inputs.items() if value is not None}


def as_array(function, name, value):
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{function}: {name} is not an array of numbers: {error}") from None
    dtype = array.dtype
    if dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)):
        return array
    raise TypeError(f"{function}: {name} has dtype {dtype} but needs float16, float32, float64, integers or bool")


def common_dtypes(arrays):
    """The dtype of the results, and the one that kernels compute in."""
    floats = [a.dtype.itemsize if a.dtype.kind == "f" else 8 for a in arrays]
    return {2: (_HALF, _SINGLE), 4: (_SINGLE, _SINGLE), 8: (_DOUBLE, _DOUBLE)}[max(floats)]


def _plain(operand, array, dtype):
    """The array as kernels take it: contiguous, aligned, of a native dtype."""
    if array.dtype is dtype and array.flags.carray:
        return array
    by_columns = operand.by_columns and array.ndim == 2 and array.flags.f_contiguous
    if not by_columns and not operand.integer and array.dtype == dtype and _is_turned(array):
        return by_rows(array, None)
    array = np.asarray(array, dtype, order="F" if by_columns else "C")
    return array if array.flags.aligned else array.copy(order="K")


def assign(result, plain):
    """Copies an array that a kernel has written."""
    if plain.dtype == result.dtype and _is_turned(result):
        by_rows(plain.T, np.asarray(result).T)
    else:
        result[...] = plain


def _is_turned(array):
    """Whether this is a matrix by columns of so many elements that NumPy would copy it slowly."""
    return array.ndim == 2 and array.size >= _MANY and array.flags.fnc and array.flags.aligned


# --- out -------------------------------------------------------------------------------------------------------------


def checked_outs(function, signature, arrays, shapes, dtype, out):
    """The arrays of `out` as a list; raises where one cannot hold its result."""
    operands = signature.outputs
    if len(operands) == 1:
        outs, names = [out], ["out"]
    else:
        names = [f"out[{place}] ({operand.name})" for place, operand in enumerate(operands)]
        if not isinstance(out, (tuple, list)):
            raise TypeError(f"{function}: out is {_kind(out)} but must be a tuple of {len(operands)} arrays")
        if len(out) != len(operands):
            raise ValueError(f"{function}: out has {len(out)} arrays but needs {len(operands)}")
        outs = list(out)
    for name, array, shape in zip(names, outs, shapes, strict=True):
        _check_out(function, name, array, shape, dtype)
    for place, (name, array, operand) in enumerate(zip(names, outs, operands, strict=True)):
        for other in signature.inputs:
            if other.name in arrays and _overlap(array, arrays[other.name]):
                allowed = signature.inplace and other.axes == operand.axes
                if not (allowed and _is_same_memory(array, arrays[other.name])):
                    raise ValueError(f"{function}: {name} overlaps {other.name}")
        for other_name, other_array in zip(names[:place], outs[:place], strict=True):
            if _overlap(array, other_array):
                raise ValueError(f"{function}: {name} overlaps {other_name}")
    return outs


def _check_out(function, name, array, shape, dtype):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{function}: {name} is {_kind(array)} but must be an array")
    if array.dtype != dtype:
        raise TypeError(f"{function}: {name} has dtype {array.dtype} but needs {dtype}")
    if array.shape != shape:
        raise ValueError(f"{function}: {name} has shape {array.shape} but needs {shape}")
    if not array.flags.writeable:
        raise ValueError(f"{function}: {name} is read-only")
    if _overlaps_itself(array):
        raise ValueError(f"{function}: {name} holds one element several times")


def _kind(value):
    return f"a {type(value).__name__}"


def _overlaps_itself(array):
    """Whether two elements share memory, as they cannot where each axis strides over all that those within it span."""
    axes = sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)
    span, apart = array.itemsize, True
    for stride, size in axes:
        apart &= stride >= span
        span += stride * (size - 1)
    if apart or not array.size:
        return False
    places = np.zeros(1, np.int64)
    for stride, size in axes:
        places = np.add.outer(places, stride * np.arange(size)).ravel()
    places.sort()
    return bool((np.diff(places) < array.itemsize).any())


def _overlap(one, other):
    try:
        return np.shares_memory(one, other, max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def _is_same_memory(one, other):
    if one is other:
        return True
    layouts = [(a.__array_interface__["data"][0], a.shape, a.strides, a.dtype) for a in (one, other)]
    return layouts[0] == layouts[1]
