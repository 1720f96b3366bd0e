"""Rounding rules: + - * /, whole powers, sums and products of many, conversion between dtypes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, exact, is_real, most_alike, scaled, total, unit_roundoff
from ..estimates import fallback, in_double

SUM_CONSTANT = 5.0  # for a sum of many terms; where it comes from: docs/how-it-decides.md


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
    # Twice: XLA multiplies by the rounded reciprocal where it may.
    return rounding.rounded(eqn, value, None if carried is None else carried / denominator, times=2)


def _same_error(value: Callable[[Reals], Reals]) -> Rule:
    return lambda rounding, eqn, x: Bounded(value(x.value), x.error)


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


# Sums: of products, and of elements.


def _sum(rounding, eqn, value, absolute, terms, carried, accumulator=None, alike=1) -> Bounded:
    accumulator = accumulator or eqn.outvars[0].aval.dtype
    if not is_real(accumulator):
        return Bounded(value, carried)
    likely = np.sqrt(alike) * (SUM_CONSTANT * absolute + np.sqrt(terms) * np.abs(value))
    spread = np.minimum(terms * absolute, likely)
    return rounding.rounded(eqn, value, total(carried, unit_roundoff(accumulator) * spread))


def _bilinear(rounding, eqn, x, y, product: Callable[[Reals, Reals], Reals], terms: int, alike: int) -> Bounded:
    x, y = (rounding.factor(operand, var.aval.dtype) for operand, var in zip((x, y), eqn.invars, strict=True))
    carried = None if x.error is None else product(x.error, np.abs(y.value))
    if y.error is not None:
        x_size = np.abs(x.value) if x.error is None else np.abs(x.value) + x.error
        carried = total(carried, product(x_size, error_of(y)))
    absolute = product(np.abs(x.value), np.abs(y.value))
    accumulator = eqn.params["preferred_element_type"]
    return _sum(rounding, eqn, product(x.value, y.value), absolute, terms, carried, accumulator, alike)


def _products_alike(*factors: tuple[Reals, tuple[int, ...]]) -> int:
    """How many products in a sum may be the same number: as many as the factor that repeats itself less often repeats.

    Equal products of different factors are chance, and not counted. Each factor comes with the axes summed over.
    """
    alike = math.inf
    for values, axes in sorted(factors, key=lambda factor: factor[0].size):
        if alike != 1:  # where one factor never repeats itself, the other need not be sorted
            alike = min(alike, int(np.max(most_alike(values, axes), initial=1)))
    return int(alike)


def _dot_general(rounding, eqn, x, y):
    numbers = eqn.params["dimension_numbers"]
    terms = math.prod(x.value.shape[axis] for axis in numbers[0][0])
    alike = _products_alike((x.value, numbers[0][0]), (y.value, numbers[0][1]))
    return _bilinear(rounding, eqn, x, y, lambda a, b: _dot(a, b, numbers), terms, alike)


def _dot(x: Reals, y: Reals, dimension_numbers: Any) -> Reals:
    (x_contract, y_contract), (x_batch, y_batch) = dimension_numbers
    x_axes, y_axes = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in zip((*x_contract, *x_batch), (*y_contract, *y_batch), strict=True):
        y_axes[j] = x_axes[i]
    batch = [x_axes[i] for i in x_batch]
    free = [a for a in x_axes + y_axes if (a in x_axes) != (a in y_axes)]
    return np.einsum(x, x_axes, y, y_axes, batch + free, optimize=True)


def _convolution(rounding, eqn, x, y):
    kernel = eqn.params["dimension_numbers"].rhs_spec  # its first axis is the output's features
    terms = math.prod(y.value.shape[axis] for axis in kernel[1:])
    alike = min(_products_alike((x.value, tuple(range(x.value.ndim))), (y.value, tuple(kernel[1:]))), terms)
    return _bilinear(rounding, eqn, x, y, lambda a, b: in_double(eqn, a, b)[0], terms, alike)


def _sum_by(rounding, eqn, sums: Callable[..., Reals], inputs: Sequence[Bounded], terms: Any, alike: Any = 1):
    """A sum of the inputs' elements, where `sums` of arrays sums them."""
    values = [x.value for x in inputs]
    carried = None if all(x.error is None for x in inputs) else sums(*map(error_of, inputs))
    return _sum(rounding, eqn, sums(*values), sums(*map(np.abs, values)), terms, carried, alike=alike)


def _reduce_sum(rounding, eqn, x):
    axes = tuple(eqn.params["axes"])
    terms = math.prod(x.value.shape[axis] for axis in axes)
    return _sum_by(rounding, eqn, lambda array: array.sum(axes), [x], terms, most_alike(x.value, axes))


def _cumsum(rounding, eqn, x):
    axis, reverse = eqn.params["axis"], eqn.params["reverse"]

    def sums(array):
        return np.flip(np.cumsum(np.flip(array, axis), axis), axis) if reverse else np.cumsum(array, axis)

    terms = sums(np.ones(x.value.shape))
    alike = np.minimum(terms, np.expand_dims(most_alike(x.value, (axis,)), axis))
    return _sum_by(rounding, eqn, sums, [x], terms, alike)


def _reduce_window_sum(rounding, eqn, x):
    terms = math.prod(eqn.params["window_dimensions"])
    return _sum_by(rounding, eqn, lambda array: in_double(eqn, array)[0], [x], terms)


def _scatter_add(rounding, eqn, into, indices, updates):
    if indices.error is not None:
        return fallback(rounding, eqn, into, indices, updates)
    options = {name: eqn.params[name] for name in ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")}

    def scatter(a, b):
        with jax.enable_x64(True):
            return np.asarray(jax.lax.scatter_add(a, indices.value, b, **options))

    terms = scatter(np.ones(into.value.shape), np.ones(updates.value.shape))
    return _sum_by(rounding, eqn, scatter, [into, updates], terms)


def _reduce_prod(rounding, eqn, x):
    axes = tuple(eqn.params["axes"])
    size = np.abs(x.value)
    carried = None if x.error is None else (size + x.error).prod(axes) - size.prod(axes)
    times = max(math.prod(x.value.shape[axis] for axis in axes) - 1, 0)
    return rounding.rounded(eqn, x.value.prod(axes), carried, times)


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
        fits = np.max(np.abs(x.value), initial=0) <= 1 / max(rounding.u, unit_roundoff(new))
        value = x.value.astype(np.float64)
        return Bounded(value, error) if fits else rounding.rounded(eqn, value, error)
    value = x.value.real if new.kind != "c" else x.value
    return rounding.rounded(eqn, value, x.error) if new.itemsize < old.itemsize else Bounded(value, x.error)


def _reduce_precision(rounding, eqn, x):
    u = 2.0 ** -(eqn.params["mantissa_bits"] + 1)
    return Bounded(x.value, total(x.error, u * (np.abs(x.value) + error_of(x)) + rounding.underflow))


RULES: dict[str, Rule] = {
    "add": _add,
    "add_any": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _same_error(np.negative),
    "abs": _same_error(np.abs),
    "integer_pow": _integer_pow,
    "square": _square,
    "one_minus_square": _one_minus_square,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "reduce_sum": _reduce_sum,
    "cumsum": _cumsum,
    "reduce_window_sum": _reduce_window_sum,
    "scatter-add": _scatter_add,
    "reduce_prod": _reduce_prod,
    "convert_element_type": _convert,
    "reduce_precision": _reduce_precision,
}
