"""Who is right: torch and plain jax in float64, and numerical differentiation where they disagree."""

import numpy as np

from ..case.stripping import custom_rules
from .evaluation import Evaluation
from .finding import Finding, first_line
from .rows import compare
from .slopes import misses

OWN_PRIMAL = "the rule's own primal, without its rules"


def choose_oracle(evaluation: Evaluation) -> Evaluation:
    """torch in float64 if there is a torch function, else jax in float64; where they disagree, numbers decide.

    Returns the evaluation with its oracle and what was found; without its reference, if that was found wrong.
    Raises ValueError if no candidate can be evaluated.
    """
    case, in_double = evaluation.case, evaluation.in_double
    plain = plain_name(evaluation)
    candidates = ({"torch": case.torch} if case.torch is not None else {}) | {plain: case.plain}
    leaves = {}
    for name, run in candidates.items():
        try:
            leaves[name] = in_double.leaves(run)
        except Exception as error:
            text = f"cannot be evaluated in float64: {first_line(error)}"
            evaluation.findings.append(Finding("oracle", name, "FAIL", text))
    if not leaves:
        raise ValueError(f"nothing to compare with: {'; '.join(f'{f.about} {f.text}' for f in evaluation.findings)}")
    evaluation.oracle_is_torch = "torch" in leaves
    first = next(iter(leaves))
    if len(leaves) == 1:
        text = f"{first} in float64"
        if case.reference is None and case.torch is None:
            text += ": it is made from the rule's own forward, so a wrong forward is not seen"
            if left := custom_rules(case.plain.traced(case.arguments.leaves).jaxpr):
                text += f"; and {', '.join(left)} could not be taken out of it, so the rule is held against itself"
        evaluation.findings.append(Finding("oracle", first, "note", text))
        return evaluation

    bounds = in_double.bounds(case.plain)
    double = {name: np.asarray(2 * error) for name, error in bounds.errors.items()}  # two evaluations, each rounded
    share = max(row.worst[1].budget for row in compare("oracle", {"torch": leaves["torch"]}, leaves[plain], double, {}))
    if share <= 1:
        text = f"torch and {plain} agree in float64, {share:.0%} of what rounding allows"
        evaluation.findings.append(Finding("oracle", "torch", "pass", text))
        return evaluation
    try:
        slopes = evaluation.slopes
    except Exception as error:
        text = f"torch and {plain} disagree in float64, and the rule does not run there: {first_line(error)}"
        evaluation.findings.append(Finding("oracle", first, "note", text))
        return evaluation
    votes = {name: misses(leaves[name], slopes) for name in leaves}
    best = min(votes, key=lambda name: votes[name])
    text = f"torch and {plain} disagree in float64; numerical differentiation sides with {best}"
    if len(set(votes.values())) == 1:
        text = f"torch and {plain} disagree in float64, and numerical differentiation cannot tell who is right"
    evaluation.findings.append(Finding("oracle", best, "note", text))
    evaluation.oracle_is_torch = best == "torch"
    return evaluation.without_reference() if best == "torch" and case.reference is not None else evaluation


def plain_name(evaluation: Evaluation) -> str:
    """What a report calls the plain jax function."""
    return OWN_PRIMAL if evaluation.case.reference is None else "reference"


def oracle_name(evaluation: Evaluation) -> str:
    """What a report calls the oracle."""
    return "torch" if evaluation.oracle_is_torch else plain_name(evaluation)
