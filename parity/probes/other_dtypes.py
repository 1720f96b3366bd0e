"""The same values with every argument in another dtype."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from ..case.leaves import widened
from ..verdict.comparison import Comparison, Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.maths import mistakes_beside
from ..verdict.oracle import choose_oracle, oracle_name
from ..verdict.rows import APPROXIMATED
from ..verdict.witness import plain_name, torch_rows


def dtype_findings(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    """The comparison in each dtype. A note where a function is not offered in it: that is no wrong gradient."""
    for dtype in evaluation.dtypes:
        try:
            with np.errstate(all="ignore"):
                other = evaluation.cast(jnp.dtype(dtype))
        except TypeError as error:
            yield Finding("dtypes", dtype, "skipped", str(error))
            continue
        arguments = zip(evaluation.case.arguments.leaves, other.case.arguments.leaves, strict=True)
        fits = [np.array_equal(*(np.isfinite(leaf) for leaf in widened(pair))) for pair in arguments]
        if not all(fits):
            name = evaluation.case.arguments.names[fits.index(False)]
            yield Finding("dtypes", dtype, "skipped", f"{name} does not fit in it")
            continue
        with other.case.x64:
            yield from _in_dtype(evaluation, other, dtype)


def _in_dtype(evaluation: Evaluation, other: Evaluation, dtype: str) -> Iterator[Finding | Outcome]:
    try:
        values = other.values
    except Exception as error:
        yield Finding("dtypes", dtype, "note", f"not offered in it: {first_line(error)}")
        return
    if not all(row.ok for row in values.rows) and _torch_disagrees(other):
        # Rounded to this dtype, an argument came to lie where they differ: 0.9999 on 1, say.
        other.findings.clear()
        choose_oracle(other)
        failed = [finding for finding in other.findings if finding.status == "FAIL"]
        text = f"rounded to it, arguments lie where torch and {plain_name(other)} disagree in float64"
        note = Finding("dtypes", dtype, "note", f"{text}: everybody is held against {oracle_name(other)}")
        other.findings[:] = [note, *failed]
        other.forget()
        values = other.values
    errors = values.errors
    if (error := values.raised.get("rule")) is not None:
        yield Finding("dtypes", dtype, "note", f"the rule is not offered in it: {first_line(error)}")
        return
    if (error := values.raised.get("torch")) is not None:
        yield Finding("dtypes", dtype, "note", f"torch's function is not offered in it: {first_line(error)}")
        values.leave_out("torch")
    if dtype == "float64" and values.fails("torch") and not other.torch_is_coarse and other.torch_rounds_inside():
        yield Finding("dtypes", dtype, "note", "torch's function computes in a coarser dtype inside")
        values.leave_out("torch")
    if dtype == "float64":
        yield from _approximated(values)
    yield from other.findings
    outcome = values.outcome._replace(errors=errors)
    if evaluation.dtypes_asked:
        yield outcome
    else:
        # Nobody asked for this dtype: what cannot be judged in it is left out, and said.
        yield from only_judged(outcome, "dtypes", dtype)
    if rows := mistakes_beside(other.maths_rows, outcome.rows):
        yield outcome._replace(rows=rows)


def _torch_disagrees(other: Evaluation) -> bool:
    """Whether torch, which agreed in float64 about the user's arguments, does not about these."""
    if other.case.torch is None or not other.torch_agrees or other.torch_is_coarse:
        return False
    try:
        return not all(row.ok for row in torch_rows(other))
    except Exception:
        return False  # what it raises is in its column


def only_judged(outcome: Outcome, check: str, about: str) -> Iterator[Finding | Outcome]:
    """The outcome without what could not be judged, which is told and left out."""
    for row in (row for row in outcome.rows if row.verdict == "not judged"):
        yield Finding(check, f"{about} {row.leaf}", "skipped", f"not judged: {row.reason}")
    yield outcome._replace(rows=[row for row in outcome.rows if row.verdict != "not judged"])


def _approximated(values: Comparison) -> Iterator[Finding]:
    """Who is right but for constants and approximations of ten digits."""
    for who in list(values.got):
        column = values.columns.get(who, who)
        off = [row for row in values.rows if row.deviations[column].problem]
        if off and all(row.is_approximated(column) for row in off):
            worst = max(row.deviations[column].relative for row in off)
            text = f"{who} is off by {worst:.0e} of the largest element: a typed constant, or an approximation"
            yield Finding("dtypes", "float64", "note", text)
            values.widen(who, {name: APPROXIMATED * np.max(np.abs(x), initial=0) for name, x in values.want.items()})
