"""Derivatives of a function from its values alone: the complex step, or central differences that know their error.

W. Squire, G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998), and
C. J. F. Ridders, "Accurate computation of F′(x) and F″(x)", Advances in Engineering Software 4 (1982). Ridders goes
from large steps to small ones and keeps the smallest estimated error, which a flat stretch far away can deceive. Here
the ladder goes up from the smallest step, and ends where a step contradicts those before it.
"""

import warnings

import numpy as np

from ._arrays import Entries, as_arrays, flat, real_arrays, same_bits

COMPLEX_STEP = 2.0**-70
LARGEST_STEP = -2  # all steps of differences: powers of 4, times the size of what they change


class Numeric:
    """The derivative of f at its arguments: `along` a direction, with its estimated error."""

    is_numeric = True

    def __init__(self, f, arguments, seed):
        self.f, self.arguments = f, arguments
        self.rng = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            given, results = as_arrays(f(*arguments.fresh())), as_arrays(f(*arguments.at(arguments.x)))
        self.outputs = Entries(_names(given), given)
        self.value = flat(results)
        assert same_bits(self.value, self(arguments.x)), "f is not deterministic: two calls gave different results"
        self.finite = np.isfinite(self.value)  # the other outputs have no derivative, and are left out
        self.eps = self._resolution(results)
        arguments.eps = max(arguments.eps, self.eps)  # no gradient can be asked to be finer than its function
        self.noise, self.noise_of_arguments = self._noises()
        self.smallest_step = 2 * int(0.35 * np.log2(self.eps))
        self.sizes = arguments.magnitudes()
        self.levels = self._levels()
        self.by_complex_step = self._complex_step_works()
        # Differences in float64 are noisier than what the last place of a float64 argument does, and say so.
        self.needs_jitter = self.by_complex_step or arguments.eps > self.eps
        self.jittered = [arguments.jittered(self.rng) for _ in range(2)]
        self.signs = [self.rng.choice([-1.0, 1.0], arguments.x.size) for _ in range(3)]

    @property
    def how(self):
        return "complex step" if self.by_complex_step else "central differences"

    def __call__(self, x):
        """The results at x, numbered through; NaN where f does not take such arguments."""
        with np.errstate(all="ignore"):
            try:
                return flat(as_arrays(self.f(*self.arguments.at(x))))
            except (ArithmeticError, ValueError):
                return np.full(self.value.shape, np.nan)

    def along(self, v, x=None):
        """The derivative along v and its estimated error, of every output; at x instead of the arguments, cheaply."""
        if self.by_complex_step:
            slope = self._complex_step(v, self.arguments.x if x is None else x)
            return slope, 4 * self.eps * np.abs(slope)
        levels = self.levels[self._owner(v)]
        if x is not None:
            return self._differences(v, levels[-4:-1], x)[:2]
        slope, error, used = self._differences(v, levels, self.arguments.x)
        at_an_end = (used == levels[2]) | ((used == levels[-1]) & (used < LARGEST_STEP))
        if at_an_end[self.finite].any():  # of these levels: others may be better
            slope, error, _ = self._differences(v, self._all_levels(), self.arguments.x)
        return slope, error

    # --- complex step ---

    def _complex_step(self, v, x):
        """Im f(x + i h v) / h: nothing is subtracted, so h may be as small as one likes."""
        with np.errstate(all="ignore"):
            results = as_arrays(self.f(*self.arguments.at(x + 1j * COMPLEX_STEP * v)))
        return np.where(self.finite, flat(results, complex).imag / COMPLEX_STEP, 0)

    def _complex_step_works(self):
        """Whether f takes complex numbers and is analytic in them: it then agrees with differences in each argument."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            try:
                with np.errstate(all="ignore"):
                    point = self.arguments.x + 1j * COMPLEX_STEP * self.sizes
                    results = as_arrays(self.f(*self.arguments.at(point)))
                    if not all(r.dtype.kind == "c" for r in results) or flat(results, complex).size != self.value.size:
                        return False
                    for which, levels in enumerate(self.levels):
                        v = self._random_direction(which)
                        slope = self._complex_step(v, self.arguments.x)
                        by_differences, error, _ = self._differences(v, levels, self.arguments.x)
                        error = 4 * error + 64 * self.eps * np.abs(slope)
                        if not np.all(np.abs(slope - by_differences) <= error):
                            return False
            except Exception:  # whatever f raises where it does not expect complex numbers
                return False
        return True

    # --- differences ---

    def _differences(self, v, levels, x):
        """Central differences with steps 2ᵉ in rising order, extrapolated to order 6 from three steps at a time: the
        derivative, its estimated error, and the e of the largest step that it was taken from."""
        size, alone = self._size(v), np.count_nonzero(v) == 1
        noise = self.noise if alone else self.noise + self.noise_of_arguments  # one step alone is known exactly
        slopes, widths = [], []
        best, bound = np.zeros(self.value.shape), np.full(self.value.shape, np.inf)
        used = np.full(self.value.shape, LARGEST_STEP)
        alive = self.finite.copy()
        for exponent in levels:
            up, down = x + 2.0**exponent * size * v, x - 2.0**exponent * size * v
            with np.errstate(all="ignore"):
                width = (up - down)[v != 0][0] / v[v != 0][0] if alone else 2 * 2.0**exponent * size
                slopes.append((self(up) - self(down)) / width)
            widths.append(width)
            if len(slopes) < 3:
                continue
            with np.errstate(all="ignore"):
                coarse, fine = (16 * slopes[-2] - slopes[-1]) / 15, (16 * slopes[-3] - slopes[-2]) / 15
                slope = (256 * fine - coarse) / 255
                error = np.abs(slope - fine) + 16 * noise / widths[-3]
                first = np.isinf(bound)
                alive &= np.isfinite(error) & (first | (np.abs(slope - best) <= bound + error))
                better = alive & (error < bound)
            best, bound, used = (
                np.where(better, new, old) for new, old in ((slope, best), (error, bound), (exponent, used))
            )
            if not alive.any():
                break
        return best, np.where(self.finite, bound, 0), used

    def one_sided(self, v):
        """(left, right, rough): the derivatives from either side, and where they differ however small the step."""
        gaps, x = [], self.arguments.x
        for exponent in (self.smallest_step + 6, self.smallest_step):
            step = 2.0**exponent * self._size(v)
            left, right = (self.value - self(x - step * v)) / step, (self(x + step * v) - self.value) / step
            gaps.append(np.abs(right - left))
        rough = (gaps[1] > 16 * self.noise / step) & (gaps[1] > gaps[0] / 8) & self.finite
        return left, right, rough

    def is_blurred(self, v, error, slope):
        """Where the differences did not settle: on not even two digits, though f is not just flat."""
        flat_to_rounding = 1e-5 * np.abs(self.value[self.finite]).max(initial=0) / self._size(v)
        unsettled = error > np.abs(slope).max(initial=0) / 128
        return unsettled & (error > flat_to_rounding) & (not self.by_complex_step)

    # --- what the steps depend on ---

    def _all_levels(self):
        return range(self.smallest_step, LARGEST_STEP + 1, 2)

    def _levels(self):
        """For every argument five levels around the one that is best along a random direction."""
        every, chosen = list(self._all_levels()), []
        for which in range(len(self.arguments.places)):
            slope, _, used = self._differences(self._random_direction(which), every, self.arguments.x)
            steep = self.finite & (np.abs(slope) > 1e-3 * np.abs(slope[self.finite]).max(initial=0))
            top = min(len(every), every.index(used[steep].min(initial=LARGEST_STEP)) + 2)
            chosen.append(every[max(0, top - 5) : top])
        return chosen

    def _size(self, v):
        """What a step along v is a fraction of."""
        moved = v != 0
        return float(np.min(self.sizes[moved] / np.abs(v[moved]), initial=np.inf)) if moved.any() else 1.0

    def _owner(self, v):
        return self.arguments.entries.place(int(np.argmax(v != 0)))[0] if v.any() else 0

    def _random_direction(self, which):
        v = np.zeros(self.arguments.x.size)
        numbers = self.arguments.entries.owner(which)
        v[numbers] = self.rng.uniform(-1, 1, len(numbers)) * self.sizes[numbers]
        return np.where(self.arguments.finite, v, 0)

    def _resolution(self, results):
        """The eps that f computes in: that of its results, or of float32 where it rounds its arguments to that."""
        x, sign = self.arguments.x, self.rng.choice([-1.0, 1.0], self.arguments.x.size)
        eps = float(max(np.finfo(r.dtype).eps if r.dtype.kind == "f" else 0 for r in results)) or 2.0**-52
        with np.errstate(all="ignore"):
            unmoved = same_bits(self(x * (1 + 2.0**-30 * sign)), self.value)
            change = np.abs(self(x * (1 + 2.0**-18 * sign)) - self.value)
            should_move = np.any((change / 2**12 > 8 * np.spacing(np.abs(self.value))) & self.finite)
        return max(eps, 2.0**-23) if unmoved and should_move else eps

    def _noises(self):
        """(noise of f itself, noise of its arguments): what second differences by a last place leave over of each
        output, and what a change of all arguments in their last place does to it."""
        own = self.eps * np.abs(np.where(self.finite, self.value, 0))
        of_arguments = np.zeros(own.shape)
        for _ in range(6):
            with np.errstate(all="ignore"):
                step = np.abs(self.arguments.x) * self.eps * self.rng.choice([-2, -1, 1, 2], self.arguments.x.size)
                step = np.where(self.arguments.finite, step, 0)
                up, down = self(self.arguments.x + step), self(self.arguments.x - step)
                own = np.fmax(own, np.where(self.finite, np.abs(up - 2 * self.value + down), 0))
                of_arguments = np.fmax(of_arguments, np.where(self.finite, np.abs(up - down), 0))
        return own, of_arguments


class ByJvp:
    """The derivative that a jvp claims, in the place of a numeric one."""

    is_numeric = False
    how = "jvp"
    needs_jitter = True

    def __init__(self, jvp, arguments, seed):
        self.jvp, self.arguments = jvp, arguments
        given = jvp(*arguments.tangents(np.zeros(arguments.x.size)), *arguments.fresh())
        results = real_arrays("check_adjoint: jvp", given)
        self.outputs = Entries(_names(results), results)
        self.finite = np.isfinite(flat(results))
        if arguments.finite.all() and not self.finite.all():
            where = self.outputs.name(int(np.argmin(self.finite)))
            raise AssertionError(f"check_adjoint: jvp is not finite at {where}, for tangents of zeros")
        rng = np.random.default_rng(seed)
        self.jittered = [arguments.jittered(rng) for _ in range(2)]

    def along(self, v, x=None):
        arguments = self.arguments
        args = arguments.fresh() if x is None else arguments.at(x)
        for place, dtype in zip(arguments.places, arguments.entries.dtypes, strict=True):
            args[place] = args[place].astype(dtype)
        slope = flat(as_arrays(self.jvp(*arguments.tangents(v), *args)))
        return np.where(self.finite, slope, 0), np.zeros(slope.shape)

    def one_sided(self, v):
        slope, _ = self.along(v)
        return slope, slope, np.zeros(slope.shape, bool)

    def is_blurred(self, _v, error, _slope):
        return np.zeros(error.shape, bool)


def _names(results):
    return ["Y"] if len(results) == 1 else [f"Y[{place}]" for place in range(len(results))]
