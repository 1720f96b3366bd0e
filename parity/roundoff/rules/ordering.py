"""Rounding rules: what is in which place. Sorting, the largest few, the place of the largest, and pooling.

Where errors may change the order of two elements, the order is uncertain. What is carried through is then without
bound; samples (sampling.py) sort each for itself, and know.
"""

import math
from typing import Any

import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, is_real, total
from ..estimates import fallback, in_double
from .comparisons import rising


def _sort(rounding, eqn, *inputs):
    params, keys = eqn.params, eqn.params["num_keys"]
    if len(inputs) == 1:
        return [rising(rounding, eqn, *inputs)]
    inexact = any(x.error is not None for x in inputs[:keys])
    if inexact and (keys > 1 or inputs[0].value.dtype.kind == "c"):
        return fallback(rounding, eqn, *inputs)
    axis = params["dimension"]
    order = _order(eqn, inputs)
    taken = [
        Bounded(
            np.take_along_axis(x.value, order, axis),
            None if x.error is None else np.take_along_axis(x.error, order, axis),
        )
        for x in inputs
    ]
    if not inexact or rounding.values_only:
        return taken
    uncertain = _swaps(taken[0], axis)
    rounding.gate(uncertain)
    key = Bounded(taken[0].value, _sorted_reach(inputs[0], taken[0].value, axis))
    return [key, *[_uncertain(x, uncertain) for x in taken[1:]]]


def _order(eqn: Any, inputs: Any) -> Reals:
    """The places that the elements come from, by NumPy: ties stay in order."""
    axis, keys = eqn.params["dimension"], eqn.params["num_keys"]
    order = np.indices(inputs[0].value.shape)[axis]
    for x in inputs[:keys][::-1]:  # the last key first
        key = np.take_along_axis(x.value, order, axis)
        order = np.take_along_axis(order, np.argsort(key, axis, kind="stable"), axis)
    return order


def _sorted_reach(x: Bounded, value: Reals, axis: int) -> Reals:
    ends = [np.sort(x.value + sign * error_of(x), axis) for sign in (1, -1)]
    return np.maximum(*[np.where(end == value, 0, np.abs(end - value)) for end in ends])


def _swaps(x: Bounded, axis: int) -> Reals:
    """Which elements of a sorted array may change places with a neighbour."""
    error = error_of(x)
    below = np.maximum.accumulate(x.value + error, axis)  # how high those up to here may lie
    above = np.flip(np.minimum.accumulate(np.flip(x.value - error, axis), axis), axis)
    size = x.value.shape[axis]
    lower, upper = np.take(below, range(size - 1), axis), np.take(above, range(1, size), axis)
    moves = np.take(error, range(size - 1), axis) + np.take(error, range(1, size), axis) > 0
    linked = (lower >= upper) & (moves | (lower > upper))
    edge = [(0, 0)] * x.value.ndim
    edge[axis] = (1, 1)
    padded = np.pad(linked, edge)
    return np.take(padded, range(size), axis) | np.take(padded, range(1, size + 1), axis)


def _uncertain(x: Bounded, where: Reals) -> Bounded:
    if not where.any():
        return x
    doubt: Any = True if x.value.dtype == bool else np.inf if is_real(x.value.dtype) else x.value.size
    return Bounded(x.value, np.where(where, doubt, error_of(x)))


def _top_k(rounding, eqn, x):
    axis, k = eqn.params.get("axis", -1) % x.value.ndim, eqn.params["k"]
    order = np.argsort(-x.value, axis, kind="stable")
    place = np.take(order, range(k), axis)
    value = np.take_along_axis(x.value, place, axis)
    place = place.astype(eqn.outvars[1].aval.dtype)
    if x.error is None:
        return [Bounded(value, None), Bounded(place, None)]
    falling = Bounded(-np.take_along_axis(x.value, order, axis), np.take_along_axis(x.error, order, axis))
    uncertain = np.take(_swaps(falling, axis), range(k), axis)
    rounding.gate(uncertain)
    reach = np.take(_sorted_reach(Bounded(-x.value, x.error), falling.value, axis), range(k), axis)
    return [Bounded(value, reach), _uncertain(Bounded(place, None), uncertain)]


def _place(rounding, eqn, x):
    """argmax and argmin: every place counts whose element may be the largest."""
    (axis,) = eqn.params["axes"]
    values = x.value.astype(np.float64) if x.value.dtype.kind in "bu" else x.value
    size = values if eqn.primitive.name == "argmax" else -values
    place = np.argmax(size, axis).astype(eqn.params["index_dtype"])
    if x.error is None:
        return Bounded(place, None)
    error = np.asarray(x.error, np.float64)
    possible = size + error >= np.max(size - error, axis, keepdims=True)
    distance = np.abs(np.indices(size.shape)[axis] - np.expand_dims(place, axis))
    error = np.where(possible, distance, 0).max(axis)
    rounding.gate(error > 0)
    return Bounded(place, error)


def _pooled(rounding: Rounding, eqn: Any, x: Bounded, operand: Bounded) -> Bounded:
    """select_and_scatter_add and select_and_gather_add: the element that each window selects gets x, or gives it."""
    value = in_double(eqn, x.value, operand.value)[0]
    if rounding.values_only:
        return Bounded(value, None)
    certain = operand.error is None or _selects_alike(eqn, x.value, operand)
    rounding.gate(np.full(np.shape(value), not certain))
    if not certain:
        return Bounded(value, np.full(value.shape, np.inf))
    carried = None if x.error is None else in_double(eqn, x.error, operand.value)[0]
    if eqn.primitive.name == "select_and_scatter_add":  # where windows overlap, a sum, and its terms may cancel
        absolute, terms = (in_double(eqn, each, operand.value)[0] for each in (np.abs(x.value), np.ones(x.value.shape)))
        u = rounding.u_of(eqn.outvars[0].aval.dtype)
        carried = total(carried, np.expm1(np.maximum(terms - 1, 0) * math.log1p(u)) * absolute)
    return rounding.rounded(eqn, value, carried)


def _selects_alike(eqn: Any, x: Reals, operand: Bounded) -> bool:
    """Whether every window is sure which element it selects. Overlapping windows are not looked into."""
    params, error = eqn.params, error_of(operand)
    if not error.any():
        return True
    if any(step < size for step, size in zip(params["window_strides"], params["window_dimensions"], strict=True)):
        return False
    if eqn.primitive.name != "select_and_scatter_add":
        return False
    number = np.arange(1.0, x.size + 1).reshape(x.shape)
    chosen = in_double(eqn, number, operand.value)[0]
    sign = 1.0 if getattr(params["select_prim"], "name", "ge") == "ge" else -1.0
    against = operand.value + sign * np.where(chosen > 0, -error, error)
    return bool(np.array_equal(in_double(eqn, number, against)[0], chosen))


RULES: dict[str, Rule] = {
    "sort": _sort,
    "top_k": _top_k,
    "argmax": _place,
    "argmin": _place,
    "select_and_scatter_add": _pooled,
    "select_and_gather_add": _pooled,
}
