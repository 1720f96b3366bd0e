"""Pure functions with hand-written reverse passes. Everything works under jit, vmap, scan and checkpoint."""

from ._typing import Params as Params
from .init import init_mlp as init_mlp
from .init import kaiming_normal as kaiming_normal
from .init import xavier_normal as xavier_normal
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
