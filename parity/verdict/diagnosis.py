"""What a wrong leaf looks like: the simple patterns that explain most wrong gradients, in words."""

from collections.abc import Collection
from typing import Any

import numpy as np

from ..case.leaves import widened
from ..roundoff.bounded import unit_roundoff

CLOSE = 1e-3
"""A pattern is named if it leaves less than this share of the leaf unexplained (or what the bound leaves anyway)."""


def diagnose(
    got: np.ndarray,
    want: np.ndarray,
    bound: np.ndarray,
    dtype: Any,
    sizes: Collection[int] = (),
    cotangent_axis: bool = False,
) -> str:
    """One sentence, or "" where the pattern is not simple.

    sizes: lengths of the arguments' axes, which a wrong factor may be. cotangent_axis: the leaf's first axis counts
    cotangents (it is linear in them).
    """
    if got.shape != want.shape:
        return "the transpose?" if got.shape == want.shape[::-1] and got.ndim > 1 else ""
    if want.dtype.kind in "bui":
        return ""
    if got.dtype.kind == "c" or not np.isfinite(widened(got)).all() or not np.isfinite(want).all():
        return ""  # of numbers that are not finite, the row says where
    got = widened(got)

    u = unit_roundoff(dtype)

    def explains(model: Any) -> bool:
        # What was multiplied was rounded once more.
        left = np.maximum(np.abs(got - model) - 2 * u * np.abs(model), 0)
        return bool(np.all(left <= bound) or np.linalg.norm(left) <= CLOSE * np.linalg.norm(got - want))

    if not got.any():
        return "all zeros: is it dropped, or None returned for it?"
    if cotangent_axis and np.array_equal(got[0], got[1]) and not np.array_equal(want[0], want[1]):
        return "the same for every cotangent: the rule ignores its incoming cotangent"
    size = float(np.vdot(want, want))
    ratio = float(np.vdot(want, got)) / size if size else np.nan
    if np.isfinite(ratio) and explains(ratio * want):
        return _factor(ratio, sizes, u)
    if want.ndim >= 2 and want.shape[-1] == want.shape[-2] and explains(np.swapaxes(want, -1, -2)):
        return "the transpose of what it should be"
    for axis in range(int(cotangent_axis), want.ndim):
        if text := _along(axis, got, want, explains):
            return text
    return _precision(got, want, bound, dtype)


def _factor(ratio: float, sizes: Collection[int], u: float) -> str:
    known = {-1: "the sign is wrong", 0.5: "half of what it should be"}
    known |= {2: "twice what it should be: the 2 of a square?"}
    for size in sorted(sizes):
        if size > 2:
            known |= {size: f"{size} times what it should be, the length of an axis: a sum for a mean?"}
            known |= {1 / size: f"1/{size} of what it should be, {size} the length of an axis: a mean for a sum?"}
    for factor, text in known.items():
        if abs(ratio / factor - 1) <= max(1e-5, 4 * u):
            return text
    return f"{ratio:.6g} times what it should be, everywhere"


def _along(axis: int, got: np.ndarray, want: np.ndarray, explains: Any) -> str:
    others = tuple(i for i in range(want.ndim) if i != axis)
    zeros = np.flatnonzero(~got.any(axis=others) & want.any(axis=others))
    if 0 < len(zeros) <= want.shape[axis] // 2:
        model = want.copy()
        model[(slice(None),) * axis + (zeros,)] = 0
        if explains(model):
            shown = ", ".join(map(str, zeros[:5])) + (", ..." if len(zeros) > 5 else "")
            return f"zero at index {shown} of axis {axis}, right elsewhere: dropped?"
    for shift in (1, -1):
        if want.shape[axis] > 2 and explains(np.roll(want, shift, axis)):
            return f"shifted by {shift} along axis {axis}"
    if want.shape[axis] > 1 and explains(np.flip(want, axis)):
        return f"reversed along axis {axis}"
    return ""


def _precision(got: np.ndarray, want: np.ndarray, bound: np.ndarray, dtype: Any) -> str:
    """The bound grows with u: inside that of a coarser arithmetic, that arithmetic was used somewhere."""
    u = unit_roundoff(dtype)
    with np.errstate(all="ignore"):
        needed = float(np.max(np.where(bound > 0, np.abs(got - want) / bound, 0))) * u
    off = float(np.linalg.norm(got - want) / np.linalg.norm(want)) if want.any() else np.inf
    for name, coarse in (("TF32 or float16", 2.0**-11), ("bfloat16", 2.0**-8)):
        if u < coarse and coarse / 64 < needed <= coarse and off <= 8 * coarse:
            return f"outside the bound of {np.dtype(dtype).name}, inside that of {name}: lower precision used?"
    return ""
