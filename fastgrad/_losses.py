"""What `_arguments.py` does, for the losses: targets of two kinds, weights, options, a value beside its gradients."""

import operator

import numpy as np

from ._arguments import as_array, as_arrays, assign, checked_outs, common_dtypes, plain_inputs
from ._shapes import shape_plan
from .kernels import cross_entropy as kernels

_CLASSES = np.dtype(np.int64)
REDUCTIONS = {"none": kernels.NONE, "sum": kernels.SUM, "mean": kernels.MEAN}


def checked_options(function, ignore_index, label_smoothing, z_loss, reduction):
    """The options as kernels take them: (ignore_index, smoothing, z_loss, code of the reduction)."""
    try:
        code = REDUCTIONS[reduction]
    except (KeyError, TypeError):
        raise ValueError(f'{function}: reduction is {reduction!r} but must be "mean", "sum" or "none"') from None
    try:
        ignored = operator.index(ignore_index)
    except TypeError:
        raise TypeError(f"{function}: ignore_index is {ignore_index!r} but must be an integer") from None
    if not -(2**63) <= ignored < 2**63:
        raise ValueError(f"{function}: ignore_index is {ignored} but must fit into 64 bits")
    smoothing = _number(function, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{function}: label_smoothing is {smoothing} but must be between 0 and 1")
    return ignored, smoothing, _number(function, "z_loss", z_loss), code


def _number(function, name, value):
    if type(value) is float:
        return value
    number = as_array(function, name, value)
    if number.ndim:
        raise ValueError(f"{function}: {name} has shape {number.shape} but must be one number")
    return float(number)


def of_classes(family, dtype, classes, target, smoothing, weight, sample_weight, outs=()):
    """The kernel for targets that are classes; these, and their weights, as it takes them. Raises one of UNUSUAL where
    weights are no arrays, or not all at least 0; or where `outs`, the user's, are no arrays: a kernel makes what is
    None, and leaves out what is False."""
    for out in outs:
        if type(out) is not np.ndarray:
            raise TypeError
    for given in (weight, sample_weight):
        if given is not None and not given.min(initial=0) >= 0:
            raise ValueError
    if target.dtype is not _CLASSES:
        target = _as_classes(target, outs)
    if smoothing:
        return family.of_smoothed_indices[dtype], target, np.ones(classes, dtype) if weight is None else weight
    return family.of_indices[dtype], target, weight


def _as_classes(target, outs):
    """Integers as the kernels take them, unless `outs` may overlap them."""
    kind, size = target.dtype.kind, target.dtype.itemsize
    fits = kind == "i" or (kind == "u" and size < _CLASSES.itemsize)
    if not fits or any(np.may_share_memory(target, out) for out in outs):
        raise TypeError
    return target.astype(_CLASSES)


def is_number(dloss):
    """Whether the upstream gradient is one that a kernel takes as it is: none, or a number of Python's."""
    return dloss is None or type(dloss) is float


def reduced(loss, reduction):
    """The result of a kernel's array of losses, whose first element is the reduced one; without axes a scalar."""
    if reduction == kernels.NONE:
        return loss if loss.ndim else loss[()]
    losses = loss if loss.ndim == 1 else loss.reshape(-1)
    return losses[0] if losses.size else loss.dtype.type(0)


def call_loss(function, family, inputs, given, options, gradients=False, dloss=None, out=None):
    """Runs the kernel of a family for this kind of target on any arguments, `inputs` and `given` by name; returns the
    loss, and with `gradients` the list of its gradients beside it. `options` are checked ones."""
    reduction = options[-1]
    checked = check_loss(function, family, inputs | given, options, dloss, out)
    kernel, arrays, plan, dtype, compute, upstream, results = checked
    lead, *shapes = plan.results
    if not gradients:
        results = targets = []
        outputs = [False for _ in kernel.signature.outputs[1:]]
    else:
        if results is None:
            results = [np.empty(shape, dtype) for shape in shapes]
        direct = [result.dtype == compute and result.flags.carray for result in results]
        targets = [r if as_is else np.empty(r.shape, compute) for r, as_is in zip(results, direct, strict=True)]
        outputs = [np.asarray(target).reshape(shape) for target, shape in zip(targets, plan.outputs[1:], strict=True)]
    ready = plain_inputs(plan, arrays, compute)
    if kernel is not family.of_indices and "weight" not in arrays:
        ready[kernel.signature.place("weight")] = np.ones(kernel.signature.size("k", arrays), compute)
    loss = np.empty(plan.outputs[0], compute)
    scale = 1.0 if upstream is None else upstream
    kernel(*ready, loss, *outputs, *options[:3], scale, reduction, *family.SETTINGS)
    for result, target in zip(results, targets, strict=True):
        if result is not target:
            assign(result, target)
    if reduction == kernels.NONE:
        loss = loss.reshape(lead)
    loss = reduced(loss.astype(dtype, copy=False), reduction)
    return (loss, results) if gradients else loss


def check_loss(function, family, inputs, options, dloss, out):
    """The kernel, the arrays by name, the plan, the dtypes of results and kernel, the upstream gradient as one number
    or None, and `out` as a list; raises what is wrong with any of them."""
    *_, smoothing, _, reduction = options
    arrays = as_arrays(function, family.INDICES, inputs)
    by_index = arrays["target"].dtype.kind in "biu"
    kernel = (family.of_smoothed_indices if smoothing else family.of_indices) if by_index else family.of_probabilities
    upstream = _upstream(function, dloss, reduction, arrays)
    floats = [array for name, array in arrays.items() if not (by_index and name == "target")]
    dtype, compute = common_dtypes(floats if upstream is None or _is_weak(dloss) else [*floats, np.asarray(dloss)])
    plan = shape_plan(function, kernel.signature, tuple([(name, array.shape) for name, array in arrays.items()]), None)
    for name in ("weight", "sample_weight"):
        if name in arrays:
            _check_weights(function, name, arrays[name])
    if by_index:
        _check_indices(function, arrays["target"], kernel.signature.size("k", arrays), options)
    else:
        _check_distributions(function, arrays["target"])
    outs = None
    if out is not None:
        outs = checked_outs(function, kernel.signature.of_gradients(), arrays, plan.results[1:], dtype, out)
    return kernel, arrays, plan, dtype, compute, upstream, outs


def _upstream(function, dloss, reduction, arrays):
    """The upstream gradient as one number; None where there is none, or one for each row, which joins the arrays."""
    if dloss is None:
        return None
    array = as_array(function, "dloss", dloss)
    if array.ndim == 0:
        return float(array)
    if reduction != kernels.NONE:
        raise ValueError(f"{function}: dloss has shape {array.shape} but the loss is one number")
    arrays["dloss"] = array
    return None


def _is_weak(value):
    """Whether a number takes the dtype of the arrays beside it, as Python's own do in NumPy."""
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)


# --- values ----------------------------------------------------------------------------------------------------------


def _at(function, name, array, wrong):
    """The beginning of a message: what stands at the first wrong place."""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{function}: {name} holds {array[place]} at {place}"


def _check_weights(function, name, array):
    wrong = ~(array >= 0)
    if wrong.any():
        raise ValueError(f"{_at(function, name, array, wrong)} but must not be negative or NaN")


def _check_indices(function, target, classes, options):
    ignore_index = options[0]
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if wrong.any():
        needed = f"must be at least 0 and below {classes}, the number of classes, or ignore_index = {ignore_index}"
        raise ValueError(f"{_at(function, 'target', target, wrong)} but {needed}")


def _check_distributions(function, target):
    """Raises where a row has a negative entry, or does not sum to 1 within √eps of its own dtype."""
    tolerance = float(np.finfo(target.dtype).eps) ** 0.5
    compute = common_dtypes([target])[1]
    plan = shape_plan(function, kernels.DISTRIBUTIONS, (("target", target.shape),), None)
    (rows,) = plain_inputs(plan, {"target": target}, compute)
    wrong = np.empty(len(rows), compute)
    kernels.distributions(rows, wrong, tolerance)
    if not wrong.any():
        return
    negative = ~(target >= 0)
    if negative.any():
        raise ValueError(f"{_at(function, 'target', target, negative)} but probabilities must not be negative or NaN")
    row = int(wrong.argmax())
    place = tuple(int(i) for i in np.unravel_index(row, target.shape[:-1]))
    raise ValueError(f"{function}: target at {place} sums to {rows[row].sum()} but probabilities must sum to 1")
