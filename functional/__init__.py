"""Pure functions with hand-written reverse passes. Everything works under jit, vmap, scan and checkpoint."""

from typing import TYPE_CHECKING

from ._typing import Params
from .activation_stats import LayerStats, Stats, activation_stats
from .avg_pool2d import avg_pool2d, avg_pool2d_bwd, avg_pool2d_fwd
from .conv2d import conv2d, conv2d_bwd, conv2d_fwd
from .epoch import sgd_epoch
from .fused import fused_forward_and_backward, fused_value_and_grad
from .fused_loss import fused_mlp_loss, fused_mlp_loss_bwd, fused_mlp_loss_fwd
from .init import (
    fans,
    init_mlp,
    kaiming_normal,
    kaiming_uniform,
    torch_conv,
    torch_linear,
    xavier_normal,
    xavier_uniform,
)
from .layers import Layer, Lin, Mse, Relu, as_op, no_params, serial
from .leaky_relu import leaky_relu, leaky_relu_bwd, leaky_relu_fwd
from .lin import lin, lin_bwd, lin_fwd
from .linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_bwd, linear_cross_entropy_fwd
from .log_softmax import log_softmax, log_softmax_bwd, log_softmax_fwd
from .max_pool2d import max_pool2d, max_pool2d_bwd, max_pool2d_fwd
from .mlp import forward_and_backward, mlp, mlp_bwd, mlp_fwd, mlp_loss
from .mse import mse, mse_bwd, mse_fwd
from .relu import relu, relu_bwd, relu_fwd
from .shifted_relu import shifted_relu, shifted_relu_bwd, shifted_relu_fwd
from .softmax_cross_entropy import softmax_cross_entropy, softmax_cross_entropy_bwd, softmax_cross_entropy_fwd
from .weight_grad import weight_grad_einsum, weight_grad_matmul, weight_grad_outer, weight_grad_transposed

__all__ = [
    "Layer",
    "LayerStats",
    "Lin",
    "Mse",
    "Params",
    "Relu",
    "Stats",
    "activation_stats",
    "as_op",
    "avg_pool2d",
    "avg_pool2d_bwd",
    "avg_pool2d_fwd",
    "conv2d",
    "conv2d_bwd",
    "conv2d_fwd",
    "fans",
    "forward_and_backward",
    "fused_forward_and_backward",
    "fused_mlp_loss",
    "fused_mlp_loss_bwd",
    "fused_mlp_loss_fwd",
    "fused_value_and_grad",
    "init_mlp",
    "kaiming_normal",
    "kaiming_uniform",
    "leaky_relu",
    "leaky_relu_bwd",
    "leaky_relu_fwd",
    "lin",
    "lin_bwd",
    "lin_fwd",
    "linear_cross_entropy",
    "linear_cross_entropy_bwd",
    "linear_cross_entropy_fwd",
    "log_softmax",
    "log_softmax_bwd",
    "log_softmax_fwd",
    "max_pool2d",
    "max_pool2d_bwd",
    "max_pool2d_fwd",
    "mlp",
    "mlp_bwd",
    "mlp_fwd",
    "mlp_loss",
    "mse",
    "mse_bwd",
    "mse_fwd",
    "no_params",
    "relu",
    "relu_bwd",
    "relu_fwd",
    "serial",
    "sgd_epoch",
    "shifted_relu",
    "shifted_relu_bwd",
    "shifted_relu_fwd",
    "softmax_cross_entropy",
    "softmax_cross_entropy_bwd",
    "softmax_cross_entropy_fwd",
    "torch_conv",
    "torch_linear",
    "weight_grad_einsum",
    "weight_grad_matmul",
    "weight_grad_outer",
    "weight_grad_transposed",
    "xavier_normal",
    "xavier_uniform",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a type checker would take any name for one of this module's

    def __getattr__(name: str) -> object:
        """Finds `fused_value_and_grad_pallas` where it was in 0.1.0, with a DeprecationWarning."""
        if name != "fused_value_and_grad_pallas":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import warnings

        from .experimental import fused_value_and_grad_pallas

        where = f"from pullback.functional.experimental import {name}"
        warnings.warn(f"{name} is experimental: {where}", DeprecationWarning, stacklevel=2)
        return fused_value_and_grad_pallas
