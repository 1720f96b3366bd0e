"""What every implementation gives back: arrays by name."""

from typing import Any, TypeAlias

import jax
import numpy as np

Leaves: TypeAlias = dict[str, Any]  # arrays by name, NumPy's or (inside jax) jax's: `w1`, `b1`, `y`, `x_bar`, ...


def as_numpy(leaves: Leaves) -> Leaves:
    """The same leaves as NumPy arrays."""
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


def widened(tree: Any) -> Any:
    """A tree of arrays with its real numbers in float64, its complex ones in complex128."""

    def wide(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        kind = leaf.dtype.kind
        return leaf if kind in "bui" else leaf.astype(np.complex128 if kind == "c" else np.float64)

    return jax.tree.map(wide, tree)


def same_number(a: Any, b: Any) -> Any:
    """Element by element, whether two arrays are equal, where one NaN is like another."""
    return (a == b) | ((a != a) & (b != b))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are bitwise equal, except that one NaN is like another."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.all(same_number(a, b)))


def added(one: Leaves, other: Leaves) -> Leaves:
    """Leaf by leaf the sum; a leaf that one lacks counts as 0."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in one | other}
