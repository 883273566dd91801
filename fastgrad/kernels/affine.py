"""The loops of the affine functions, Y = X Wᵀ + b and its gradients.

All are sums over one index in the order that `_product.py` fixes; each element of a result has one owner, but for the
blocks of long sums, which are added in order. Workers take their tasks one by one: on a busy machine equal shares do
not take equal time.
"""

import numpy as np
from numba import prange

from ._arrays import as_it_lies, borrowed, by_columns, compact, flag, flat, give_back
from ._jit import ARITHMETIC, device, inlined, kernel
from ._kinds import sums_across, sums_along
from ._loads import load_masked, store_masked
from ._pack import ceil_div
from ._plan import WORKSPACE, plan
from ._product import PRODUCT_PARTS, absent_of_product, product, product_tasks
from ._region import settled
from ._signature import Signature
from ._simd import first_of, lanes, repeated, splat
from ._task import Plan, count_anew, larger, rooms, take_number, workspaces
from ._tile import BLOCK, TILE_VECS
from ._vec import Times

AFFINE = Signature("X(...,d) W(m,d) b(m)? -> Y(...,m)", by_columns="X W")
AFFINE_VJP = Signature("dY(...,m) X(...,d) W(m,d) -> dX(...,d) dW(m,d) db(m)", by_columns="X W")
AFFINE_DX = Signature("dY(...,m) W(m,d) -> dX(...,d)", by_columns="dY W")
AFFINE_DW = Signature("dY(...,m) X(...,d) -> dW(m,d)", by_columns="dY X")
AFFINE_DB = Signature("dY(...,m) -> db(m)")
AFFINE_JVP = Signature("X(...,d) W(m,d) dX(...,d)? dW(m,d)? db(m)? -> dY(...,m)")
AFFINE_JACOBIAN = Signature("X(...,d) W(m,d) -> JX(...,m,...,d) JW(...,m,m,d) Jb(...,m,m)")

_MULTIPLY_ADD = ARITHMETIC / 250  # nanoseconds a byte


# How the matrices of each product lie changes where its loops find them, but not its sums. Kernels make a Plan of a
# Plan, as Numba takes a named tuple into a prange only where it sees how it was made.


@device
def plan_of_Y(Y, d, X_by_columns, W_by_columns, threads, workspace):
    """The plan of Y (+)= X Wᵀ"""
    return plan(Y, d, sums_along(Y, d), X_by_columns, W_by_columns, threads, workspace)


@device
def plan_of_dX(dX, m, dY_by_columns, W_by_columns, threads, workspace):
    """The plan of dX (+)= dY W"""
    return plan(dX, m, sums_across(dX, m), dY_by_columns, not W_by_columns, threads, workspace)


@device
def plan_of_dW(dW, n, dY_by_columns, X_by_columns, threads, workspace):
    """The plan of dW (+)= dYᵀ X"""
    return plan(dW, n, np.intp(1), not dY_by_columns, not X_by_columns, threads, workspace)


@device
def affine_tasks(X, W, b, Y, accumulate, cuts, work, own):
    """Tasks of Y (+)= X Wᵀ + b, as long as there are any."""
    factors = as_it_lies(X), by_columns(X), as_it_lies(W), by_columns(W)
    product_tasks(*factors, Y, b, accumulate, cuts, work, own)


@kernel(AFFINE, cost=_MULTIPLY_ADD, parts=PRODUCT_PARTS)
def affine(X, W, b, Y, accumulate, threads):
    """Y[r, s] (+)= Σ_k X[r, k] W[s, k] + b[s]"""
    lie = by_columns(X), by_columns(W)
    cuts = Plan(*plan_of_Y(Y, X.shape[1], *lie, threads, WORKSPACE))
    absent = absent_of_product(*lie, Y, cuts)
    if absent:
        return absent
    workers = min(threads, cuts.tasks)
    size, start, apart = workspaces(rooms(cuts), workers, Y)
    work = borrowed(Y, size)
    count_anew(work)
    for worker in prange(workers):
        affine_tasks(X, W, b, Y, accumulate, cuts, work, start + settled(worker) * apart)
    give_back(work)
    return 0


@kernel(AFFINE_DX, cost=_MULTIPLY_ADD, parts=PRODUCT_PARTS)
def affine_dx(dY, W, dX, accumulate, threads):
    """dX[i, j] (+)= Σ_s dY[i, s] W[s, j]"""
    lie = by_columns(dY), by_columns(W)
    cuts = Plan(*plan_of_dX(dX, dY.shape[1], *lie, threads, WORKSPACE))
    absent = absent_of_product(lie[0], not lie[1], dX, cuts)
    if absent:
        return absent
    workers = min(threads, cuts.tasks)
    size, start, apart = workspaces(rooms(cuts), workers, dX)
    work = borrowed(dX, size)
    count_anew(work)
    for worker in prange(workers):
        own = start + settled(worker) * apart
        factors = as_it_lies(dY), lie[0], as_it_lies(W), not lie[1]
        product_tasks(*factors, dX, flat(dX)[:0], accumulate, cuts, work, own)
    give_back(work)
    return 0


@kernel(AFFINE_DW, cost=_MULTIPLY_ADD, parts=PRODUCT_PARTS)
def affine_dw(dY, X, dW, accumulate, threads):
    """dW[i, j] (+)= Σ_r dY[r, i] X[r, j]"""
    lie = by_columns(dY), by_columns(X)
    cuts = Plan(*plan_of_dW(dW, dY.shape[0], *lie, threads, WORKSPACE))
    absent = absent_of_product(not lie[0], not lie[1], dW, cuts)
    if absent:
        return absent
    workers = min(threads, cuts.tasks)
    size, start, apart = workspaces(rooms(cuts), workers, dW)
    work = borrowed(dW, size)
    count_anew(work)
    for worker in prange(workers):
        own = start + settled(worker) * apart
        factors = as_it_lies(dY), not lie[0], as_it_lies(X), not lie[1]
        product_tasks(*factors, dW, flat(dW)[:0], accumulate, cuts, work, own)
    give_back(work)
    return 0


# How many vectors of columns are summed together: eight; or of the last, nine to twelve, five to eight, three or four,
# or two, whose rows are read from end to end, in half the time. Where masks are slow, one after the other takes no
# longer.
_STRIP, _WIDE, _MOST = Times(8, 8), Times(16, 8, 12), Times(8, 4)
_SOME, _PAIR, _PART = Times(4, 2), Times(2, 1), Times(1)
_MASKED = TILE_VECS > 1


@inlined
def _row(dY, r, start, vectors):
    return load_masked(dY, (r, start), first_of(vectors, dY, dY.shape[1] - start), repeated(vectors, splat(dY, 0)))


@inlined
def _sum_of_blocks(vectors, dY, start, rows):
    """Σ_r dY[r, start:] for a multiple of four blocks of rows: side by side, so that no sum waits for itself."""
    total = zeros = repeated(vectors, splat(dY, 0))
    for r0 in range(0, rows, 4 * BLOCK):
        a = b = c = d = zeros
        for r in range(r0, r0 + BLOCK):
            a, b = a + _row(dY, r, start, vectors), b + _row(dY, r + BLOCK, start, vectors)
            c, d = c + _row(dY, r + 2 * BLOCK, start, vectors), d + _row(dY, r + 3 * BLOCK, start, vectors)
        total = (((total + a) + b) + c) + d
    return total


@inlined
def _strip_sums(vectors, total, first_row, dY, db, accumulate, start):
    """db[i] (+)= total + Σ_r dY[r, i], the rows from the first on, for so many vectors of columns from `start` on"""
    n, zeros = dY.shape[0], repeated(vectors, splat(dY, 0))
    for r0 in range(first_row, n, BLOCK):
        acc = zeros
        for r in range(r0, min(r0 + BLOCK, n)):
            acc = acc + _row(dY, r, start, vectors)
        total = total + acc
    inside = first_of(vectors, dY, db.size - start)
    if accumulate:
        total = load_masked(db, start, inside, zeros) + total
    store_masked(db, start, total, inside)


@inlined
def _strip(vectors, dY, db, accumulate, start):
    """The same of all rows"""
    _strip_sums(vectors, repeated(vectors, splat(dY, 0)), np.intp(0), dY, db, accumulate, start)


@inlined
def _strip_in_blocks(vectors, dY, db, accumulate, start):
    """The same for so few vectors that one block would wait for itself: db of 3000 × 28 takes 0.6 of the time."""
    four = dY.shape[0] // (4 * BLOCK) * 4 * BLOCK
    _strip_sums(vectors, _sum_of_blocks(vectors, dY, start, four), four, dY, db, accumulate, start)


@device
def strip_count(db):
    """How many tasks db is: strips of eight vectors. Up to four that are left are part of the last, as they would take
    as long from afar: db of 3643 × 133 takes half the time on two cores."""
    L = lanes(db)
    left = 4 * L if _MASKED else 0
    return max(ceil_div(db.size - left, 8 * L), min(db.size, 1))


@device
def column_sums(dY, db, accumulate, task):
    """db[i] (+)= Σ_r dY[r, i] for one strip of columns"""
    compact()
    m, L = dY.shape[1], lanes(dY)
    start = task * 8 * L
    if _MASKED and start + 8 * L < m <= start + 12 * L:
        _strip(_WIDE, dY, db, accumulate, start)
    elif start + 8 * L <= m:
        _strip(_STRIP, dY, db, accumulate, start)
    elif _MASKED and start + 4 * L < m:
        _strip(_MOST, dY, db, accumulate, start)
    elif _MASKED and start + 2 * L < m:
        _strip_in_blocks(_SOME, dY, db, accumulate, start)
    elif _MASKED and start + L < m:
        _strip_in_blocks(_PAIR, dY, db, accumulate, start)
    else:
        for part in range(start, m, L):
            _strip_in_blocks(_PART, dY, db, accumulate, part)


@kernel(AFFINE_DB, cost=_MULTIPLY_ADD)
def affine_db(dY, db, accumulate, threads):
    """db[i] (+)= Σ_r dY[r, i]"""
    for task in prange(strip_count(db)):
        column_sums(dY, db, accumulate, settled(task))


@device
def vjp_tasks(dY, X, W, dX, dW, db, accumulate_dX, accumulate, cuts_dX, cuts_dW, work, own):
    """Tasks of dX (+)= dY W, dW (+)= dYᵀ X and db (+)= Σ_r dY[r], as long as there are any; dY lies by rows."""
    for_db, for_dX, for_dW, nothing = strip_count(db), cuts_dX.tasks, cuts_dW.tasks, db[:0]
    of_dX = dY, flag(False), as_it_lies(W), not by_columns(W)
    of_dW = dY, flag(True), as_it_lies(X), not by_columns(X)
    number = take_number(work)
    while number < for_db + for_dX + for_dW:
        task = number - for_db  # those of db first: a long column cannot be shared
        if task < 0:
            column_sums(dY, db, accumulate, number)
        elif task < for_dX:
            product(*of_dX, dX, nothing, accumulate_dX, cuts_dX, task, work, own)
        else:
            product(*of_dW, dW, nothing, accumulate, cuts_dW, task - for_dX, work, own)
        number = take_number(work)


@device
def absent_of_vjp(X_by_columns, W_by_columns, dX, dW, cuts_dX, cuts_dW):
    """Which of the PRODUCT_PARTS, counted from 1, `vjp_tasks` need and is not linked; 0 if none."""
    absent = absent_of_product(flag(False), not W_by_columns, dX, cuts_dX)
    return absent if absent else absent_of_product(flag(True), not X_by_columns, dW, cuts_dW)


@kernel(AFFINE_VJP, cost=2 * _MULTIPLY_ADD, parts=PRODUCT_PARTS)
def affine_vjp(dY, X, W, dX, dW, db, accumulate, threads):
    """dX[i, j] (+)= Σ_s dY[i, s] W[s, j];  dW[i, j] (+)= Σ_r dY[r, i] X[r, j];  db[i] (+)= Σ_r dY[r, i]"""
    no, lie = flag(False), (by_columns(X), by_columns(W))
    cuts_dX = Plan(*plan_of_dX(dX, dY.shape[1], no, lie[1], threads, WORKSPACE))
    cuts_dW = Plan(*plan_of_dW(dW, dY.shape[0], no, lie[0], threads, WORKSPACE))
    absent = absent_of_vjp(*lie, dX, dW, cuts_dX, cuts_dW)
    if absent:
        return absent
    workers = min(threads, cuts_dX.tasks + cuts_dW.tasks + strip_count(db))
    size, start, apart = workspaces(larger(rooms(cuts_dX), rooms(cuts_dW)), workers, dX)
    work = borrowed(dX, size)
    count_anew(work)
    for worker in prange(workers):
        own = start + settled(worker) * apart
        vjp_tasks(dY, X, W, dX, dW, db, accumulate, accumulate, cuts_dX, cuts_dW, work, own)
    give_back(work)
    return 0


@kernel(AFFINE_JVP, cost=2 * _MULTIPLY_ADD, parts=PRODUCT_PARTS)
def affine_jvp(X, W, dX, dW, db, dY, threads):
    """dY[r, s] = Σ_k dX[r, k] W[s, k] + db[s] + Σ_k X[r, k] dW[s, k], a missing tangent being of size 0"""
    d, no = X.shape[1], flag(False)
    cuts = Plan(*plan_of_Y(dY, d, no, no, threads, WORKSPACE))
    absent = absent_of_product(no, no, dY, cuts)
    if absent:
        return absent
    workers = min(threads, cuts.tasks)
    size, start, apart = workspaces(rooms(cuts), workers, dY)
    work = borrowed(dY, size)
    count_anew(work)
    for worker in prange(workers):
        own = start + settled(worker) * apart
        task = take_number(work)
        while task < cuts.tasks:
            product(dX, no, W, no, dY, db, no, cuts, task, work, own)
            if dW.size:
                product(X, no, dW, no, dY, db[:0], flag(True), cuts, task, work, own)
            task = take_number(work)
    give_back(work)
    return 0


@kernel(AFFINE_JACOBIAN, cost=1.0)
def affine_jacobian(X, W, JX, JW, Jb, threads):
    """JX[r, s, i, j] = W[s, j] δ_ir;  JW[r, s, i, j] = X[r, j] δ_is;  Jb[r, s, i] = δ_is"""
    (n, d), m = X.shape, W.shape[0]
    for r in prange(n):
        r = settled(r)
        JX[r], JW[r], Jb[r] = 0, 0, 0
        for s in range(m):
            Jb[r, s, s] = 1
            for j in range(d):
                JX[r, s, r, j] = W[s, j]
                JW[r, s, s, j] = X[r, j]
