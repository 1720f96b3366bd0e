"""Where torch and jax take another side of a kink: a relu at 0, a clip at its limit, a maximum of two equal numbers.

Either one-sided derivative is right there, or any between them. Nobody is called wrong for it, and a report says where.
"""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..case.arguments import is_float
from ..case.leaves import Leaves
from ..roundoff.bounded import Rounding
from ..roundoff.bounds import bounds_of, values_of
from .slopes import has_kink

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
    left = {}  # what the spans do not explain
    for name, gap in off.items():
        large = gap > np.maximum(2 * plain.errors[name], WHOLE * np.abs(plain.values[name]))
        large &= theirs[name].dtype.kind == "f"  # what lies between two complex numbers is another question
        large &= ~(np.isfinite(spans[name]) & (gap <= spans[name]))
        if large.any():
            left[name] = large
    between = _parted(evaluation, theirs, left) if left else {}
    found = {}
    for name, gap in off.items():
        on_a_tie = (gap > 2 * plain.errors[name]) & np.isfinite(spans[name]) & (gap <= spans[name])
        on_a_tie |= between.get(name, False)
        if np.any(on_a_tie) and not _is_smooth(evaluation, name, on_a_tie):
            found[name] = np.where(on_a_tie, gap, 0)
    return found


def _is_smooth(evaluation: "Evaluation", name: str, where: np.ndarray) -> bool:
    """Whether the plain function has one slope there for all that its formula has a kink: exp(|x|) i0e(x) at 0.

    Then there is one right derivative, and no convention.
    """
    if not name.endswith("_bar") or evaluation.opaque:
        return False
    try:
        return not has_kink(
            evaluation.case, evaluation.case.plain, name.removesuffix("_bar"), np.asarray(where.any(axis=0))
        )
    except Exception:  # its forward cannot be measured
        return False


WHOLE = 1e-3
"""Two sides of a kink differ by whole factors; arguments are not parted for what differs by less of itself."""
NUDGES, FIRST = 64, 8
"""So many times the arguments are moved: of seven equal numbers each is then once the largest, but for 1 in 10,000. If
none of the first few changes anything, there is no tie."""
NUDGE = 2.0**-46
"""How far, of each element: enough to part equal numbers in float64, and nothing else."""


def _parted(evaluation: "Evaluation", theirs: Leaves, left: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which of these elements of torch's lie within what the plain function gives as equal arguments are parted.

    Where three numbers or more are equal, or they are sorted, this knows what the bound does not: which of them is the
    largest, and in which order they come.
    """
    case, rng = evaluation.case, np.random.default_rng(0)
    closed, shapes = evaluation.program(case.plain)
    errors, structure = evaluation.maths(case.plain).errors, jax.tree.structure(shapes)
    low: Leaves = {}
    high: Leaves = {}
    inside: dict[str, np.ndarray] = {}
    for k in range(NUDGES):
        moved = [_nudged(rng, leaf) for leaf in case.args[0]]
        values: Leaves = jax.tree.unflatten(structure, values_of(closed, [*moved, *case.args[1]]))
        with np.errstate(all="ignore"):
            low = {name: np.minimum(low.get(name, values[name]), values[name]) for name in left}
            high = {name: np.maximum(high.get(name, values[name]), values[name]) for name in left}
            room = {name: 2 * errors[name] for name in left}
            inside = {
                name: where & (theirs[name] >= low[name] - room[name]) & (theirs[name] <= high[name] + room[name])
                for name, where in left.items()
            }
        still = k + 1 == FIRST and not any(
            np.any(where & (high[name] - low[name] > room[name])) for name, where in left.items()
        )
        if still or all(np.array_equal(inside[name], where) for name, where in left.items()):
            break
    return inside


def _nudged(rng: np.random.Generator, leaf: Any) -> Any:
    if not is_float(leaf) or not leaf.size:  # whole numbers, random keys
        return leaf
    wide = leaf.astype(np.complex128 if leaf.dtype.kind == "c" else np.float64)
    size = np.where(wide == 0, np.max(np.abs(wide), initial=0, where=np.isfinite(wide)) or 1.0, np.abs(wide))
    return np.where(np.isfinite(wide), wide + NUDGE * rng.uniform(-1, 1, wide.shape) * size, wide)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.shape != other.shape or other.dtype.kind not in "fc":
        return np.zeros(other.shape)
    with np.errstate(all="ignore"):
        gap = np.abs(one - other)
    return np.where(np.isfinite(gap), gap, 0)
