"""Is the maths right? Exact values held against exact values, whatever the arithmetic of those who compute them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..case.case import Case
from ..case.leaves import Leaves, added, widened
from ..roundoff.bounds import Bounds
from .diagnosis import diagnose
from .finding import Finding
from .rows import Row, compare

if TYPE_CHECKING:
    from .evaluation import Evaluation

NO_INFLUENCE = 2.0**-50
"""A cotangent is no more than rounding where, over the whole argument, it moves the output by so little of itself."""


def negligible(case: Case, want: Leaves) -> Leaves:
    """For each cotangent leaf, the size up to which its elements have no influence on the output, even in float64.

    x_bar says that x moves <y_bar, y> by x_bar x; next to <|y_bar|, |y|> that is nothing where it is below float64's
    rounding. So 0 and 1e-30 are one answer where y is about 1.
    """
    outputs = [np.abs(want[name]) for name in case.plain.traced(case.arguments.leaves).float_names]
    sizes: Any = 0.0
    with np.errstate(all="ignore"):
        for y, c in zip(outputs, widened(case.cotangents), strict=True):
            sizes = sizes + np.nansum(np.abs(c) * np.where(np.isfinite(y), y, 0), axis=tuple(range(1, c.ndim)))
    found = {}
    for name, x in zip(case.arguments.diff_names, widened(case.arguments.diff), strict=True):
        largest = np.max(np.abs(x), initial=0, where=np.isfinite(x))
        room = np.broadcast_to(NO_INFLUENCE * sizes / largest if largest else 0.0, len(case.cotangents[0]))
        found[f"{name}_bar"] = room.reshape(-1, *[1] * x.ndim)
    return found


def held(
    name: str, got: dict[str, Leaves], want: Leaves, tiers: Sequence[Sequence[Bounds]], room: Leaves, dtypes: Any
) -> list[Row]:
    """One row a leaf: each leaf by the first tier of bounds that lets it agree, else by the last.

    tiers: the bounds whose errors add up, sharp ones first.
    """
    best: dict[str, Row] = {}
    for tier in tiers:
        bounds = {leaf: sum(np.asarray(each.errors[leaf]) for each in tier) for leaf in tier[0].errors}
        own = {who: {leaf: bound + room.get(leaf, 0.0) for leaf, bound in bounds.items()} for who in got}
        for row in compare(name, got, want, bounds, dtypes, own=own, stacked=True):
            if row.leaf not in best or not best[row.leaf].ok:
                best[row.leaf] = row
        if all(row.ok for row in best.values()):  # a tier is made when it is asked for
            break
    return list(best.values())


def mistakes_beside(exact: list[Row], rows: list[Row]) -> list[Row]:
    """The mistakes among rows of exact values that the other rows of their leaves do not show: one is one finding."""
    failed = {row.leaf for row in rows if not row.ok}
    return [row for row in exact if not row.ok and row.leaf not in failed]


def maths_rows(evaluation: "Evaluation") -> list[Row]:
    """The rule's exact values against the oracle's, a row for each leaf; none where they are not known exactly."""
    case, of_rule = evaluation.case, None if evaluation.opaque else evaluation.of_rule
    if of_rule is None:
        return []
    want, rule = evaluation.want, of_rule.values

    def tiers() -> Any:
        if evaluation.oracle_is_torch and evaluation.torch_is_coarse:
            return [[evaluation.rounding(case.plain)]]
        runs = [case.rule, case.plain, *([case.plain] if evaluation.oracle_is_torch else [])]
        return ([evaluation.maths(run, constants) for run in runs] for constants in (False, True))

    column = case.columns.get("rule", "rule")
    name = f"{case.prefix}maths" if evaluation.is_home else f"{case.prefix}{case.dtype.name} maths"
    room = negligible(case, want)
    rows = held(name, {column: rule}, want, tiers(), room, in_float64(want))
    if not all(row.ok for row in rows) and (conventions := evaluation.conventions):
        rows = held(name, {column: rule}, want, tiers(), added(room, conventions), in_float64(want))
    if not all(row.ok for row in rows) and _approximates(evaluation, rows, rule):
        off = max(row.worst[1].relative for row in rows if not row.ok)
        text = f"the rule and what it is held against agree when traced in float64; in {case.dtype} one of them is an "
        text += f"approximation: they differ by {off:.0e} of the largest element"
        evaluation.findings.append(Finding("maths", ", ".join(row.leaf for row in rows if not row.ok), "note", text))
        fine = {row.leaf: replace(row.deviations[column], problem=None) for row in rows}
        rows = [replace(row, deviations={column: fine[row.leaf]}) for row in rows]
    sizes = {size for leaf in jax.tree.leaves(case.args) for size in np.shape(leaf)}
    for row in rows:
        if not row.ok:
            bound = evaluation.maths(case.plain).errors[row.leaf]
            pattern = diagnose(rule[row.leaf], want[row.leaf], bound, np.float64, sizes, row.leaf.endswith("_bar"))
            row.diagnosis.update({column: pattern} if pattern else {})
    return rows


def _approximates(evaluation: "Evaluation", rows: list[Row], rule: Leaves) -> bool:
    """Whether rule and oracle differ only in what is traced for their dtype: they agree when traced in float64, and
    here by what the arguments' dtype rounds. Polynomials of few terms, and limits such as that dtype's eps, do that."""
    twin = evaluation.traced_in_float64()
    if not evaluation.is_home or twin is None:
        return False
    want, runs = evaluation.want, (evaluation.case.plain, evaluation.case.rule)
    plain, own = (evaluation.rounding(run).errors for run in runs)
    bounds = {name: np.maximum(plain[name], own[name]) for name in plain}
    if not all(row.ok for row in compare("", {"rule": rule}, want, bounds, in_float64(want))):
        return False
    try:
        with twin.case.x64:
            return bool(twin.maths_rows) and all(row.ok for row in twin.maths_rows)
    except Exception:
        return False


def in_float64(leaves: Leaves) -> dict[str, Any]:
    """The dtypes of leaves in float64."""
    return {name: leaf.dtype for name, leaf in leaves.items()}
