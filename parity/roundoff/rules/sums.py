"""Rounding rules: sums of many terms, and of products.

The terms may come in any order. Terms that are alike are rounded alike, and their errors add up: how often the
commonest term comes widens the bound (docs/how-it-decides.md).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, is_real, most_alike, total, unit_roundoff
from ..estimates import in_double, scatter_options
from .arithmetic import running

SUM_CONSTANT = 5.0  # where it comes from: docs/how-it-decides.md
FEW_ALIKE = 8
"""If one factor of a product repeats itself no more often than this, how often the other does is not counted."""


def _sum(rounding, eqn, value, absolute, terms, carried, accumulator=None, alike: Any = 1) -> Bounded:
    accumulator = accumulator or eqn.outvars[0].aval.dtype
    if not is_real(accumulator):
        return Bounded(value, carried)
    likely = np.sqrt(alike) * (SUM_CONSTANT * absolute + np.sqrt(terms) * np.abs(value))
    spread = np.where(np.isfinite(value), np.minimum(terms * absolute, likely), 0)
    return rounding.rounded(eqn, value, total(carried, _u_of_sum(rounding, accumulator) * spread))


def _u_of_sum(rounding: Rounding, accumulator: Any) -> float:
    u = unit_roundoff(accumulator)
    return u if rounding.counts(accumulator) else min(u, rounding.u)


def _last_place(rounding: Rounding, accumulator: Any, value: Reals, squares: Reals) -> Reals:
    """The ulp of a partial sum: terms that are closer together than this are rounded alike (see the docs)."""
    if not is_real(accumulator):
        return np.zeros(np.shape(value))
    return 2 * _u_of_sum(rounding, accumulator) * np.sqrt(np.maximum(np.abs(value) ** 2, squares))


def _bilinear(rounding, eqn, x, y, product: Callable[[Reals, Reals], Reals], terms: int, alike_of) -> Bounded:
    if rounding.values_only:
        return Bounded(product(x.value, y.value), None)
    x, y = (rounding.factor(operand, var.aval.dtype) for operand, var in zip((x, y), eqn.invars, strict=True))
    x_size, y_size = np.abs(x.value), np.abs(y.value)
    carried = None if x.error is None else product(x.error, y_size)
    if y.error is not None:
        carried = total(carried, product(x_size if x.error is None else x_size + x.error, error_of(y)))
    value, accumulator = product(x.value, y.value), eqn.params["preferred_element_type"]
    last_place = _last_place(rounding, accumulator or eqn.outvars[0].aval.dtype, value, product(x_size**2, y_size**2))
    alike = alike_of(x_size, y_size, last_place) if terms > 1 else 1
    return _sum(rounding, eqn, value, product(x_size, y_size), terms, carried, accumulator, alike)


def _dot_general(rounding, eqn, x, y):
    numbers = eqn.params["dimension_numbers"]
    terms = math.prod(x.value.shape[axis] for axis in numbers[0][0])
    alike = functools.partial(_dot_alike, numbers)
    return _bilinear(rounding, eqn, x, y, lambda a, b: _dot(a, b, numbers), terms, alike)


def _dot_alike(numbers: Any, x: Reals, y: Reals, last_place: Reals) -> Reals:
    """For each sum of products, how many of them are alike: as many as the factor repeats that repeats itself less.

    Equal products of different factors are chance, and not counted. Two products x y are alike where the x are, to
    within the sum's last place over the largest y.
    """
    (x_contract, y_contract), (x_batch, y_batch) = numbers
    x, y = (_rows(*each) for each in ((x, x_batch, x_contract), (y, y_batch, y_contract)))  # [batch, free, contracted]
    shape, last_place = last_place.shape, last_place.reshape(x.shape[0], x.shape[1], y.shape[1])
    with np.errstate(all="ignore"):
        x_apart = np.fmax.reduce(last_place / y.max(-1, initial=0)[:, None, :], axis=2, initial=0)
        y_apart = np.fmax.reduce(last_place / x.max(-1, initial=0)[:, :, None], axis=1, initial=0)
    small, large = sorted(((x, x_apart, 2), (y, y_apart, 1)), key=lambda factor: factor[0].size)
    alike = np.expand_dims(most_alike(small[0], (2,), small[1]), small[2])
    if np.max(alike, initial=1) > FEW_ALIKE:
        alike = np.minimum(alike, np.expand_dims(most_alike(large[0], (2,), large[1]), large[2]))
    return np.broadcast_to(alike, last_place.shape).reshape(shape)


def _rows(array: Reals, batch: Sequence[int], contract: Sequence[int]) -> Reals:
    free = [axis for axis in range(array.ndim) if axis not in (*batch, *contract)]
    sizes = [math.prod(array.shape[axis] for axis in axes) for axes in (batch, free, contract)]
    return array.transpose((*batch, *free, *contract)).reshape(sizes)


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

    def alike(x_size: Reals, y_size: Reals, last_place: Reals) -> int:
        top = np.max(last_place, initial=0)
        with np.errstate(all="ignore"):
            of_x = most_alike(x_size, tuple(range(x_size.ndim)), top / np.max(y_size, initial=0))
            of_y = most_alike(y_size, tuple(kernel[1:]), top / np.max(x_size, initial=0))
        return min(int(of_x), int(np.max(of_y, initial=1)), terms)

    def conv(a: Reals, b: Reals) -> Reals:  # of sizes too, which are real where the operands are complex
        return in_double(eqn, a, b, preferred_element_type=None)[0]

    return _bilinear(rounding, eqn, x, y, conv, terms, alike)


def _sum_by(rounding, eqn, sums: Callable[..., Reals], inputs: Sequence[Bounded], terms: Any, alike_of: Any):
    """A sum of the inputs' elements, where `sums` of arrays sums them; `alike_of` a sum's last place says its likes."""
    values = [x.value for x in inputs]
    value = sums(*values)
    if rounding.values_only:
        return Bounded(value, None)
    carried = None if all(x.error is None for x in inputs) else sums(*map(error_of, inputs))
    sizes = [np.abs(x) for x in values]
    dtype = eqn.outvars[0].aval.dtype
    last_place = _last_place(rounding, dtype, value, sums(*[size**2 for size in sizes])) if is_real(dtype) else 0.0
    return _sum(rounding, eqn, value, sums(*sizes), terms, carried, alike=alike_of(last_place))


def _psum(rounding, eqn, *inputs):
    """Of a vmap: over axes of the arrays. Of a mesh: one device sums with itself, as only such a mesh is entered."""
    axes = tuple(axis for axis in eqn.params["axes"] if isinstance(axis, int))
    found = [_sum_over(axes, rounding, eqn, x) if axes else x for x in inputs]
    return found if eqn.primitive.multiple_results else found[0]


def _reduce_sum(rounding, eqn, x):
    return _sum_over(tuple(eqn.params["axes"]), rounding, eqn, x)


def _sum_over(axes: tuple[int, ...], rounding, eqn, x):
    terms = math.prod(x.value.shape[axis] for axis in axes)
    alike = functools.partial(most_alike, x.value, axes)
    return _sum_by(rounding, eqn, lambda array: array.sum(axes), [x], terms, alike)


def _cumsum(rounding, eqn, x):
    axis, sums = eqn.params["axis"], functools.partial(running, np.cumsum, eqn.params)

    def alike(last_place):
        top = np.max(last_place, axis, initial=0)
        return np.minimum(terms, np.expand_dims(most_alike(x.value, (axis,), top), axis))

    terms = sums(np.ones(x.value.shape))
    return _sum_by(rounding, eqn, sums, [x], terms, alike)


def _fft(rounding, eqn, x):
    """Each of the sums is rounded as often as there are stages, by its share of all that is added up: Higham 2002,
    section 24.1, where the norm of the errors is bounded."""
    value = in_double(eqn, x.value)[0]
    if rounding.values_only:
        return Bounded(value, None)
    axes = tuple(range(x.value.ndim - len(eqn.params["fft_lengths"]), x.value.ndim))
    terms = math.prod(eqn.params["fft_lengths"])
    kind = jax.lax.FftType(eqn.params["fft_type"])
    inverse = kind in (jax.lax.FftType.IFFT, jax.lax.FftType.IRFFT)
    scale = (1 / terms if inverse else 1) * (2 if kind == jax.lax.FftType.IRFFT else 1)  # of which half is kept
    carried = None
    if x.error is not None:
        carried = np.broadcast_to(scale * error_of(x).sum(axes, keepdims=True), value.shape)
    spread = scale * np.sqrt((np.abs(x.value) ** 2).sum(axes, keepdims=True))
    u = _u_of_sum(rounding, eqn.outvars[0].aval.dtype)
    own = SUM_CONSTANT * u * (1 + math.log2(max(terms, 1))) * np.where(np.isfinite(value), spread, 0)
    return rounding.rounded(eqn, value, total(carried, own))


def _reduce_window_sum(rounding, eqn, x):
    terms = math.prod(eqn.params["window_dimensions"])

    def alike(last_place):
        every = tuple(range(x.value.ndim))
        return min(terms, int(most_alike(x.value, every, np.max(last_place, initial=0))))

    return _sum_by(rounding, eqn, lambda array: in_double(eqn, array)[0], [x], terms, alike)


def _scatter_add(rounding, eqn, into, indices, updates):
    if indices.error is not None and np.any(indices.error):  # it may go anywhere; samples know more
        value = in_double(eqn, into.value, indices.value, updates.value)[0]
        return Bounded(value, np.full(value.shape, np.inf))
    if eqn.primitive.name == "scatter-sub":
        updates = Bounded(-updates.value, updates.error)

    def scatter(a, b):
        with jax.enable_x64(True):
            return np.asarray(scatter_of(a, b))

    def alike(last_place):
        if np.max(terms, initial=1) <= FEW_ALIKE:
            return terms
        # Which element each update goes to: the derivative of their sum, with a number of its own for each element.
        places = np.arange(1.0, into.value.size + 1).reshape(into.value.shape)
        with jax.enable_x64(True):
            zeros = np.zeros(into.value.shape), np.zeros(updates.value.shape)
            to = np.asarray(jax.vjp(functools.partial(scatter_of, zeros[0]), zeros[1])[1](places)[0])
        to = to.astype(int).ravel() - 1
        step = np.append(last_place, 0.0)[to]  # -1: it goes nowhere
        with np.errstate(all="ignore"):
            grouped = np.where(step > 0, np.rint(updates.value.ravel() / step), updates.value.ravel())
        kept = (to >= 0) & (updates.value.ravel() != 0)
        pairs, counts = np.unique(np.stack([to[kept], grouped[kept]]), axis=1, return_counts=True)
        likes = np.ones(into.value.size)
        np.maximum.at(likes, pairs[0].real.astype(int), counts)
        return likes.reshape(into.value.shape)

    def scatter_of(a, b):
        return jax.lax.scatter_add(a, indices.value, b, **scatter_options(eqn))

    terms = 1 if rounding.values_only else scatter(np.ones(into.value.shape), np.ones(updates.value.shape))
    return _sum_by(rounding, eqn, scatter, [into, updates], terms, alike)


RULES: dict[str, Rule] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "psum": _psum,
    "reduce_sum": _reduce_sum,
    "cumsum": _cumsum,
    "reduce_window_sum": _reduce_window_sum,
    "scatter-add": _scatter_add,
    "scatter-sub": _scatter_add,
    "fft": _fft,
}
