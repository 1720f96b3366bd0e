"""fused_loss: the net's loss as an op whose reverse pass is the fused one.

    loss       = mse(mlp(params, x), targ)
    params_bar = loss_bar grads        x_bar = loss_bar x_bar at loss_bar 1        targ_bar = -loss_bar output_bar

A scalar loss has one number as its cotangent, and that only scales the gradients. So forward makes them, in one walk
over tiles (functional/fused.py), and backward multiplies.

Source: the gradients are those of functional/mlp.py; that a scalar's cotangent scales them is the chain rule.
"""

import functools
from typing import Any, TypeAlias

import jax

from ._check import accumulator, checked_cotangent, checked_first
from ._check_net import check_loss
from ._tile import checked, turn, turn_back
from ._typing import Array, Float, Params
from .fused import walk, x_bar_of

# The gradients `(grads, x_bar, targ_bar)` at a loss cotangent of 1, which backward scales.
Residuals: TypeAlias = tuple[Params, Array, Array]


def _check(params: Any, x: Any, targ: Any, tile_rows: Any = None) -> None:
    check_loss("fused_mlp_loss", params, x, targ)


@checked_first(_check)
@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def fused_mlp_loss(
    params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"], tile_rows: int | None = None
) -> Float[Array, ""]:
    """`mlp_loss` whose reverse pass is the fused one: the drop-in for `jax.grad`, with cotangents for x and targ too.

    Shapes, dtypes and errors: those of `mlp_loss`; tile_rows (static): that of `fused_value_and_grad`.

    Residuals: the gradients themselves. Forward makes them, and backward only multiplies them by the loss's cotangent,
    one number. Under `jax.jit` those that nobody uses cost nothing.
    """
    loss, _ = fused_mlp_loss_fwd(params, x, targ, tile_rows)
    return loss


def fused_mlp_loss_fwd(
    params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"], tile_rows: int | None = None
) -> tuple[Float[Array, ""], Residuals]:
    """`(loss, residuals)`: the result of `fused_mlp_loss`, and what `fused_mlp_loss_bwd` needs."""
    params, x, targ, dtype = checked("fused_mlp_loss", params, x, targ, raw=False)
    layers = turn(params)
    squares, sums, z1_bar, output_bar = walk(layers, x, targ, 2 / max(targ.size, 1), tile_rows, None, keep=True)
    assert z1_bar is not None and output_bar is not None, "they were to be kept"
    grads, targ_bar = turn_back(sums, params), -output_bar.T.reshape(targ.shape)
    return (squares / targ.size).astype(dtype), (grads, x_bar_of(layers, z1_bar, x), targ_bar)


def fused_mlp_loss_bwd(tile_rows: int | None, residuals: Residuals, loss_bar: Float[Array, ""]) -> Residuals:
    """Cotangents `(params_bar, x_bar, targ_bar)` for `loss_bar`.

    tile_rows: as given to `fused_mlp_loss`; it is not read here. residuals: what `fused_mlp_loss_fwd` returned beside
    the loss. loss_bar: an array without axes, of the loss's dtype, else ValueError or TypeError.
    """
    _, _, targ_bar = residuals
    loss_bar = checked_cotangent("fused_mlp_loss_bwd", "loss_bar", loss_bar, (), targ_bar.dtype)
    # The product is made in the wide dtype, so that a half-precision gradient is rounded once more, not twice.
    acc = accumulator(loss_bar.dtype)
    return jax.tree.map(lambda bar: (loss_bar.astype(acc) * bar.astype(acc)).astype(bar.dtype), residuals)


fused_mlp_loss.defvjp(fused_mlp_loss_fwd, fused_mlp_loss_bwd)
