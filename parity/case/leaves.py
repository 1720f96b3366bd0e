"""What every implementation gives back: arrays by name."""

from typing import Any, TypeAlias

import jax
import numpy as np

Leaves: TypeAlias = dict[str, Any]  # arrays by name, NumPy's or (inside jax) jax's: `w1`, `b1`, `y`, `x_bar`, ...


def as_numpy(leaves: Leaves) -> Leaves:
    """The same leaves as NumPy arrays."""
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


def widened(tree: Any) -> Any:
    """A tree of arrays in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), tree)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are bitwise equal, except that one NaN is like another."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.all((a == b) | ((a != a) & (b != b))))
