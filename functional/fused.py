"""fused: the net's loss and gradients in one walk over tiles of rows.

The same maths as `forward_and_backward`, and the same values up to rounding. Each tile goes forward and backward (the
equations are in functional/_tile.py) before the next one is read, so that memory is that of one tile, whatever n:

    loss = sum over tiles of sum(d^2) / n        w_k_bar, b_k_bar = sums over tiles        x_bar = w_1 z_1_bar

That order is sound because the loss is a mean or a sum over rows: each row's output_bar is known from that row alone,
up to a factor that all rows share. A cotangent per row, or a loss in which rows meet (a norm, a softmax over the
batch), would have to be known first.

Where each saving comes from, with the figures: docs/performance.md.
"""

import functools
import math
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ._check import accumulator, describe, scalar
from ._tile import Sums, Tile, Turned, checked, checked_mask, dot, of_rows, tile_pass, turn, turn_back, whole_batch
from ._typing import Array, Float, Params

TILE_BYTES = 2**23
"""What the rows and activations of a tile take by default: about the best on a 2-core CPU (docs/performance.md)."""

# The gradients at a loss cotangent of 1, which a scalar loss's cotangent only scales: (grads, x_bar, targ_bar).
Residuals: TypeAlias = tuple[Params, Array, Array]


def fused_value_and_grad(
    params: Params,
    x: Array,
    targ: Float[Array, "*targ"],
    *,
    mean: Any = None,
    std: Any = None,
    reduction: Literal["mean", "sum"] = "mean",
    x_bar: bool = False,
    tile_rows: int | None = None,
    mask: Any = None,
    axis_name: Hashable | None = None,
) -> tuple[Array, Params] | tuple[Array, Params, Array]:
    """`(loss, grads)` of the dense net with squared error: `forward_and_backward`, made fast.

    Shapes and dtypes: as for `mlp_loss`. x may also be uint8, which takes a quarter of float32's memory: one tile of
    it is widened at a time. With mean and std (real numbers in x's unit, or arrays of one, so they may be traced) the
    net's input is `(x - mean) / std`, folded into the first layer as `w_1 / std` and
    `b_1 - (mean / std) * sum of w_1 over fan_in`.

    reduction: "mean" over all elements of targ, or "sum". x_bar: return a third value, the gradient with respect to x
    as it was given; z_1_bar of all rows is then kept as well. tile_rows: rows in a tile, by default as many as fit in
    TILE_BYTES. Temporary memory is that of one tile and of the gradients, whatever the number of rows.

    mask: bools of x's leading axes; where False, the row is padding (any finite numbers) and counts for nothing: the
    mean is that of the other rows. axis_name: that of a mapped axis (`jax.shard_map`, `jax.vmap`) along which the batch
    is divided; loss and grads are then those of the whole batch, by one all-reduce after the last tile.

    To be jitted (reduction, x_bar, tile_rows and axis_name are static), and not to be differentiated: for `jax.grad`
    there is `fused_mlp_loss`. Raises ValueError for a shape that does not fit, another reduction, only one of mean and
    std, a tile_rows that is not positive, and x_bar of uint8, which has no gradient; TypeError for a dtype that does
    not fit.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"fused_value_and_grad: reduction must be 'mean' or 'sum'; got {reduction!r}. A tile goes backward before "
            "the other tiles are seen: sound only where the loss is a sum over rows"
        )
    if (mean is None) != (std is None):
        raise ValueError(f"fused_value_and_grad: give both mean and std, or neither; got mean={mean}, std={std}")
    if x_bar and getattr(x, "dtype", None) == jnp.uint8:
        raise ValueError(f"fused_value_and_grad: x_bar needs a floating-point x; got x {describe(x)}")
    params, x, targ, dtype = checked(params, x, targ, raw=True)
    mask = None if mask is None else checked_mask("fused_value_and_grad", mask, x.shape[:-1], "x's leading axes")
    layers, acc = turn(params), accumulator(dtype)
    if mean is not None:
        mean, std = (scalar("fused_value_and_grad", name, v, acc) for name, v in (("mean", mean), ("std", std)))
        layers[0] = _folded(layers[0], mean, std)
    # Of a masked or divided batch the number of rows is known only at the end: it then divides what was added up.
    later = mask is not None or axis_name is not None
    scale = 2 / max(targ.size, 1) if reduction == "mean" and not later else 2.0
    squares, sums, z1_bar, _ = _walk(layers, x, targ, scale, tile_rows, mask, keep=x_bar)
    if later:
        squares, sums, size = whole_batch(squares, sums, targ.size, mask, axis_name, acc)
        if reduction == "mean":
            squares = squares / size
            at_least_1 = jnp.maximum(size, 1)
            sums, z1_bar = jax.tree.map(lambda bar: (bar.astype(acc) / at_least_1).astype(bar.dtype), (sums, z1_bar))
    elif reduction == "mean":
        squares = squares / targ.size
    loss = squares
    if mean is not None:
        sums[0] = _unfolded(sums[0], mean, std)
    result = loss.astype(dtype), turn_back(sums, params)
    return (*result, _x_bar(layers, z1_bar, x)) if x_bar else result


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def fused_mlp_loss(
    params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"], tile_rows: int | None = None
) -> Float[Array, ""]:
    """`mlp_loss` whose reverse pass is the fused one: the drop-in for `jax.grad`, with cotangents for x and targ too.

    Shapes, dtypes and errors: as for `mlp_loss`; tile_rows (static): as for `fused_value_and_grad`.

    Residuals: the gradients themselves. They are made on the way forward, and backward only multiplies them by the
    loss's cotangent, one number. Under `jax.jit` those that nobody uses cost nothing.
    """
    loss, _ = fused_mlp_loss_fwd(params, x, targ, tile_rows)
    return loss


def fused_mlp_loss_fwd(
    params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"], tile_rows: int | None = None
) -> tuple[Float[Array, ""], Residuals]:
    """`fused_mlp_loss`, and what backward needs."""
    params, x, targ, dtype = checked(params, x, targ, raw=False)
    layers = turn(params)
    squares, sums, z1_bar, output_bar = _walk(layers, x, targ, 2 / max(targ.size, 1), tile_rows, None, keep=True)
    targ_bar = -output_bar.T.reshape(targ.shape)
    return (squares / targ.size).astype(dtype), (turn_back(sums, params), _x_bar(layers, z1_bar, x), targ_bar)


def fused_mlp_loss_bwd(tile_rows: int | None, residuals: Residuals, loss_bar: Float[Array, ""]) -> Residuals:
    """Cotangents `(params_bar, x_bar, targ_bar)` for `loss_bar`."""
    # In the wide dtype, so that a half-precision gradient is rounded once more, not twice.
    acc = accumulator(loss_bar.dtype)
    return jax.tree.map(lambda bar: (loss_bar.astype(acc) * bar.astype(acc)).astype(bar.dtype), residuals)


fused_mlp_loss.defvjp(fused_mlp_loss_fwd, fused_mlp_loss_bwd)


def _walk(
    layers: list[Turned], x: Array, targ: Array, scale: float, tile_rows: int | None, mask: Array | None, *, keep: bool
) -> Tile:
    """`tile_pass` over all rows, added up; z_1_bar and output_bar are those of all rows if they are to be kept."""
    rows_of_x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    targets = targ.reshape(len(rows_of_x), layers[-1].w.shape[1])
    n, dtype = len(rows_of_x), targ.dtype
    if tile_rows is None:
        widths = x.shape[-1] + sum(layer.w.shape[1] for layer in layers)
        tile_rows = max(1, TILE_BYTES // (widths * dtype.itemsize))
        tile_rows -= tile_rows % 64 if tile_rows > 64 else 0  # a product whose rows end in a rest is slower
    elif not isinstance(tile_rows, int) or tile_rows < 1:
        raise ValueError(f"tile_rows must be a positive integer; got {tile_rows!r}")
    tiles, rows = max(1, -(-n // tile_rows)), tile_rows

    def of(start: Any, count: int) -> Tile:
        part, goal = (lax.dynamic_slice_in_dim(a, start, count) for a in (rows_of_x, targets))
        here = None if mask is None else lax.dynamic_slice_in_dim(mask.reshape(-1), start, count)
        tile = tile_pass(layers, part.astype(dtype), goal.T, scale, of_rows(here))
        return tile if keep else tile._replace(z1_bar=tile.z1_bar[:, :0], output_bar=tile.output_bar[:, :0])

    last = of((tiles - 1) * rows, n - (tiles - 1) * rows)
    if tiles == 1:
        return last

    def add(total: tuple[Array, Sums], tile: Array) -> tuple[tuple[Array, Sums], tuple[Array, Array]]:
        squares, sums, *bars = of(tile * rows, rows)
        return jax.tree.map(jnp.add, total, (squares, sums)), (bars[0], bars[1])

    def beside(stacked: Array, last: Array) -> Array:
        """`[tiles, units, rows]` and the last tile's `[units, rest]` as `[units, n]`."""
        return jnp.concatenate([jnp.moveaxis(stacked, 1, 0).reshape(len(last), -1), last], axis=1)

    total, bars = lax.scan(add, (last.squares, last.sums), jnp.arange(tiles - 1))
    return Tile(*total, beside(bars[0], last.z1_bar), beside(bars[1], last.output_bar))


def _x_bar(layers: list[Turned], z1_bar: Array, x: Array) -> Array:
    return dot(z1_bar, layers[0].w_t, 0, 0).astype(x.dtype).reshape(x.shape)


def _folded(layer: Turned, mean: Array, std: Array) -> Turned:
    """The layer that gives for x what `layer` gives for `(x - mean) / std`."""
    w, w_t, b = layer
    wide = w_t.astype(mean.dtype)
    shift = (mean / std) * jnp.sum(wide, axis=1, keepdims=True)
    return Turned(w, (wide / std).astype(w.dtype), (0 if b is None else b.astype(mean.dtype)) - shift)


def _unfolded(sums: tuple[Array, Array | None], mean: Array, std: Array) -> tuple[Array, Array | None]:
    """The cotangents for the layer itself, from those for the folded one."""
    w_bar_t, b_bar = sums
    assert b_bar is not None, "a folded layer has a b"
    return (w_bar_t - mean * b_bar) / std, b_bar
