"""What a user waits for before the first result: importing, and the first call of a function, compiled or cached."""

FIRST_CALL = "fastgrad.softmax_vjp(ones, ones)"
IMPORTS = """
import os, tempfile
{environment}
import fastgrad, numpy
ones = numpy.ones((64, 10), numpy.float32)
"""
NOWHERE = 'os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()'


class StartUp:
    """Each sample is a process of its own."""

    timeout = 120
    rounds = 1
    repeat = (3, 10, 15.0)
    warmup_time = 0

    def timeraw_import_numba(self):
        return "import numba"

    def timeraw_import(self):
        return "import fastgrad"

    def timeraw_first_call_cold(self):
        return FIRST_CALL, IMPORTS.format(environment=NOWHERE)

    def timeraw_first_call_cached(self):
        return FIRST_CALL, IMPORTS.format(environment="")

    def setup(self):
        """Something to load for the cached call."""
        import numpy as np

        import fastgrad

        ones = np.ones((64, 10), np.float32)
        fastgrad.softmax_vjp(ones, ones)
