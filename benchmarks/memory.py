"""What a call needs at its peak, beside Python and the libraries it imports."""

from fastgrad._bench.cases import Case
from fastgrad._bench.peers import prepare

from .common import HOME, IMPLEMENTATIONS, required

# Large enough to be seen beside the 200 MB of an interpreter with Numba.
LARGE = {
    "affine_vjp": "1024x1024x1024",
    "softmax_vjp": "2048x2048",
    "linear_cross_entropy_value_and_grad": "2048x256x8192",
}


class Memory:
    """One large call of a function in each library."""

    param_names = ("implementation", "function")
    params = (IMPLEMENTATIONS, list(LARGE))
    timeout = 120

    def setup(self, implementation, function):
        required(HOME, function)
        required(implementation, function)

    def peakmem_call(self, implementation, function):
        prepare(implementation, Case(function, LARGE[function], "float32"))()
