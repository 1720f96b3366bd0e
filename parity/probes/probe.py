"""A probe: one question that is asked of an evaluated rule. And those that `check` asks by itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..verdict.alone import without_a_witness
from ..verdict.comparison import Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding
from ..verdict.maths import mistakes_beside
from ..verdict.oracle import side_with_the_slope
from .kinks import kink_findings
from .numerical import numerical_findings
from .one_program import in_one_program
from .other_dtypes import dtype_findings
from .second_order import second_findings, second_parts
from .structure import linearity_findings, rule_findings, structure_findings
from .transformations import transformation_findings, transformation_parts


@dataclass(frozen=True)
class Probe:
    """A name, and the function that asks."""

    name: str
    """What the report calls it."""
    look: Callable[[Evaluation], Iterable[Finding | Outcome]]
    """From the Evaluation to what it found: findings, and the `outcome` of any further Comparison."""


def _values(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    values, names = evaluation.values, evaluation.case.arguments.diff_names
    outcome = values.outcome._replace(rows=list(without_a_witness(evaluation, values.outcome.rows)))
    yield outcome
    if rows := mistakes_beside(evaluation.maths_rows, outcome.rows):
        yield outcome._replace(rows=rows)
    for row in evaluation.maths_rows:
        if row.ok and row.unjudged:
            yield Finding("maths", row.leaf, "note", f"not judged in float64: {row.reason}")
    if fine := [row for row in evaluation.maths_rows if row.ok and not row.unjudged]:
        share = max(row.worst[1].budget for row in fine)
        text = f"the rule's exact values are the oracle's, within {share:.0%} of what float64's rounding allows"
        yield Finding("maths", ", ".join(row.leaf for row in fine), "pass", text)
    side_with_the_slope(evaluation)
    if "rule" in values.got:  # what it raised is in the rows
        unjudged = {row.leaf for row in values.rows if row.verdict == "not judged"}
        names = [name for name in names if f"{name}_bar" not in unjudged]  # bounds that say nothing call nobody wrong
        yield from linearity_findings(names, values.got["rule"], values.allowed_to("rule"), values.want)


def _transformations(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    runs = None
    if "rule" in evaluation.values.got:
        runs = in_one_program(transformation_parts(evaluation) | second_parts(evaluation))
    yield from transformation_findings(evaluation, runs)
    yield from second_findings(evaluation, runs)


LOOKS = {
    "values": _values,
    "structure": structure_findings,
    "rule ran": rule_findings,
    "transformations": _transformations,
    "dtypes": dtype_findings,
    "kinks": kink_findings,
    "numerical": numerical_findings,
}
PROBES = {name: Probe(name, look) for name, look in LOOKS.items()}
"""By the names that `checks=` takes, in the order of the report."""
