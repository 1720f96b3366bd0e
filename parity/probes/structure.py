"""What the rule's cotangents are, and whether the rule was used at all."""

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
    counted = ", ".join(f"{n}" + (f" × {names.count(n)}" if names.count(n) > 1 else "") for n in dict.fromkeys(names))
    return [Finding("rule ran", case.name, "pass", f"its jaxpr holds {counted}")]
