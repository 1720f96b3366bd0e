"""Pure functions with hand-written reverse passes. Everything works under jit, vmap, scan and checkpoint."""

from typing import TYPE_CHECKING

from ._typing import Params as Params
from .activation_stats import LayerStats as LayerStats
from .activation_stats import Stats as Stats
from .activation_stats import activation_stats as activation_stats
from .conv2d import conv2d as conv2d
from .conv2d import conv2d_bwd as conv2d_bwd
from .conv2d import conv2d_fwd as conv2d_fwd
from .epoch import sgd_epoch as sgd_epoch
from .fused import fused_forward_and_backward as fused_forward_and_backward
from .fused import fused_value_and_grad as fused_value_and_grad
from .fused_loss import fused_mlp_loss as fused_mlp_loss
from .fused_loss import fused_mlp_loss_bwd as fused_mlp_loss_bwd
from .fused_loss import fused_mlp_loss_fwd as fused_mlp_loss_fwd
from .init import fans as fans
from .init import init_mlp as init_mlp
from .init import kaiming_normal as kaiming_normal
from .init import kaiming_uniform as kaiming_uniform
from .init import torch_conv as torch_conv
from .init import torch_linear as torch_linear
from .init import xavier_normal as xavier_normal
from .init import xavier_uniform as xavier_uniform
from .layers import Layer as Layer
from .layers import Lin as Lin
from .layers import Mse as Mse
from .layers import Relu as Relu
from .layers import as_op as as_op
from .layers import no_params as no_params
from .layers import serial as serial
from .leaky_relu import leaky_relu as leaky_relu
from .leaky_relu import leaky_relu_bwd as leaky_relu_bwd
from .leaky_relu import leaky_relu_fwd as leaky_relu_fwd
from .lin import lin as lin
from .lin import lin_bwd as lin_bwd
from .lin import lin_fwd as lin_fwd
from .mlp import forward_and_backward as forward_and_backward
from .mlp import mlp as mlp
from .mlp import mlp_bwd as mlp_bwd
from .mlp import mlp_fwd as mlp_fwd
from .mlp import mlp_loss as mlp_loss
from .mse import mse as mse
from .mse import mse_bwd as mse_bwd
from .mse import mse_fwd as mse_fwd
from .relu import relu as relu
from .relu import relu_bwd as relu_bwd
from .relu import relu_fwd as relu_fwd
from .shifted_relu import shifted_relu as shifted_relu
from .shifted_relu import shifted_relu_bwd as shifted_relu_bwd
from .shifted_relu import shifted_relu_fwd as shifted_relu_fwd
from .weight_grad import weight_grad_einsum as weight_grad_einsum
from .weight_grad import weight_grad_matmul as weight_grad_matmul
from .weight_grad import weight_grad_outer as weight_grad_outer
from .weight_grad import weight_grad_transposed as weight_grad_transposed

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
