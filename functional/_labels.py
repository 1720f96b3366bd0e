"""Whole-number labels of a classifier's loss: what is refused, which rows count, and what stands at a label's place.

labels     [...], a class from 0 to classes - 1 for each row, or ignore_index: that row counts for nothing
logits     [..., classes]
"""

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp

from ._check import describe, dtype_of, known_values
from ._typing import Array

REDUCTIONS = ("mean", "sum", "none")


def check_options(op: str, ignore_index: Any, label_smoothing: Any, reduction: Any) -> None:
    """Raises TypeError or ValueError where one of a loss's options is none."""
    if not isinstance(ignore_index, Integral) or isinstance(ignore_index, bool):
        raise TypeError(f"{op}: ignore_index must be an integer; got {describe(ignore_index)}")
    if not isinstance(label_smoothing, (int, float)) or isinstance(label_smoothing, bool):
        raise TypeError(f"{op}: label_smoothing must be a Python number; got {describe(label_smoothing)}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing must be from 0 to 1; got {label_smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")


def check_labels(
    op: str, labels: Any, shape: tuple[int, ...], classes: int, whose: str, ignore_index: int, reduction: str
) -> None:
    """Raises TypeError unless labels is an array of integers, ValueError unless it fits.

    shape: what it must have, the leading axes of the array that `whose` describes. Labels out of range are refused
    where their values are known: not under jax.jit, and not where they lie on devices of other processes.
    """
    dtype = dtype_of(labels)
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
        advice = ". Cast them: labels.astype('int32')" if floating and labels.shape == shape else ""
        if floating and labels.shape == (*shape, classes):
            advice = ". They look like probabilities: labels.argmax(-1) are classes"
        raise TypeError(f"{op}: labels must be an array of integers; got {describe(labels)}{advice}")
    if labels.shape != shape:
        raise ValueError(
            f"{op}: labels must have one class for each row, the shape {shape} of {whose} without its last axis; "
            f"got labels {describe(labels)}"
        )
    if not classes:
        raise ValueError(f"{op}: there must be at least one class; got {whose}")
    if reduction == "mean" and 0 in shape:
        raise ValueError(f"{op}: a mean needs at least one row; got {whose}. The reduction 'sum' gives 0 there")
    values = known_values(labels)
    if values is None:
        return
    wrong = (values != ignore_index) & ((values < 0) | (values >= classes))
    if wrong.any():
        place = tuple(int(axis[0]) for axis in wrong.nonzero())
        raise ValueError(
            f"{op}: labels must be classes from 0 to {classes - 1}, or ignore_index {ignore_index}; "
            f"got {values[place]} at {list(place)}" + (f", and {wrong.sum() - 1} more" if wrong.sum() > 1 else "")
        )


def row_weights(labels: Array, classes: int, ignore_index: int, dtype: Any) -> Array:
    """Returns 1 for a row that counts, 0 for one that is ignored, and NaN where the label is no class."""
    limits = jnp.iinfo(labels.dtype)  # a number that the labels' dtype cannot hold is none of them
    can_be_ignored = limits.min <= ignore_index <= limits.max
    ignored = labels == ignore_index if can_be_ignored else jnp.zeros(labels.shape, bool)
    in_range = (labels >= 0) & (labels <= min(classes - 1, limits.max))
    return jnp.where(ignored, 0, jnp.where(in_range, 1, jnp.nan)).astype(dtype)


def is_label(labels: Array, classes: int) -> Array:
    """Returns bools [..., classes]: True at each row's label."""
    return labels[..., None].astype(jnp.int32) == jax.lax.broadcasted_iota(
        jnp.int32, (*labels.shape, classes), labels.ndim
    )


def at_label(x: Array, labels: Array) -> Array:
    """Returns what x[..., classes] holds at each row's label, and something of the row where the label is no class."""
    last = min(x.shape[-1] - 1, jnp.iinfo(labels.dtype).max)
    index = jnp.clip(labels, 0, last).astype(jnp.int32)[..., None]
    return jnp.take_along_axis(x, index, axis=-1, mode="promise_in_bounds")[..., 0]
