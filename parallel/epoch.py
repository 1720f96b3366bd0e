"""An epoch on a mesh: `sgd_epoch` on each device, over the rows that it holds, with one all-reduce a step."""

from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from pullback.functional import Params, sgd_epoch
from pullback.functional.epoch import check_arguments

from .mesh import DATA
from .step import along_data, check_divides


def sharded_sgd_epoch(
    mesh: Mesh,
    params: Params,
    x: jax.Array,
    targ: jax.Array,
    order: jax.Array,
    lr: Any,
    *,
    mask: jax.Array | None = None,
    mean: Any = 0.0,
    std: Any = 1.0,
) -> tuple[Params, jax.Array]:
    """`sgd_epoch` with the data divided over the mesh: `(params, losses)`, the same on every device along "data".

    params from `shard_params`, x and targ from `shard_batch`, order and mask from `shard_order`: what it says of rows
    counts within each device's own. The rest, and how to jit and donate: as for `sgd_epoch`, with the mesh static.

    Raises ValueError where the mesh's data axis does not divide the rows or a step, and what `sgd_epoch` raises.
    """
    check_arguments("sharded_sgd_epoch", params, x, targ, order, lr, mean, std, mask)
    check_divides("sharded_sgd_epoch", mesh, "x's rows", x.shape[:1])
    check_divides("sharded_sgd_epoch", mesh, "order's second axis", order.shape[1:2])

    def on_each(
        axis_name: str | None, params: Params, x: Any, targ: Any, order: Any, mask: Any, lr: Any, mean: Any, std: Any
    ) -> Any:
        return sgd_epoch(params, x, targ, order, lr, mean=mean, std=std, mask=mask, axis_name=axis_name)

    whole, rows, steps = PartitionSpec(), PartitionSpec(DATA), PartitionSpec(None, DATA)
    specs = (whole, rows, rows, steps, steps, whole, whole, whole)
    return along_data(mesh, on_each, specs, (whole, whole))(params, x, targ, order, mask, lr, mean, std)
