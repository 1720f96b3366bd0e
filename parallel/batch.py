"""The batch on a mesh: its rows divided along "data", what does not divide filled up and masked.

With n rows and D devices along "data", each device has ceil(n / D) places; the last ones may have rows of zeros in
them, whose mask is False, or no row at all.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pullback.functional._check import check_concrete

from .agree import numbers
from .mesh import DATA


def shard_batch(mesh: Mesh, x: Any, targ: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(x, targ, mask)` on the mesh, with their rows divided along "data" and filled up; mask is True for real rows.

    x and targ: anything with a shape, a dtype and slices of its first axis: NumPy arrays, memory maps, HDF5 or Zarr
    arrays, of all n rows. Each process reads the slices that its own devices hold, and no other row.

    Raises ValueError where x and targ have not the same number of rows, or none; TypeError where one holds no numbers,
    or rows of it come as a masked array, whose mask would be lost.
    """
    check_concrete("shard_batch", (x, targ))
    for name, a in (("x", x), ("targ", targ)):
        if isinstance(a, np.ndarray):
            numbers("shard_batch", name, a)
    shapes: list[tuple[int, ...]] = [tuple(getattr(a, "shape", ())) for a in (x, targ)]
    if not all(shapes) or shapes[0][0] != shapes[1][0] or not shapes[0][0]:
        raise ValueError(
            f"shard_batch: x and targ must have the same rows, at least 1; got {shapes[0]} and {shapes[1]}"
        )
    n = shapes[0][0]
    each = -(-n // mesh.shape[DATA])
    sharding = NamedSharding(mesh, PartitionSpec(DATA))

    def placed(name: str, a: Any) -> jax.Array:
        read: dict[int, np.ndarray] = {}  # the devices along "model" hold the same rows

        def of_device(index: Any) -> np.ndarray:
            start = index[0].start or 0
            if start not in read:
                rows = numbers("shard_batch", name, a[start : min(start + each, n)] if start < n else a[:0])
                rest = np.zeros((each - len(rows), *rows.shape[1:]), rows.dtype)
                read[start] = np.concatenate([rows, rest]) if len(rest) else rows
            return read[start]

        return jax.make_array_from_callback((each * mesh.shape[DATA], *a.shape[1:]), sharding, of_device)

    return placed("x", x), placed("targ", targ), placed("mask", np.broadcast_to(np.True_, (n,)))


def shard_order(mesh: Mesh, n: int, batch: int, seed: int) -> tuple[jax.Array, jax.Array]:
    """`(order, mask)` of one epoch over n rows that `shard_batch` placed, for `sharded_sgd_epoch`: `[steps, batch]`.

    Each device shuffles the rows that it holds, and takes batch / D of them a step: order counts within the device's
    own rows. Every row comes exactly once. Where the rows do not fill the last steps, mask is False.

    Raises ValueError unless the mesh's data axis divides batch, and for an n, batch or seed out of range.
    """
    for name, value, least in (("n", n, 1), ("batch", batch, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"shard_order: {name} must be an integer of at least {least}; got {value!r}")
    devices = mesh.shape[DATA]
    if batch % devices:
        raise ValueError(f"shard_order: the mesh's data axis, {devices}, must divide batch; got batch = {batch}")
    each, share = -(-n // devices), batch // devices
    steps = -(-each // share)

    def placed(dtype: Any, of_shard: Callable[[int], np.ndarray]) -> jax.Array:
        def of_device(index: Any) -> np.ndarray:
            places = np.zeros(steps * share, dtype)
            mine = of_shard((index[1].start or 0) // share)
            places[: len(mine)] = mine
            return places.reshape(steps, share)

        return jax.make_array_from_callback((steps, batch), NamedSharding(mesh, PartitionSpec(None, DATA)), of_device)

    def rows_of(shard: int) -> int:
        return min(max(n - shard * each, 0), each)

    order = placed(np.int32, lambda shard: np.random.default_rng([seed, shard]).permutation(rows_of(shard)))
    return order, placed(np.bool_, lambda shard: np.ones(rows_of(shard), bool))
