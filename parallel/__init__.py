"""The same functions on many devices and in many processes: a mesh, a divided batch, one all-reduce a step."""

from .agree import check_same, gather
from .batch import shard_batch, shard_order
from .epoch import sharded_sgd_epoch
from .mesh import make_mesh, param_specs, shard_params
from .processes import ProcessLost, processes
from .step import sharded_forward_and_backward, sharded_value_and_grad

__all__ = [
    "ProcessLost",
    "check_same",
    "gather",
    "make_mesh",
    "param_specs",
    "processes",
    "shard_batch",
    "shard_order",
    "shard_params",
    "sharded_forward_and_backward",
    "sharded_sgd_epoch",
    "sharded_value_and_grad",
]


def __dir__() -> list[str]:
    return __all__
