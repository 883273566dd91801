"""Whether a derivative is right: vjp, jvp, Jacobian, Hessian-vector product beside the function; vjp beside jvp."""

from ._arrays import Arguments
from ._compare import Tolerance, compare_columns, compare_gradients, compare_tangents
from ._derivatives import ByJvp, Numeric


def check_vjp(f, vjp, args, *, seed=0, entries=200, rtol=None, atol=0.0):
    """Checks that `vjp(dY, *args)` is the gradient of ⟨dY, f(*args)⟩, entry by entry.

        vjp(dY, x)_i = Σ_k dY_k ∂f_k/∂x_i

    Parameters
    ----------
    f : callable
        `f(*args)` gives an array, a scalar or a tuple of arrays. It is called with float64 arrays where `args` are
        float32, and with complex ones if it takes them; nothing else is asked of it.
    vjp : callable
        `vjp(dY, *args)` gives the gradient of each floating-point argument: a tuple, or the array itself when there is
        one. Integer arguments are passed along; in the tuple they may have None.
    args : tuple, or one array
    seed : int
        Of the random cotangent dY, standard normal.
    entries : int
        How many entries are looked at one by one; if there are more, these are picked at random, first and last among
        them, and the others are checked together along a random direction, where one alone has to be off by as much as
        may be lost in all of them.
    rtol : float
        How far an entry may be off beside the largest Σ_k |dY_k ∂f_k/∂x_i| in its row: by default √eps, half of the
        digits. What the conditioning of f and the numeric derivative itself lose is allowed on top.
    atol : float
        How far any entry may be off.

    Raises
    ------
    AssertionError
        The gradient is wrong, and where; or f has no derivative there, or is too noisy to tell.
    TypeError
        No argument has a floating-point dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_vjp
    >>> check_vjp(np.tanh, lambda dY, x: dY * (1 - np.tanh(x) ** 2), np.array([0.5, 2.0]))
    """
    derivative = Numeric(f, Arguments(f, args), seed)
    compare_gradients("check_vjp", vjp, derivative, seed, entries, Tolerance.of(derivative, rtol, atol))


def check_adjoint(jvp, vjp, args, *, seed=0, entries=200, rtol=None, atol=0.0):
    """Checks that vjp and jvp belong to the same Jacobian, without the function and without differences.

        ⟨dY, jvp(V)⟩ = ⟨vjp(dY), V⟩

    Parameters
    ----------
    jvp : callable
        `jvp(*tangents, *args)`, with one tangent for each floating-point argument.
    vjp : callable
        As in `check_vjp`.
    args, seed, entries, rtol, atol
        As in `check_vjp`; V are the unit vectors, so that the wrong entry can be named.

    Raises
    ------
    AssertionError
        They do not belong together, and where.
    TypeError
        No argument has a floating-point dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_adjoint
    >>> check_adjoint(fg.softmax_jvp, fg.softmax_vjp, (fg.softmax(np.array([[1.0, 2.0, 4.0]])),))
    """
    derivative = ByJvp(jvp, Arguments(vjp, args, skip=1), seed)
    compare_gradients("check_adjoint", vjp, derivative, seed, entries, Tolerance.of(derivative, rtol, atol))


def check_jvp(f, jvp, args, *, seed=0, rtol=None, atol=0.0):
    """Checks that `jvp(*tangents, *args)` is the derivative of f along the tangents.

        jvp(V, x)_k = Σ_i ∂f_k/∂x_i V_i

    Parameters
    ----------
    f : callable
        As in `check_vjp`.
    jvp : callable
        `jvp(*tangents, *args)`, with one tangent for each floating-point argument, gives what f gives.
    args, seed, rtol, atol
        As in `check_vjp`. Every tangent is checked alone, the others being 0, and then all together.

    Raises
    ------
    AssertionError
        The derivative is wrong, and where; or f has no derivative there, or is too noisy to tell.
    TypeError
        No argument has a floating-point dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_jvp
    >>> check_jvp(np.tanh, lambda dx, x: dx * (1 - np.tanh(x) ** 2), np.array([0.5, 2.0]))
    """
    derivative = Numeric(f, Arguments(f, args), seed)
    compare_tangents("check_jvp", "jvp", jvp, derivative, seed, Tolerance.of(derivative, rtol, atol))


def check_hvp(grad, hvp, args, *, seed=0, rtol=None, atol=0.0):
    """Checks that `hvp(*tangents, *args)` is the derivative of the gradient `grad(*args)` along the tangents.

        hvp(V, x)_i = Σ_j ∂²f/∂x_i∂x_j V_j

    Parameters
    ----------
    grad : callable
        `grad(*args)` gives the gradient of a scalar function with respect to each floating-point argument. It is taken
        for right: `check_vjp` says whether it is.
    hvp : callable
        `hvp(*tangents, *args)` gives what grad gives.
    args, seed, rtol, atol
        As in `check_jvp`.

    Raises
    ------
    AssertionError
        The product is wrong, and where.
    TypeError
        No argument has a floating-point dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_hvp
    >>> check_hvp(lambda x: x**3, lambda v, x: 3 * x**2 * v, np.array([0.5, 2.0]))  # of Σ x⁴/4
    """
    derivative = Numeric(grad, Arguments(grad, args), seed)
    compare_tangents("check_hvp", "hvp", hvp, derivative, seed, Tolerance.of(derivative, rtol, atol))


def check_jacobian(f, jacobian, args, *, seed=0, entries=200, rtol=None, atol=0.0):
    """Checks that `jacobian(*args)` holds all partial derivatives of f.

        J[k, i] = ∂f_k/∂x_i        of shape Y.shape + x.shape

    Parameters
    ----------
    f : callable
        As in `check_vjp`; it gives one array.
    jacobian : callable
        `jacobian(*args)` gives one array for each floating-point argument: a tuple, or the array itself.
    args, seed, entries, rtol, atol
        As in `check_vjp`; of more than `entries` columns, that many are looked at.

    Raises
    ------
    AssertionError
        An entry is wrong, and which; or f has no derivative there, or is too noisy to tell.
    TypeError
        No argument has a floating-point dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_jacobian
    >>> check_jacobian(fg.softmax, lambda S: fg.softmax_jacobian(fg.softmax(S)), np.array([1.0, 2.0, 4.0]))
    """
    derivative = Numeric(f, Arguments(f, args), seed)
    compare_columns(derivative, jacobian, seed, entries, Tolerance.of(derivative, rtol, atol))
