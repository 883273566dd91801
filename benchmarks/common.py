"""What every benchmark of a public function shares.

asv calls `setup` before each sample, and times one call a sample. So `setup` prepares a call once and keeps it, and
what takes less than some microseconds is timed by the thousand, in `small.py`.
"""

from functools import cache

from fastgrad._bench.cases import SHAPES, Case, fitting_shapes
from fastgrad._bench.peers import HOME, PEERS, prepare
from fastgrad._functions import FUNCTIONS

IMPLEMENTATIONS = [name for name, peer in PEERS.items() if not peer.environment]
SMALL = {1: "1000", 2: "64x10", 3: "8x16x16"}  # by how many numbers a shape has


@cache
def prepared(implementation, function, shape):
    """A call that has been made, and so compiled."""
    required(implementation, function)
    call = prepare(implementation, Case(function, shape, "float32"))
    call()
    return call


def required(implementation, function):
    """Raises what makes asv skip a benchmark, where there is nothing to measure."""
    if not PEERS[implementation].has(function):
        raise NotImplementedError(f"there is no {function} of {implementation} here")


def small_shape(function):
    """The smallest of a function's shapes."""
    return SMALL[1 + len(FUNCTIONS[function].sizes)]


class _OfFunction:
    """One function, in every library that is installed, on all of its shapes that are not small."""

    function = ""
    param_names = ("implementation", "shape")
    timeout = 120
    repeat = (10, 500, 1.0)
    warmup_time = 0.02

    def setup(self, implementation, shape):
        self.call = prepared(implementation, self.function, shape)

    def time_call(self, implementation, shape):
        self.call()


def benchmarks_of(family):
    """A class for each function of the family, by its name in capitals: softmax_vjp is timed by SoftmaxVjp."""
    classes = {}
    for function in FUNCTIONS.values():
        if function.family == family:
            name = class_name(function.name)
            shapes = fitting_shapes(function.name, [shape for shape in SHAPES if shape not in SMALL.values()])
            body = {
                "__doc__": function.formula,
                "__module__": f"benchmarks.{family}",
                "function": function.name,
                "params": (IMPLEMENTATIONS, shapes or [small_shape(function.name)]),
            }
            classes[name] = type(name, (_OfFunction,), body)
    return classes


def class_name(function):
    return "".join(part.capitalize() for part in function.split("_"))


__all__ = ["HOME", "IMPLEMENTATIONS", "benchmarks_of", "class_name", "prepared", "small_shape"]
