"""fused: the net's loss and gradients in one walk over tiles of rows.

The maths is `forward_and_backward`'s, and so are the values, up to rounding. Each tile goes forward and backward
(functional/_tile.py has the equations) before the next one is read, so temporary memory is that of one tile:

    loss = sum over tiles of sum(d^2) / n        w_k_bar, b_k_bar = sums over tiles        x_bar = w_1 z_1_bar

That order is sound because the loss is a mean or a sum over rows: each row's output_bar follows from that row alone,
up to a factor that all rows share. It would not be sound for a cotangent per row, or for a loss in which rows meet (a
norm, a softmax over the batch): a tile could not go backward before all others went forward.

docs/performance.md says where each saving comes from, with the figures.
"""

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from ._check import accumulator, check_scalar, describe, dtype_of, scalar
from ._check_net import check_loss
from ._fold import fold, unfold
from ._tile import Sums, Tile, Turned, checked, checked_mask, dot, of_rows, tile_pass, turn, turn_back, whole_batch
from ._typing import Array, Params

TILE_BYTES = 2**23
"""Bytes of a tile's rows and activations by default: about the best on a 2-core CPU (docs/performance.md)."""
GPU_TILE_BYTES = 2**28
"""The same where jax computes on a GPU: it waits for each small kernel, so few large tiles are faster (docs/gpu.md)."""

P = ParamSpec("P")
R = TypeVar("R")


def _refuses_x_bar(op: Callable[P, R]) -> Callable[P, R]:
    """Names the new function to callers who still ask for `x_bar=True`, which made `op` return three values."""

    @functools.wraps(op)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if options.pop("x_bar", False):
            raise TypeError(f"{op.__name__}: returns (loss, grads); for x_bar too, call fused_forward_and_backward")
        return op(*args, **options)

    return call


@_refuses_x_bar
def fused_value_and_grad(
    params: Params,
    x: Array,
    targ: Array,
    *,
    mean: Any = None,
    std: Any = None,
    reduction: Literal["mean", "sum"] = "mean",
    tile_rows: int | None = None,
    mask: Any = None,
    axis_name: Hashable | None = None,
) -> tuple[Array, Params]:
    """`(loss, grads)` of the dense net with squared error: `jax.value_and_grad(mlp_loss)`, made fast.

    Shapes and dtypes: those of `mlp_loss`; half precision accumulates in float32. x may also be uint8, which takes a
    quarter of float32's memory: one tile of it is widened at a time. loss has no axes; grads has the structure, shapes
    and dtypes of params. Temporary memory is that of one tile and of the gradients, whatever the number of rows.

    mean, std: real numbers in x's unit, or arrays of one without axes, so they may be traced. The net's input is then
    `(x - mean) / std`, which is folded into the first layer (functional/_fold.py). reduction: "mean" over all elements
    of targ, or "sum". tile_rows: the number of rows in a tile, by default as many as fit in TILE_BYTES, or in
    GPU_TILE_BYTES where jax's default backend is a GPU.

    mask: bools of x's leading axes. A row whose mask is False is padding (any finite numbers): it adds nothing, and the
    mean is that of the other rows. axis_name: the name of a mapped axis (`jax.shard_map`, `jax.vmap`) along which the
    batch is divided. loss and grads are then those of the whole batch, by one all-reduce after the last tile.

    Jit it, with reduction, tile_rows and axis_name static. It cannot be differentiated: `jax.grad` takes
    `fused_mlp_loss`.

    Raises:
        ValueError: a shape does not fit, reduction is neither of the two, only one of mean and std is given, or
            tile_rows is not positive.
        TypeError: a dtype does not fit, or x_bar is asked for, as it could be in 0.1.0.
    """
    options = mean, std, reduction, tile_rows, mask, axis_name
    loss, grads, _ = _fused("fused_value_and_grad", params, x, targ, *options, with_x_bar=False)
    return loss, grads


def fused_forward_and_backward(
    params: Params,
    x: Array,
    targ: Array,
    *,
    mean: Any = None,
    std: Any = None,
    reduction: Literal["mean", "sum"] = "mean",
    tile_rows: int | None = None,
    mask: Any = None,
    axis_name: Hashable | None = None,
) -> tuple[Array, Params, Array]:
    """`(loss, grads, x_bar)` of the dense net with squared error: `forward_and_backward`, made fast.

    Arguments, loss, grads and errors: those of `fused_value_and_grad`, except that x must be floating-point: uint8 has
    no gradient, and raises ValueError. x_bar is the gradient with respect to x as it was given, before mean and std,
    with x's shape and dtype; it is 0 where mask is False, and each device along axis_name has that of its own rows. Its
    price is memory for z_1_bar of all rows, and one more product.
    """
    options = mean, std, reduction, tile_rows, mask, axis_name
    loss, grads, x_bar = _fused("fused_forward_and_backward", params, x, targ, *options, with_x_bar=True)
    assert x_bar is not None, "it was asked for"
    return loss, grads, x_bar


def _fused(
    op: str,
    params: Params,
    x: Any,
    targ: Any,
    mean: Any,
    std: Any,
    reduction: str,
    tile_rows: int | None,
    mask: Any,
    axis_name: Hashable | None,
    *,
    with_x_bar: bool,
) -> tuple[Array, Params, Array | None]:
    """What both functions above compute. x_bar is None unless it is asked for."""
    check_arguments(op, params, x, targ, mean, std, reduction, mask, with_x_bar=with_x_bar)
    params, x, targ, dtype = checked(op, params, x, targ, raw=True)
    mask = None if mask is None else jnp.asarray(mask)
    layers, acc = turn(params), accumulator(dtype)
    if mean is not None:
        mean, std = (scalar(op, name, v, acc) for name, v in (("mean", mean), ("std", std)))
        layers[0] = fold(layers[0], mean, std)
    # The number of rows of a masked or divided batch is known only at the end, and then divides the sums.
    later = mask is not None or axis_name is not None
    scale = 2 / max(targ.size, 1) if reduction == "mean" and not later else 2.0
    loss, sums, z1_bar, _ = walk(layers, x, targ, scale, tile_rows, mask, keep=with_x_bar)
    if later:
        loss, sums, size = whole_batch(loss, sums, targ.size, mask, axis_name, acc)
        if reduction == "mean":
            loss, at_least_1 = loss / size, jnp.maximum(size, 1)
            sums, z1_bar = jax.tree.map(lambda bar: (bar.astype(acc) / at_least_1).astype(bar.dtype), (sums, z1_bar))
    elif reduction == "mean":
        loss = loss / targ.size
    if mean is not None:
        sums[0] = unfold(sums[0], mean, std)
    x_bar = None if z1_bar is None else x_bar_of(layers, z1_bar, x)
    return loss.astype(dtype), turn_back(sums, params), x_bar


def check_arguments(
    op: str, params: Any, x: Any, targ: Any, mean: Any, std: Any, reduction: Any, mask: Any, *, with_x_bar: bool
) -> None:
    """Raises ValueError or TypeError, naming the argument of op, where one of a fused step's does not fit."""
    if reduction not in ("mean", "sum"):
        raise ValueError(
            f"{op}: reduction must be 'mean' or 'sum'; got {reduction!r}. A tile goes backward before "
            "the other tiles are seen: sound only where the loss is a sum over rows"
        )
    if (mean is None) != (std is None):
        raise ValueError(f"{op}: give both mean and std, or neither; got mean={mean}, std={std}")
    if with_x_bar and dtype_of(x) == jnp.uint8:
        raise ValueError(f"{op}: x_bar needs a floating-point x; got x {describe(x)}")
    check_loss(op, params, x, targ, raw=True)
    for name, value in (("mean", mean), ("std", std)) if mean is not None else ():
        check_scalar(op, name, value)
    if mask is not None:
        checked_mask(op, mask, x.shape[:-1], "x's leading axes")


class Walked(NamedTuple):
    """What the tiles of a batch give together."""

    squares: Array
    """The sum of d^2 over all rows."""
    sums: Sums
    """The weights' and biases' cotangents, added up over all rows."""
    z1_bar: Array | None
    """`[h_1, n]`, or None where it was not to be kept."""
    output_bar: Array | None
    """`[fan_out, n]`, or None where it was not to be kept."""


def walk(
    layers: list[Turned], x: Array, targ: Array, scale: float, tile_rows: int | None, mask: Array | None, *, keep: bool
) -> Walked:
    """`tile_pass` over all n rows, tile by tile. keep: whether to return the cotangents of single rows too."""
    rows_of_x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    targets = targ.reshape(len(rows_of_x), layers[-1].w.shape[1])
    n, dtype = len(rows_of_x), targ.dtype
    if tile_rows is None:
        widths = x.shape[-1] + sum(layer.w.shape[1] for layer in layers)
        tile_bytes = GPU_TILE_BYTES if jax.default_backend() == "gpu" else TILE_BYTES
        tile_rows = max(1, tile_bytes // (widths * dtype.itemsize))
        tile_rows -= tile_rows % 64 if tile_rows > 64 else 0  # a product is slower where 64 does not divide its rows
    elif not isinstance(tile_rows, int) or tile_rows < 1:
        raise ValueError(f"tile_rows must be a positive integer; got {tile_rows!r}")
    tiles, rows = max(1, -(-n // tile_rows)), tile_rows

    def tile_at(start: Any, count: int) -> Tile:
        part, goal = (lax.dynamic_slice_in_dim(a, start, count) for a in (rows_of_x, targets))
        here = None if mask is None else lax.dynamic_slice_in_dim(mask.reshape(-1), start, count)
        return tile_pass(layers, part.astype(dtype), goal.T, scale, of_rows(here))

    def add(total: tuple[Array, Sums], tile: Array) -> tuple[tuple[Array, Sums], tuple[Array, Array] | None]:
        squares, sums, *bars = tile_at(tile * rows, rows)
        return jax.tree.map(jnp.add, total, (squares, sums)), (bars[0], bars[1]) if keep else None

    def beside(stacked: Array, last: Array) -> Array:
        """`[tiles, units, rows]` and the last tile's `[units, rest]` as `[units, n]`."""
        return jnp.concatenate([jnp.moveaxis(stacked, 1, 0).reshape(len(last), -1), last], axis=1)

    last = tile_at((tiles - 1) * rows, n - (tiles - 1) * rows)  # it may have fewer rows than the others
    total, bars = (last.squares, last.sums), (last.z1_bar, last.output_bar)
    if tiles > 1:
        total, stacked = lax.scan(add, total, jnp.arange(tiles - 1))
        bars = bars if stacked is None else (beside(stacked[0], bars[0]), beside(stacked[1], bars[1]))
    return Walked(*total, *(bars if keep else (None, None)))


def x_bar_of(layers: list[Turned], z1_bar: Array, x: Array) -> Array:
    """`w_1 z_1_bar`, with x's shape and dtype."""
    return dot(z1_bar, layers[0].w_t, 0, 0).astype(x.dtype).reshape(x.shape)
