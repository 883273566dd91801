"""What a matrix product of `_product.py` is cut into, and what each kind of task takes."""

from typing import NamedTuple

from ._arrays import add_to
from ._jit import inlined
from ._loads import store
from ._simd import lanes, splat

# The kinds of tasks, in the order in which `_product.py` has the parts that run them.
TILED, THIN, TALL, HIGH, FEW_TERMS, FEW_COLUMNS = range(1, 7)


class Plan(NamedTuple):
    """How C (+)= A B + bias is cut into tasks."""

    kind: int  # of all its tasks
    tasks: int
    own: int  # elements of each worker's room,
    shared: int  # and of that which workers share
    turned: bool  # whether Cᵀ is computed in place of C
    sums: int  # side by side in a block of terms
    rows: int  # of C, in a task
    columns: int
    across: int  # tasks side by side
    group: int  # panels of A that are packed at a time
    right: int  # where in a worker's room the panels of B start,
    totals: int  # and the totals
    slots: int  # in the shared room, for the sums of tasks that share an element of C


TASK = 2, bool, 2, bool, 2, 1, bool, Plan, int, 1, int  # what a task takes: A, …, accumulate, plan, task, work, left


@inlined
def rooms(plan):
    """Elements of room for each worker, and for what they share."""
    return plan.own, plan.shared


@inlined
def larger(one, other):
    """The rooms for the tasks of either of two plans."""
    return max(one[0], other[0]), max(one[1], other[1])


@inlined
def workspaces(sizes, workers, like):
    """Elements of room for the numbers that workers share, for what else they share, and for the panels and totals of
    each; and how far into it, if it starts at a multiple of 64 bytes, the first worker's part and each next one lie."""
    L = lanes(like)
    own, shared = sizes
    start, apart = L + shared, (own + L - 1) // L * L
    return start + workers * apart, start, apart


@inlined
def count_anew(room):
    """Tasks, and what else workers count, are counted from 0."""
    store(room, 0, splat(room, 0))


@inlined
def take_number(room):
    """The next of the numbers 0, 1, 2, …, each given to one thread alone."""
    return add_to(room, 0, 1)
