"""Conventions: what each implementation says at 0, -0, NaN, the infinities and subnormals. Probed, never assumed."""

import math
from typing import Any

import jax
import numpy as np

from .finding import Finding, first_line
from .result import Leaves
from .trial import Run, Trial

VALUES = {"0": 0.0, "-0": -0.0, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "1e-40": 1e-40}
COTANGENT = 3.0
SAME = 2e-2
"""Conventions differ by whole factors (0, 1/2 or 1 times the cotangent); rounding, in any dtype, by less than this."""


def kink_findings(trial: Trial) -> list[Finding]:
    """One line for each input and value at which somebody differs, and one for all at which nobody does.

    The first element of the input is set to the value, and its gradient looked at, for a cotangent of 3. Where the
    others differ among themselves, or there is only torch to differ from, it is a matter of convention and no fault;
    where the others agree at 0, the rule must too.
    """
    who: dict[str, Run] = {"rule": jax.jit(trial.in_jax(trial.flat_rule))}
    if trial.reference is not None:
        who["reference"] = jax.jit(trial.in_jax(trial.subject.flat(trial.reference)))
    if (torch := trial.in_torch()) is not None:
        who["torch"] = torch
    cotangents = [_probe(c) for c in trial.cotangents]
    findings: list[Finding] = []
    agreed: dict[str, list[str]] = {}
    for i, name in enumerate(trial.subject.names):
        if not trial.subject.diff[i].size:
            continue
        usual = _gradients(who, trial.subject.diff, cotangents, name)
        if isinstance(usual["rule"], str):
            findings.append(Finding("kinks", name, "skipped", f"the rule raises at ordinary values: {usual['rule']}"))
            continue
        # Whoever raises at ordinary values is in the table as that, and has no say here.
        able = {person: run for person, run in who.items() if not isinstance(usual[person], str)}
        usual = {person: usual[person] for person in able}
        if not all(_same(usual["rule"], other) for other in usual.values()):
            text = f"{_said(usual)} at ordinary values already: see the table"
            findings.append(Finding("kinks", name, "skipped", text))
            continue
        for label, value in VALUES.items():
            diff = [leaf.copy() for leaf in trial.subject.diff]
            with np.errstate(all="ignore"):
                diff[i].flat[0] = value
            said = _gradients(able, diff, cotangents, name)
            finding = _judge(f"{name} = {label}", said, must_agree=value == 0)
            if finding is None:
                agreed.setdefault(name, []).append(label)
            else:
                findings.append(finding)
        findings += _dead_unit(trial, able, i, name)
    if len(who) == 1:
        text = "no reference and no torch function to compare with"
        return [*findings, Finding("kinks", trial.name, "skipped", text)]
    alike: dict[str, list[str]] = {}
    for name, labels in agreed.items():
        alike.setdefault(", ".join(labels), []).append(name)
    for labels, names in alike.items():
        findings.append(Finding("kinks", ", ".join(names), "pass", f"the same gradient at {labels}"))
    return findings


def _probe(cotangents: np.ndarray) -> np.ndarray:
    """3 for the first element, random for the others: a softmax has no gradient for a constant one."""
    probe = cotangents[:1].copy()
    probe.flat[:1] = COTANGENT
    return probe


def _gradients(who: dict[str, Run], diff: Any, cotangents: Any, name: str) -> dict[str, float | str]:
    said: dict[str, float | str] = {}
    for person, run in who.items():
        try:
            leaves: Leaves = run(diff, cotangents)
            said[person] = float(np.asarray(leaves[f"{name}_bar"]).reshape(-1)[0])
        except Exception as error:
            said[person] = first_line(error)
    return said


def _judge(about: str, said: dict[str, float | str], must_agree: bool) -> Finding | None:
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


def _dead_unit(trial: Trial, who: dict[str, Run], i: int, name: str) -> list[Finding]:
    """A NaN cotangent into an element at -1: does it come through?"""
    shapes = [c.shape[1:] for c in trial.cotangents]
    if shapes != [trial.subject.diff[i].shape]:
        return []  # not element by element
    diff = [leaf.copy() for leaf in trial.subject.diff]
    diff[i].flat[0] = -1
    cotangents = [_probe(c) for c in trial.cotangents]
    cotangents[0].flat[0] = np.nan
    said = _gradients(who, diff, cotangents, name)
    return [Finding("kinks", f"{name} = -1, NaN cotangent", "note", _said(said))]


def _same(a: float | str, b: float | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= SAME * max(abs(a), abs(b))


def _said(said: dict[str, float | str]) -> str:
    return "gradient " + ", ".join(f"{who} {_shown(value)}" for who, value in said.items())


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
