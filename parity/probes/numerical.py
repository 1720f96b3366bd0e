"""The rule and the oracle against the measured slope of the rule's own forward: a witness, and no judge."""

from collections.abc import Iterator

from ..case.stripping import may_stop_gradients
from ..verdict.alone import is_alone
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.oracle import oracle_name
from ..verdict.slopes import agrees, slope_of


def numerical_findings(evaluation: Evaluation) -> Iterator[Finding]:
    """One line for each argument. A slope fails a rule that nobody else stands by."""
    case = evaluation.case
    try:
        slopes = evaluation.slopes
    except Exception as error:
        yield Finding("numerical", case.name, "skipped", f"its forward cannot be measured: {first_line(error)}")
        return
    if evaluation.of_rule is None:
        yield Finding("numerical", case.name, "skipped", "the rule cannot be evaluated in float64")
        return
    who = {oracle_name(evaluation): evaluation.want, case.name: evaluation.of_rule.values}
    wrong = {row.leaf for row in evaluation.maths_rows if not row.ok}
    # A custom rule that could not be taken out of the rule's own primal is held against itself, and slopes are all. And
    # where nothing stops a gradient and nothing has steps, a derivative that is not the slope is wrong, whoever agrees.
    alone = is_alone(evaluation)
    smooth = not may_stop_gradients(case.plain.traced(case.arguments.leaves).jaxpr.jaxpr)
    for name, slope in slopes.items():
        value, uncertainty = slope.estimate
        if slope.kinked:
            yield Finding("numerical", name, "note", "lies on a kink or a step: no derivative to measure")
            continue
        if not slope.is_sure:
            text = f"slope {value:.3g}, unsure by {uncertainty:.1g}: too rough to judge by"
            yield Finding("numerical", name, "note", text)
            continue
        said = {person: slope_of(leaves, name, slope) for person, leaves in who.items()}
        figures = ", ".join(f"{person} {figure:.9g}" for person, figure in said.items())
        text = f"slope measured {value:.9g} (unsure by {uncertainty:.1g}); {figures}"
        by_rule, by_oracle = (agrees(said[person], slope) for person in (case.name, oracle_name(evaluation)))
        if by_rule:
            yield Finding("numerical", name, "pass" if by_oracle else "note", text)
        elif f"{name}_bar" in wrong or alone or smooth:
            yield Finding("numerical", name, "FAIL", text)
        else:
            agreed = "rule and oracle agree on another: a gradient stopped on purpose, or a function with steps"
            yield Finding("numerical", name, "note", f"{text}; {agreed}")
