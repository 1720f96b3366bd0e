"""What processes tell each other outside the computation: small arrays, and whether they hold the same ones."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from pullback.functional._check import advice, check_concrete, describe, dtype_of


def gather(value: Any) -> np.ndarray:
    """`[processes, ...]`: what each process gives as value, arrays of one shape and dtype. All must call it.

    Raises TypeError where value holds no numbers, or is a masked array, whose mask nobody would get.
    """
    check_concrete("gather", value)
    value = numbers("gather", "value", value)
    if jax.process_count() == 1:
        return value[None]
    # As bytes: jax would make float32 of float64.
    everybody = np.asarray(multihost_utils.process_allgather(value.reshape(-1).view(np.uint8)))
    return everybody.view(value.dtype).reshape(len(everybody), *value.shape)


def check_same(name: str, tree: Any) -> None:
    """Raises ValueError, naming the leaf and the process, unless all processes hold bit for bit the same arrays.

    name: what the error calls the tree. tree: of arrays, jax's or NumPy's.
    All must call it. Of an array that is divided over devices, those that hold the same part must hold the same bits.
    Raises TypeError where a leaf holds no numbers, or is a masked array.
    """
    check_concrete("check_same", tree)
    paths = [(f"{name}{jax.tree_util.keystr(path)}", leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    leaves = [
        (path, leaf if isinstance(leaf, jax.Array) else numbers("check_same", path, leaf)) for path, leaf in paths
    ]
    if jax.process_count() == 1:
        return
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


def numbers(op: str, name: str, value: Any) -> np.ndarray:
    """Returns value as a NumPy array. Raises TypeError where it holds no numbers, or where its mask would be lost."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # lists of different lengths; a tensor of torch that has a gradient
        array = np.asarray(None)
    if isinstance(value, np.ma.MaskedArray) or dtype_of(array) is None:
        raise TypeError(f"{op}: {name} must be an array of numbers; got {describe(value)}{advice(name, value)}")
    return array


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
