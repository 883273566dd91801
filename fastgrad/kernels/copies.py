"""A matrix that lies by columns, copied into one that lies by rows, for kernels that take no other."""

from numba import prange

from ._arrays import as_it_lies
from ._jit import kernel, several_rows
from ._pack import ceil_div, share
from ._region import settled
from ._signature import Signature
from ._simd import lanes
from ._transpose import copy_to_rows, to_rows

BY_ROWS = Signature("A(n,k) -> B(n,k)", by_columns="A")


@kernel(BY_ROWS, cost=0.05, divides=several_rows)
def by_rows(A, B, threads):
    """B[i, j] = A[i, j]: a vector of rows at a time, turned in registers"""
    (n, k), L, columns = B.shape, lanes(B), as_it_lies(A)
    for part in prange(threads):
        start, stop = share(ceil_div(n, L), settled(part), threads)
        for i in range(start * L, min(stop * L, n), L):
            if i + L <= n:
                to_rows(columns, i, n, B, i * k, k, L)
            else:
                copy_to_rows(columns, i, n, B, i * k, k, n - i)
