"""Rounding rules: + - * /, whole powers, sums and products of many, conversion between dtypes."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..bounded import (
    COMPLEX_ROUNDINGS,
    Bounded,
    Reals,
    Rounding,
    Rule,
    error_of,
    exact,
    is_real,
    scaled,
    total,
    unit_roundoff,
)
from ..estimates import fallback


def _add(rounding, eqn, x, y):
    return rounding.rounded(eqn, x.value + y.value, total(x.error, y.error))


def _sub(rounding, eqn, x, y):
    return rounding.rounded(eqn, x.value - y.value, total(x.error, y.error))


def _mul(rounding, eqn, x, y):
    both = None if x.error is None else scaled(y.error, x.error)
    carried = total(scaled(x.error, y.value), scaled(y.error, x.value), both)
    return rounding.rounded(eqn, x.value * y.value, carried)


def _div(rounding, eqn, x, y):
    value = x.value / y.value
    denominator = np.abs(y.value) if y.error is None else np.maximum(np.abs(y.value) - y.error, 0)
    carried = total(x.error, scaled(y.error, value))
    if carried is not None:  # 1 / 0 is as sure as its operands are
        carried = np.where(total(x.error, y.error) == 0, 0, carried / denominator)
    # Twice: XLA multiplies by the rounded reciprocal where it may.
    return rounding.rounded(eqn, value, carried, times=2)


def _neg(rounding, eqn, x):
    return Bounded(-x.value, x.error)


def _abs(rounding, eqn, x):
    if x.value.dtype.kind == "c":
        return rounding.rounded(eqn, np.abs(x.value), x.error, COMPLEX_ROUNDINGS)
    return Bounded(np.abs(x.value), x.error)


def _power(rounding: Rounding, eqn: Any, x: Bounded, power: int) -> Bounded:
    if power < 0:  # the power first: it may underflow where its reciprocal is a plain number
        return _div(rounding, eqn, exact(1.0), x if power == -1 else _power(rounding, eqn, x, -power))
    carried = None if x.error is None else (np.abs(x.value) + x.error) ** power - np.abs(x.value) ** power
    return rounding.rounded(eqn, x.value**power, carried, times=max(power - 1, 0))


def _integer_pow(rounding, eqn, x):
    return _power(rounding, eqn, x, eqn.params["y"])


def _square(rounding, eqn, x):
    return _power(rounding, eqn, x, 2)


def _one_minus_square(rounding, eqn, x):
    """tanh's derivative, in jax from 0.11 on: the square may be rounded before the difference is."""
    square = _square(rounding, eqn, x)
    return rounding.rounded(eqn, 1 - square.value, square.error)


def _reduce_prod(rounding, eqn, x):
    axes = tuple(eqn.params["axes"])
    size = np.abs(x.value)
    carried = None if x.error is None else (size + x.error).prod(axes) - size.prod(axes)
    times = max(math.prod(x.value.shape[axis] for axis in axes) - 1, 0)
    return rounding.rounded(eqn, x.value.prod(axes), carried, times)


def running(accumulate: Callable[..., Reals], params: dict[str, Any], array: Reals) -> Reals:
    """Along an axis, forwards or from its end."""
    axis = params["axis"]
    if not params["reverse"]:
        return accumulate(array, axis=axis)
    return np.flip(accumulate(np.flip(array, axis), axis=axis), axis)


def _cumprod(rounding, eqn, x):
    products = functools.partial(running, np.cumprod, eqn.params)
    size, value = np.abs(x.value), products(x.value)
    carried = None if x.error is None else products(size + x.error) - np.abs(value)
    steps = running(np.cumsum, eqn.params, np.ones(x.value.shape)) - 1
    return rounding.rounded(eqn, value, carried, steps)


def _cumlogsumexp(rounding, eqn, x):
    """The errors are averaged, by weights that add up to 1. Each step rounds its result, and a logarithm below 1."""
    if x.value.dtype.kind == "c":
        return fallback(rounding, eqn, x)
    value = running(np.logaddexp.accumulate, eqn.params, x.value)
    if rounding.values_only:
        return Bounded(value, None)
    carried = None if x.error is None else running(np.maximum.accumulate, eqn.params, x.error)
    steps = running(np.cumsum, eqn.params, np.ones(x.value.shape))
    largest = running(np.maximum.accumulate, eqn.params, np.where(np.isfinite(value), np.abs(value), 0))
    own = rounding.u_of(eqn.outvars[0].aval.dtype) * steps * (largest + 2)
    return rounding.rounded(eqn, value, total(carried, own))


# Into another dtype. The value is kept in float64, and what the conversion may round off is error.


def _convert(rounding, eqn, x):
    new, old = np.dtype(eqn.params["new_dtype"]), np.dtype(eqn.invars[0].aval.dtype)
    if not is_real(new):
        if new.kind == "b":
            return Bounded(x.value != 0, None if x.error is None else np.abs(x.value) <= x.error)
        value = np.trunc(x.value.real)
        if x.error is None or not is_real(old):
            return Bounded(value.astype(new), x.error)
        # The next whole number is less than 1 further.
        error = np.maximum(np.trunc(x.value + x.error) - value, value - np.trunc(x.value - x.error))
        return Bounded(value.astype(new), error if error.any() else None)
    if not is_real(old):
        # Whole numbers up to 1 / u have a place of their own, bools among them.
        error = None if x.error is None else x.error.astype(np.float64)
        fits = np.max(np.abs(x.value), initial=0) <= 1 / rounding.u_of(new)
        value = x.value.astype(np.complex128 if new.kind == "c" else np.float64)
        return Bounded(value, error) if fits else rounding.rounded(eqn, value, error)
    value = x.value.real if new.kind != "c" else x.value.astype(np.complex128)
    fits = unit_roundoff(new) <= unit_roundoff(old) and jnp.finfo(new).tiny <= jnp.finfo(old).tiny
    return Bounded(value, x.error) if fits else rounding.rounded(eqn, value, x.error)


def _reduce_precision(rounding, eqn, x):
    u = 2.0 ** -(eqn.params["mantissa_bits"] + 1)
    if rounding.values_only or not rounding.inside:
        return x
    return Bounded(x.value, total(x.error, u * (np.abs(x.value) + error_of(x)) + rounding.underflow))


RULES: dict[str, Rule] = {
    "add": _add,
    "add_any": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "abs": _abs,
    "integer_pow": _integer_pow,
    "square": _square,
    "one_minus_square": _one_minus_square,
    "reduce_prod": _reduce_prod,
    "cumprod": _cumprod,
    "cumlogsumexp": _cumlogsumexp,
    "convert_element_type": _convert,
    "reduce_precision": _reduce_precision,
}
