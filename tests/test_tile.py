"""Register tiles and the transposed copy, in every shape that kernels use."""

import numba
import numpy as np
import pytest
from problems import DTYPES, assert_same_bits

from fastgrad.kernels import _arrays, _transpose
from fastgrad.kernels import _tile as tile
from fastgrad.kernels import _tile_loads as loads

L = {np.float32: 16, np.float64: 8}
SHAPES = [(1, 1), (2, 1), (4, 2), (6, 1), (8, 1), (12, 2), (4, 6), (1, 16), (3, 5)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "vecs", "stride"), [(*shape, 1) for shape in SHAPES] + [(6, 1, None), (8, 3, None)])
def test_rank1_updates_are_a_matrix_product(dtype, rows, vecs, stride):
    shape = tile.TileShape(rows, vecs)
    zeros, rank1, add, load, store = (
        tile.tile_zeros,
        tile.tile_rank1,
        tile.tile_add,
        loads.tile_load,
        loads.tile_store,
    )

    @numba.njit
    def run(left, right, terms, rows, width, C):
        acc = zeros(C, shape)
        for k in range(terms):
            acc = rank1(acc, left, k * rows, stride, rows, right, k * width)
        store(add(load(C, 2 * C.shape[1] + 1, C.shape[1], shape), acc), C, 2 * C.shape[1] + 1, C.shape[1])

    rng = np.random.default_rng(rows)
    terms, width = 5, vecs * L[dtype]
    A, B = rng.integers(-9, 9, (terms, rows)), rng.integers(-9, 9, (terms, width))
    C = rng.integers(-9, 9, (rows + 4, width + 3)).astype(dtype)
    expected = C.copy()
    expected[2 : 2 + rows, 1 : 1 + width] += A.T @ B
    run(A.ravel().astype(dtype), B.ravel().astype(dtype), terms, rows, width, C)
    np.testing.assert_array_equal(C, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_multiplied_by_an_element_each(dtype):
    shape, rows, lanes = tile.TileShape(3, 1, 4), 3, 4
    splat, fma, load, store = tile.tile_splat, tile.tile_fma, loads.tile_load, loads.tile_store

    @numba.njit
    def run(left, apart, right, total):
        acc = fma(splat(left, 1, apart, shape), load(right, 0, lanes, shape), load(total, 0, lanes, shape))
        store(acc, total, 0, lanes)

    left, right, total = (np.arange(start, start + 12).astype(dtype) for start in (0, 30, 70))
    for apart in (1, 5):
        expected = total.reshape(rows, lanes) + left[1::apart][:rows, None] * right.reshape(rows, lanes)
        run(left, apart, right, total)
        np.testing.assert_array_equal(total.reshape(rows, lanes), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_wanted_part_is_stored(dtype):
    shape = tile.TileShape(4, 2)
    load, store_part, flat = loads.tile_load, loads.tile_store_part, _arrays.flat

    @numba.njit
    def run(source, target, rows, columns):
        store_part(load(flat(source), 0, source.shape[1], shape), target, 1, target.shape[1], rows, columns)

    source = np.arange(8 * L[dtype], dtype=dtype).reshape(4, -1)
    width = source.shape[1]
    for rows in range(6):
        for columns in (0, 1, L[dtype] - 1, L[dtype], L[dtype] + 1, width, width + 1, 2**40):
            target = np.full((5, width + 2), -1, dtype)
            expected = target.copy()
            expected[: min(rows, 4), 1 : 1 + min(columns, width)] = source[:rows, :columns]
            run(source, target, rows, columns)
            np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fewer_rows_than_a_tile_has(dtype):
    """The last is repeated where they are read, and written again where they are stored; nothing behind is touched."""
    shape, terms = tile.TileShape(4, 2), 5
    zeros, places_of, rank1, flat = tile.tile_zeros, tile.tile_places, tile.tile_rank1_at, _arrays.flat
    store_rows = loads.tile_store_rows

    @numba.njit
    def run(left, right, rows, target):
        acc, places = zeros(target, shape), places_of(shape, flat(left), 0, left.shape[1], rows)
        for k in range(left.shape[1]):
            acc = rank1(acc, places, k, flat(right), k * right.shape[1])
        store_rows(acc, flat(target), 1, target.shape[1], rows)

    rng = np.random.default_rng(0)
    B = rng.integers(-9, 9, (terms, 2 * L[dtype])).astype(dtype)
    for rows in range(1, 6):
        A = rng.integers(-9, 9, (rows, terms)).astype(dtype)
        target = np.full((6, B.shape[1] + 2), -1, dtype)
        expected = target.copy()
        expected[: min(rows, 4), 1:-1] = (A @ B)[:4]
        run(A, B, rows, target)
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_beyond_some_columns_is_added(dtype):
    """And all bits of these columns stay, also those of a negative zero; rows that are there no more are the last."""
    shape, flat = tile.TileShape(3, 2), _arrays.flat
    load_rows, load, add, beyond = loads.tile_load_rows, loads.tile_load, tile.tile_add, tile.tile_beyond
    store_rows = loads.tile_store_rows

    @numba.njit
    def run(C, addend, rows, columns):
        old, width = load_rows(flat(C), 0, C.shape[1], shape, rows), addend.shape[1]
        more = beyond(load(flat(addend), 0, width, shape), columns)
        store_rows(add(old, more), flat(C), 0, C.shape[1], rows)

    width = 2 * L[dtype]
    addend = np.full((3, width), 2, dtype)
    for rows in range(1, 5):
        for columns in (0, 1, L[dtype], width - 1, width):
            C = np.full((min(rows, 3), width), -0.0, dtype)
            expected = C.copy()
            expected[:, columns:] += 2
            run(C, addend, rows, columns)
            assert_same_bits(C, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "vecs"), [(1, 1), (2, 1), (4, 1), (6, 1), (8, 1), (4, 2)])
def test_a_tile_is_stored_transposed(dtype, rows, vecs):
    shape = tile.TileShape(rows, vecs)
    load, store_turned, flat = loads.tile_load, _transpose.tile_store_turned, _arrays.flat

    @numba.njit
    def run(source, target, at, stride):
        store_turned(load(flat(source), 0, source.shape[1], shape), target, at, stride)

    source = np.arange(rows * vecs * L[dtype], dtype=dtype).reshape(rows, -1)
    for stride in (rows, rows + 5):
        target = np.full(5 + source.shape[1] * stride + 3, -1, dtype)
        run(source, target, 5, stride)
        np.testing.assert_array_equal(target[5:-3].reshape(-1, stride)[:, :rows], source.T)
        assert (target[:5] == -1).all()


def test_a_tile_fills_the_registers_and_no_more():
    features = tile.cpu_features()
    registers, of_bytes = (32, 64) if "avx512f" in features else (16, 32)
    vectors = 64 // of_bytes
    used = tile.TILE_ROWS * tile.TILE_VECS * vectors + tile.TILE_VECS * vectors + 1
    assert used <= registers
    assert tile.TILE_ROWS * tile.TILE_VECS * vectors >= 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_turned_to_lines_and_back(dtype):
    to_lines, to_rows = _transpose.to_lines, _transpose.to_rows

    @numba.njit
    def there(rows, i, lines, to):
        to_lines(rows, i * rows.shape[1], rows.shape[1], len(rows) - i, lines, to, lines.shape[1])

    @numba.njit
    def back(lines, at, rows, i):
        to_rows(lines, at, lines.shape[1], rows, i * rows.shape[1], rows.shape[1], len(rows) - i)

    lanes = L[dtype]
    for k in (1, 2, 3, 4, 5, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        for count in (1, 2, lanes - 1, lanes, lanes + 1):
            rows = np.arange((3 + count) * k, dtype=dtype).reshape(-1, k)
            lines = np.full((k, lanes + 4), -1, dtype)
            there(rows, 3, lines, 2)
            expected = np.full_like(lines, -1)
            expected[:, 2 : 2 + lanes] = rows[[3 + min(p, count - 1) for p in range(lanes)]].T
            np.testing.assert_array_equal(lines, expected)
            again = np.full_like(rows, -1)
            back(lines, 2, again, 3)
            expected = np.full_like(rows, -1)
            expected[3 : 3 + lanes] = rows[3 : 3 + lanes]
            np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_read_transposed(dtype):
    turned, store, flat = _transpose.tile_turned, loads.tile_store, _arrays.flat

    @numba.njit
    def whole(source, at, rows, target):
        store(turned(flat(source), at, source.shape[1], rows, None), target, 0, target.shape[1])

    @numba.njit
    def part(source, at, rows, terms, target):
        store(turned(flat(source), at, source.shape[1], rows, terms), target, 0, target.shape[1])

    lanes, rows = L[dtype], tile.TURNED
    source = np.arange(40 * 40, dtype=dtype).reshape(40, 40)
    for count in (1, 3, rows, rows + 1):
        used = [3 + min(p, count - 1) for p in range(rows)]
        target = np.empty((lanes, rows), dtype)
        whole(source, 3 * 40 + 5, count, target)
        np.testing.assert_array_equal(target, source[used, 5 : 5 + lanes].T)
        for terms in (1, 3, lanes - 1, lanes):
            last = source[: min(count, rows), :terms].copy()  # nothing behind may be read
            target = np.full((lanes, rows), -1, dtype)
            part(last, 0, count, terms, target)
            np.testing.assert_array_equal(target[:terms], last[[min(p, len(last) - 1) for p in range(rows)]].T)
            assert (target[terms:] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "starts"), [(8, (3, 200, 100, 300)), (16, (0, 70, 140, 210)), (6, (9, 100))])
def test_rows_are_dealt_to_several_places(dtype, rows, starts):
    shape, stride = tile.TileShape(rows, 1, 8), 9
    load, dealt, flat = loads.tile_load, _transpose.tile_store_dealt, _arrays.flat

    @numba.njit
    def run(source, target, starts):
        dealt(load(flat(source), 0, source.shape[1], shape), target, starts, stride)

    source, target = np.arange(rows * 8, dtype=dtype).reshape(rows, 8), np.full(400, -1, dtype)
    expected = target.copy()
    for row, line in enumerate(source):
        at = starts[row % len(starts)] + row // len(starts) * stride
        expected[at : at + 8] = line
    run(source, target, starts)
    np.testing.assert_array_equal(target, expected)
