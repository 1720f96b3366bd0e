"""The rule and the oracle against the measured slope of the rule's own forward."""

from collections.abc import Iterator

import numpy as np

from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.oracle import oracle_name
from ..verdict.slopes import agrees, slope_of


def numerical_findings(evaluation: Evaluation) -> Iterator[Finding]:
    """One line for each argument."""
    case, in_double = evaluation.case, evaluation.in_double
    try:
        slopes = evaluation.slopes
    except Exception as error:
        yield Finding("numerical", case.name, "skipped", f"the rule does not run in float64: {first_line(error)}")
        return
    who = {oracle_name(evaluation): in_double.leaves(evaluation.oracle)}
    try:
        who[case.name] = in_double.leaves(case.rule)
    except Exception as error:
        yield Finding("numerical", case.name, "skipped", f"its gradient does not run in float64: {first_line(error)}")
        return
    for name, slope in slopes.items():
        value, uncertainty = slope.estimate
        if slope.kinked:
            yield Finding("numerical", name, "note", "lies on a kink: no derivative to measure")
        elif not np.isfinite(value) or (value and uncertainty > 1e-3 * abs(value)):
            text = f"slope {value:.3g}, unsure by {uncertainty:.1g}: too rough to judge by"
            yield Finding("numerical", name, "note", text)
        else:
            said = {person: slope_of(leaves, name, slope) for person, leaves in who.items()}
            right = all(agrees(figure, slope) for figure in said.values())
            figures = ", ".join(f"{person} {figure:.9g}" for person, figure in said.items())
            text = f"slope measured {value:.9g} (unsure by {uncertainty:.1g}); {figures}"
            yield Finding("numerical", name, "pass" if right else "FAIL", text)
