"""A mistake in a paragraph: what is wrong, where, how large, what it looks like, and what to try."""

from collections.abc import Iterator

from ..verdict.deviation import OUTSIDE
from ..verdict.rows import Row
from .data import ReportData, about_what
from .mistakes import KIND, PRIMAL, Mistake, kind_of_check, place_of
from .words import listed, numbered, times, told_apart

REMEDIES = {
    "factor": "look for a constant factor on the way to {leaf}: a 2, a 1/n, a sum for a mean",
    "sign": "look for a minus sign, or a difference taken the wrong way round, on the way to {leaf}",
    "transpose": "transpose the product that gives {leaf}, or swap its operands",
    "drop": "look for what leaves these elements of {leaf} out: a None, zeros, a slice, a mask, the end of a loop",
    "shift": "look for an index that is off by one on the way to {leaf}",
    "reversal": "look for a flip, or for a loop or scan that runs the wrong way, on the way to {leaf}",
    "cotangent ignored": "multiply by the cotangent that the backward is given: {leaf} does not depend on it",
}
IN_SECOND = "look at what the backward computes from: a residual that is cut off from its argument has no derivative"


def paragraph(mistake: Mistake, report: ReportData) -> str:
    """All that is said of one mistake."""
    if mistake.raised:
        return _raised(mistake)
    if report.undecided:
        return " ".join([*_differing(mistake), *_elsewhere(mistake)])
    parts = (_what(mistake, report), *_figures(mistake), *_elsewhere(mistake), *_borne_out(mistake, report))
    return " ".join([*parts, *_remedy(mistake, report)])


def _raised(mistake: Mistake) -> str:
    who, text = mistake.who[0], f"{mistake.problem}".rstrip(".")
    kinds = listed(list(dict.fromkeys(kind_of_check(row.check) for row in mistake.rows)))
    key = f"{mistake.row.check} {who}"
    whole = f"The whole traceback is in report.errors[{key!r}]."
    return f"{_named(who)} {text}. So nothing of it could be compared in {kinds}. {whole}"


def _subject(mistake: Mistake) -> str:
    row = mistake.row
    only_primal = all(each.leaf.endswith(PRIMAL) for each in mistake.rows)
    leaf = row.leaf if only_primal else row.leaf.removesuffix(PRIMAL)
    op = place_of(row.check) or ("" if KIND.search(row.check) else row.check)
    order = "In second derivatives, " if mistake.is_second else ""
    return f"{order}{op} {leaf}" if op else f"{order}{leaf}"


def _what(mistake: Mistake, report: ReportData) -> str:
    """Whose leaf is wrong, in which elements, and what it looks like."""
    who, extent = mistake.who[0], mistake.row.extent.get(mistake.who[0], "")
    said = [mistake.problem if mistake.problem != OUTSIDE else "", str(mistake.diagnosis)]
    what = "; ".join(text for text in said if text)
    verb = "differs from torch's" if report.is_port and who != "torch" else "is wrong"
    if mistake.kind == "precision" and mistake.problem == OUTSIDE:
        verb = f"is less exact than {mistake.row.dtype} allows"
    at = f" {extent}" if extent and not what.endswith("only") else ""
    end = "" if what.endswith("?") else "."
    whose = listed([_named(each).replace("The ", "the ") for each in mistake.who])
    return f"{_subject(mistake)} of {whose} {verb}{at}{f': {what}' if what else ''}{end}"


def _borne_out(mistake: Mistake, report: ReportData) -> Iterator[str]:
    """What the further checks, and the function without its rules, say of the same leaves."""
    if _in_forward_rule(mistake, report):
        yield f"What the function itself returns is right: {mistake.leaves[0]}{PRIMAL} in the table."
    for finding in report.findings:
        if finding.status == "FAIL" and f"{about_what(finding).removesuffix('_bar')}_bar" == mistake.leaves[0]:
            if finding.check == "numerical":
                yield "The slope measured along a random direction says so too."
            elif finding.check == "linearity" and mistake.kind not in ("precision", "cotangent ignored"):
                yield f"And it is {finding.text}."


def _in_forward_rule(mistake: Mistake, report: ReportData) -> bool:
    """Whether only the forward rule gives a wrong value."""
    names = (mistake.row.check, mistake.leaves[0] + PRIMAL)
    return any(row.ok and (row.check, row.leaf) == names for row in report.rows)


def _remedy(mistake: Mistake, report: ReportData) -> Iterator[str]:
    """What to try, in a sentence."""
    leaf, whose = mistake.leaves[0], mistake.who[0]
    if whose in ("reference", "torch") or (not mistake.kind and mistake.problem != OUTSIDE):
        return
    if mistake.is_second:
        yield f"Try: {IN_SECOND}."
    elif _in_forward_rule(mistake, report):
        yield "Try: compare what the forward rule returns with what the function itself returns."
    elif mistake.kind == "precision":
        if "accepts that" not in mistake.diagnosis:
            yield f"Try: look for a cast to a coarser dtype on the way to {leaf}."
    elif mistake.kind:
        yield f"Try: {REMEDIES[mistake.kind].format(leaf=leaf)}."
    elif leaf.endswith("_bar"):
        yield f"Try: hold the backward's terms of {leaf} against jax.vjp of the same steps, at that element first."
    else:
        yield "Try: hold the steps of the forward against those of the reference, at that element first."


def _named(who: str) -> str:
    return f"The {who}" if who in ("rule", "reference") else who


def _figures(mistake: Mistake) -> Iterator[str]:
    """The element that is farthest off: what everybody has there."""
    who, row = mistake.who[0], mistake.row
    deviation = row.deviations[who]
    if deviation.problem != OUTSIDE or who not in row.values or "oracle" not in row.values:
        return
    others = {name: value for name, value in row.values.items() if name not in (*mistake.who, "oracle")}
    got, right, shown = told_apart(row.values[who], row.values["oracle"], others)
    same = [name for name, value in shown.items() if value == right]
    rest = [f"{name} has {value}" for name, value in shown.items() if value != right]
    beside = ", ".join([*([f"as {listed(same)} {'has' if len(same) == 1 else 'have'} it"] if same else []), *rest])
    share = times(deviation.budget) if row.worst[0] in mistake.who else "outside its bound"
    yield f"{_at(mistake)} it is {got}, and {right} is right{f' ({beside})' if beside else ''}: {share}."


def _differing(mistake: Mistake) -> Iterator[str]:
    """Where nobody is called wrong: what everybody has."""
    values = dict(mistake.row.values)
    yield f"{_subject(mistake)} differs among {listed([who for who in values if who != 'oracle'] or mistake.who)}."
    if values.pop("oracle", None) is not None and len(values) > 1:
        first, second, *_ = sorted(values.values(), key=lambda value: abs(value - values[mistake.who[0]]), reverse=True)
        *_, shown = told_apart(first, second, values)
        yield f"{_at(mistake)} {listed([f'{who} has {value}' for who, value in shown.items()])}."


def _at(mistake: Mistake) -> str:
    index, cotangent = mistake.row.own_index(mistake.row.worst[1].budget_index)
    at = f"At {numbered(index)}" if index else ""
    if cotangent is None:
        return at or "There"
    named = f"cotangent {mistake.row.cotangent_named(cotangent)}"
    return f"{at}, for {named}," if at else f"For {named}"


def _elsewhere(mistake: Mistake) -> Iterator[str]:
    """The other leaves, dtypes and derivatives that show the same."""
    parts = [f"in {listed(mistake.leaves[1:])}"] if mistake.leaves[1:] else []
    kinds = list(dict.fromkeys(_worded(row) for row in mistake.rows))
    if other := [kind for kind in kinds if kind != _worded(mistake.row)]:
        parts.append(f"in {listed(other)}")
    if parts:
        yield f"The same {', and '.join(parts)}."
    first = list(dict.fromkeys(row.leaf for row in mistake.after if not row.is_second))
    second = list(dict.fromkeys(row.leaf for row in mistake.after if row.is_second))
    if first:
        yield f"{listed(first)} {_is(first)} off too: the derivative of this {mistake.leaves[0]}."
    elif second:
        yield f"In second derivatives, {listed(second)} {_is(second)} off too, which follows from it."


def _is(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _worded(row: Row) -> str:
    kind = kind_of_check(row.check)
    if row.is_second:
        return "second derivatives"
    return "exact values" if kind == "maths" else kind.replace(" maths", "'s exact values")
