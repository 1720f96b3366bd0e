"""What processes tell each other outside the computation: small arrays, and whether they hold the same ones."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def gather(value: Any) -> np.ndarray:
    """What each process gives, `[processes, ...]`: NumPy arrays of one shape and dtype. All processes must call it."""
    value = np.asarray(value)
    if jax.process_count() == 1:
        return value[None]
    return np.asarray(multihost_utils.process_allgather(value))


def check_same(name: str, tree: Any) -> None:
    """Raises ValueError, naming the leaf and the process, unless all processes give bit for bit the same arrays.

    All must call it. Arrays that lie on several processes must be the same on every device.
    """
    if jax.process_count() == 1:
        return
    leaves = [(jax.tree_util.keystr(path), _here(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    structure = [f"{path}: {leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves]
    # First a digest of one size whatever the tree: with other leaves, the next gather would have another shape.
    _compare(name, ["structure"], [_digest(repr(structure).encode())], [f"{len(leaves)} leaves: {structure}"])
    paths = [f"{name}{path}" for path, _ in leaves]
    _compare(name, paths, [_digest(leaf.tobytes()) for _, leaf in leaves], structure)


def _here(leaf: Any) -> np.ndarray:
    return np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)


def _digest(data: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint32)


def _compare(name: str, leaves: list[str], digests: list[np.ndarray], shown: list[str]) -> None:
    if not leaves:
        return
    everybody = gather(np.stack(digests))
    for process, theirs in enumerate(everybody):
        for leaf, mine_shown, first, other in zip(leaves, shown, everybody[0], theirs, strict=True):
            if np.any(first != other):
                raise ValueError(
                    f"{name} must be the same in all {len(everybody)} processes; {leaf} of process {process} is not "
                    f"that of process 0 (here, in process {jax.process_index()}: {mine_shown}). Draw them from one "
                    "key, or load one file"
                )
