"""Every function of fastgrad in a few lines of vectorised NumPy: the specification, the tests' oracle, the baseline.

Same names, same arguments, same formulas. Any real dtype is computed as it is, longdouble included, so that an oracle
can be evaluated in a wider dtype than what it judges; but for gelu, whose erfc and constants are float64's.
"""

import math

import numpy as np


def affine(X, W, b=None, *, out=None):
    X, W = _reals(X, W)
    return _give(X @ W.T if b is None else X @ W.T + b, out)


def affine_vjp(dY, X, W, *, out=None, accumulate=False):
    return _give((affine_dx(dY, W), affine_dw(dY, X), affine_db(dY)), out, accumulate)


def affine_dx(dY, W, *, out=None, accumulate=False):
    dY, W = _reals(dY, W)
    return _give(dY @ W, out, accumulate)


def affine_dw(dY, X, *, out=None, accumulate=False):
    dY, X = (_rows(A) for A in _reals(dY, X))
    return _give(dY.T @ X, out, accumulate)


def affine_db(dY, *, out=None, accumulate=False):
    (dY,) = _reals(dY)
    return _give(_rows(dY).sum(0), out, accumulate)


def affine_jvp(X, W, *, dX=None, dW=None, db=None, out=None):
    X, W = _reals(X, W)
    dY = np.zeros((*X.shape[:-1], W.shape[0]), X.dtype)
    if dX is not None:
        dY = dY + dX @ W.T
    if dW is not None:
        dY = dY + X @ np.transpose(dW)
    if db is not None:
        dY = dY + db
    return _give(dY, out)


def affine_jacobian(X, W):
    X, W = _reals(X, W)
    lead, (m, d) = X.shape[:-1], W.shape
    X = _rows(X)
    same_row, same_output = np.eye(len(X), dtype=X.dtype), np.eye(m, dtype=X.dtype)
    JX = np.einsum("sj,ri->rsij", W, same_row)
    JW = np.einsum("rj,si->rsij", X, same_output)
    Jb = np.broadcast_to(same_output, (len(X), m, m)).copy()
    return JX.reshape(*lead, m, *lead, d), JW.reshape(*lead, m, m, d), Jb.reshape(*lead, m, m)


def softmax(S, axis=-1, *, out=None):
    (S,) = _reals(S)
    e = np.exp(S - _max(S, axis))
    return _give(e / e.sum(axis, keepdims=True), out)


def softmax_vjp(dY, Y, axis=-1, *, out=None, accumulate=False):
    dY, Y = _reals(dY, Y)
    h = dY - _at_largest(dY, Y, axis)
    return _give(Y * (h - (Y * h).sum(axis, keepdims=True)), out, accumulate)


def softmax_jvp(dS, Y, axis=-1, *, out=None):
    return softmax_vjp(dS, Y, axis, out=out)


def softmax_jacobian(Y):
    (Y,) = _reals(Y)
    rest = np.where(_is_largest(Y, -1), _others(Y, Y, -1), 1 - Y)
    eye = np.eye(Y.shape[-1], dtype=Y.dtype)
    return eye * (Y * rest)[..., None] - (1 - eye) * Y[..., :, None] * Y[..., None, :]


def log_softmax(S, axis=-1, *, out=None):
    (S,) = _reals(S)
    shifted = S - _max(S, axis)
    return _give(shifted - np.log1p(_others(np.exp(shifted), S, axis)), out)


def log_softmax_vjp(dL, L, axis=-1, *, out=None, accumulate=False):
    dL, L = _reals(dL, L)
    usual = dL - np.exp(L) * dL.sum(axis, keepdims=True)
    at_largest = -dL * np.expm1(L) - np.exp(L) * _others(dL, L, axis)
    return _give(np.where(_is_largest(L, axis), at_largest, usual), out, accumulate)


def log_softmax_jvp(dS, L, axis=-1, *, out=None):
    dS, L = _reals(dS, L)
    h = dS - _at_largest(dS, L, axis)
    return _give(h - (np.exp(L) * h).sum(axis, keepdims=True), out)


def logsumexp(S, axis=-1):
    (S,) = _reals(S)
    largest = _max(S, axis)
    finite = np.isfinite(largest)
    rest = np.log1p(_others(np.exp(S - np.where(finite, largest, 0)), S, axis))
    nan = np.isnan(S).any(axis, keepdims=True)
    sums = largest + np.where(finite | nan, np.where(nan, np.nan, rest), 0).astype(S.dtype)
    return sums.squeeze(axis)[()]


def relu(X, *, out=None):
    (X,) = _reals(X)
    return _give(np.where(X <= 0, 0, X).astype(X.dtype)[()], out)


def relu_vjp(dY, Y, *, out=None):
    dY, Y = _reals(dY, Y)
    return _give(np.where(Y > 0, dY, np.where(Y <= 0, 0, Y)).astype(Y.dtype)[()], out)


def sigmoid(X, *, out=None):
    (X,) = _reals(X)
    e = np.exp(-np.abs(X))
    return _give((np.where(X < 0, e, 1) / (1 + e))[()], out)


def sigmoid_vjp(dY, Y, *, out=None):
    dY, Y = _reals(dY, Y)
    return _give(dY * Y * (1 - Y), out)


def tanh(X, *, out=None):
    (X,) = _reals(X)
    return _give(np.tanh(X), out)


def tanh_vjp(dY, Y, *, out=None):
    dY, Y = _reals(dY, Y)
    return _give(dY * (1 - Y) * (1 + Y), out)


def silu(X, *, out=None):
    (X,) = _reals(X)
    return _give(np.clip(X, -_FAR, None) * sigmoid(X), out)


def silu_vjp(dY, X, *, out=None):
    dY, X = _reals(dY, X)
    return _give(dY * (sigmoid(X) * (1 + np.clip(X, -_FAR, _FAR) * sigmoid(-X))), out)


def gelu(X, approximate="none", *, out=None):
    (X,) = _reals(X)
    return _give(np.clip(X, -_FAR, None) * _gate(X, approximate), out)


def gelu_vjp(dY, X, approximate="none", *, out=None):
    dY, X = _reals(dY, X)
    x = np.clip(X, -_FAR, _FAR)
    if approximate == "none":
        slope = _gate(X, approximate) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    else:
        dz = 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        slope = _gate(X, approximate) * (1 + x * dz * _gate(-X, approximate))
    return _give(dY * slope, out)


def cross_entropy(
    S,
    target,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    reduction="mean",
):
    options = {"weight": weight, "sample_weight": sample_weight, "ignore_index": ignore_index}
    options |= {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
    return cross_entropy_value_and_grad(S, target, **options)[0]


def cross_entropy_value_and_grad(
    S,
    target,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    reduction="mean",
    dloss=None,
    out=None,
):
    by_index = np.asarray(target).dtype.kind in "biu"
    numbers = (weight, sample_weight) if by_index else (weight, sample_weight, target)
    S, *_ = _reals(S, *(n for n in numbers if n is not None))
    k = S.shape[-1]
    # The target t of each class, the class weights w, the row weights s, and the share a of each class.
    counts = np.asarray(target) != ignore_index if by_index else np.ones(S.shape[:-1], bool)
    t = np.arange(k) == np.expand_dims(target, -1) if by_index else np.asarray(target, S.dtype)
    w = np.ones(k, S.dtype) if weight is None else np.asarray(weight, S.dtype)
    s = counts * np.asarray(1 if sample_weight is None else sample_weight, S.dtype)
    S = np.where(counts[..., None], S, 0)
    a = w * ((1 - S.dtype.type(label_smoothing)) * t + S.dtype.type(label_smoothing) / max(k, 1))
    of_row = (w * t).sum(-1)
    # J = A log1p(Σ_{c≠m} e_c) + Σ_c a_c (S_m − S_c) + z l², all terms positive
    shifted = S - _max(S, -1)
    e = np.exp(shifted)
    others = _others(e, S, -1)
    rest = np.log1p(others)[..., 0]
    lse = np.where(counts, _max(S, -1)[..., 0] + rest, 0)
    q = z_loss * lse * of_row
    distance = -(a * np.where((a == 0) | (s == 0)[..., None], 0, shifted)).sum(-1)
    loss = s * (a.sum(-1) * rest + distance + q * lse)
    # dS_j = (A + 2 z l) p_j − a_j, at m: (Σ_{c≠m} a_c + 2 z l) p_m − a_m Σ_{c≠m} p_c
    q = 2 * q[..., None]
    usual = (a.sum(-1, keepdims=True) + q) * e / (1 + others) - a
    dS = np.where(_is_largest(S, -1), (_others(a, S, -1) + q - a * others) / (1 + others), usual)
    weights = (s * of_row).sum() if by_index else s.sum()
    scale = {"none": 1, "sum": 1, "mean": 1 / weights if weights else 0}[reduction]
    g = s * np.asarray(scale, S.dtype) * np.asarray(1 if dloss is None else dloss, S.dtype)
    if reduction != "none":
        loss = loss.sum() * np.asarray(scale, S.dtype)
    return loss[()], _give(g[..., None] * dS, out)


def linear_cross_entropy(
    X,
    W,
    b,
    target,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    reduction="mean",
):
    options = {"weight": weight, "sample_weight": sample_weight, "ignore_index": ignore_index}
    options |= {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
    return cross_entropy(affine(X, W, b), target, **options)


def linear_cross_entropy_value_and_grad(
    X,
    W,
    b,
    target,
    *,
    weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    z_loss=0.0,
    reduction="mean",
    dloss=None,
    out=None,
):
    options = {"weight": weight, "sample_weight": sample_weight, "ignore_index": ignore_index, "dloss": dloss}
    options |= {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
    loss, dS = cross_entropy_value_and_grad(affine(X, W, b), target, **options)
    return loss, affine_vjp(dS, X, W, out=out)


# --- in common -------------------------------------------------------------------------------------------------------


def _reals(*arrays):
    """The arrays in their common dtype, integers and bool as float64."""
    arrays = [np.asarray(array) for array in arrays]
    dtype = np.result_type(*(a.dtype if a.dtype.kind == "f" else np.float64 for a in arrays))
    return [array.astype(dtype, copy=False) for array in arrays]


_FAR = 1e4  # beyond it all activations are 0 or their argument; keeps inf · 0 away


def _gate(X, approximate):
    """What gelu multiplies X by: the normal distribution function, or the sigmoid close to it."""
    if approximate == "none":
        return (np.vectorize(math.erfc, otypes=[float])(X / -math.sqrt(2)) / 2).astype(X.dtype)
    x = np.clip(X, -_FAR, _FAR)
    return sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _rows(A):
    """A with all leading axes as one."""
    return A.reshape(-1, A.shape[-1]) if A.size else A.reshape(int(np.prod(A.shape[:-1])), A.shape[-1])


def _max(S, axis):
    """The largest class, −inf where there is none; NaN passed over, to come back from the exponentials."""
    return np.fmax.reduce(S, axis, keepdims=True, initial=-np.inf)


def _is_largest(A, axis):
    """Where the first largest class stands, NaN passed over."""
    classes = np.arange(A.shape[axis]).reshape([-1 if a == axis % A.ndim else 1 for a in range(A.ndim)])
    if not A.shape[axis]:
        return np.zeros(A.shape, bool)
    return classes == np.argmax(np.where(np.isnan(A), -np.inf, A), axis, keepdims=True)


def _at_largest(B, A, axis):
    """The entry of B at the largest class of A."""
    return np.where(_is_largest(A, axis), B, 0).sum(axis, keepdims=True, dtype=B.dtype)


def _others(B, A, axis):
    """The sum of B over all classes but the largest of A."""
    return np.where(_is_largest(A, axis), 0, B).sum(axis, keepdims=True, dtype=B.dtype)


def _give(results, out, accumulate=False):
    """The results, or `out` with them written or added to it."""
    if out is None:
        return results
    pairs = zip(results, out, strict=True) if isinstance(results, tuple) else ((results, out),)
    for result, target in pairs:
        target[...] = target + result if accumulate else result
    return out
