"""Conventions: what each implementation says at 0, -0, NaN, the infinities and subnormals. Probed, never assumed."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line

VALUES = {"0": 0.0, "-0": -0.0, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "1e-40": 1e-40}
USUAL, DEAD = "usual", "-1, NaN cotangent"
COTANGENT = 3.0
SAME = 2e-2
"""Conventions differ by whole factors (0, 1/2 or 1 times the cotangent); rounding, in any dtype, by less than this."""

Said = float | str
"""A gradient, or the error that was raised in its place."""
Answers = dict[str, dict[str, Said]]
"""Argument -> special value -> the gradient of the argument's first element there."""


class Point(NamedTuple):
    """Where the gradient is asked for: the argument's values, and the cotangent of each output."""

    values: np.ndarray
    cotangents: list[np.ndarray]


def kink_findings(evaluation: Evaluation) -> list[Finding]:
    """One line for each argument and value at which somebody differs, and one for all at which nobody does.

    The first element of the argument is set to the value, and its gradient looked at, for a cotangent of 3. Where the
    others differ among themselves, or there is only torch to differ from, it is a matter of convention and no fault;
    where the others agree at 0, the rule must too.
    """
    case = evaluation.case
    return judge(case, {who: answers(case, run) for who, run in case.implementations.items()})


def answers(case: Case, run: Any) -> Answers:
    """What one implementation says: an InJax or an InTorch of the case."""
    found: Answers = {}
    usual: dict[str, Said] | None = None
    for at, name in zip(case.arguments.wrt, case.arguments.diff_names, strict=True):
        if not case.arguments.leaves[at].size:
            continue
        points = _points(case, at)
        if usual is None:  # the same call for every argument
            usual = _at_usual(case, run)
        found[name] = {USUAL: usual[name], **_all_at(case, run, at, name, points)}
    return found


def _points(case: Case, at: int) -> dict[str, Point]:
    leaf, probe = case.arguments.leaves[at], [_probe(c) for c in case.cotangents]
    points = {}
    for label, value in VALUES.items():
        values = leaf.copy()
        with np.errstate(all="ignore"):
            values.flat[0] = value
        points[label] = Point(values, probe)
    if [c.shape[1:] for c in case.cotangents] == [leaf.shape]:  # element by element
        values, nan = leaf.copy(), [_probe(c) for c in case.cotangents]
        values.flat[0], nan[0].flat[0] = -1, np.nan
        points[DEAD] = Point(values, nan)
    return points


def _probe(cotangents: np.ndarray) -> np.ndarray:
    """3 for the first element, random for the others: a softmax has no gradient for a constant one."""
    probe = cotangents[0].copy()
    probe.flat[:1] = COTANGENT
    return probe


def _at_usual(case: Case, run: Any) -> dict[str, Said]:
    names, leaves = case.arguments.diff_names, case.arguments.leaves
    try:
        found = run(leaves, _stacked(case, run, [_probe(c) for c in case.cotangents]))
        return {name: _first(found[f"{name}_bar"][0]) for name in names}
    except Exception as error:
        return dict.fromkeys(names, first_line(error))


def _all_at(case: Case, run: Any, at: int, name: str, points: dict[str, Point]) -> dict[str, Said]:
    if not isinstance(run, InJax):
        try:  # torch, called once for all of them
            stacks = [np.stack(each) for each in zip(*[point.cotangents for point in points.values()], strict=True)]
            values = np.stack([point.values for point in points.values()])
            bars = run.gradients(case.arguments.leaves, at, values, stacks)
            return {label: _first(bar) for label, bar in zip(points, bars, strict=True)}
        except Exception:
            pass  # not every function can be vmapped: one by one, then
    return {label: _at(case, run, at, name, point) for label, point in points.items()}


def _at(case: Case, run: Callable[..., Any], at: int, name: str, point: Point) -> Said:
    leaves = [point.values if i == at else leaf for i, leaf in enumerate(case.arguments.leaves)]
    try:
        return _first(run(leaves, _stacked(case, run, point.cotangents))[f"{name}_bar"][0])
    except Exception as error:
        return first_line(error)


def _stacked(case: Case, run: Any, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    """With an axis that counts them. In jax as many as ever, so that nothing is compiled again: the rest is zeros."""
    if not isinstance(run, InJax):
        return [c[None] for c in cotangents]
    full = [np.zeros_like(stack) for stack in case.cotangents]
    for stack, c in zip(full, cotangents, strict=True):
        stack[0] = c
    return full


def _first(bar: Any) -> float:
    return float(np.asarray(bar).reshape(-1)[0])


def judge(case: Case, said_by: dict[str, Answers]) -> list[Finding]:
    """The findings, of what everybody says; the rule first."""
    findings: list[Finding] = []
    agreed: dict[str, list[str]] = {}
    for name in said_by["rule"]:
        usual = {who: said[name][USUAL] for who, said in said_by.items()}
        if isinstance(usual["rule"], str):
            findings.append(Finding("kinks", name, "skipped", f"the rule raises at ordinary values: {usual['rule']}"))
            continue
        # Whoever raises at ordinary values is in the table as that, and has no say here.
        usual = {who: said for who, said in usual.items() if not isinstance(said, str)}
        if not all(_same(usual["rule"], other) for other in usual.values()):
            text = f"{_said(usual)} at ordinary values already: see the table"
            findings.append(Finding("kinks", name, "skipped", text))
            continue
        for label, value in VALUES.items():
            said = {who: said_by[who][name][label] for who in usual}
            finding = _judged(f"{name} = {label}", said, must_agree=value == 0)
            if finding is None:
                agreed.setdefault(name, []).append(label)
            else:
                findings.append(finding)
        if DEAD in said_by["rule"][name]:
            text = _said({who: said_by[who][name][DEAD] for who in usual})
            findings.append(Finding("kinks", f"{name} = {DEAD}", "note", text))
    if len(said_by) == 1:
        text = "no reference and no torch function to compare with"
        return [*findings, Finding("kinks", case.name, "skipped", text)]
    alike: dict[str, list[str]] = {}
    for name, labels in agreed.items():
        alike.setdefault(", ".join(labels), []).append(name)
    for labels, names in alike.items():
        findings.append(Finding("kinks", ", ".join(names), "pass", f"the same gradient at {labels}"))
    return findings


def _judged(about: str, said: dict[str, Said], must_agree: bool) -> Finding | None:
    rule, *others = said.values()
    if all(_same(rule, other) for other in others):
        return None
    text = _said(said)
    if not all(_same(others[0], other) for other in others):
        return Finding("kinks", about, "note", f"{text}: a convention, on which the others differ too")
    # torch alone may have another convention; the reference is the same maths in jax.
    if must_agree and "reference" in said:
        return Finding("kinks", about, "FAIL", f"{text}: the rule alone differs")
    return Finding("kinks", about, "note", f"{text}: the rule differs")


def _same(a: Said, b: Said) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= SAME * max(abs(a), abs(b))


def _said(said: Mapping[str, Said]) -> str:
    return "gradient " + ", ".join(f"{who} {_shown(value)}" for who, value in said.items())


def _shown(value: Said) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
