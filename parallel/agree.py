"""What processes tell each other outside the computation: small arrays, and whether they hold the same ones."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def gather(value: Any) -> np.ndarray:
    """`[processes, ...]`: what each process gives as value, arrays of one shape and dtype. All must call it."""
    value = np.asarray(value)
    if jax.process_count() == 1:
        return value[None]
    # As bytes: jax would make float32 of float64.
    everybody = np.asarray(multihost_utils.process_allgather(value.reshape(-1).view(np.uint8)))
    return everybody.view(value.dtype).reshape(len(everybody), *value.shape)


def check_same(name: str, tree: Any) -> None:
    """Raises ValueError, naming the leaf and the process, unless all processes hold bit for bit the same arrays.

    name: what the error calls the tree. tree: of arrays, jax's or NumPy's.
    All must call it. Of an array that is divided over devices, those that hold the same part must hold the same bits.
    """
    if jax.process_count() == 1:
        return
    leaves = [
        (f"{name}{jax.tree_util.keystr(path)}", leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    shown = [f"{path} {leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves]
    # First a digest of one size whatever the tree: with other leaves, the next gather would have another shape.
    everybody = gather(_digest(repr(shown).encode()))
    for process, theirs in enumerate(everybody):
        if np.any(theirs != everybody[0]):
            raise ValueError(
                f"{name} must have the same leaves in all {len(everybody)} processes; process {process} has others "
                f"than process 0 (here, in process {jax.process_index()}: {', '.join(shown) or 'none'})"
            )
    if not leaves:
        return
    # [processes, leaves, devices, part and content]
    everybody = gather(np.stack([_parts(leaf) for _, leaf in leaves]))
    for k, leaf in enumerate(shown):
        first: dict[bytes, tuple[int, bytes]] = {}
        for process, devices in enumerate(everybody[:, k]):
            for part, content in devices:
                owner, bits = first.setdefault(part.tobytes(), (process, content.tobytes()))
                if content.tobytes() != bits:
                    other = "the same on all its devices" if owner == process else f"that of process {owner}"
                    raise ValueError(
                        f"{name} must be the same in all {len(everybody)} processes; {leaf} of process {process} is "
                        f"not {other}. Draw them from one key, or load one file"
                    )


def _parts(leaf: Any) -> np.ndarray:
    """For each device of this process, digests of which part of the leaf it holds, and of what is in it."""
    parts = [((slice(None),) * leaf.ndim, leaf)]
    if isinstance(leaf, jax.Array):
        parts = [(shard.index, shard.data) for shard in leaf.addressable_shards]
    shards = [np.stack([_digest(repr(index).encode()), _digest(np.asarray(data).tobytes())]) for index, data in parts]
    # One shape for all: an array that lies on one device counts as lying on each.
    return np.stack([shards[k % len(shards)] for k in range(jax.local_device_count())])


def _digest(data: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint32)
