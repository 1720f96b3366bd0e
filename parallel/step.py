"""One step on a mesh: each device walks over its own rows, and one all-reduce adds up what all of them have.

    on each device:    sum of d^2, w_k_bar, b_k_bar over its rows, tile by tile         (functional/fused.py)
    once:              the same, and the number of rows, added up along "data"          one all-reduce
    on each device:    divided by that number

However many tiles (microbatches) a device has, there is one all-reduce. Along "model" the layers are divided as
parallel/mesh.py says, and the compiler places what that needs: one all-reduce of activations for each pair of layers
going forward, for each but the first going backward, in every tile; and one of x_bar, where that is asked for.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.sharding import Mesh, PartitionSpec

from pullback.functional import Params, fused_value_and_grad

from .mesh import DATA, MODEL


def sharded_value_and_grad(
    mesh: Mesh,
    params: Params,
    x: jax.Array,
    targ: jax.Array,
    mask: jax.Array | None = None,
    *,
    mean: Any = None,
    std: Any = None,
    reduction: Literal["mean", "sum"] = "mean",
    x_bar: bool = False,
    tile_rows: int | None = None,
) -> tuple[jax.Array, Params] | tuple[jax.Array, Params, jax.Array]:
    """`fused_value_and_grad` of the whole batch, with its rows divided over the mesh.

    params from `shard_params`; x, targ and mask from `shard_batch` (mask may be left out where nothing was filled up).
    grads lie as params do, the loss on every device, and x_bar, where asked for, as x does. tile_rows: rows of a device
    that go forward and backward together, its microbatch. The rest as for `fused_value_and_grad`.

    To be jitted, the mesh static: `jax.jit(functools.partial(sharded_value_and_grad, mesh))`. Raises ValueError where
    the mesh's data axis does not divide the rows, and what `fused_value_and_grad` raises.
    """
    check_divides("sharded_value_and_grad", mesh, "x's rows", getattr(x, "shape", ())[:1])

    def on_each(axis_name: str | None, params: Params, x: Any, targ: Any, mask: Any, mean: Any, std: Any) -> Any:
        options = {"mean": mean, "std": std, "reduction": reduction, "x_bar": x_bar, "tile_rows": tile_rows}
        return fused_value_and_grad(params, x, targ, mask=mask, axis_name=axis_name, **options)

    out = (PartitionSpec(), PartitionSpec(), PartitionSpec(DATA)) if x_bar else (PartitionSpec(), PartitionSpec())
    rows = PartitionSpec(DATA)
    mapped = along_data(mesh, on_each, (PartitionSpec(), rows, rows, rows, PartitionSpec(), PartitionSpec()), out)
    return mapped(params, x, targ, mask, mean, std)


def along_data(mesh: Mesh, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """`function(axis_name, ...)` on each device along "data", with the collectives along axis_name placed by hand.

    Along "model" the compiler divides it.
    """
    if mesh.shape[DATA] == 1:
        return functools.partial(function, None)
    # XLA fails on an all-reduce by hand where an axis of one device is left to the compiler.
    by_hand = {DATA} if mesh.shape[MODEL] > 1 else {DATA, MODEL}
    mapped = functools.partial(function, DATA)
    return jax.shard_map(mapped, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names=by_hand)


def check_divides(op: str, mesh: Mesh, what: str, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the mesh's data axis divides the one size in shape."""
    size = mesh.shape[DATA]
    if shape and shape[0] % size:
        raise ValueError(
            f"{op}: the mesh's data axis, {size}, must divide {what}; got {shape[0]}. shard_batch and shard_order fill "
            "up and mask"
        )
