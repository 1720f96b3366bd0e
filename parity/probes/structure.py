"""What the rule's cotangents are, whether they are linear in the incoming ones, and whether the rule was used."""

from collections.abc import Iterator

import numpy as np

from ..case.leaves import Leaves, widened
from ..case.stripping import custom_rules
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line


def structure_findings(evaluation: Evaluation) -> list[Finding]:
    """Whether each cotangent has its primal's shape and dtype: jax accepts another dtype, or None, in silence."""
    arguments = evaluation.case.arguments
    if (error := evaluation.values.raised.get("rule")) is not None:
        return [Finding("structure", "cotangents", "FAIL", f"jax refuses them: {first_line(error)}")]
    leaves = evaluation.values.got["rule"]
    wrong = []
    for name, primal in zip(arguments.diff_names, arguments.diff, strict=True):
        bar = leaves[f"{name}_bar"]
        if (bar.shape[1:], bar.dtype) != (primal.shape, primal.dtype):
            wrong.append(f"{name}_bar is {bar.dtype}{list(bar.shape[1:])}, {name} {primal.dtype}{list(primal.shape)}")
    text = "; ".join(wrong) or "each has its primal's shape and dtype"
    return [Finding("structure", "cotangents", "FAIL" if wrong else "pass", text)]


def rule_findings(evaluation: Evaluation) -> list[Finding]:
    """Whether the gradient is the hand-written one: which rules the function's jaxpr holds."""
    case = evaluation.case
    names = custom_rules(case.rule.traced(case.arguments.leaves).jaxpr)
    if not names:
        return [Finding("rule ran", case.name, "note", "no custom rule in it: jax derives this gradient itself")]
    counted = ", ".join(n if names.count(n) == 1 else f"{n} × {names.count(n)}" for n in dict.fromkeys(names))
    return [Finding("rule ran", case.name, "pass", f"its jaxpr holds {counted}")]


def linearity_findings(names: list[str], leaves: Leaves, bounds: Leaves, want: Leaves) -> Iterator[Finding]:
    """Whether the backward is linear in the cotangent, for which no oracle is needed.

    Cotangent 2 is cotangent 0 + twice cotangent 1, and cotangent 4 is zero (case/cotangents.py).

    names: of the arguments. leaves: the rule's. bounds: how far off each element may be. want: the oracle's leaves:
    where these are infinite or NaN, so may the rule's be, whatever the cotangent.
    """
    for name in names:
        bar, bound = (widened(x[f"{name}_bar"]) for x in (leaves, bounds))
        if bar.shape != bound.shape or not bar.size:
            continue
        finite = np.isfinite(want[f"{name}_bar"]).all(0) & np.isfinite(bound).all(0)
        with np.errstate(all="ignore"):
            off = np.where(finite, np.abs(bar[2] - bar[0] - 2 * bar[1]), 0)
            off = np.where(off == 0, 0, off / (bound[0] + 2 * bound[1] + bound[2]))
        share = float(np.max(np.where(np.isnan(off), np.inf, off)))
        status, text = "pass", f"linear in the cotangent, {share:.0%} of what rounding allows"
        if bar[4][finite].any():
            status, text = "FAIL", "not zero for a zero cotangent"
        elif share > 1:
            status, text = "FAIL", f"not linear in the cotangent: {share:.3g} bounds off"
        yield Finding("linearity", f"{name}_bar", status, text)
