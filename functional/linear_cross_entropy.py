"""linear_cross_entropy: a linear layer and the classifier's loss of its result, without all logits in memory.

    z         = x @ w + b
    loss      = softmax_cross_entropy(z, labels)              of one row:  logsumexp(z) - sum over classes of  q z
    z_bar     = loss_bar (exp(z - logsumexp(z)) - q)          q: the probabilities aimed at, softmax_cross_entropy.py
    x_bar     = z_bar @ w^T        w_bar = x^T @ z_bar        b_bar = z_bar summed over the rows

A logit is needed once forward and once backward. So it is made twice, a tile at a time (functional/_logit_tiles.py),
and only the logsumexp is kept, one number a row. Where a net ends with many classes, the logits and their cotangents
would fill more memory than all the rest.

Source: the maths is that of functional/lin.py and functional/softmax_cross_entropy.py. That the logits need not be
kept is from Wijmans et al., "Cut your losses in large-vocabulary language models", 2024 (arXiv 2411.09009). Hsu et al.,
"Liger Kernel: efficient Triton kernels for LLM training", 2024 (arXiv 2410.10989), make the gradients forward instead,
which a cotangent per row does not allow.
"""

import math
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ._check import accumulator, check_affine, checked_cotangent, checked_first, describe
from ._labels import check_labels, check_options, row_weights
from ._logit_tiles import Rows, Tiling, cotangents, row_sums, tiling_of
from ._typing import Array, Float, Integer, custom_vjp

TILE_BYTES = 2**22
"""Bytes of a tile of logits by default: about the best on a 2-core CPU (docs/performance.md)."""
GPU_TILE_BYTES = 2**24
"""The same where jax computes on a GPU, which waits for each small kernel. It was not measured on one."""

Reduction: TypeAlias = Literal["mean", "sum", "none"]
# What came, which is alive anyway, and each row's logsumexp: one number a row.
Residuals: TypeAlias = tuple[Array, Array, Array | None, ArrayLike, Array]


def _check(
    x: Any,
    w: Any,
    b: Any,
    labels: Any,
    ignore_index: Any = -100,
    label_smoothing: Any = 0.0,
    reduction: Any = "mean",
    tile_bytes: Any = None,
) -> jnp.dtype:
    op = "linear_cross_entropy"
    dtype = check_affine(op, x, w, b)
    check_options(op, ignore_index, label_smoothing, reduction)
    if not w.shape[1]:
        raise ValueError(f"{op}: w must have at least one class, its last axis; got w {describe(w)}")
    check_labels(op, labels, x.shape[:-1], w.shape[1], f"x {describe(x)}", ignore_index, reduction)
    if tile_bytes is not None and (not isinstance(tile_bytes, int) or isinstance(tile_bytes, bool) or tile_bytes < 1):
        raise ValueError(f"{op}: tile_bytes must be a positive integer, or None; got {tile_bytes!r}")
    return dtype


def _rows(x: Array, w: Array, labels: Array, ignore_index: int) -> tuple[Rows, Array]:
    """Returns the rows on one axis, and their weights: 1, 0 where a row is ignored, NaN where its label is no class."""
    n, labels = math.prod(x.shape[:-1]), labels.reshape(-1)
    weights = row_weights(labels, w.shape[1], ignore_index, accumulator(w.dtype))
    return Rows(x.reshape(n, x.shape[-1]), labels.astype(jnp.int32), weights != 0), weights


def _tiling(weights: Array, w: Array, tile_bytes: int | None) -> Tiling:
    if tile_bytes is None:
        tile_bytes = GPU_TILE_BYTES if jax.default_backend() == "gpu" else TILE_BYTES
    return tiling_of(len(weights), w.shape[1], tile_bytes, weights.dtype.itemsize)


def _linear_cross_entropy(
    x: Any,
    w: Any,
    b: Any,
    labels: Any,
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    tile_bytes: int | None,
) -> tuple[Array, Residuals]:
    dtype = _check(x, w, b, labels, ignore_index, label_smoothing, reduction, tile_bytes)
    x, w, b, labels = jax.tree.map(jnp.asarray, (x, w, b, labels))
    rows, weights = _rows(x, w, labels, ignore_index)
    sums = row_sums(rows, w, b, tiling=_tiling(weights, w, tile_bytes), all_logits=label_smoothing > 0)
    log_total = jnp.log(sums.total)
    loss = log_total - (1 - label_smoothing) * (sums.at_label - sums.peak)
    if sums.all_logits is not None:
        loss = loss - label_smoothing * (sums.all_logits / w.shape[1] - sums.peak)
    loss = jnp.where(rows.counts, weights * loss, 0)
    if reduction == "none":
        loss = loss.reshape(labels.shape)
    else:
        loss = jnp.sum(loss) / (jnp.sum(weights) if reduction == "mean" else 1)
    return loss.astype(dtype), (x, w, b, labels, sums.peak + log_total)


@checked_first(_check)
@custom_vjp(nondiff_argnums=(4, 5, 6, 7))
def linear_cross_entropy(
    x: Float[Array, "*batch fan_in"],
    w: Float[Array, "fan_in classes"],
    b: Float[Array, " classes"] | None,
    labels: Integer[ArrayLike, "*batch"],
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    tile_bytes: int | None = None,
) -> Float[Array, "*result"]:
    """`softmax_cross_entropy(lin(x, w, b), labels)` that never holds all logits, with a hand-written reverse pass.

    Shapes: `x[..., fan_in]` with any leading axes, `w[fan_in, classes]`, `b[classes]` or None, all of one dtype, and
    `labels[...]` with x's leading axes: integers of any width, classes from 0. The result has no axes, or labels' axes
    with the reduction "none", and x's dtype. Half precision computes in float32, the logits too, and rounds once.

    ignore_index, label_smoothing, reduction: those of `softmax_cross_entropy`, and so is what comes of ignored rows,
    infinite logits and labels out of range. tile_bytes: bytes of a tile of logits, by default TILE_BYTES, or
    GPU_TILE_BYTES where jax's default backend is a GPU. These four are static.

    Residuals: the arguments, which are alive anyway, and one number a row. Temporary memory is that of a few tiles of
    logits, of x and of w, whatever the number of rows and classes; in half precision also x_bar's sums in float32.
    Forward-mode derivatives of the gradients (a Hessian times a vector) go by tiles too.

    Raises:
        TypeError: x, w or b is no floating-point array, the dtypes differ, labels holds no integers, or an option has
            the wrong type.
        ValueError: a shape, a label or an option does not fit, or a mean has no rows; the message says which.
    """
    return _linear_cross_entropy(x, w, b, labels, ignore_index, label_smoothing, reduction, tile_bytes)[0]


def linear_cross_entropy_fwd(
    x: Float[Array, "*batch fan_in"],
    w: Float[Array, "fan_in classes"],
    b: Float[Array, " classes"] | None,
    labels: Integer[ArrayLike, "*batch"],
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    tile_bytes: int | None = None,
) -> tuple[Float[Array, "*result"], Residuals]:
    """`(loss, residuals)`: the result of `linear_cross_entropy`, and what `linear_cross_entropy_bwd` needs."""
    return _linear_cross_entropy(x, w, b, labels, ignore_index, label_smoothing, reduction, tile_bytes)


def linear_cross_entropy_bwd(
    ignore_index: int,
    label_smoothing: float,
    reduction: Reduction,
    tile_bytes: int | None,
    residuals: Residuals,
    loss_bar: Float[Array, "*result"],
) -> tuple[Float[Array, "*batch fan_in"], Float[Array, "fan_in classes"], Float[Array, " classes"] | None, None]:
    """Cotangents `(x_bar, w_bar, b_bar, None)` for `loss_bar`: labels have none, and None for b_bar where b was None.

    ignore_index, label_smoothing, reduction, tile_bytes: as given to `linear_cross_entropy`. residuals: what
    `linear_cross_entropy_fwd` returned beside the loss. loss_bar: an array of the loss's shape and dtype, else
    ValueError or TypeError.
    """
    x, w, b, labels, logsumexp = residuals
    labels = jnp.asarray(labels)
    shape = labels.shape if reduction == "none" else ()
    loss_bar = checked_cotangent("linear_cross_entropy_bwd", "loss_bar", loss_bar, shape, w.dtype)
    rows, weights = _rows(x, w, labels, ignore_index)
    row_bar = weights * loss_bar.reshape(-1).astype(weights.dtype)  # each row has its own, or all have the same
    if reduction == "mean":
        row_bar = row_bar / jnp.maximum(jnp.sum(weights), 1)  # where no row counts, the gradients are 0, not 0 / 0
    tiling = _tiling(weights, w, tile_bytes)
    x_bar, w_bar, b_bar = cotangents(rows, w, b, logsumexp, row_bar, label_smoothing, tiling)
    return x_bar.reshape(x.shape), w_bar, b_bar, None


linear_cross_entropy.defvjp(linear_cross_entropy_fwd, linear_cross_entropy_bwd)
