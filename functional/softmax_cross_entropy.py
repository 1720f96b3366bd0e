"""softmax_cross_entropy: the loss of a classifier, of its logits and whole-number labels, and its reverse pass by hand.

    q           = 1 - s at the row's label, 0 elsewhere, plus s / classes everywhere         s is label_smoothing
    loss        = - sum over classes of  q log_softmax(logits)                               of one row
    logits_bar  = loss_bar (softmax(logits) - q)

A row whose label is ignore_index counts for nothing. reduction "mean" divides by the number of the rows that count.

Source: torch's `cross_entropy`, for the names and what they mean; Szegedy et al., "Rethinking the Inception
architecture", 2016, section 7, for label smoothing.
"""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from jax.typing import ArrayLike

from ._check import accumulator, checked_cotangent, checked_first, describe, float_dtype
from ._labels import at_label, check_labels, check_options, is_label, row_weights
from ._softmax import peak_and_total, probabilities
from ._typing import Array, Float, Integer, custom_vjp

Reduction: TypeAlias = Literal["mean", "sum", "none"]
# logits and labels, which are alive anyway, and each row's largest logit and sum of exponentials: two numbers a
# row. Probabilities would be one more array of the logits' size, of float32 in half precision too.
Residuals: TypeAlias = tuple[Array, ArrayLike, Array, Array]


def _check(
    logits: Any, labels: Any, ignore_index: Any = -100, label_smoothing: Any = 0.0, reduction: Any = "mean"
) -> jnp.dtype:
    op = "softmax_cross_entropy"
    dtype = float_dtype(op, logits=logits)
    check_options(op, ignore_index, label_smoothing, reduction)
    if not logits.ndim:
        raise ValueError(f"{op}: logits must have a last axis, of classes; got logits {describe(logits)}")
    whose = f"logits {describe(logits)}"
    check_labels(op, labels, logits.shape[:-1], logits.shape[-1], whose, ignore_index, reduction)
    return dtype


def _cleared(wide: Array, weights: Array) -> Array:
    """Returns the logits with 0 in ignored rows, which may hold anything: the weight 0 would not undo a NaN."""
    return jnp.where(weights[..., None] == 0, 0, wide)


def _softmax_cross_entropy(
    logits: Array, labels: ArrayLike, ignore_index: int, label_smoothing: float, reduction: Reduction
) -> tuple[Array, Residuals]:
    dtype = _check(logits, labels, ignore_index, label_smoothing, reduction)
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    acc = accumulator(dtype)
    weights = row_weights(labels, logits.shape[-1], ignore_index, acc)
    wide = _cleared(logits.astype(acc), weights)
    peak, total = peak_and_total(wide)
    shifted = wide - peak
    loss = jnp.log(total[..., 0]) - (1 - label_smoothing) * at_label(shifted, labels)
    if label_smoothing:
        loss = loss - label_smoothing * jnp.mean(shifted, axis=-1)
    loss = weights * loss
    if reduction != "none":
        loss = jnp.sum(loss)
    if reduction == "mean":
        loss = loss / jnp.sum(weights)
    return loss.astype(dtype), (logits, labels, peak, total)


@checked_first(_check)
@custom_vjp(nondiff_argnums=(2, 3, 4))
def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"],
    labels: Integer[ArrayLike, "*batch"],
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "*result"]:
    """Cross-entropy of softmax(logits) and the labels, with a hand-written reverse pass.

    Shapes: `logits[..., classes]` with any leading axes, and `labels[...]` with the same ones: integers of any width,
    classes from 0. The result has no axes, or labels' axes with the reduction "none", and logits' dtype. Half precision
    computes in float32 and rounds once.

    ignore_index: a row with this label has the loss 0 and the gradient 0, whatever its logits hold. label_smoothing:
    from 0 to 1; so much of the probability is spread evenly over all classes. reduction: "mean" over the rows that
    count, "sum" or "none". These three are static.

    Where all rows are ignored, "mean" is NaN, 0 divided by 0, as in torch; the gradients are 0. Logits are
    right whose differences the dtype can hold. A logit of -inf has the probability 0 (with label smoothing its loss is
    infinite), and a row of nothing but -inf, or one that holds +inf or NaN, is NaN, as it is in jax and torch.

    A label out of range is an error where its value is known. Under `jax.jit` it is not: the row's loss and gradient
    are NaN, and so is the whole mean.

    Residuals: `logits` and `labels`, which are alive anyway, and two numbers a row.

    Raises:
        TypeError: logits is no floating-point array, labels holds no integers, or an option has the wrong type.
        ValueError: a shape, a label or an option does not fit, or a mean has no rows; the message says which.
    """
    return _softmax_cross_entropy(logits, labels, ignore_index, label_smoothing, reduction)[0]


def softmax_cross_entropy_fwd(
    logits: Float[Array, "*batch classes"],
    labels: Integer[ArrayLike, "*batch"],
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> tuple[Float[Array, "*result"], Residuals]:
    """`(loss, residuals)`: the result of `softmax_cross_entropy`, and what `softmax_cross_entropy_bwd` needs."""
    return _softmax_cross_entropy(logits, labels, ignore_index, label_smoothing, reduction)


def softmax_cross_entropy_bwd(
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    residuals: Residuals,
    loss_bar: Float[Array, "*result"],
) -> tuple[Float[Array, "*batch classes"], None]:
    """Cotangents `(logits_bar, None)` for `loss_bar`: whole numbers have none.

    ignore_index, label_smoothing, reduction: as given to `softmax_cross_entropy`. residuals: what
    `softmax_cross_entropy_fwd` returned beside the loss. loss_bar: an array of the loss's shape and dtype, else
    ValueError or TypeError.
    """
    op = "softmax_cross_entropy_bwd"
    logits, labels, peak, total = residuals
    labels = jnp.asarray(labels)
    shape = labels.shape if reduction == "none" else ()
    loss_bar = checked_cotangent(op, "loss_bar", loss_bar, shape, float_dtype(op, logits=logits))
    acc, classes = peak.dtype, logits.shape[-1]
    weights = row_weights(labels, classes, ignore_index, acc)
    row_bar = weights * loss_bar.astype(acc)
    if reduction == "mean":
        row_bar = row_bar / jnp.maximum(jnp.sum(weights), 1)  # where no row counts, the gradients are 0, not 0 / 0
    targ = (1 - label_smoothing) * is_label(labels, classes).astype(acc) + label_smoothing / classes
    softmax = probabilities(_cleared(logits.astype(acc), weights), peak, total)
    return (row_bar[..., None] * (softmax - targ)).astype(loss_bar.dtype), None


softmax_cross_entropy.defvjp(softmax_cross_entropy_fwd, softmax_cross_entropy_bwd)
