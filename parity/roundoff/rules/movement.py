"""Rounding rules: what only moves elements about moves their errors in the same way, and rounds nothing."""

from typing import Any

import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, exact, is_real, total
from ..estimates import fallback, in_double

# Where each operand of a primitive says places, not elements.
PLACES = (
    dict.fromkeys(("split", "tile", "unstack", "optimization_barrier"), slice(0, 0))
    | dict.fromkeys(("gather", "scatter"), slice(1, 2))
    | {"dynamic_slice": slice(1, None), "dynamic_update_slice": slice(2, None)}
)


def _move(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Bounded | list[Bounded]:
    name = eqn.primitive.name
    places = inputs[PLACES[name]]
    if name == "scatter" and _computes(eqn):
        return fallback(rounding, eqn, *inputs)
    values = in_double(eqn, *[x.value for x in inputs])
    if any(x.error is not None and np.any(x.error) for x in places):  # any element may be the one; samples know more
        doubt = [np.inf if value.dtype.kind in "fc" else value.dtype == bool or value.size for value in values]
        outputs = [Bounded(value, np.full(value.shape, d)) for value, d in zip(values, doubt, strict=True)]
        return outputs if eqn.primitive.multiple_results else outputs[0]
    errors: list[Reals | None] = [None] * len(values)
    if any(x.error is not None for x in inputs):
        filled = {"fill_value": 0} if name == "gather" else {}  # out of bounds there is no error
        moved = [x.value if any(x is place for place in places) else error_of(x) for x in inputs]
        errors = list(in_double(eqn, *moved, **filled))
    outputs = [Bounded(*pair) for pair in zip(values, errors, strict=True)]
    return outputs if eqn.primitive.multiple_results else outputs[0]


def _computes(eqn: Any) -> bool:
    """Whether a scatter applies a function to what is there, instead of setting it."""
    return bool(getattr(eqn.params["update_jaxpr"], "eqns", ()))


# Several operands side by side: by NumPy, since jax would compile each new set of shapes.

JOINED = {
    "concatenate": lambda params, arrays: np.concatenate(arrays, params["dimension"]),
    "stack": lambda params, arrays: np.stack(arrays, params["axis"]),
}


def _join(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Bounded:
    join = JOINED[eqn.primitive.name]
    error = None if all(x.error is None for x in inputs) else join(eqn.params, [error_of(x) for x in inputs])
    return Bounded(join(eqn.params, [x.value for x in inputs]), error)


# One operand, and a view of it: NumPy copies nothing.


def _broadcast(params, array):
    shape, kept = params["shape"], params["broadcast_dimensions"]
    axes = [1] * len(shape)
    for axis, size in zip(kept, array.shape, strict=True):
        axes[axis] = size
    return np.broadcast_to(array.reshape(axes), shape)


def _reshape(params, array):
    order = params["dimensions"]  # some of jax's own functions transpose by it
    return (array if order is None else array.transpose(order)).reshape(params["new_sizes"])


def _slice(params, array):
    strides = params["strides"] or [1] * array.ndim
    return array[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


VIEWS = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": lambda params, array: array.squeeze(tuple(params["dimensions"])),
    "transpose": lambda params, array: array.transpose(params["permutation"]),
    "slice": _slice,
    "rev": lambda params, array: np.flip(array, params["dimensions"]),
}
UNCHANGED = ("copy", "copy_p", "stop_gradient", "name", "reshard", "sharding_constraint", "layout_constraint")
VIEWS |= dict.fromkeys(UNCHANGED, lambda params, array: array)
PARTS = {"real": np.real, "imag": np.imag, "conj": np.conj}


def _view(rounding: Rounding, eqn: Any, x: Bounded) -> Bounded:
    change = VIEWS[eqn.primitive.name]
    error = None if x.error is None else change(eqn.params, error_of(x))
    return Bounded(change(eqn.params, x.value), error, x.peak_of)


def _pad(rounding: Rounding, eqn: Any, x: Bounded, filling: Bounded) -> Bounded:
    config = eqn.params["padding_config"]
    error = None
    if x.error is not None or filling.error is not None:
        error = _padded(error_of(x), error_of(filling), config)
    return Bounded(_padded(x.value, filling.value, config), error)


def _padded(array: Reals, filling: Reals, config: Any) -> Reals:
    """With `low` and `high` elements more at the ends of each axis, or fewer, and `inner` between any two."""
    sizes = [size + max(size - 1, 0) * inner for size, (_, _, inner) in zip(array.shape, config, strict=True)]
    spread = np.full(sizes, filling, array.dtype)
    spread[tuple(slice(None, None, inner + 1) for _, _, inner in config)] = array
    padded = np.pad(spread, [(max(low, 0), max(high, 0)) for low, high, _ in config], constant_values=filling)
    ends = zip(padded.shape, config, strict=True)
    return padded[tuple(slice(max(-low, 0), size - max(-high, 0)) for size, (low, high, _) in ends)]


COLLECTIVES = ("psum_invariant", "pmax", "pmin", "pvary", "pbroadcast", "device_put")


def _alone(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Any:
    """What one device sends and sums with itself: the interpreter enters a shard_map of one device only."""
    return list(inputs) if eqn.primitive.multiple_results else inputs[0]


def _empty(rounding: Rounding, eqn: Any) -> Bounded:
    aval = eqn.outvars[0].aval  # whatever is in it is overwritten
    return exact(np.zeros(aval.shape), None if is_real(aval.dtype) else aval.dtype)


def _iota(rounding: Rounding, eqn: Any) -> Bounded:
    shape, axis, dtype = (eqn.params[name] for name in ("shape", "dimension", "dtype"))
    return exact(np.indices(shape, sparse=True)[axis] + np.zeros(shape), dtype)


def _part(rounding: Rounding, eqn: Any, x: Bounded) -> Bounded:
    return Bounded(PARTS[eqn.primitive.name](x.value), x.error)


def _complex(rounding: Rounding, eqn: Any, x: Bounded, y: Bounded) -> Bounded:
    return Bounded(x.value + 1j * y.value, total(x.error, y.error))


RULES: dict[str, Rule] = dict.fromkeys(PLACES, _move) | dict.fromkeys(JOINED, _join) | dict.fromkeys(VIEWS, _view)
RULES |= dict.fromkeys(PARTS, _part) | {"complex": _complex, "iota": _iota, "pad": _pad}
RULES |= dict.fromkeys(("empty", "empty2"), _empty)
RULES |= dict.fromkeys(COLLECTIVES, _alone)
RULES["axis_index"] = lambda rounding, eqn: exact(0, eqn.outvars[0].aval.dtype)
