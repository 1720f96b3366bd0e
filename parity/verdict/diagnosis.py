"""What a wrong leaf looks like: the simple patterns that explain most wrong gradients, in words."""

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from ..case.leaves import widened
from ..roundoff.bounded import unit_roundoff
from .coarser import coarser_arithmetic, rounded_to
from .deviation import places

CLOSE = 1e-3
"""A pattern is named if it leaves less than this share of the leaf's error unexplained."""
NEARLY = 0.1
"""Or less than this share of it, if every element then lies within its bound."""
KINDS = ("factor", "sign", "transpose", "drop", "shift", "reversal", "cotangent ignored", "precision")


GUESS = "lower precision used?"
"""The end of a diagnosis that goes by how the errors are spread: exact values of the same leaf know better."""


class Diagnosis(str):
    """One sentence, "" where no pattern explains the leaf; it knows its kind, one of KINDS or ""."""

    kind: str
    """factor, sign, transpose, drop, shift, reversal, cotangent ignored or precision; "" for none."""

    def __new__(cls, text: str = "", kind: str = "") -> "Diagnosis":
        made = super().__new__(cls, text)
        made.kind = kind
        return made


class Leaf(NamedTuple):
    """A wrong leaf: what came out, what should have, and how far a right one may be off."""

    got: np.ndarray
    want: np.ndarray
    bound: np.ndarray
    u: float
    stacked: bool  # whether the first axis counts cotangents, in which the leaf is linear
    single: bool  # whether these are numbers, so that the leaf is some multiple of any other that is linear in them

    def explained_by(self, model: Any, room: Any = None) -> bool:
        """Whether it is the model, but for rounding. room: how far the model may be off, if not as far as `want`."""
        room = self.bound if room is None else room
        # What was multiplied was rounded once more.
        left = np.maximum(np.abs(self.got - model) - 2 * self.u * np.abs(model), 0)
        share = np.linalg.norm(left) / np.linalg.norm(self.got - self.want)
        return bool(share <= CLOSE or (share <= NEARLY and np.all(left <= room)))

    @property
    def independent(self) -> int:
        """How many of its numbers may differ by themselves; one number is some multiple of any other."""
        return int(np.count_nonzero(self.want if not self.stacked else self.want[0] if self.single else self.want[:2]))


def diagnose(
    got: np.ndarray,
    want: np.ndarray,
    bound: np.ndarray,
    dtype: Any,
    sizes: Collection[int] = (),
    cotangent_axis: bool = False,
    single_output: bool = False,
) -> Diagnosis:
    """What explains the leaf, if anything simple does.

    sizes: lengths of the arguments' axes, which a wrong factor may be. cotangent_axis: the leaf's first axis counts
    cotangents (it is linear in them). single_output: each of these is one number.
    """
    start = int(cotangent_axis)
    if got.shape != want.shape:
        turned = got.ndim > start + 1 and got.shape[start:] == want.shape[start:][::-1]
        return Diagnosis("the transpose?", "transpose") if turned else Diagnosis()
    if want.dtype.kind in "bui" or got.dtype.kind == "c":
        return Diagnosis()
    u, exact = unit_roundoff(dtype), widened(got)
    if not (np.isfinite(exact).all() and np.isfinite(want).all()) or np.array_equal(exact, want):
        return Diagnosis()  # of numbers that are not finite, the row says where
    if got.dtype != np.dtype(dtype) and got.dtype.kind not in "bui":
        u = max(u, unit_roundoff(got.dtype))
        if np.all(np.abs(exact - want) <= bound + 2 * u * np.abs(want)):
            return Diagnosis(f"the values are right, as far as {got.dtype.name} holds them", "precision")
    leaf = Leaf(exact, want, np.asarray(bound, np.float64), u, cotangent_axis, single_output)
    for look in (_zeros, _ignored, _representable, _scaled, _transposed, _along_axes, _noisy, _somewhere):
        if found := look(leaf, sizes, dtype):
            return found
    return Diagnosis()


def _zeros(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    text = "all zeros: is it dropped, or None returned for it?"
    return None if leaf.got.any() else Diagnosis(text, "drop")


def _ignored(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    if not leaf.stacked or np.array_equal(leaf.want[0], leaf.want[1]):
        return None
    text = "the same for every cotangent: the rule ignores its incoming cotangent"
    return Diagnosis(text, "cotangent ignored") if (leaf.got == leaf.got[:1]).all() else None


def _representable(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    name = rounded_to(leaf.got, leaf.want, leaf.bound, dtype)
    text = f"every value is one of {name}: is it cast to {name} and back?"
    return Diagnosis(text, "precision") if name else None


def _scaled(leaf: Leaf, sizes: Collection[int], dtype: Any) -> Diagnosis | None:
    size = float(np.vdot(leaf.want, leaf.want))
    ratio = float(np.vdot(leaf.want, leaf.got)) / size if size else math.nan
    if not math.isfinite(ratio) or not leaf.explained_by(ratio * leaf.want, max(1, abs(ratio)) * leaf.bound):
        return None
    own = leaf.want[0].size if leaf.stacked else leaf.want.size
    return _factor(ratio, {*sizes, own}, leaf.u, leaf.independent < 2)


def _factor(ratio: float, sizes: Collection[int], u: float, alone: bool) -> Diagnosis | None:
    known = {-1.0: "the sign is wrong", 0.5: "half of what it should be"}
    known |= {2.0: "twice what it should be: the 2 of a square?"}
    for n in sorted(size for size in sizes if size > 2):
        known |= {float(n): f"{n} times what it should be, the length of an axis: a sum for a mean?"}
        known |= {1 / n: f"1/{n} of what it should be, {n} the length of an axis: a mean for a sum?"}
    for n in sorted(size for size in sizes if size > 5):  # of less, these are factors of many other kinds too
        root = f"{n} the length of an axis: a root too many or too few?"
        unbiased = {n / (n - 1): f"{n}/{n - 1} times what it should be: n - 1 for n, or n for n - 1?"}
        unbiased |= {(n - 1) / n: f"{n - 1}/{n} of what it should be: n for n - 1, or n - 1 for n?"}
        roots = {math.sqrt(n): f"√{n} times what it should be, {root}"}
        known = roots | {1 / math.sqrt(n): f"1/√{n} of what it should be, {root}"} | unbiased | known
    for factor, text in known.items():
        room = max(1e-5, 4 * u)
        if abs(ratio / factor - 1) <= room and room < 0.05 * abs(factor - 1):
            return Diagnosis(text, "sign" if factor == -1 else "factor")
    shown = "" if alone else _ratio(ratio, u)
    return Diagnosis(f"{shown} times what it should be", "factor") if shown else None


def _ratio(ratio: float, u: float) -> str:
    """With as many digits as that arithmetic knows, and those that tell it from 1; "" if none do."""
    apart = abs(ratio - 1)
    if apart < 2 * u:
        return ""
    if apart < 1e-4:
        return f"(1 {'+' if ratio > 1 else '-'} {apart:.1e})"
    return f"{ratio:.{min(6, math.ceil(-math.log10(u)))}g}"


def _transposed(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    want, start = leaf.want, int(leaf.stacked)
    if want.ndim - start < 2:
        return None
    flipped, room = (np.swapaxes(array, -1, -2) for array in (want, leaf.bound))
    if want.shape[-1] == want.shape[-2] and leaf.explained_by(flipped, room):
        return Diagnosis("the transpose of what it should be", "transpose")
    if 1 not in want.shape[-2:] and leaf.explained_by(flipped.reshape(want.shape), room.reshape(want.shape)):
        return Diagnosis("the transpose of what it should be, reshaped", "transpose")
    return None


def _along_axes(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    looks = (_dropped, _shifted, _reversed)
    found = (look(leaf, axis) for axis in range(int(leaf.stacked), leaf.want.ndim) for look in looks)
    return next((each for each in found if each), None)


def _dropped(leaf: Leaf, axis: int) -> Diagnosis | None:
    others = tuple(i for i in range(leaf.want.ndim) if i != axis)
    zeros = np.flatnonzero(~leaf.got.any(axis=others) & leaf.want.any(axis=others))
    if not 0 < len(zeros) <= leaf.want.shape[axis] // 2:
        return None
    model = leaf.want.copy()
    model[(slice(None),) * axis + (zeros,)] = 0
    shown = ", ".join(map(str, zeros[:5])) + (", ..." if len(zeros) > 5 else "")
    text = f"zero at index {shown} of axis {axis - leaf.stacked}, right elsewhere: dropped?"
    return Diagnosis(text, "drop") if leaf.explained_by(model) else None


def _shifted(leaf: Leaf, axis: int) -> Diagnosis | None:
    if leaf.want.shape[axis] < 3:
        return None
    for shift in (1, -1):
        model, room = (np.roll(array, shift, axis) for array in (leaf.want, leaf.bound))
        if leaf.want.shape[axis] > 3:  # the end need not come round to the start
            edge = (slice(None),) * axis + (0 if shift == 1 else -1,)
            model[edge] = leaf.got[edge]
        if leaf.explained_by(model, room):
            return Diagnosis(f"shifted by {shift} along axis {axis - leaf.stacked}", "shift")
    return None


def _reversed(leaf: Leaf, axis: int) -> Diagnosis | None:
    model, room = (np.flip(array, axis) for array in (leaf.want, leaf.bound))
    if leaf.want.shape[axis] < 2 or not leaf.explained_by(model, room):
        return None
    return Diagnosis(f"reversed along axis {axis - leaf.stacked}", "reversal")


def _noisy(leaf: Leaf, sizes: Any, dtype: Any) -> Diagnosis | None:
    name = coarser_arithmetic(leaf.got, leaf.want, leaf.bound, dtype, leaf.stacked)
    text = f"off as rounding to {name} would have it: {GUESS}"
    return Diagnosis(text, "precision") if name else None


def _somewhere(leaf: Leaf, sizes: Collection[int], dtype: Any) -> Diagnosis | None:
    """A pattern of the few elements that are wrong."""
    off = np.abs(leaf.got - leaf.want) > leaf.bound
    off = off.any(axis=0) if leaf.stacked else off
    if not 0 < np.count_nonzero(off) <= off.size // 2:
        return None
    pick: Callable[[Any], Any] = lambda array: array[:, off] if leaf.stacked else array[off]  # noqa: E731
    few = Leaf(pick(leaf.got), pick(leaf.want), pick(leaf.bound), leaf.u, leaf.stacked, leaf.single)
    where = places(off)
    if not few.got.any():
        return Diagnosis(f"zero at {where}, right elsewhere: dropped?", "drop")
    found = _scaled(few, sizes, dtype)
    if found and (found.kind == "sign" or few.independent > 1):
        return Diagnosis(f"{found} At {where} only", found.kind) if found[-1] == "?" else _only(found, where)
    return None


def _only(found: Diagnosis, where: str) -> Diagnosis:
    return Diagnosis(f"{found}, at {where} only", found.kind)
