"""The same functions on many devices and in many processes: a mesh, a divided batch, one all-reduce a step."""

from .agree import check_same as check_same
from .agree import gather as gather
from .batch import shard_batch as shard_batch
from .batch import shard_order as shard_order
from .epoch import sharded_sgd_epoch as sharded_sgd_epoch
from .mesh import make_mesh as make_mesh
from .mesh import param_specs as param_specs
from .mesh import shard_params as shard_params
from .processes import ProcessLost as ProcessLost
from .processes import processes as processes
from .step import sharded_forward_and_backward as sharded_forward_and_backward
from .step import sharded_value_and_grad as sharded_value_and_grad
