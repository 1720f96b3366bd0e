"""Torch in float64 as a witness: does it say the same as the plain jax function, and if not, is that a mistake?"""

from typing import Any

import numpy as np

from ..case.leaves import Leaves, added
from ..roundoff.bounded import unit_roundoff
from .deviation import places
from .evaluation import Evaluation
from .maths import held, in_float64, negligible
from .rows import APPROXIMATED, TYPED, Row

OWN_PRIMAL = "the rule's own primal, without its rules"


def plain_name(evaluation: Evaluation) -> str:
    """What a report calls the plain jax function."""
    case = evaluation.case
    return OWN_PRIMAL if case.reference is None or case.distrusts_reference else "reference"


def torch_rows(evaluation: Evaluation, room: Leaves | None = None) -> list[Row]:
    """Torch's leaves in float64 against the plain function's. room: what each leaf may be off by beside."""
    case, want = evaluation.case, evaluation.maths(evaluation.case.plain).values
    tiers: Any
    if evaluation.torch_is_coarse:
        tiers = [[evaluation.rounding(case.plain)]]
    else:
        tiers = (2 * [bounds(case.plain)] for bounds in (evaluation.maths, evaluation.exact_but_inside))
    found = evaluation.torch_in_double
    return held("torch", {"torch": found}, want, tiers, added(negligible(case, want), room or {}), in_float64(found))


def differ_by_more(evaluation: Evaluation) -> list[Row]:
    """Where torch's float64 leaves are off by more than the arguments' own dtype allows."""
    case, want, found = evaluation.case, evaluation.maths(evaluation.case.plain).values, evaluation.torch_in_double
    rows = held("torch", {"torch": found}, want, [[evaluation.rounding(case.plain)]], {}, in_float64(found))
    return [row for row in rows if not row.ok]


def same_but_for_approximation(evaluation: Evaluation, rows: list[Row]) -> str:
    """Why torch, off in these rows, is right all the same: another side of a kink, or the plain function is traced for
    a dtype in which it approximates. "" if neither."""
    case, plain, ties = evaluation.case, plain_name(evaluation), evaluation.conventions
    if ties and all(row.ok for row in torch_rows(evaluation, ties)):
        return _of_kinks(evaluation)
    if not evaluation.torch_is_coarse and _agree_when_traced_in_float64(evaluation) and not differ_by_more(evaluation):
        text = f"torch and {plain} agree when it is traced in float64; in {case.dtype} it is an approximation"
        return f"{text}, off by {_off(rows):.0e} of the largest element"
    return ""


def same_but_for_constants(evaluation: Evaluation, rows: list[Row]) -> str:
    """Whether torch is off by no more than typed constants are, or those of float32, kinks aside."""
    ties, small = evaluation.conventions, _of_constants(evaluation)
    if all(row.ok for row in torch_rows(evaluation, small)):
        plain = plain_name(evaluation)
        return f"torch and {plain} agree in float64 to {_off(rows):.0e} of the largest element, as constants may do"
    if ties and all(row.ok for row in torch_rows(evaluation, added(ties, small))):
        return f"{_of_kinks(evaluation)}; beside that, they agree as well as constants may"
    return ""


def _off(rows: list[Row]) -> float:
    return max((row.worst[1].relative for row in rows if not row.ok), default=0.0)


def _agree_when_traced_in_float64(evaluation: Evaluation) -> bool:
    twin = evaluation.traced_in_float64()
    if twin is None:
        return False
    try:
        with twin.case.x64:
            return all(row.ok for row in torch_rows(twin, twin.conventions))
    except Exception:
        return False


def _of_kinks(evaluation: Evaluation) -> str:
    where = ", ".join(f"{name} at {places(gap > 0)}" for name, gap in evaluation.conventions.items())
    return f"it takes another side of a kink than {plain_name(evaluation)}: {where}; either is right there"


def _of_constants(evaluation: Evaluation) -> Leaves:
    """By how much constants that are typed, or of float32, may move each leaf."""
    case = evaluation.case
    share = APPROXIMATED if unit_roundoff(case.dtype) < unit_roundoff(np.float32) else TYPED
    want = {name: leaf for name, leaf in evaluation.maths(case.plain).values.items() if leaf.dtype.kind in "fc"}
    return {name: share * np.max(np.abs(x), initial=0, where=np.isfinite(x)) for name, x in want.items()}
