"""The logits z = x @ w + b of many rows and classes, a tile of both at a time.

    forward     z = x_tile @ w_tile + b_tile        peak, total, at_label: running, from one tile of classes to the next
                total = sum over classes of exp(z - peak)                logsumexp = peak + log(total)
    backward    z_bar = row_bar (exp(z - logsumexp) - q)                 x_bar_tile += z_bar @ w_tile^T
                w_bar_tile += x_tile^T @ z_bar                           b_bar_tile += z_bar summed over its rows

Forward takes a tile of rows through all classes. Backward takes a tile of classes through all rows, so that w_bar is
written once, and x_bar is added up. The last tile of an axis begins early enough to be as large as the others; what an
earlier tile had is then left out of the sums.

Both are jitted, so that a call outside of jit does not compile the loops anew.

Source: Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018, for the running sum.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ._check import accumulator
from ._tile import dot
from ._typing import Array


class Rows(NamedTuple):
    """The rows of a batch, or of a tile of it."""

    x: Array
    """`[n, fan_in]`."""
    labels: Array
    """`[n]`, int32."""
    counts: Array
    """`[n]`, bools: False for a row that is ignored, whatever it holds."""


class RowSums(NamedTuple):
    """What forward knows of each row, `[n]` each, in the accumulator's dtype."""

    peak: Array
    """The largest logit."""
    total: Array
    """The sum over classes of exp(z - peak)."""
    at_label: Array
    """The logit of the row's label, or 0 where the label is no class."""
    all_logits: Array | None
    """The sum of the logits, where it was asked for."""


class Tiling(NamedTuple):
    """How the logits `[n, classes]` are divided: the lengths of a tile, and how many there are along each axis."""

    rows: int
    classes: int
    row_tiles: int
    class_tiles: int


def tiling_of(n: int, classes: int, tile_bytes: int, itemsize: int) -> Tiling:
    """Divides `[n, classes]` logits of so many bytes each into tiles of about tile_bytes, about square."""
    most = max(1, tile_bytes // itemsize)
    rows, row_tiles = _divided(n, max(math.isqrt(most), most // classes))
    columns, class_tiles = _divided(classes, most // max(rows, 1))
    return Tiling(rows, columns, row_tiles, class_tiles)


def _divided(size: int, most: int) -> tuple[int, int]:
    """Returns the length of an axis' tiles, and their number. A product is slower where 64 does not divide its rows."""
    most = most - most % 64 if most > 64 else max(most, 1)
    each = -(-size // max(1, -(-size // most)))
    each = min(size, each + -each % 64 if each > 64 else each)
    return each, max(1, -(-size // max(each, 1)))


def _range(n: int) -> Array:
    """0 to n - 1 in the labels' dtype, with x64 too."""
    return jnp.arange(n, dtype=jnp.int32)


def _place(tile: Any, length: int, size: int) -> tuple[Any, Array]:
    """Returns where a tile of an axis begins, and bools: what of it no earlier tile had."""
    start = jnp.minimum(tile * length, size - length)
    return start, start + _range(length) >= tile * length


def _slices(arrays: Any, start: Any, length: int) -> Any:
    """A tile of the first axis of each array of a tree."""
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, length), arrays)


def _slice_of_classes(w: Array, b: Array | None, start: Any, length: int) -> tuple[Array, Array | None]:
    return lax.dynamic_slice_in_dim(w, start, length, 1), _slices(b, start, length)


def _cleared(rows: Rows) -> Array:
    """x with 0 in ignored rows: the cotangent 0 would not undo a NaN."""
    return jnp.where(rows.counts[:, None], rows.x, 0)


def _logits(x: Array, w: Array, b: Array | None) -> Array:
    """`[rows, classes]` of a tile, in the accumulator's dtype."""
    z = dot(x, w, 1, 0)
    return z if b is None else z + b.astype(z.dtype)[None]


@partial(jax.jit, static_argnames=("tiling", "all_logits"))
def row_sums(rows: Rows, w: Array, b: Array | None, *, tiling: Tiling, all_logits: bool) -> RowSums:
    """`w[fan_in, classes]`, `b[classes]` or None. all_logits: whether to add them up too."""
    (n, classes), acc = (len(rows.x), w.shape[1]), accumulator(w.dtype)

    @jax.checkpoint  # so that a derivative of this keeps no tile of logits either
    def with_tile(sums: RowSums, tile: Array, x: Array, labels: Array) -> RowSums:
        start, new = _place(tile, tiling.classes, classes)
        z = _logits(x, *_slice_of_classes(w, b, start, tiling.classes))
        z_new = jnp.where(new[None], z, -jnp.inf)
        # The results do not depend on the peak, and so their derivatives take it for a constant.
        peak = lax.stop_gradient(jnp.maximum(sums.peak, jnp.max(z_new, axis=1)))
        total = sums.total * jnp.exp(sums.peak - peak) + jnp.sum(jnp.exp(z_new - peak[:, None]), axis=1)
        here = (labels >= tile * tiling.classes) & (labels < start + tiling.classes)
        index = jnp.clip(labels - start, 0, tiling.classes - 1)[:, None]
        picked = jnp.take_along_axis(z, index, axis=1, mode="promise_in_bounds")[:, 0]
        every = None if sums.all_logits is None else sums.all_logits + jnp.sum(jnp.where(new[None], z, 0), axis=1)
        return RowSums(peak, total, sums.at_label + jnp.where(here, picked, 0), every)

    def of_rows(tile: Array) -> RowSums:
        start, _ = _place(tile, tiling.rows, n)
        part = _slices(rows, start, tiling.rows)
        x, zero = _cleared(part), jnp.zeros(tiling.rows, acc)
        # The first peak is finite: -inf - -inf is no number.
        sums = RowSums(zero + jnp.finfo(acc).min, zero, zero, zero if all_logits else None)
        step = lambda sums, tile: (with_tile(sums, tile, x, part.labels), None)  # noqa: E731
        return lax.scan(step, sums, _range(tiling.class_tiles))[0]

    return jax.tree.map(lambda a: _unstacked(a, n), lax.map(of_rows, _range(tiling.row_tiles)))


def _unstacked(stacked: Array, n: int) -> Array:
    """`[tiles, rows]` as `[n]`: of the last tile only what no earlier one had."""
    tiles, rows = stacked.shape
    return jnp.concatenate([stacked[:-1].reshape(-1), stacked[-1, tiles * rows - n :]])


@partial(jax.jit, static_argnames=("label_smoothing", "tiling"))
def cotangents(
    rows: Rows,
    w: Array,
    b: Array | None,
    logsumexp: Array,
    row_bar: Array,
    label_smoothing: float,
    tiling: Tiling,
) -> tuple[Array, Array, Array | None]:
    """`(x_bar[n, fan_in], w_bar, b_bar)`, each in its primal's dtype.

    logsumexp, row_bar: `[n]`, in the accumulator's dtype, in which products with z_bar are made too: in float16 the
    share of one class in thousands, divided by thousands of rows, would be 0. label_smoothing: how much of q, the
    probabilities aimed at, is spread over all classes; the rest is the label's.
    """
    (n, fan_in), classes, acc = rows.x.shape, w.shape[1], accumulator(w.dtype)

    @jax.checkpoint
    def of_tile(part: Rows, lse: Array, bar: Array, w_tile: Array, b_tile: Array | None, class_: Array, new: Array):
        x = _cleared(part)
        probabilities = jnp.exp(_logits(x, w_tile, b_tile) - lse[:, None])
        at_label = (class_[None] == part.labels[:, None]).astype(acc)
        z_bar = bar[:, None] * (probabilities - (1 - label_smoothing) * at_label - label_smoothing / classes)
        z_bar = jnp.where(part.counts[:, None], z_bar, 0)
        x_part = dot(z_bar, jnp.where(new[None], w_tile, 0).astype(acc), 1, 1)
        return x_part, (dot(x.astype(acc), z_bar, 0, 0), None if b is None else jnp.sum(z_bar, axis=0))

    def with_classes(bars: tuple[Array, Array, Array | None], tile: Array):
        x_bar, w_bar, b_bar = bars
        start, new = _place(tile, tiling.classes, classes)
        of_classes = (
            *_slice_of_classes(w, b, start, tiling.classes),
            start + _range(tiling.classes),
            new,
        )

        def with_rows(sums: tuple[Array, Any], tile: Array):
            x_bar, w_and_b = sums
            first, new_rows = _place(tile, tiling.rows, n)
            part, lse, bar, x_so_far = _slices((rows, logsumexp, row_bar, x_bar), first, tiling.rows)
            part = part._replace(counts=part.counts & new_rows)
            x_part, more = of_tile(part, lse, bar, *of_classes)
            x_bar = lax.dynamic_update_slice_in_dim(x_bar, x_so_far + x_part, first, 0)
            return (x_bar, jax.tree.map(jnp.add, w_and_b, more)), None

        zeros = jnp.zeros((fan_in, tiling.classes), acc), None if b is None else jnp.zeros(tiling.classes, acc)
        (x_bar, (w_part, b_part)), _ = lax.scan(with_rows, (x_bar, zeros), _range(tiling.row_tiles))
        w_bar = lax.dynamic_update_slice_in_dim(w_bar, w_part.astype(w.dtype), start, 1)
        if b_bar is not None and b_part is not None:
            b_bar = lax.dynamic_update_slice_in_dim(b_bar, b_part.astype(b_bar.dtype), start, 0)
        return (x_bar, w_bar, b_bar), None

    zeros = jnp.zeros(rows.x.shape, acc), jnp.zeros_like(w), None if b is None else jnp.zeros_like(b)
    (x_bar, w_bar, b_bar), _ = lax.scan(with_classes, zeros, _range(tiling.class_tiles))
    return x_bar.astype(rows.x.dtype), w_bar, b_bar
