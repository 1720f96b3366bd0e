"""Near enough, at a glance: the lesson's `test_near_zero` and `test_near`, with the figures when the answer is no.

Their tolerances are typed in, so they are for notebooks and first looks: `check` derives its bound, element by element,
from the computation itself, and finds what passes here (docs/parity.md).
"""

from typing import Any

import jax
import numpy as np


def assert_near_zero(a: Any, tol: float = 1e-3) -> None:
    """Raises AssertionError, with figures, unless every element has |a| < tol.

    a: a number or an array (jax, NumPy, torch). NaN is never near. The default is the lesson's. Raises TypeError for
    what is no real number.
    """
    array = _array("a", a)
    far = ~(np.abs(array) < tol)
    if far.any():
        at = _worst(np.abs(array))
        is_there = f"{_where(far, at)}a is {array[at]:.6g}"
        raise AssertionError(f"not near zero: {is_there}, and |a| must be below tol = {tol:g}")


def assert_near(a: Any, b: Any, rtol: float = 1e-3, atol: float = 1e-5) -> None:
    """Raises AssertionError, with figures, unless every element has |a - b| <= atol + rtol |b|.

    a, b: numbers, arrays (jax, NumPy, torch) or trees of them, alike in structure and shapes: nothing is broadcast. NaN
    is near nothing, an infinity only itself. The defaults are the lesson's. Raises TypeError for a leaf that is no real
    number.
    """
    a_leaves, a_tree = jax.tree_util.tree_flatten_with_path(a)
    b_leaves, b_tree = jax.tree_util.tree_flatten_with_path(b)
    if a_tree != b_tree:
        raise AssertionError(f"not alike: a is {a_tree}, b is {b_tree}")
    for (path, a_leaf), (_, b_leaf) in zip(a_leaves, b_leaves, strict=True):
        where = jax.tree_util.keystr(path)
        x, y = _array(f"a{where}", a_leaf), _array(f"b{where}", b_leaf)
        if x.shape != y.shape:
            raise AssertionError(f"not alike: a{where} has shape {x.shape}, b{where} {y.shape}")
        with np.errstate(invalid="ignore"):
            gap = np.where(x == y, 0, np.abs(x - y))
            room = atol + rtol * np.abs(y)
            far = ~((gap <= room) & np.isfinite(gap))
        if far.any():
            at = _worst(np.where(far, gap - np.where(np.isfinite(room), room, 0), -np.inf))
            values = f"{_where(far, at)}a{where} is {x[at]:.6g} and b{where} {y[at]:.6g}, {gap[at]:.3g} apart"
            allowed = f"{room[at]:.3g} is allowed (atol {atol:g} + rtol {rtol:g} of |b|)"
            raise AssertionError(f"not near: {values}; {allowed}")


def _array(name: str, value: Any) -> np.ndarray:
    """In float64, to which whole numbers beyond 2^53 are rounded. Raises TypeError for what is no number or array."""
    if hasattr(value, "detach"):  # a torch tensor, on whatever device and in whatever graph
        from .case.torch_arrays import to_numpy

        value = to_numpy(value)
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        array = np.asarray(None)
    if array.dtype.kind in "OSUMmc":
        raise TypeError(f"{name} must be a real number or an array of them; got {type(value).__name__}")
    return array.astype(np.float64)


def _worst(size: Any) -> tuple[int, ...]:
    size = np.where(np.isnan(size), np.inf, size)
    return tuple(int(i) for i in np.unravel_index(np.argmax(size), size.shape))


def _where(far: Any, at: tuple[int, ...]) -> str:
    count = f"{np.count_nonzero(far):,} of {far.size:,} elements; " if far.size > 1 else ""
    return count + (f"at [{', '.join(map(str, at))}] " if at else "")
