"""Rounding rules: functions of one to three numbers, whose libraries round here more, there less.

Their values are scipy's, and not those of the primitive in float64: that has errors of its own (jax's polygamma below
0). The errors of the inputs are carried through by evaluating the function where they may lead. What an implementation
rounds itself was measured against scipy, for jax and torch (docs/how-it-decides.md). It has four parts: roundings of
the result, roundings of each argument, roundings of the sizes that are added up inside, and an absolute error.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import scipy.special as scipy

from ..bounded import Bounded, Reals, Rounding, Rule
from ..estimates import fallback
from .elementary import FLOAT32_U, HALF_ROUNDINGS


class Special(NamedTuple):
    """A function, and how well it is computed, in units of u."""

    value: Callable[..., Reals]
    roundings: float = 8
    """Of the result."""
    moved: float = 0
    """Of each argument: where the function is steep, an implementation is as good as rounded arguments allow."""
    absolute: float = 0
    inside: Callable[..., Reals] | None = None
    """The size of what is added up inside and may cancel; it is rounded as often as the result."""
    cell: Callable[[Reals], Reals] | None = None
    """Numbers the intervals between poles: an error that reaches into the next one has no bound."""
    fixed: tuple[int, ...] = ()
    """Arguments that are whole numbers by their meaning, and have no error, whatever made them."""


def _rule(name: str) -> Rule:
    function = SPECIAL[name]

    def rule(rounding: Rounding, eqn, *inputs: Bounded):
        if any(x.value.dtype.kind == "c" for x in inputs):
            return fallback(rounding, eqn, *inputs)
        values = [np.rint(x.value) if i in function.fixed else x.value for i, x in enumerate(inputs)]
        value = function.value(*values)
        if rounding.values_only:
            return Bounded(value, None)
        # In half precision they are computed in float32, and rounded once.
        half = rounding.u_of(eqn.outvars[0].aval.dtype) > FLOAT32_U
        u = FLOAT32_U if half else rounding.u_of(eqn.outvars[0].aval.dtype)
        errors = [
            0.0 if i in function.fixed else (0.0 if x.error is None else x.error) + function.moved * u * np.abs(x.value)
            for i, x in enumerate(inputs)
        ]
        own = function.absolute * u + (0.0 if function.inside is None else 8 * u * function.inside(*values))
        own = np.where(np.isfinite(own), own, 0) + (function.roundings * u * np.abs(value) if half else 0)
        carried = _reach(function, values, errors, value) + own
        return rounding.rounded(eqn, value, carried, HALF_ROUNDINGS if half else function.roundings)

    return rule


def _reach(function: Special, values: list[Reals], errors: list[Reals], value: Reals) -> Reals:
    """How far the function moves where each argument may be off by its error: at the corners of where that leads."""
    moved = [i for i, error in enumerate(errors) if np.any(error)]
    reach = np.zeros(np.shape(value))
    for signs in itertools.product((-1, 1), repeat=len(moved)):
        corner = list(values)
        for sign, i in zip(signs, moved, strict=True):
            corner[i] = values[i] + sign * errors[i]
        there = function.value(*corner)
        gap = np.where(there == value, 0, np.abs(there - value))
        if function.cell is not None:
            gap = np.where(function.cell(corner[-1]) == function.cell(values[-1]), gap, np.inf)
        reach = np.maximum(reach, np.where(np.isnan(gap) & ~np.isnan(value), np.inf, gap))
    return np.where(np.isfinite(value), reach, 0)  # a pole that is hit is infinite in every dtype


def _whole_below_0(x: Reals) -> Reals:
    """lgamma and its derivatives have poles at 0, -1, -2, ..."""
    return np.ceil(np.minimum(x, 1))


def _reflected(function: Callable[[Reals], Reals]) -> Callable[[Reals], Reals]:
    """Below 1/2 the value is computed from that at 1 - x."""
    return lambda x: np.where(x < 0.5, np.abs(function(1 - np.minimum(x, 0.5))), 0)


def _polygamma(order: Reals, x: Reals) -> Reals:
    """(-1)^(n + 1) n! zeta(n + 1, x). scipy's zeta sums from a negative x upwards, as it should."""
    order, x = np.broadcast_arrays(order, x)
    size = scipy.gamma(order + 1) * scipy.zeta(order + 1, x)
    return np.where(order == 0, scipy.digamma(x), np.where(order % 2 == 0, -size, size))


def _half_turn(x: Reals) -> Reals:
    """tan has poles at odd multiples of pi / 2."""
    return np.floor(x / np.pi + 0.5)


def _exponents(value: Callable[..., Reals]) -> Callable[..., Reals]:
    """Of the incomplete gamma functions: they are x^a exp(-x) / gamma(a) times a sum, whose exponents are added up."""
    return lambda a, x: np.abs(value(a, x)) * (a * np.abs(np.log(x)) + x + np.abs(scipy.gammaln(a)))


def _beta_exponents(a: Reals, b: Reals, x: Reals) -> Reals:
    """The incomplete beta function likewise; where x is large it is 1 less that of 1 - x, with exchanged a and b."""
    gammas = sum(np.abs(scipy.gammaln(each)) for each in (a, b, a + b))
    factor = np.where(x > (a + 1) / (a + b + 2), 1, scipy.betainc(a, b, x))
    return factor * (gammas + a * np.abs(np.log(x)) + b * np.abs(np.log1p(-x)))


def _in_double(function: Callable[..., jax.Array]) -> Callable[..., Reals]:
    """jax's own, where scipy has none."""

    def value(*args: Reals) -> Reals:
        with jax.enable_x64(True):
            return np.asarray(function(*np.broadcast_arrays(*args)))

    return value


_igamma_grad_a = _in_double(jax.lax.igamma_grad_a)

SPECIAL = {
    "tan": Special(np.tan, cell=_half_turn),
    "asin": Special(np.arcsin),
    "acos": Special(np.arccos),
    "atanh": Special(np.arctanh),
    "acosh": Special(np.arccosh),
    "atan2": Special(np.arctan2),
    "erf_inv": Special(scipy.erfinv, 16, 4),
    "lgamma": Special(scipy.gammaln, 8, 4, 64, _reflected(scipy.gammaln), _whole_below_0),
    "digamma": Special(scipy.digamma, 8, 4, 24, _reflected(scipy.digamma), _whole_below_0),
    "polygamma": Special(_polygamma, 32, 8, cell=_whole_below_0, fixed=(0,)),
    "zeta": Special(scipy.zeta, 32, 8, cell=_whole_below_0),
    "bessel_i0e": Special(scipy.i0e, 16),
    "bessel_i1e": Special(scipy.i1e, 32),
    "igamma": Special(scipy.gammainc, 32, 16, 64, _exponents(scipy.gammainc)),
    "igammac": Special(scipy.gammaincc, 32, 16, 64, _exponents(scipy.gammaincc)),
    "igamma_grad_a": Special(_igamma_grad_a, 32, 16, 64, _exponents(_igamma_grad_a)),
    "regularized_incomplete_beta": Special(scipy.betainc, 64, 16, 192, _beta_exponents),
}
RULES: dict[str, Rule] = {name: _rule(name) for name in SPECIAL}
