"""Conventions: what each implementation says at 0, -0, NaN, the infinities and subnormals. Probed, never assumed."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.stripping import primitives_of
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line

VALUES = {"0": 0.0, "-0": -0.0, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "1e-40": 1e-40}
USUAL, DEAD = "usual", "-1, NaN cotangent"
COTANGENT = 3.0
SAME = 2e-2
"""Conventions differ by whole factors (0, 1/2 or 1 times the cotangent); rounding, in any dtype, by less than this."""
SINGULAR = 1e6
"""A gradient that is so many times the usual one is that of a singularity, of which there is no convention."""
ENDLESS = {"svd"}
"""LAPACK's gesdd, which jax calls on a CPU, does not come back from infinities: they are left out."""

Said = float | str  # a gradient, or the error that was raised in its place
Answers = dict[str, dict[str, Said]]  # argument -> special value -> the gradient of the argument's first element there
Point = tuple[np.ndarray, list[np.ndarray]]  # where one is asked for: the argument, and a cotangent for each output


def kink_findings(evaluation: Evaluation) -> Iterator[Finding]:
    """One line for each argument and value at which somebody differs, and one for all at which nobody does.

    The first element of the argument is set to the value, and its gradient looked at, for a cotangent of 3. Where the
    others differ among themselves, or there is only torch to differ from, it is a matter of convention and no fault;
    where the others agree at 0, the rule must too.
    """
    case = evaluation.case
    return judge(case, {who: answers(case, run) for who, run in case.implementations.items()})


def answers(case: Case, run: Any) -> Answers:
    """What one implementation says: an InJax or an InTorch of the case."""
    leaves = case.arguments.leaves
    # 3 for the first element, random for the others: a softmax has no gradient for a constant cotangent.
    probe = [_with_first(c[0], COTANGENT) for c in case.cotangents]
    usual = _gradients(case, run, leaves, probe)
    found: Answers = {}
    for at, name in zip(case.arguments.wrt, case.arguments.diff_names, strict=True):
        if leaves[at].size and leaves[at].dtype.kind != "c":
            points = _points(case, leaves[at], probe)
            found[name] = {USUAL: usual[name]}
            for label, (values, cotangents) in points.items():
                there = [values if i == at else leaf for i, leaf in enumerate(leaves)]
                found[name][label] = _gradients(case, run, there, cotangents)[name]
    return found


def _points(case: Case, leaf: np.ndarray, probe: list[np.ndarray]) -> dict[str, Point]:
    endless = ENDLESS & primitives_of(case.rule.traced(case.arguments.leaves).jaxpr.jaxpr)
    values = {label: value for label, value in VALUES.items() if not (endless and np.isinf(value))}
    points = {label: (_with_first(leaf, value), probe) for label, value in values.items()}
    if [c.shape for c in probe] == [leaf.shape]:  # element by element
        points[DEAD] = _with_first(leaf, -1.0), [_with_first(probe[0], np.nan)]
    return points


def _with_first(array: Any, value: float) -> np.ndarray:
    array = np.array(array)  # a copy, and an array of a scalar too
    with np.errstate(all="ignore"):
        array.flat[:1] = value
    return array


def _gradients(case: Case, run: Any, leaves: Any, cotangents: list[np.ndarray]) -> dict[str, Said]:
    """The gradient of each argument's first element."""
    stacked = [c[None] for c in cotangents]
    if isinstance(run, InJax):  # as many as ever, so that nothing is compiled again: the rest is zeros
        stacked = [np.concatenate([c, np.zeros_like(k[1:])]) for c, k in zip(stacked, case.cotangents, strict=True)]
    names = case.arguments.diff_names
    try:
        found = run(leaves, stacked)
        firsts = {name: np.ravel(found[f"{name}_bar"][0])[:1] for name in names}
        return {name: float(first[0].real) for name, first in firsts.items() if first.size}
    except Exception as error:
        return dict.fromkeys(names, first_line(error))


def judge(case: Case, said_by: dict[str, Answers]) -> Iterator[Finding]:
    """The findings, of what everybody says; the rule first."""
    agreed: dict[str, list[str]] = {}
    for name in said_by["rule"]:
        usual = {who: said[name][USUAL] for who, said in said_by.items()}
        if isinstance(usual["rule"], str):
            yield Finding("kinks", name, "skipped", f"the rule raises at ordinary values: {usual['rule']}")
            continue
        # Whoever raises at ordinary values is in the table as that, and has no say here.
        usual = {who: said for who, said in usual.items() if not isinstance(said, str)}
        if not all(_same(usual["rule"], other) for other in usual.values()):
            yield Finding("kinks", name, "skipped", f"{_said(usual)} at ordinary values already: see the table")
            continue
        for label, value in ((label, VALUES[label]) for label in said_by["rule"][name] if label in VALUES):
            said = {who: said_by[who][name][label] for who in usual}
            regular = all(_is_regular(here, there) for here, there in zip(said.values(), usual.values(), strict=True))
            finding = _judged(f"{name} = {label}", said, must_agree=value == 0 and regular)
            if finding is None:
                agreed.setdefault(name, []).append(label)
            else:
                yield finding
        if DEAD in said_by["rule"][name]:
            text = _said({who: said_by[who][name][DEAD] for who in usual})
            yield Finding("kinks", f"{name} = {DEAD}", "note", text)
    if len(said_by) == 1:
        yield Finding("kinks", case.name, "skipped", "no reference and no torch function to compare with")
        return
    for labels in dict.fromkeys(map(", ".join, agreed.values())):
        names = ", ".join(name for name, found in agreed.items() if ", ".join(found) == labels)
        yield Finding("kinks", names, "pass", f"the same gradient at {labels}")


def _judged(about: str, said: dict[str, Said], must_agree: bool) -> Finding | None:
    rule, *others = said.values()
    if all(_same(rule, other) for other in others):
        return None
    status, text = "note", "the rule differs"
    if not all(_same(others[0], other) for other in others):
        text = "a convention, on which the others differ too"
    elif must_agree and "reference" in said:  # torch alone may have another convention, but this is the same maths
        status, text = "FAIL", "the rule alone differs"
    return Finding("kinks", about, status, f"{_said(said)}: {text}")


def _is_regular(said: Said, usual: Said) -> bool:
    """Whether a gradient is of the usual size. A NaN is an answer too; a singularity is no kink."""
    if isinstance(said, str) or isinstance(usual, str):
        return True
    return not abs(said) > SINGULAR * max(abs(usual), COTANGENT)


def _same(a: Said, b: Said) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return math.isclose(a, b, rel_tol=SAME) or (math.isnan(a) and math.isnan(b))


def _said(said: Mapping[str, Said]) -> str:
    shown = {who: value if isinstance(value, str) else f"{value:.4g}" for who, value in said.items()}
    return "gradient " + ", ".join(f"{who} {value}" for who, value in shown.items())
