"""tanh on vectors: of float32 from a table of polynomials, of float64 from the exponential.

Of float32, sixteen intervals are enough, of which a register holds a coefficient each, so a table is looked up by
moving lanes: half the time of the exponential and a division. float64 would need twice the intervals and the degree.
"""

from ._jit import inlined
from ._lookup import looked_up, polynomial
from ._math import at_most, exp_parts, with_sign
from ._scale import scale_down
from ._simd import absolute, bits, fma, of_dtype, select, splat
from ._vec import Constant

LARGEST = Constant(9.02, 20.0)  # tanh is 1 below

# Two intervals between any two powers of two from 1/8 on, by the first bits of a float; the first one is all below.
_SHIFT, _FIRST = Constant(22, ()), Constant(247, ())
# For each, a point c whose tanh is nearly a float32 (S. Gal, "Computing elementary functions: a new approach for
# achieving high accuracy and good performance", 1985), that float, and the coefficients of t, t², … t⁶ in tanh(c + t) −
# tanh c, by least squares of the relative error at Chebyshev points: to 2⁻²⁵ of tanh, 2⁻²⁴ between 4 and 6.
_INTERVALS = (
    (0.0, 0.0, 1.0, 0.0, -0.3333317, 0.0, 0.13249506, 0.0),
    (0.15629765, 0.15503724, 0.9759635, -0.15131068, -0.30186233, 0.097247824, 0.10717063, -0.058769308),
    (0.2187574, 0.2153334, 0.9536315, -0.20534873, -0.27365872, 0.12740882, 0.084944315, -0.08359879),
    (0.31252342, 0.302731, 0.9083539, -0.27498692, -0.21953759, 0.15812664, 0.045495868, -0.07295907),
    (0.43750852, 0.41157714, 0.83060426, -0.34185773, -0.13616757, 0.16999592, -0.005965037, -0.061679132),
    (0.62510663, 0.55467355, 0.6923373, -0.3840212, -0.017779011, 0.13787131, -0.05435118, -0.02425999),
    (0.875142, 0.7039772, 0.50441605, -0.35509744, 0.08183944, 0.0607549, -0.058536306, 0.0129244365),
    (1.250421, 0.84840167, 0.2802145, -0.23773451, 0.1083049, -0.012627714, -0.0196528, 0.015110124),
    (1.7504297, 0.9414244, 0.11371999, -0.10705877, 0.06288781, -0.023516146, 0.0034875702, 0.0020882802),
    (2.5009396, 0.98663926, 0.026543077, -0.026188213, 0.016987184, -0.008037287, 0.0028835668, -0.00069890806),
    (3.5005865, 0.99818003, 0.0036366954, -0.003630035, 0.0024089178, -0.0011961227, 0.0004898232, -0.00015705878),
    (5.0014133, 0.99990946, 0.00018134875, -0.00018117731, 0.000118483025, -5.960086e-05, 2.840473e-05, -9.210164e-06),
    (7.0, 0.99999833, 3.3312488e-06, -3.2812807e-06, 2.1767544e-06, -1.1897897e-06, 5.2287913e-07, -1.15763925e-07),
    (8.6643095, 0.99999994, 1.1921648e-07, -1.1932546e-07, 7.942911e-08, -3.8900836e-08, 1.655388e-08, -7.0549233e-09),
)
_centers, *_coefficients = zip(*_INTERVALS, *_INTERVALS[-1:] * 2, strict=True)
_CENTERS, _COEFFICIENTS = Constant(_centers, ()), Constant(tuple(_coefficients), ())


@inlined
def _by_table(x):
    a = at_most(absolute(x), LARGEST)
    interval = (bits(a) >> splat(bits(a), _SHIFT)) - splat(bits(a), _FIRST)
    interval = select(interval > 0, interval, splat(interval, 0))
    t = a - looked_up(interval, _CENTERS)
    return with_sign(x, polynomial(interval, t, _COEFFICIENTS))


@inlined
def _by_exponential(x):
    k, p = exp_parts(at_most(absolute(x), LARGEST) * 2.0, None)
    # (e²ˣ − 1) / (e²ˣ + 1) = ((1 − 2⁻ᵏ) + p) / ((1 + 2⁻ᵏ) + p), with what the sums round away
    unit = scale_down(splat(x, 1), -k)
    minus, plus = 1.0 - unit, 1.0 + unit
    above, below = minus + p, plus + p
    inverse = 1.0 / below
    y = above * inverse
    lost = (p - (above - minus)) - y * (p - (below - plus))
    return with_sign(x, fma(fma(-y, below, above) + lost, inverse, y))


@inlined
def tanh(x):
    """tanh x, within 2 ulp."""
    return of_dtype(_by_table, _by_exponential, x)
