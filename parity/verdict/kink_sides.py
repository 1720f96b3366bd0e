"""Where torch and jax take another side of a kink: a relu at 0, a clip at its limit, a maximum of two equal numbers.

Either one-sided derivative is right there, or any between them. Nobody is called wrong for it, and a report says where.
"""

from typing import TYPE_CHECKING

import numpy as np

from ..case.leaves import Leaves
from ..roundoff.bounded import Rounding
from ..roundoff.bounds import bounds_of

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
    found = {}
    for name, gap in off.items():
        span = spans[name]
        on_a_tie = np.isfinite(span) & (gap <= span) & (gap > 2 * plain.errors[name])
        if np.any(on_a_tie):
            found[name] = np.where(on_a_tie, gap, 0)
    return found


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.shape != other.shape or other.dtype.kind not in "fc":
        return np.zeros(other.shape)
    with np.errstate(all="ignore"):
        gap = np.abs(one - other)
    return np.where(np.isfinite(gap), gap, 0)
