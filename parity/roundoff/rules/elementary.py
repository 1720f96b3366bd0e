"""Rounding rules: exp, log, tanh, erf and their like.

The error e of the input is carried through by the function's own steepest slope over [x - e, x + e], in closed form:
unlike f(x + e) - f(x), that does not cancel when e is small. How well the libraries themselves do was measured; the
table, and what it means for the constants here: docs/how-it-decides.md.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from ..bounded import Bounded, Reals, Rounding, Rule, unit_roundoff
from ..estimates import fallback

FLOAT32_U = unit_roundoff(np.float32)
ROUNDINGS = 8  # 4 ulp, in float32 and float64
HALF_ROUNDINGS = 4  # in half precision: most are computed in float32 and rounded once, some of jax's in a few steps

ERF_ABSOLUTE = 8 * FLOAT32_U


class Elementary(NamedTuple):
    value: Callable[[Reals], Reals]
    carried: Callable[[Reals, Reals], Reals]  # (x, e) -> how far the value may move while x moves by e
    argument: Callable[[Reals], Reals] | None = None
    """What the implementation hands to exp, where that is rounded; more generally, further roundings."""


def _rule(name: str) -> Rule:
    function = ELEMENTARY[name]

    def rule(rounding, eqn, x):
        if x.value.dtype.kind == "c":  # the slopes below are those of real functions
            return fallback(rounding, eqn, x)
        value = function.value(x.value)
        # At a singularity that is sure, log 0 say, there is nothing to carry.
        carried = None if x.error is None else np.where(x.error == 0, 0, function.carried(x.value, x.error))
        if rounding.values_only:
            return Bounded(value, None)
        half = _is_half(rounding, eqn)
        times: Reals = HALF_ROUNDINGS if half else ROUNDINGS
        if function.argument is not None:
            # A factor exp(e) for the error e. At the value 0 there is nothing to multiply.
            times = np.where(value == 0, times, times + np.abs(function.argument(x.value)))
        y = rounding.rounded(eqn, value, carried, times)
        absolute = name == "erf" and rounding.u_of(eqn.outvars[0].aval.dtype) >= FLOAT32_U
        return Bounded(value, y.error + ERF_ABSOLUTE) if absolute else y

    return rule


def _is_half(rounding: Rounding, eqn) -> bool:
    return rounding.u_of(eqn.outvars[0].aval.dtype) > FLOAT32_U


def _nearest(x, e):
    """The smallest |x| of the interval, where tanh and its like are steepest."""
    return np.maximum(np.abs(x) - e, 0)


def _log_slip(x, e):
    """How far log x may move; infinite where the interval reaches 0."""
    return np.where(e < x, -np.log1p(-np.minimum(e / x, 1)), np.inf)


def _sqrt_slip(x, e):
    # Downwards it is steeper. Below 0 there is nothing: an error that would lead there ends at sqrt(0).
    low = np.maximum(x - e, 0)
    return np.maximum(np.sqrt(np.maximum(x, 0) + e) - np.sqrt(x), _ratio(x - low, np.sqrt(x) + np.sqrt(low)))


def _ratio(x, y):
    return np.where(x == 0, 0.0, x / y)


def _rsqrt_slip(x, e):
    root, low = np.sqrt(x), np.sqrt(np.maximum(x - e, 0))
    return np.where(e < x, e / ((root + low) * root * low), np.inf)


def _cbrt_slip(x, e):
    # cbrt(|x|) - cbrt(|x| - e): towards 0 it is steepest, and beyond too.
    high, low = np.cbrt(np.abs(x)), np.cbrt(np.abs(x) - e)
    return _ratio(e, high * high + high * low + low * low)


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def _sigmoid_slope(x):
    return _logistic(x) * _logistic(-x)


def _wave_slip(slope):
    # The slope |cos| of sin moves by at most e itself.
    return lambda x, e: np.minimum(e * np.minimum(np.abs(slope(x)) + e, 1), 2)


def _erf_slip(x, e):
    return np.minimum(e * 2 / np.sqrt(np.pi) * np.exp(-(_nearest(x, e) ** 2)), 2)


def _exp_slip(x, e):
    # A mask of -3e38 has an error of 1e22: there exp(x) is 0, and exp(e) infinite.
    return np.where(e < 1, np.exp(x) * np.expm1(e), np.exp(x + e) - np.exp(x))


LOG_2 = np.log(2)

ELEMENTARY = {
    "exp": Elementary(np.exp, _exp_slip),
    # Twice: log 2 is rounded as well as its product.
    "exp2": Elementary(np.exp2, lambda x, e: _exp_slip(LOG_2 * x, LOG_2 * e), lambda x: 2 * LOG_2 * x),
    "expm1": Elementary(np.expm1, _exp_slip),
    "log": Elementary(np.log, _log_slip),
    # In jax from 0.11 on; before, the logarithm was divided. A constant may be rounded, and the product with it.
    "log2": Elementary(np.log2, lambda x, e: _log_slip(x, e) / LOG_2, lambda x: np.full(np.shape(x), 2.0)),
    "log1p": Elementary(np.log1p, lambda x, e: _log_slip(1 + x, e)),
    "sqrt": Elementary(np.sqrt, _sqrt_slip),
    "rsqrt": Elementary(lambda x: 1 / np.sqrt(x), _rsqrt_slip),
    "cbrt": Elementary(np.cbrt, _cbrt_slip),
    "tanh": Elementary(np.tanh, lambda x, e: np.minimum(e * 4 * _sigmoid_slope(2 * _nearest(x, e)), 2)),
    "logistic": Elementary(_logistic, lambda x, e: np.minimum(e * _sigmoid_slope(_nearest(x, e)), 1)),
    "erf": Elementary(scipy.special.erf, _erf_slip),
    "erfc": Elementary(scipy.special.erfc, _erf_slip, lambda x: 8 + x * x),
    "sin": Elementary(np.sin, _wave_slip(np.cos)),
    "cos": Elementary(np.cos, _wave_slip(np.sin)),
    "sinh": Elementary(np.sinh, lambda x, e: e * np.cosh(np.abs(x) + e), np.abs),
    "cosh": Elementary(np.cosh, lambda x, e: e * np.sinh(np.abs(x) + e), np.abs),
    "asinh": Elementary(np.arcsinh, lambda x, e: e / np.hypot(1, _nearest(x, e))),
    "atan": Elementary(np.arctan, lambda x, e: e / (1 + _nearest(x, e) ** 2)),
}


def _pow(rounding, eqn, x, y):
    if "c" in (x.value.dtype.kind, y.value.dtype.kind):
        return fallback(rounding, eqn, x, y)
    base, power = np.abs(x.value), y.value.astype(np.float64)
    value = np.power(x.value, power)
    times = HALF_ROUNDINGS if _is_half(rounding, eqn) else ROUNDINGS
    if x.error is None and y.error is None:
        return rounding.rounded(eqn, value, None, times)
    # x^y = exp(y log x): how far may that exponent move?
    log_slip = 0.0 if x.error is None else _log_slip(base, x.error)
    slip = np.where(power == 0, 0, np.abs(power) * log_slip)
    if y.error is not None:
        slip = slip + y.error * (np.abs(np.log(base)) + log_slip)
    carried = np.abs(value) * np.expm1(slip)
    if y.error is None:  # x may reach 0, where a positive power of it is as small
        reach = np.where(power > 0, (base + x.error) ** power + np.abs(value), np.inf)
        carried = np.where(np.isfinite(carried), carried, reach)
    return rounding.rounded(eqn, value, carried, times)


RULES: dict[str, Rule] = {name: _rule(name) for name in ELEMENTARY} | {"pow": _pow}
