"""Rounding rules: comparisons, what they decide, and functions that only ever rise.

A comparison whose sides lie within their own error of each other is uncertain, and so is a step within error of its
jump. They are counted, and the bound spans both sides.
"""

import operator
from typing import Any

import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, is_real, total
from ..estimates import fallback, in_double

FLOAT64_EPS = float(np.finfo(np.float64).eps)

# Functions that never fall when an input rises: over x - e .. x + e they lie between their values at the ends.
RISING = {
    "max": lambda eqn, x, y: np.maximum(x, y),
    "min": lambda eqn, x, y: np.minimum(x, y),
    "clamp": lambda eqn, low, x, high: np.minimum(np.maximum(x, low), high),
    "reduce_max": lambda eqn, x: x.max(tuple(eqn.params["axes"])),
    "reduce_min": lambda eqn, x: x.min(tuple(eqn.params["axes"])),
    "sort": lambda eqn, x: np.sort(x, eqn.params["dimension"]),
    "floor": lambda eqn, x: np.floor(x),
    "ceil": lambda eqn, x: np.ceil(x),
    "sign": lambda eqn, x: np.sign(x),
}
BY_ITSELF = ("reduce_window_max", "reduce_window_min", "cummax", "cummin", "round")
RISING |= dict.fromkeys(BY_ITSELF, lambda eqn, x: in_double(eqn, x)[0])
STEPS = {"floor", "ceil", "sign", "round"}


def rising(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Bounded:
    name = eqn.primitive.name
    if any(x.value.dtype.kind == "c" for x in inputs):  # the sign of a complex number turns with it
        return fallback(rounding, eqn, *inputs)
    values = [x.value for x in inputs]
    value = RISING[name](eqn, *values)
    peak_of = values[0] if name in ("reduce_max", "reduce_min") else inputs if name in ("max", "min") else None
    if rounding.ties and name == "sign":
        rounding.gate(value == 0)
        return Bounded(value, total(inputs[0].error, np.where(value == 0, 1.0, 0.0)))
    if all(x.error is None for x in inputs):
        if name in STEPS:
            rounding.gate(np.zeros(value.shape, bool))
        return Bounded(value, None, peak_of)
    errors = [0 if x.error is None else x.error for x in inputs]
    ends = [RISING[name](eqn, *[v + sign * e for v, e in zip(values, errors, strict=True)]) for sign in (1, -1)]
    error = np.maximum(*[gap(end, value) for end in ends])
    if name in STEPS:
        rounding.gate(error > 0)
    elif rounding.u < FLOAT64_EPS:  # float64 is under test, so the ends were rounded as well
        error = error + FLOAT64_EPS * np.where(np.isfinite(value), np.abs(value), 0)
    return Bounded(value, error, peak_of)


def _scatter_peak(rounding, eqn, into, indices, updates):
    """scatter-max and scatter-min: with whole indices, they rise with what is there and with what comes."""
    if indices.error is not None or not is_real(eqn.outvars[0].aval.dtype):
        return fallback(rounding, eqn, into, indices, updates)
    value = in_double(eqn, into.value, indices.value, updates.value)[0]
    if into.error is None and updates.error is None:
        return Bounded(value, None)
    pairs = [(x.value, error_of(x)) for x in (into, updates)]
    ends = [[x + sign * e for x, e in pairs] for sign in (1, -1)]
    errors = [gap(in_double(eqn, a, indices.value, b)[0], value) for a, b in ends]
    return Bounded(value, np.maximum(*errors))


def _minus(x: Reals, y: Reals) -> Reals:
    return (x if is_real(x.dtype) else x.astype(np.float64)) - y  # bools and unsigned numbers have no negative


def gap(x: Reals, y: Reals) -> Reals:
    return np.where(x == y, 0, np.abs(_minus(x, y)))  # the same infinity twice is no gap


COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne", "lt_to", "le_to", "eq_to")


def _compare(rounding, eqn, x, y):
    value = getattr(operator, eqn.primitive.name.removesuffix("_to"))(x.value, y.value)
    reach = total(x.error, y.error)
    tied = _tied(eqn, x, y) if rounding.ties else None
    if tied is not None and tied.any():
        rounding.gate(tied)
        return Bounded(value, tied)
    if reach is None or eqn.invars[0] is eqn.invars[1]:  # x != x asks for NaN
        rounding.gate(np.zeros(value.shape, bool))
        return Bounded(value, None)
    uncertain = np.broadcast_to((np.abs(_minus(x.value, y.value)) <= reach) & (reach > 0), value.shape)
    if y.peak_of is x.value:
        # One element is sure to equal the maximum: the one near it, if there is only one.
        axes = tuple(axis for axis, size in enumerate(y.value.shape) if size == 1)
        uncertain = uncertain & (np.count_nonzero(uncertain, axes, keepdims=True) > 1)
    elif isinstance(y.peak_of, tuple) and any(x.value is operand.value for operand in y.peak_of):
        # x == max(x, other): as sure as x >= other is, whatever the error that x and the maximum share.
        one, other = y.peak_of
        uncertain = np.abs(_minus(one.value, other.value)) <= total(one.error, other.error)
        uncertain = np.broadcast_to(uncertain & (reach > 0), value.shape)
    rounding.gate(uncertain)
    return Bounded(value, uncertain)


def _tied(eqn: Any, x: Bounded, y: Bounded) -> Reals | None:
    """Where two numbers are equal of which one is asked whether it is the larger, or the largest."""
    if not is_real(eqn.invars[0].aval.dtype) or eqn.invars[0] is eqn.invars[1]:
        return None
    equal = np.asarray(x.value == y.value)
    if eqn.primitive.name not in ("eq", "ne"):
        return equal
    if y.peak_of is x.value:  # one is sure to equal the maximum; several are a tie
        axes = tuple(axis for axis, size in enumerate(y.value.shape) if size == 1)
        return equal & (np.count_nonzero(equal, axes, keepdims=True) > 1)
    if isinstance(y.peak_of, tuple) and any(x.value is operand.value for operand in y.peak_of):
        one, other = y.peak_of
        return np.broadcast_to(one.value == other.value, equal.shape)
    return None  # x == 0, say, asks for that number, and is no kink


def select(which: Bounded, cases: list[Bounded]) -> Bounded:
    """Element by element the case that `which` (bool or whole) says; over all cases where that is uncertain."""
    index = which.value.astype(int)
    arrays = np.broadcast_arrays(index, *[case.value for case in cases])
    value = np.where(index, arrays[2], arrays[1]) if len(cases) == 2 else np.choose(arrays[0], arrays[1:])
    if which.error is None and all(case.error is None for case in cases):
        return Bounded(value, None)
    if value.dtype == bool:
        return _select_bools(which, cases, value)
    errors = [error_of(case) for case in cases]
    error = np.where(index, errors[1], errors[0]) if len(cases) == 2 else np.choose(index, errors)
    if which.error is not None:
        gaps = [gap(case.value, value) for case in cases]
        span = np.max(np.broadcast_arrays(*gaps), axis=0) + np.max(np.broadcast_arrays(*errors), axis=0)
        error = np.where(np.asarray(which.error) > 0, span, error)
    return Bounded(value, error)


def _select_bools(which: Bounded, cases: list[Bounded], value: Reals) -> Bounded:
    differ = np.any(np.broadcast_arrays(*[case.value != value for case in cases]), axis=0)
    doubt = np.any(np.broadcast_arrays(*[error_of(case) for case in cases]), axis=0)
    unsure = error_of(which) > 0
    return Bounded(value, (differ & unsure) | doubt)


def _and(rounding, eqn, x, y):
    x_doubt, y_doubt = error_of(x), error_of(y)
    return Bounded(x.value & y.value, (x_doubt & (y.value | y_doubt)) | (y_doubt & (x.value | x_doubt)))


def _not(rounding, eqn, x):
    return Bounded(~x.value, x.error)


def _or(rounding, eqn, x, y):
    return _not(rounding, eqn, _and(rounding, eqn, _not(rounding, eqn, x), _not(rounding, eqn, y)))


def _xor(rounding, eqn, x, y):
    return Bounded(x.value ^ y.value, error_of(x) | error_of(y))


def _all(rounding, eqn, x):
    axes = tuple(eqn.params["axes"])
    possible = (x.value | error_of(x)).all(axes)
    certain = (x.value & ~error_of(x)).all(axes)
    return Bounded(x.value.all(axes), possible & ~certain)


def _any(rounding, eqn, x):
    return _not(rounding, eqn, _all(rounding, eqn, _not(rounding, eqn, x)))


def _remainder(rounding, eqn, x, y):
    value = np.fmod(x.value, y.value)  # exact, in every precision
    if y.error is not None:
        return fallback(rounding, eqn, x, y)
    if x.error is None:
        rounding.gate(np.zeros(value.shape, bool))
        return Bounded(value, None)
    ends = [np.trunc((x.value + sign * x.error) / y.value) for sign in (1, -1)]
    jumps = ends[0] != ends[1]
    rounding.gate(jumps)
    return rounding.rounded(eqn, value, np.where(jumps, np.abs(y.value) + x.error, x.error))


RULES: dict[str, Rule] = dict.fromkeys(RISING, rising) | dict.fromkeys(COMPARISONS, _compare)
RULES |= {
    "scatter-max": _scatter_peak,
    "scatter-min": _scatter_peak,
    "select_n": lambda rounding, eqn, which, *cases: select(which, list(cases)),
    "and": _and,
    "or": _or,
    "xor": _xor,
    "not": _not,
    "reduce_and": _all,
    "reduce_or": _any,
    "is_finite": lambda rounding, eqn, x: Bounded(np.isfinite(x.value), None),
    "rem": _remainder,
}
