"""Who is right: the reference and torch in float64, and numerical differentiation where they disagree."""

from collections.abc import Mapping

from ..case.leaves import Leaves
from ..case.stripping import custom_rules, primitives_of
from .evaluation import Evaluation
from .finding import Finding, first_line
from .rows import Row
from .slopes import agrees, measured_slopes, misses, slope_of
from .witness import differ_by_more, plain_name, same_but_for_approximation, same_but_for_constants, torch_rows


def choose_oracle(evaluation: Evaluation) -> Evaluation:
    """Decides what everybody is held against, and leaves in the evaluation what was found on the way.

    The reference (else the rule's own primal, differentiated by jax) where torch agrees with it or there is no torch.
    Where they disagree: whom the user trusts; the original, if torch is all that there is; the one with which numerical
    differentiation agrees; the one with whom the rule agrees; else nobody is called wrong (`evaluation.undecided`).
    Raises ValueError if the plain function cannot be evaluated.
    """
    opaque = _opaque(evaluation)
    case, plain = evaluation.case, plain_name(evaluation)
    if evaluation.opaque:
        names = ", ".join(evaluation.opaque)
        text = f"{names} can only be run in its own dtype: the maths is judged in {case.dtype}, not in float64"
        evaluation.findings.append(Finding("oracle", plain if opaque else "rule", "note", text))
    if case.torch is None:
        if case.reference is None:
            text = f"{plain}: it is made from the rule's own forward, so a wrong forward is not seen"
            if left := custom_rules(case.plain.traced(case.arguments.leaves).jaxpr):
                text += f"; and {', '.join(left)} could not be taken out of it, so the rule is held against itself"
            evaluation.findings.append(Finding("oracle", "own primal", "note", text))
        return evaluation
    try:
        rows = torch_rows(evaluation)
    except Exception as error:
        evaluation.torch_is_coarse = True
        text = f"it does not run in float64 ({first_line(error)}), so it is held against {plain} in {case.dtype} only"
        evaluation.findings.append(Finding("oracle", "torch", "note", text))
        try:
            rows = torch_rows(evaluation)
        except Exception:
            return evaluation  # what it raises is in its column
    if unlike := evaluation.torch_in_double.keys() ^ evaluation.maths(case.plain).values.keys():
        names = ", ".join(sorted(name for name in unlike if not name.endswith("(primal)")))
        text = f"it is no candidate, since its outputs are others than those of {plain}: {names} are no pair"
        evaluation.findings.append(Finding("oracle", "torch", "note", text))
        return evaluation
    evaluation.torch_agrees = all(row.ok for row in rows)
    if evaluation.torch_agrees:
        if not evaluation.torch_is_coarse:
            share = max(row.worst[1].budget for row in rows)
            text = f"torch and {plain} agree in float64, {share:.0%} of what rounding allows"
            evaluation.findings.append(Finding("oracle", "torch", "pass", text))
        return evaluation
    if excuse := same_but_for_approximation(evaluation, rows):
        return _agreed(evaluation, excuse)
    if not evaluation.torch_is_coarse and evaluation.torch_rounds_inside() and not differ_by_more(evaluation):
        text = f"asked in float64, it computes in a coarser dtype: it is held against {plain} in {case.dtype} only"
        evaluation.findings.append(Finding("oracle", "torch", "note", text))
        return evaluation
    if excuse := same_but_for_constants(evaluation, rows):
        return _agreed(evaluation, excuse)
    differ = [row for row in rows if not row.ok]
    _resolve(evaluation, differ)
    return evaluation


def _agreed(evaluation: Evaluation, note: str) -> Evaluation:
    evaluation.torch_agrees = True
    evaluation.findings.append(Finding("oracle", "torch", "note", note))
    return evaluation


def _opaque(evaluation: Evaluation) -> tuple[str, ...]:
    """What runs in its own dtype in the plain function; a reference that cannot be evaluated is left behind."""
    plain = plain_name(evaluation)
    try:
        return evaluation.maths(evaluation.case.plain).opaque
    except Exception as error:
        if evaluation.case.reference is None or evaluation.case.distrusts_reference:
            if evaluation.case.plain is not evaluation.case.rule and evaluation.of_rule is not None:
                evaluation.look_at(stripped=evaluation.case.rule)
                text = f"{plain}, cannot be differentiated ({first_line(error)}): the rule is held against itself"
                evaluation.findings.append(Finding("oracle", "own primal", "note", text))
                return _opaque(evaluation)
            text = f"nothing to compare with: {plain} cannot be evaluated in float64: {first_line(error)}"
            raise ValueError(text) from error
        evaluation.findings.append(Finding("oracle", plain, "FAIL", f"cannot be evaluated: {first_line(error)}"))
    evaluation.look_at(distrusts_reference=True)
    return _opaque(evaluation)


def _resolve(evaluation: Evaluation, differ: list[Row]) -> None:
    """Torch and the plain function disagree: decides for one of them, or for nobody."""
    case, trusted = evaluation.case, evaluation.trusted
    where = _place(differ[0])
    if case.reference is None:
        if trusted != "reference":
            evaluation.oracle_is_torch = True
            text = "it is the original, and your port differs from it"
            evaluation.findings.append(Finding("oracle", "torch", "note", text))
        return
    text = f"they disagree in float64 ({where})"
    if trusted is not None:
        evaluation.oracle_is_torch = trusted == "torch"
        evaluation.findings.append(
            Finding("oracle", trusted, "note", f"torch and reference: {text}; this one you trust")
        )
        return
    side, why = _side_of_slopes(evaluation, [row.leaf for row in differ]), "numerical differentiation sides with {}"
    if side is None:
        side, why = _agrees_with_rule(evaluation), "the rule agrees with {}, which leaves the other alone"
    if side is None:
        evaluation.undecided = f"torch and the reference disagree in float64 ({where})"
        text = f"{evaluation.undecided}, and the rule agrees with neither: say whom to trust (trusted='torch')"
        evaluation.findings.append(Finding("oracle", "undecided", "FAIL", text))
        return
    evaluation.findings.append(Finding("oracle", side, "note", f"torch and reference: {text}; {why.format(side)}"))
    _take_side(evaluation, side)


def _take_side(evaluation: Evaluation, side: str) -> None:
    evaluation.oracle_is_torch = side == "torch"
    if evaluation.oracle_is_torch:
        evaluation.look_at(distrusts_reference=True)
        rows = torch_rows(evaluation)
        evaluation.torch_agrees = all(row.ok for row in rows)


def _place(row: Row) -> str:
    """The values where they are furthest apart, with as many digits as tell them apart."""
    if {"torch", "oracle"} <= row.values.keys():
        theirs, ours = row.values["torch"], row.values["oracle"]
        digits = 9 if f"{theirs:.9g}" != f"{ours:.9g}" else 17
        return f"{row.leaf} is {theirs:.{digits}g} in torch, {ours:.{digits}g} in the reference"
    return f"torch's {row.leaf}: {row.deviations['torch'].problem}"


def _candidates(evaluation: Evaluation) -> Mapping[str, Leaves]:
    return {"torch": evaluation.torch_in_double, "reference": evaluation.maths(evaluation.case.plain).values}


def _side_of_slopes(evaluation: Evaluation, leaves: list[str]) -> str | None:
    """Whose cotangents the slope of the forward, on which both agree, contradicts less often; None if that ties."""
    case = evaluation.case
    if not all(leaf.endswith("_bar") for leaf in leaves):
        return None  # they do not agree on the forward, and its slope is no witness
    if "stop_gradient" in primitives_of(case.plain.traced(case.arguments.leaves).jaxpr.jaxpr):
        return None  # the cotangents are meant to be others
    try:
        slopes = measured_slopes(case, case.plain)
    except Exception:
        return None
    votes = {who: misses(found, slopes) for who, found in _candidates(evaluation).items()}
    return None if len(set(votes.values())) == 1 else min(votes, key=lambda who: votes[who])


def _agrees_with_rule(evaluation: Evaluation) -> str | None:
    """With whom the rule's maths agrees."""
    for who in ("torch", "reference"):
        evaluation.oracle_is_torch = who == "torch"
        evaluation.forget()
        if evaluation.maths_rows and all(row.ok for row in evaluation.maths_rows):
            return who
    evaluation.oracle_is_torch = False
    evaluation.forget()
    return None


def side_with_the_slope(evaluation: Evaluation) -> None:
    """Where the rule alone differs, and only in cotangents, and the measured slope of its own forward is on its side.

    Then nobody can be called wrong: it may be another convention (which triangle of a matrix counts, say).
    """
    case = evaluation.case
    wrong = [row.leaf for row in evaluation.maths_rows if not row.ok]
    if evaluation.undecided or not wrong or not all(leaf.endswith("_bar") for leaf in wrong):
        return
    try:
        slopes = evaluation.slopes
    except Exception:
        return
    assert evaluation.of_rule is not None
    rule = evaluation.of_rule.values
    names = [leaf.removesuffix("_bar") for leaf in wrong]
    clear = [name for name in names if slopes[name].is_clear]
    with_rule = [agrees(slope_of(rule, name, slopes[name]), slopes[name]) for name in clear]
    with_oracle = [agrees(slope_of(evaluation.want, name, slopes[name]), slopes[name]) for name in clear]
    if clear == names and all(with_rule) and not any(with_oracle):
        others = "the reference" if case.torch is None else "torch" if case.reference is None else "reference and torch"
        text = f"the rule's {', '.join(wrong)} is the measured slope of its own forward, and not what {others} say"
        evaluation.undecided = f"{text}: a convention, or they are wrong"
        evaluation.findings.append(Finding("oracle", "undecided", "FAIL", evaluation.undecided))


def oracle_name(evaluation: Evaluation) -> str:
    """What a report calls the oracle."""
    return "torch" if evaluation.oracle_is_torch else plain_name(evaluation)
