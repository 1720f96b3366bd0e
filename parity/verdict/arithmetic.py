"""Is the arithmetic as good as its dtype allows? Asked of a result that is outside the bound though its maths is right.

The bound belongs to the computation of the reference. Another way of computing the same may lose more digits, and be
right; and who computes in a coarser dtype than the arguments' is told so.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from ..case.arguments import put
from ..case.case import Case
from ..case.leaves import Leaves, widened
from ..case.stripping import dtypes_of
from ..roundoff.bounded import unit_roundoff
from .comparison import Comparison
from .deviation import OUTSIDE
from .diagnosis import Diagnosis
from .finding import Finding

if TYPE_CHECKING:
    from .evaluation import Evaluation

MOVED = 2.0
"""By so many roundings the arguments may be moved, for an algorithm that nobody sees: it is backward stable."""

DIGITS_LOST = 4.0
"""And no more than two bits: an arithmetic of fewer digits is backward stable too, where few terms are added up."""

DERIVED = ("_bar", "(primal)")


def judge_rule(evaluation: "Evaluation", compared: Comparison, fine: set[str], own: Callable[[bool], Leaves]) -> None:
    """Widens the rule's bounds to those of its own computation, where its maths is right (in the leaves `fine`).

    own: how far the rule's own computation may be off, as if all of it were in the dtype under test (False), or with
    the coarser dtypes that it casts to (True). These are accepted where the user names them, or where the dtype under
    test is finer than the arguments' own; else the diagnosis says them.
    """
    column, allowed = compared.columns.get("rule", "rule"), evaluation.allowed_dtype
    wrong = {
        row.leaf for row in compared.rows if column in row.deviations and row.deviations[column].problem == OUTSIDE
    }
    if not wrong or not wrong <= fine:
        return
    about = f"{compared.name} {column}"
    compared.widen("rule", own(False))
    if not compared.fails("rule"):
        text = "the maths is right; its own way of computing loses more digits than the one it is held against"
        evaluation.findings.append(Finding("arithmetic", about, "note", text))
        return
    inside = [dtype for dtype in _inside(evaluation) if unit_roundoff(dtype) > unit_roundoff(allowed)]
    coarsest = max(inside, key=unit_roundoff, default=None)
    if coarsest is not None:
        compared.widen("rule", own(True))
    if coarsest is None or compared.fails("rule"):
        compared.widen("rule", None)
        return
    text = f"the maths is right; it computes in {coarsest}"
    if not evaluation.is_home and unit_roundoff(coarsest) <= unit_roundoff(evaluation.home):
        evaluation.findings.append(Finding("arithmetic", about, "note", text))
        return
    compared.widen("rule", None)
    for row in compared.rows:
        if row.deviations[column].problem:
            row.diagnosis[column] = Diagnosis(f"{text} (arithmetic={coarsest.name!r} accepts that)", "precision")


def judge_torch(evaluation: "Evaluation", compared: Comparison) -> None:
    """Widens torch's bounds where it agrees in float64: by what moving the arguments by a rounding does."""
    if not evaluation.torch_agrees or "torch" not in compared.got or not compared.fails("torch"):
        return
    moved = evaluation.rounding(evaluation.case.plain, evaluation.allowed_dtype, moved=MOVED).errors
    compared.widen(
        "torch", {name: np.minimum(moved[name], DIGITS_LOST * bound) for name, bound in compared.allowed.items()}
    )
    if compared.fails("torch"):
        compared.widen("torch", None)
        return
    text = "it loses more digits than the one it is held against, and no more than rounded arguments would"
    evaluation.findings.append(Finding("arithmetic", f"{compared.name} torch", "note", text))


def rounds_inside(case: Case, run: Callable[[Any], Leaves], base: Leaves) -> bool:
    """Whether an implementation that is asked in float64 computes in a coarser dtype.

    Where the arguments are moved by less than that dtype resolves, its outputs then move by something else than its own
    cotangents say. run: from leaves and cotangents to its leaves. base: those at the arguments.
    """
    (leaves, cotangents), wrt, rng = widened(case.args), case.arguments.wrt, np.random.default_rng(case.seed)
    # Each element by another share of itself: a norm that is divided by would not see a common one.
    shares = [2.0**-30 * rng.standard_normal(leaves[i].shape) for i in wrt]
    steps = [np.where(np.isfinite(leaves[i]), leaves[i], 0) * share for i, share in zip(wrt, shares, strict=True)]
    moved = run((put(leaves, wrt, [leaves[i] + step for i, step in zip(wrt, steps, strict=True)]), cotangents))
    outputs = [name for name, leaf in base.items() if leaf.dtype.kind in "fc" and not name.endswith(DERIVED)]
    stacked = list(zip(cotangents, outputs, strict=True))
    went = sum(np.sum(c[0] * (moved[name] - base[name])).real for c, name in stacked)
    noise = 2.0**-50 * sum(np.sum(np.abs(c[0] * base[name])) for c, name in stacked)
    bars = [base[f"{name}_bar"][0] for name in case.arguments.diff_names]
    said = sum(np.sum(bar * step).real for bar, step in zip(bars, steps, strict=True))
    return bool(abs(went - said) > 0.1 * abs(said) + noise)


def _inside(evaluation: "Evaluation") -> set[np.dtype]:
    found = dtypes_of(evaluation.program(evaluation.case.rule)[0].jaxpr)
    return {np.dtype(dtype) for dtype in found if jnp.issubdtype(dtype, jnp.floating)}
