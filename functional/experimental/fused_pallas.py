"""fused_pallas: the fused step as one kernel for a TPU. The net stays on the chip, and x is read once.

The maths is that of functional/_tile.py: after x, the batch axis is last. Step t of the grid takes tile t of the rows:

    d = z_last - targ^T        loss = sum over tiles of sum(d^2) / n        w_k_bar, b_k_bar = sums over tiles

Every step adds to the same output blocks, which therefore stay on the chip until the last step. That is sound where the
grid's steps run one after the other, as they do on a TPU. On a GPU they run at once, and the sums would race.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._check import accumulator
from .._tile import checked, tile_pass, turn, turn_back
from .._typing import Array, Float, Params
from ..fused import fused_value_and_grad

LANES = 128
"""Elements in the last axis of a TPU's registers. A block's last axis is a multiple of it, or the whole array's."""

COMPILED = ("float32", "bfloat16")
"""The dtypes that Pallas compiles for a TPU."""


def fused_value_and_grad_pallas(
    params: Params,
    x: Float[Array, "*batch fan_in"],
    targ: Float[Array, "*targ"],
    *,
    tile_rows: int = LANES,
    interpret: bool = False,
) -> tuple[Array, Params]:
    """`(loss, grads)` of `mlp_loss`, `mean((mlp(params, x) - targ)^2)`, in one Pallas kernel for a TPU.

    Shapes and dtypes: those of `mlp_loss`; half precision accumulates in float32. The weights, their transposes and
    gradients and two tiles must fit in the chip's VMEM together. Products have the precision that
    `jax_default_matmul_precision` asks for, of which Pallas has no "high". Where an axis is empty there is nothing to
    tile, and `fused_value_and_grad` gives the result. It cannot be differentiated.

    tile_rows (static): the number of rows in a tile, a multiple of 128. interpret (static): runs the kernel as plain
    jax operations, on any backend; it is slow, and for tests.

    Two things were checked: in interpret mode the values are within the derived rounding bound of float64, and libtpu
    0.0.42 compiles the kernel ahead of time for TPU v4, v5e, v5p and v6e. No accelerator was at hand: it never ran on
    one, no time was measured and none is claimed.

    Raises:
        NotImplementedError: the backend is not a TPU, and interpret is False. On a GPU or CPU use
            `fused_value_and_grad`, which XLA compiles.
        ValueError: a shape does not fit, or tile_rows is no positive multiple of 128.
        TypeError: a dtype does not fit, or interpret is False and it is neither float32 nor bfloat16.
    """
    backend = jax.default_backend()
    if not interpret and backend != "tpu":
        raise NotImplementedError(
            f"fused_value_and_grad_pallas: compiled for TPU only; on {backend} use fused_value_and_grad, "
            "or interpret=True"
        )
    if not isinstance(tile_rows, int) or tile_rows < 1 or tile_rows % LANES:
        raise ValueError(f"tile_rows must be a positive multiple of {LANES}; got {tile_rows!r}")
    params, x, targ, dtype = checked("fused_value_and_grad_pallas", params, x, targ, raw=False)
    if not interpret and dtype.name not in COMPILED:
        raise TypeError(f"fused_value_and_grad_pallas: a TPU kernel takes {' or '.join(COMPILED)}; got {dtype.name}")
    if 0 in (*x.shape, *(size for w, _ in params for size in w.shape)):
        return fused_value_and_grad(params, x, targ)
    return kernel_call(params, x, targ, tile_rows, interpret)


def kernel_call(params: Params, x: Array, targ: Array, tile_rows: int, interpret: bool) -> tuple[Array, Params]:
    """Calls the kernel, and lays out its arguments. It checks nothing, so that it can be lowered where no TPU is."""
    # Imported here, not above: Pallas takes long to import, and few will call this.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    n = math.prod(x.shape[:-1])
    rows = min(tile_rows, n)
    x, targ_t = x.reshape(n, x.shape[-1]), targ.reshape(n, -1).T
    acc = accumulator(targ.dtype)
    # Only x_bar would need the first layer's w.
    net = [layer._replace(w=None) if k == 0 else layer for k, layer in enumerate(turn(params))]
    sums = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, acc), [(w_t, b) for _, w_t, b in net])
    totals = (jax.ShapeDtypeStruct((1, 1), acc), sums)

    def whole(a: Any) -> Any:
        return pl.BlockSpec(a.shape, lambda t: (0, 0))

    squares, sums = pl.pallas_call(
        functools.partial(_kernel, n=n, scale=2 / targ.size),
        grid=(pl.cdiv(n, rows),),
        in_specs=[
            pl.BlockSpec((rows, x.shape[1]), lambda t: (t, 0)),
            pl.BlockSpec((len(targ_t), rows), lambda t: (0, t)),
            jax.tree.map(whole, net),
        ],
        out_specs=jax.tree.map(whole, totals),
        out_shape=totals,
        # "arbitrary" runs the steps in order, on one core: they share their outputs.
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",)),
        interpret=interpret,
        name="fused_value_and_grad",
    )(x, targ_t, net)
    return (squares[0, 0] / targ.size).astype(targ.dtype), turn_back(sums, params)


def _kernel(x_ref: Any, targ_ref: Any, net: Any, squares_ref: Any, sum_refs: Any, *, n: int, scale: float) -> None:
    """Adds one tile, `x_ref[rows, fan_in]` and `targ_ref[fan_out, rows]`, to `squares_ref[1, 1]` and sum_refs."""
    from jax.experimental import pallas as pl

    tile, totals = pl.program_id(0), (squares_ref, sum_refs)

    @pl.when(tile == 0)
    def _start() -> None:
        for ref in jax.tree.leaves(totals):
            ref[...] = jnp.zeros(ref.shape, ref.dtype)

    layers = jax.tree.map(lambda ref: ref[...], net)
    x, left = x_ref[...], n - tile * x_ref.shape[0]
    ragged = n % len(x) > 0
    done = tile_pass(
        layers,
        _kept(x, left, 0) if ragged else x,
        targ_ref[...],
        scale,
        lambda d: _kept(d, left, 1) if ragged else d,
    )
    more = (jnp.full((1, 1), done.squares), done.sums)
    for ref, value in zip(jax.tree.leaves(totals), jax.tree.leaves(more), strict=True):
        ref[...] += value


def _kept(a: Array, left: Array, axis: int) -> Array:
    """Sets to 0 the rows beyond n, which lie along axis: in the last tile they may hold anything, NaN too.

    left: how many rows of a are rows of the batch.
    """
    return jnp.where(lax.broadcasted_iota(jnp.int32, a.shape, axis) < left, a, jnp.zeros((), a.dtype))
