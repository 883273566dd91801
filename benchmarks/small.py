"""Small arrays, where calling costs more than computing: a thousand calls, so that a millisecond is a microsecond."""

from fastgrad._functions import FUNCTIONS

from .common import HOME, prepared, small_shape


class Overhead:
    """Every function on its smallest shape, in fastgrad and in NumPy."""

    param_names = ("implementation", "function")
    params = ([HOME, "numpy"], list(FUNCTIONS))
    timeout = 120
    warmup_time = 0.02

    def setup(self, implementation, function):
        self.call = prepared(implementation, function, small_shape(function))

    def time_a_thousand_calls(self, implementation, function):
        for _ in range(1000):
            self.call()
