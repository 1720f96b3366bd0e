"""Where torch and jax take another side of a kink: a relu at 0, a clip at its limit, a maximum of two equal numbers.

Either one-sided derivative is right there, or any between them. Nobody is called wrong for it, and a report says where.
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..case.leaves import Leaves
from ..roundoff.bounded import Rounding
from ..roundoff.bounds import bounds_of, values_of

if TYPE_CHECKING:
    from .evaluation import Evaluation


def conventions(evaluation: "Evaluation") -> Leaves:
    """By how much torch and the plain function differ in elements that hang on an exact tie, and within what the two
    sides of that tie span. Empty where they do not, or torch cannot be asked."""
    case = evaluation.case
    if case.torch is None or evaluation.torch_is_coarse:
        return {}
    try:
        theirs, plain = evaluation.torch_in_double, evaluation.maths(case.plain)
    except Exception:
        return {}  # what it raises is in its column
    if theirs.keys() != plain.values.keys():
        return {}
    off = {name: _apart(theirs[name], plain.values[name]) for name in theirs}
    if not any(np.any(gap > 2 * plain.errors[name]) for name, gap in off.items()):
        return {}
    rounding = Rounding(np.float64, inside=False, constants=False, ties=True)
    spans = bounds_of(*evaluation.program(case.plain), case.args, rounding, sampled=False).errors
    sides = _sides(evaluation)
    found = {}
    for name, gap in off.items():
        room = 2 * plain.errors[name]
        low, high = sides[name]
        between = (theirs[name] >= low - room) & (theirs[name] <= high + room)
        on_a_tie = (gap > room) & ((np.isfinite(spans[name]) & (gap <= spans[name])) | between)
        if np.any(on_a_tie):
            found[name] = np.where(on_a_tie, gap, 0)
    return found


NUDGES = 64
"""So many times the arguments are moved: of seven equal numbers each is then once the largest, but for 1 in 10,000."""
NUDGE = 2.0**-46
"""How far, of each element: enough to part equal numbers in float64, and nothing else."""


def _sides(evaluation: "Evaluation") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The least and the largest that each element of the plain function's leaves is as equal arguments are parted.

    Where three numbers or more are equal, or they are sorted, this knows what the bound does not: which of them is the
    largest, and in which order they come. NaN where it is neither.
    """
    case, rng = evaluation.case, np.random.default_rng(0)
    closed, shapes = evaluation.program(case.plain)
    arguments, cotangents = case.args
    seen = []
    for _ in range(NUDGES):
        moved = [_nudged(rng, leaf) for leaf in jax.tree.leaves(arguments)]
        values = values_of(closed, [*moved, *jax.tree.leaves(cotangents)])
        seen.append(jax.tree.unflatten(jax.tree.structure(shapes), values))
    with np.errstate(all="ignore"):
        return {name: (_extreme(np.min, seen, name), _extreme(np.max, seen, name)) for name in seen[0]}


def _nudged(rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
    if leaf.dtype.kind in "biu" or not leaf.size:
        return leaf
    wide = leaf.astype(np.complex128 if leaf.dtype.kind == "c" else np.float64)
    size = np.where(wide == 0, np.max(np.abs(wide), initial=0, where=np.isfinite(wide)) or 1.0, np.abs(wide))
    return np.where(np.isfinite(wide), wide + NUDGE * rng.uniform(-1, 1, wide.shape) * size, wide)


def _extreme(which: Any, seen: list[Leaves], name: str) -> np.ndarray:
    values = np.stack([leaves[name] for leaves in seen])
    return which(values, axis=0) if values.dtype.kind in "biuf" else np.full(values.shape[1:], np.nan)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.shape != other.shape or other.dtype.kind not in "fc":
        return np.zeros(other.shape)
    with np.errstate(all="ignore"):
        gap = np.abs(one - other)
    return np.where(np.isfinite(gap), gap, 0)
