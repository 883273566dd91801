"""Elementary functions on vectors, with the largest error each may make in units in the last place (ulp).

Written in IEEE operations alone, so they give the same bits on every CPU, where the C library's do not. The bounds hold
over the whole range, subnormals, overflow, infinities and NaN included. The polynomials are minimax approximations
with coefficients rounded to the dtype (Sollya's `fpminimax`; the rational one by weighted least squares, its
coefficients rounded together).

The reductions are the classical ones: P. T. P. Tang, "Table-driven implementation of the exponential function", ACM
TOMS 15 (1989), without the table; and fdlibm's log and log1p (Sun Microsystems, 1993).
"""

from ._jit import inlined
from ._scale import scale, scale_down
from ._simd import absolute, bits, fma, from_bits, horner, rint, select, splat, to_float
from ._vec import Constant

LOG2_E = Constant(1.44269504088896341, 1.44269504088896341)
MIDDLE = Constant(-0.08496250072115618, -0.08496250072115618)  # ½ − log₂ 3/2
# log 2 in two parts: the first has so few bits that its product with an exponent is exact.
LN2_HIGH = Constant(0.693359375, 6.93147180369123816490e-01)
LN2_LOW = Constant(-2.12194440054690583e-4, 1.90821492927058770002e-10)
EXP_LARGEST = Constant(89.0, 710.0)  # exp overflows below
EXP_SMALLEST = Constant(-104.0, -746.0)  # exp is 0 above
EXPM1_SMALLEST = Constant(-20.0, -40.0)  # expm1 is -1 above
SIGMOID_LARGEST = Constant(105.0, 750.0)  # σ is 0 at minus it
ERF_LARGEST = Constant(4.5, 6.5)  # erf is 1 below

# exp(r) = 1 + r + r² P(r) for log ¾ ≤ r ≤ log 3/2, to 2⁻²⁵ and 2⁻⁵⁵ of r
EXP = Constant(
    (0.0014558781404048204, 0.008355743251740932, 0.04166170209646225, 0.16666606068611145, 0.5),
    (
        2.6474260670131307e-08,
        2.758498380209985e-07,
        2.755437535588391e-06,
        2.4801583265075068e-05,
        0.00019841271994707892,
        0.001388888888334638,
        0.00833333333270268,
        0.04166666666668138,
        0.1666666666666724,
        0.5,
    ),
)

# log((1 + s) / (1 - s)) = 2 s + s (s² Q(s²)) for s² ≤ 0.0295
LOG = Constant(
    (0.22575785219669342041015625, 0.285896718502044677734375, 0.399995505809783935546875, 0.666666686534881591796875),
    (
        0.14616625175423925193722493052650839,
        0.15331709579806063192819465257343836,
        0.18182889368251570205714529038232286,
        0.22222211134559172185376496599928942,
        0.28571428625936401424212364215313817,
        0.39999999999899832348049244501453359,
        0.66666666666666696272613990004174411,
    ),
)
# erf(x) = x + x R(x²) for |x| ≤ 0.9, to 2⁻³⁰ and 2⁻⁵⁶ of x
ERF = Constant(
    (
        8.393054304178804e-05,
        -0.000814430823083967,
        0.005200731102377176,
        -0.02685902453958989,
        0.11283681541681290,
        -0.376126319169998169,
        0.128379166126251221,
    ),
    (
        -8.733317615418607377421188473268e-10,
        1.416289520741660113987149370455e-08,
        -1.629907714213826883918611893726e-07,
        1.645793037497491557681776749934e-06,
        -1.492549599403696975645841615865e-05,
        1.205533028305451142235538153358e-04,
        -8.548327040014409174117159649367e-04,
        5.223977627249277599599286204102e-03,
        -2.686617064548948649593819810610e-02,
        0.11283791670958291664117467768,
        -0.3761263890318387037581260301522,
        0.1283791670955125863762749055846,
    ),
)
ERF_SMALL = Constant(0.9, 0.9)

# Φ(−x) e^(x²/2) = D(x) / (√(2π) x D(x) + N(x)), Φ the normal distribution function, for 0 ≤ x ≤ 15 and 40, to 2⁻²⁵
# and 2⁻⁵⁷. All coefficients are positive, and what D loses to rounding cancels where x is large. A polynomial in
# (x − 4) / (x + 4), as is usual for erfc, takes a third more operations and a compensated reciprocal; a plain P / Q is
# 6 ulp off at x = 25. float32's are scaled for gelu to lose least where it is just below a power of two: 3.7 ulp; it is
# 4.1 with D(0) = 1.86.
TAIL_D = Constant(
    (0.015038262121379375, 0.1406404972076416, 0.6094480752944946, 1.4089992046356201, 1.5379999876022339),
    (
        1.0828110074996548e-06,
        3.243991794771238e-05,
        0.0004799726882075448,
        0.004552237174950246,
        0.030400225214093232,
        0.14868809237389669,
        0.5384475963327684,
        1.4267786496899437,
        2.6581331388966514,
        3.171008076983718,
        1.8709106112880733,
    ),
)
TAIL_N = Constant(
    (3.5109621876472374e-06, 0.03753300756216049, 0.3557046055793762, 1.4171005487442017, 3.0759999752044678),
    (
        2.7142046872752175e-06,
        8.131481559349219e-05,
        0.001197684698565392,
        0.011248136960129503,
        0.07382297367022937,
        0.3506975527277064,
        1.2091109568103358,
        2.9391313102240444,
        4.637880099183595,
        3.7418212225761467,
    ),
)
SQRT_TWO_PI = Constant(2.5066282749176025, 2.5066282746310007)
SQRT_2 = Constant(1.4142135381698608, 1.4142135623730951)

SIGN_BIT = Constant(-(2**31), -(2**63))
SQRT_HALF_BITS = Constant(0x3F3504F3, 0x3FE6A09E667F3BCD)
MANTISSA_BITS = Constant(23, 52)
SMALLEST_NORMAL = Constant(2.0**-126, 2.0**-1022)
SUBNORMAL_SHIFT = Constant(25.0, 54.0)
INFINITY = Constant(float("inf"), float("inf"))
NAN = Constant(float("nan"), float("nan"))


@inlined
def _exponent(x):
    """The integral k for which eˣ = 2ᵏ (1 + p) with −¼ ≤ p ≤ ½.

    Were 1 + p between √½ and √2, the rounding of r would cost up to a third of a last place more, where 1 + p is small.
    """
    return rint(fma(x, splat(x, LOG2_E), splat(x, MIDDLE)))


@inlined
def _parts(k, r):
    """k and p, where r is what k times the first part of log 2 leaves."""
    r = fma(-k, splat(r, LN2_LOW), r)
    return k, fma(r * r, horner(r, EXP), r)


@inlined
def exp_parts(x, correction):
    """k and p with exp(x + correction) = 2ᵏ (1 + p); the correction, which may be None, is about an ulp of x."""
    k = _exponent(x)
    r = fma(-k, splat(x, LN2_HIGH), x)
    if correction is not None:
        r = r + correction
    return _parts(k, r)


@inlined
def exp_parts_of_product(x, y):
    """The same for exp(x y), where only the distance of x y from k log 2 is rounded, not the product."""
    k = _exponent(x * y)
    return _parts(k, fma(x, y, -k * splat(x, LN2_HIGH)))


@inlined
def exp(x):
    """eˣ, within 1 ulp."""
    x = select(x > splat(x, EXP_LARGEST), splat(x, EXP_LARGEST), x)
    x = select(x < splat(x, EXP_SMALLEST), splat(x, EXP_SMALLEST), x)
    k, p = exp_parts(x, None)
    return scale(p + 1.0, k)


@inlined
def exp_of_difference(x):
    """eˣ for x ≤ 0, as S − S_m is, or NaN; within 1 ulp."""
    x = select(x < splat(x, EXP_SMALLEST), splat(x, EXP_SMALLEST), x)
    k, p = exp_parts(x, None)
    return scale_down(p + 1.0, k)


@inlined
def expm1(x):
    """eˣ − 1, within 2 ulp."""
    top = splat(x, EXP_LARGEST)
    bounded = select(x > top, top, x)
    bounded = select(bounded < splat(x, EXPM1_SMALLEST), splat(x, EXPM1_SMALLEST), bounded)
    k, p = exp_parts(bounded, None)
    one = splat(x, 1)
    shifted = scale(p + (one - scale(one, -k)), k)  # 2ᵏ (p + 1 − 2⁻ᵏ)
    return select(k == 0.0, select(x == 0.0, x, p), shifted)


@inlined
def _log_with(x, correction):
    """log(x) + correction for positive finite x and a correction below an ulp of x."""
    tiny = x < splat(x, SMALLEST_NORMAL)
    shift = splat(x, SUBNORMAL_SHIFT)
    x = select(tiny, scale(x, shift), x)
    # x = 2ᵏ m with √½ ≤ m < √2
    above = (bits(x) - splat(bits(x), SQRT_HALF_BITS)) >> splat(bits(x), MANTISSA_BITS)
    k = to_float(above)
    f = scale(x, -k) - 1.0
    k = select(tiny, k - shift, k)
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    low = fma(s, fma(z, horner(z, LOG), half_square), fma(k, splat(x, LN2_LOW), correction))
    return fma(k, splat(x, LN2_HIGH), f - (half_square - low))


@inlined
def _log_edges(x, value):
    """value where 0 < x < ∞; −∞ at 0, ∞ at ∞, NaN below 0 and at NaN."""
    infinity = splat(x, INFINITY)
    value = select(x == 0.0, -infinity, value)
    value = select(x == infinity, infinity, value)
    return select(x >= 0.0, value, splat(x, NAN))


@inlined
def log(x):
    """log x, within 2 ulp."""
    return _log_edges(x, _log_with(x, splat(x, 0)))


@inlined
def log1p(x):
    """log(1 + x), within 2 ulp."""
    u = x + 1.0
    lost = select(absolute(x) < 1.0, x - (u - 1.0), 1.0 - (u - x))  # 1 + x = u + lost
    return select(x == 0.0, x, _log_edges(u, _log_with(u, lost / u)))


@inlined
def at_most(x, limit):
    """x, or the limit (a `Constant`) where x is above; NaN stays."""
    return select(x > splat(x, limit), splat(x, limit), x)


@inlined
def with_sign(x, y):
    """y ≥ 0 with the sign of x."""
    return from_bits(bits(y) | (bits(x) & splat(bits(x), SIGN_BIT)))


@inlined
def has_minus(x):
    """Whether the sign of x is minus, as that of −0 is: without AVX-512, nothing is compared to select by it."""
    return bits(x) < 0


@inlined
def sigmoid(x):
    """σ(x) = 1 / (1 + e⁻ˣ), within 2 ulp."""
    k, p = exp_parts(at_most(absolute(x), SIGMOID_LARGEST), None)
    power = scale_down(splat(x, 1), -k)
    # To add 1 to the power first would be faster, and 2.3 ulp off where that is half an ulp of 1.
    below = power / (1.0 + (power + p))
    return select(has_minus(x), below, 1.0 - below)


@inlined
def normal_tail(x):
    """t = e^(x²/2) Φ(−x), Φ the normal distribution function, and x t, for 0 ≤ x ≤ 15 (float32) or 40."""
    D = horner(x, TAIL_D)
    xD = x * D
    below = fma(xD, splat(x, SQRT_TWO_PI), horner(x, TAIL_N))
    return D / below, xD / below


@inlined
def erf(x):
    """erf x = 1 − 2 Φ(−√2 x), within 2 ulp."""
    a = at_most(absolute(x), ERF_LARGEST)
    square = a * a
    k, p = exp_parts_of_product(-a, a)
    tail, _ = normal_tail(a * splat(x, SQRT_2))
    outer = 1.0 - scale_down(fma(tail, p, tail), k + 1.0)
    inner = fma(x, horner(square, ERF), x)
    return select(a < splat(x, ERF_SMALL), inner, with_sign(x, outer))
