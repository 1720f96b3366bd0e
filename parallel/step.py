"""One step on a mesh: each device walks over its own rows, and one all-reduce adds up their sums.

    on each device:    sum of d^2, w_k_bar, b_k_bar over its rows, tile by tile         (functional/fused.py)
    once:              the same, and the number of rows, added up along "data"          one all-reduce
    on each device:    divided by that number

However many tiles (microbatches) a device has, there is one all-reduce. Along "model" the layers are divided as
parallel/mesh.py says, and the compiler places what that needs: one all-reduce of activations for each pair of layers
going forward, for each but the first going backward, in every tile; and one of x_bar, where that is asked for.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import jax
from jax.sharding import Mesh, PartitionSpec

from pullback.functional import Params, fused_forward_and_backward, fused_value_and_grad
from pullback.functional.fused import check_arguments

from .mesh import DATA, MODEL

P = ParamSpec("P")
R = TypeVar("R")


def _refuses_x_bar(op: Callable[P, R]) -> Callable[P, R]:
    """Names the new function to callers who still ask for `x_bar=True`, which made `op` return three values."""

    @functools.wraps(op)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if options.pop("x_bar", False):
            raise TypeError(f"{op.__name__}: returns (loss, grads); for x_bar too, call sharded_forward_and_backward")
        return op(*args, **options)

    return call


@_refuses_x_bar
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
    tile_rows: int | None = None,
) -> tuple[jax.Array, Params]:
    """`(loss, grads)` of the whole batch, with its rows divided over the mesh: `fused_value_and_grad` on each device.

    params come from `shard_params`; x, targ and mask from `shard_batch`. Without a mask all rows count. grads lie on
    the mesh as params do, and loss is on every device. tile_rows: the number of a device's rows that go forward and
    backward together, its microbatch. The other options are those of `fused_value_and_grad`.

    Jit it, with the mesh static: `jax.jit(functools.partial(sharded_value_and_grad, mesh))`.

    Raises ValueError where there are no rows or the mesh's data axis does not divide them, TypeError if x_bar is asked
    for (as it could be before), and the errors of `fused_value_and_grad`.
    """
    check_arguments("sharded_value_and_grad", params, x, targ, mean, std, reduction, mask, with_x_bar=False)
    check_divides("sharded_value_and_grad", mesh, "x's rows", x.shape[:1])
    step = functools.partial(fused_value_and_grad, reduction=reduction, tile_rows=tile_rows)
    return _on_mesh(step, mesh, (PartitionSpec(), PartitionSpec()), params, x, targ, mask, mean, std)


def sharded_forward_and_backward(
    mesh: Mesh,
    params: Params,
    x: jax.Array,
    targ: jax.Array,
    mask: jax.Array | None = None,
    *,
    mean: Any = None,
    std: Any = None,
    reduction: Literal["mean", "sum"] = "mean",
    tile_rows: int | None = None,
) -> tuple[jax.Array, Params, jax.Array]:
    """`(loss, grads, x_bar)` of the whole batch: `fused_forward_and_backward` on each device.

    The arguments, loss, grads and errors are those of `sharded_value_and_grad`, except that x must be floating-point.
    x_bar lies on the mesh as x does.
    """
    check_arguments("sharded_forward_and_backward", params, x, targ, mean, std, reduction, mask, with_x_bar=True)
    check_divides("sharded_forward_and_backward", mesh, "x's rows", x.shape[:1])
    step = functools.partial(fused_forward_and_backward, reduction=reduction, tile_rows=tile_rows)
    out = (PartitionSpec(), PartitionSpec(), PartitionSpec(DATA))
    return _on_mesh(step, mesh, out, params, x, targ, mask, mean, std)


def _on_mesh(step: Callable[..., Any], mesh: Mesh, out_specs: Any, *args: Any) -> Any:
    """Runs `step` on each device. args: params, x, targ, mask, mean and std."""

    def on_each(axis_name: str | None, params: Params, x: Any, targ: Any, mask: Any, mean: Any, std: Any) -> Any:
        return step(params, x, targ, mask=mask, mean=mean, std=std, axis_name=axis_name)

    rows, whole = PartitionSpec(DATA), PartitionSpec()
    return along_data(mesh, on_each, (whole, rows, rows, rows, whole, whole), out_specs)(*args)


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
    """Raises ValueError unless the one size in shape is at least 1, and the mesh's data axis divides it."""
    size = mesh.shape[DATA]
    if shape and not shape[0]:
        raise ValueError(f"{op}: {what} must be at least 1; got none")
    if shape and shape[0] % size:
        raise ValueError(
            f"{op}: the mesh's data axis, {size}, must divide {what}; got {shape[0]}. shard_batch and shard_order fill "
            "up and mask"
        )
