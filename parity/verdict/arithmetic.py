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
from .finding import Finding, first_line

if TYPE_CHECKING:
    from .evaluation import Evaluation


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


NO_KERNEL = ("not implemented for", "got BFloat16", "Got BFloat16", "got Half", "Got Half")
"""What torch says then."""


def leave_out_torch_without_kernel(evaluation: "Evaluation", compared: Comparison) -> None:
    """Torch that has no kernel for a dtype raises there: no wrong gradient, and in float64 it is heard all the same."""
    error = compared.raised.get("torch")
    if error is not None and any(words in str(error) for words in NO_KERNEL):
        text = f"it has no kernel for {evaluation.case.dtype} ({first_line(error)}), so it is heard in float64 only"
        evaluation.findings.append(Finding("oracle", "torch", "note", text))
        compared.leave_out("torch")


def judge_torch(evaluation: "Evaluation", compared: Comparison) -> None:
    """Torch, where it agrees in float64, is not called wrong for the digits that its kernels lose: those are noted.

    How a kernel computes is not seen, so there is no bound for it. What is infinite or NaN, where a number is right,
    is wrong all the same.
    """
    column = compared.columns.get("torch", "torch")
    if not evaluation.torch_agrees or "torch" not in compared.got or not compared.fails("torch"):
        return
    off = {row.leaf: row.deviations[column] for row in compared.rows if row.deviations[column].problem == OUTSIDE}
    if not off:
        return
    compared.widen("torch", {name: _gap(compared.got["torch"][name], compared.want[name]) for name in compared.want})
    worst = max(off, key=lambda name: off[name].relative)
    share, dtype = off[worst].relative, evaluation.allowed_dtype
    text = f"it agrees in float64; in {dtype} its {worst} is off by {share:.0e} of the largest element"
    evaluation.findings.append(Finding("arithmetic", f"{compared.name} torch", "note", text))


def _gap(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    if got.shape != want.shape:
        return np.zeros(want.shape)
    with np.errstate(all="ignore"):
        gap = np.abs(got.astype(np.complex128 if want.dtype.kind == "c" else np.float64) - want)
    return np.where(np.isfinite(gap), gap * (1 + 1e-12), 0)


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
    stacked = list(zip(cotangents, case.plain.traced(case.arguments.leaves).float_names, strict=True))
    went = sum(np.sum(c[0] * (moved[name] - base[name])).real for c, name in stacked)
    noise = 2.0**-50 * sum(np.sum(np.abs(c[0] * base[name])) for c, name in stacked)
    bars = [base[f"{name}_bar"][0] for name in case.arguments.diff_names]
    said = sum(np.sum(bar * step).real for bar, step in zip(bars, steps, strict=True))
    return bool(abs(went - said) > 0.1 * abs(said) + noise)


def _inside(evaluation: "Evaluation") -> set[np.dtype]:
    found = dtypes_of(evaluation.program(evaluation.case.rule)[0].jaxpr)
    return {np.dtype(dtype) for dtype in found if jnp.issubdtype(dtype, jnp.floating)}
