"""mlp: a dense net as a chain of lin and relu, its loss, and one forward and backward pass by hand.

    forward     h_0 = x        z_k = lin(h_{k-1}, w_k, b_k)        h_k = relu(z_k)        output = z_last
    backward    the same chain, last layer first, each rule fed the cotangent that the one after it returned

Source: Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.5.4; the lesson's `forward_and_backward`.
"""

from typing import TypeAlias

import jax.numpy as jnp

from ._check import checked_cotangent, float_dtype
from ._check_net import check_loss, check_net
from ._typing import Array, Float, Params
from .lin import Residuals as LinResiduals
from .lin import lin, lin_bwd, lin_fwd
from .mse import mse, mse_bwd, mse_fwd
from .relu import Residuals as ReluResiduals
from .relu import relu, relu_bwd, relu_fwd

# For each layer: the residuals of lin, and those of the relu after it (None after the last layer, which has no relu).
Residuals: TypeAlias = list[tuple[LinResiduals, ReluResiduals | None]]


def mlp(params: Params, x: Float[Array, "*batch fan_in"]) -> Float[Array, "*batch fan_out"]:
    """Dense net: `lin`, `relu`, `lin`, ..., `lin`. No relu after the last layer.

    Shapes: params `[(w[fan_in, h1], b[h1]), ..., (w[h, fan_out], b[fan_out])]`, `x[..., fan_in]`; the result is
    `[..., fan_out]`, all of one dtype. Raises ValueError or TypeError where a layer does not fit, naming it.
    """
    check_net("mlp", params, x)
    for w, b in params[:-1]:
        x = relu(lin(x, w, b))
    w, b = params[-1]
    return lin(x, w, b)


def mlp_loss(params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"]) -> Float[Array, ""]:
    """`mse(mlp(params, x), targ)`: the scalar to give to `jax.grad`, which then uses the hand-written rules.

    Shapes and errors: those of `mlp` and `mse`.
    """
    check_loss("mlp_loss", params, x, targ)
    return mse(mlp(params, x), targ)


def mlp_fwd(params: Params, x: Float[Array, "*batch fan_in"]) -> tuple[Float[Array, "*batch fan_out"], Residuals]:
    """`(output, residuals)`: the result of `mlp`, and what `mlp_bwd` needs."""
    check_net("mlp_fwd", params, x)
    residuals: Residuals = []
    for w, b in params[:-1]:
        z, lin_residuals = lin_fwd(x, w, b)
        x, relu_residuals = relu_fwd(z)
        residuals.append((lin_residuals, relu_residuals))
    w, b = params[-1]
    output, lin_residuals = lin_fwd(x, w, b)
    residuals.append((lin_residuals, None))
    return output, residuals


def mlp_bwd(
    residuals: Residuals, output_bar: Float[Array, "*batch fan_out"]
) -> tuple[Params, Float[Array, "*batch fan_in"]]:
    """Cotangents `(params_bar, x_bar)` for `output_bar`; params_bar has the structure of params.

    residuals: what `mlp_fwd` returned beside the output. output_bar: an array of the output's shape and dtype, else
    ValueError or TypeError.
    """
    (x, w, _), _ = residuals[-1]
    output_bar = checked_cotangent(
        "mlp_bwd", "output_bar", output_bar, (*x.shape[:-1], w.shape[-1]), float_dtype("mlp_bwd", x=x, w=w)
    )
    params_bar = []
    bar = output_bar
    for lin_residuals, relu_residuals in reversed(residuals):
        if relu_residuals is not None:
            (bar,) = relu_bwd(relu_residuals, bar)
        bar, w_bar, b_bar = lin_bwd(lin_residuals, bar)
        params_bar.insert(0, (w_bar, b_bar))
    return params_bar, bar


def forward_and_backward(
    params: Params, x: Float[Array, "*batch fan_in"], targ: Float[Array, "*targ"]
) -> tuple[Float[Array, ""], Params, Float[Array, "*batch fan_in"]]:
    """One forward and backward pass by hand: `(loss, grads, x_bar)`, with no autodiff in it.

    loss is `mlp_loss(params, x, targ)`; grads has the structure, shapes and dtypes of params; x_bar is the
    gradient with respect to x. Any number of layers. Under `jax.jit`, an x_bar that is not used costs nothing.
    Raises ValueError or TypeError where a shape or dtype does not fit, naming it.

    Source: the lesson's `forward_and_backward`.
    """
    check_loss("forward_and_backward", params, x, targ)
    output, mlp_residuals = mlp_fwd(params, x)
    loss, mse_residuals = mse_fwd(output, targ)
    output_bar, _targ_bar = mse_bwd(mse_residuals, jnp.ones_like(loss))
    grads, x_bar = mlp_bwd(mlp_residuals, output_bar)
    return loss, grads, x_bar
