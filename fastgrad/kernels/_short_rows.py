"""The softmax family on rows of few classes, a vector of rows at a time: lane l is row i + l.

A group of rows is transposed into a small buffer, where the classes of one row stand in one lane of successive
vectors, worked on there, and transposed back. A row alone takes one lane of the same code, and gets the same bits.
"""

from ._arrays import compact, separate
from ._fetch import ONE, fetch, later_row
from ._jit import device, inlined
from ._loads import load, store, store_masked
from ._math import INFINITY, exp, exp_of_difference, expm1, log1p
from ._simd import absolute, first, lane_numbers, lanes, maximum, select, splat
from ._transpose import to_lines, to_rows

MOST = 128  # classes that a buffer has room for: two buffers are what fits on the stack
_BLOCK = 32  # classes that are summed on their own


@inlined
def gather(A, i, buffer, at):
    """buffer[at + c · lanes + l] = A[i + l, c]; rows behind the last repeat it"""
    n, k = A.shape
    to_lines(A, i * k, k, n - i, buffer, at, lanes(A))


@inlined
def scatter(buffer, at, A, i):
    """A[i + l, c] = buffer[at + c · lanes + l]"""
    n, k = A.shape
    to_rows(buffer, at, lanes(A), A, i * k, k, n - i)


@inlined
def class_total(term, data, k):
    """Σ_c term(data, c), in blocks that are added in order; of a block, the terms c, c + 4, c + 8, … are added in order
    and the four sums as (0 + 1) + (2 + 3)"""
    total = zero = splat(data[0], 0)
    for start in range(0, k, _BLOCK):
        stop = min(k, start + _BLOCK)
        whole = stop - (stop - start) % 4
        s0 = s1 = s2 = s3 = zero
        for c in range(start, whole, 4):
            s0 = s0 + term(data, c)
            s1 = s1 + term(data, c + 1)
            s2 = s2 + term(data, c + 2)
            s3 = s3 + term(data, c + 3)
        if whole < stop:
            s0 = s0 + term(data, whole)
        if whole + 1 < stop:
            s1 = s1 + term(data, whole + 1)
        if whole + 2 < stop:
            s2 = s2 + term(data, whole + 2)
        total = total + ((s0 + s1) + (s2 + s3))
    return total


@inlined
def _argmax(T, at, k):
    """The largest of the rows of T from `at` on, lane by lane, and the first place it stands at."""
    L = lanes(T)
    best = load(T, at)
    where = lane_numbers(T) - lane_numbers(T)
    for c in range(1, k):
        x = load(T, at + c * L)
        where = select(x > best, where - where + c, where)
        best = maximum(x, best)
    return best, where


@device
def _argmax_apart(T, at, k):
    """The same, called: within log_softmax, LLVM keeps a place in memory, and takes a fifth longer."""
    separate()
    return _argmax(T, at, k)


@inlined
def _pick(T, at, k, where):
    """The element `where` of each lane, of the rows of T from `at` on."""
    L = lanes(T)
    picked = load(T, at)
    for c in range(1, k):
        picked = select(where == c, load(T, at + c * L), picked)
    return picked


@inlined
def _at_largest(T, at, other, k):
    """The element of the rows of T from `other` on where those from `at` on are largest, lane by lane."""
    L = lanes(T)
    best, picked = load(T, at), load(T, other)
    for c in range(1, k):
        x = load(T, at + c * L)
        picked = select(x > best, load(T, other + c * L), picked)
        best = maximum(x, best)
    return picked


@inlined
def _exp_into(data, c):
    T, largest, arrays, later = data
    at = c * lanes(T)
    fetch(ONE, arrays, later, at)
    e = exp_of_difference(load(T, at) - largest)
    store(T, at, e)
    return e


@device
def softmax(S, Y, i, T):
    """Y[r, c] = exp(S[r, c] − S_m) / Σ_j exp(S[r, j] − S_m)"""
    compact()
    k, L = S.shape[1], lanes(S)
    gather(S, i, T, 0)
    largest = load(T, 0)
    for c in range(1, k):
        largest = maximum(load(T, c * L), largest)
    inverse = splat(S, 1) / class_total(_exp_into, (T, largest, (S, Y), later_row(S, i, L)), k)
    for c in range(k):
        store(T, c * L, load(T, c * L) * inverse)
    scatter(T, 0, Y, i)


@inlined
def _weighted_shift(data, c):
    T, shift = data
    L = lanes(T)
    return load(T, c * L) * (shift - load(T, (MOST + c) * L))


@device
def softmax_product(G, Y, out, i, T):
    """out[r, c] = Y_c (Σ_j Y_j h_j − h_c) with h = G_m − G"""
    compact()
    k, L = Y.shape[1], lanes(Y)
    G0 = MOST * L
    gather(Y, i, T, 0)
    gather(G, i, T, G0)
    shift = _at_largest(T, 0, G0, k)
    mean = class_total(_weighted_shift, (T, shift), k)
    for c in range(k):
        store(T, c * L, load(T, c * L) * (mean - (shift - load(T, G0 + c * L))))
    scatter(T, 0, out, i)


@inlined
def _other_exps(data, c):
    T, m, largest, arrays, later = data
    fetch(ONE, arrays, later, c * lanes(T))
    e = exp_of_difference(load(T, c * lanes(T)) - largest)
    return select(m == c, splat(T, 0), e)


@inlined
def _log_rest(T, m, largest, k, arrays, later):
    """log Σ_c exp(S_c − S_m), the largest term outside: log1p(Σ_{c≠m} exp(S_c − S_m))"""
    return log1p(class_total(_other_exps, (T, m, largest, arrays, later), k))


@device
def log_softmax(S, out, i, T):
    """out[r, c] = (S[r, c] − S_m) − log Σ_j exp(S[r, j] − S_m)"""
    compact()
    k, L = S.shape[1], lanes(S)
    gather(S, i, T, 0)
    largest, m = _argmax_apart(T, 0, k)
    rest = _log_rest(T, m, largest, k, (S, out), later_row(S, i, L))
    rest = rest + (largest - largest)  # S_m − S_m: an infinite S_m makes the row NaN
    for c in range(k):
        store(T, c * L, (load(T, c * L) - largest) - rest)
    scatter(T, 0, out, i)


@inlined
def _others(data, c):
    T, m, at = data
    return select(m == c, splat(T, 0), load(T, at + c * lanes(T)))


@device
def log_softmax_vjp(dL, logs, dS, i, T):
    """dS[r, c] = dL_c − exp(L_c) Σ_j dL_j; at m as dL_m (1 − exp L_m) − exp(L_m) Σ_{j≠m} dL_j"""
    compact()
    k, L = logs.shape[1], lanes(logs)
    G0 = MOST * L
    gather(logs, i, T, 0)
    gather(dL, i, T, G0)
    largest, m = _argmax(T, 0, k)
    others = class_total(_others, (T, m, G0), k)
    of_m = _pick(T, G0, k, m)
    at_m = -of_m * expm1(largest) - exp(largest) * others
    total = others + of_m
    for c in range(k):
        value = load(T, G0 + c * L) - exp(load(T, c * L)) * total
        store(T, c * L, select(m == c, at_m, value))
    scatter(T, 0, dS, i)


@inlined
def _exp_weighted_shift(data, c):
    T, shift, G0 = data
    at = c * lanes(T)
    h = load(T, G0 + at) - shift
    store(T, G0 + at, h)
    return exp(load(T, at)) * h


@device
def log_softmax_jvp(dS, logs, dL, i, T):
    """dL[r, c] = h_c − Σ_j exp(L_j) h_j with h = dS − dS_m"""
    compact()
    k, L = logs.shape[1], lanes(logs)
    G0 = MOST * L
    gather(logs, i, T, 0)
    gather(dS, i, T, G0)
    mean = class_total(_exp_weighted_shift, (T, _at_largest(T, 0, G0, k), G0), k)
    for c in range(k):
        store(T, c * L, load(T, G0 + c * L) - mean)
    scatter(T, 0, dL, i)


@inlined
def _nan_alone(data, c):
    (T,) = data
    x = load(T, c * lanes(T))
    return select(x == x, splat(T, 0), x)


@device
def logsumexp(S, sums, i, T):
    """sums[r] = S_m + log Σ_c exp(S[r, c] − S_m); an infinite S_m is the answer itself"""
    compact()
    n, k = S.shape
    gather(S, i, T, 0)
    largest, m = _argmax(T, 0, k)
    finite = largest + _log_rest(T, m, largest, k, (S,), later_row(S, i, lanes(S)))
    infinite = largest + class_total(_nan_alone, (T,), k)
    store_masked(sums, i, select(absolute(largest) == splat(S, INFINITY), infinite, finite), first(S, n - i))
