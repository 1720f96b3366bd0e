"""Who is right: candidates in float64, and numerical differentiation as the third opinion."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .bound import rounding_bounds
from .compare import compare
from .finding import Finding, first_line
from .numeric import Estimate, derivative
from .result import Leaves
from .strip import custom_rules
from .subject import is_float
from .trial import Run, Trial


class Oracle(NamedTuple):
    """The run that everybody is held against, and how it was chosen."""

    name: str
    run: Run
    findings: list[Finding]
    reference_is_wrong: bool = False


def choose_oracle(trial: Trial) -> Oracle:
    """torch in float64 if there is a torch function, else jax in float64; where they disagree, numbers decide.

    Raises ValueError if no candidate can be evaluated.
    """
    plain = "reference" if trial.reference is not None else "the rule's own primal, without its rules"
    candidates: dict[str, Run] = {}
    if (torch := trial.in_torch()) is not None:
        candidates["torch"] = trial.in_double(torch, compiled=False)
    candidates[plain] = trial.in_double(trial.in_jax(trial.flat_plain), compiled=True)

    leaves, findings = {}, []
    for name, run in candidates.items():
        try:
            leaves[name] = run(*trial.args)
        except Exception as error:
            findings.append(Finding("oracle", name, "FAIL", f"cannot be evaluated in float64: {first_line(error)}"))
    if not leaves:
        raise ValueError(f"nothing to compare with: {'; '.join(f'{f.about} {f.text}' for f in findings)}")
    first = next(iter(leaves))
    if len(leaves) == 1:
        text = f"{first} in float64"
        if trial.reference is None and trial.torch is None:
            text += ": it is made from the rule's own forward, so a wrong forward is not seen"
            if left := custom_rules(trial.flat_plain, *trial.subject.diff):
                text += f"; and {', '.join(left)} could not be taken out of it, so the rule is held against itself"
        return Oracle(first, candidates[first], [*findings, Finding("oracle", first, "note", text)])

    share = _disagreement(trial, leaves["torch"], leaves[plain])
    if share <= 1:
        text = f"torch and {plain} agree in float64, {share:.0%} of what rounding allows"
        return Oracle(first, candidates[first], [*findings, Finding("oracle", "torch", "pass", text)])
    try:
        slopes = numerical(trial)
    except Exception as error:
        text = f"torch and {plain} disagree in float64, and the rule does not run there: {first_line(error)}"
        return Oracle(first, candidates[first], [*findings, Finding("oracle", first, "note", text)])
    votes = {name: _misses(leaves[name], slopes) for name in leaves}
    best = min(votes, key=lambda name: votes[name])
    text = f"torch and {plain} disagree in float64; numerical differentiation sides with {best}"
    if len(set(votes.values())) == 1:
        text = f"torch and {plain} disagree in float64, and numerical differentiation cannot tell who is right"
    wrong = best == "torch" and trial.reference is not None
    return Oracle(best, candidates[best], [*findings, Finding("oracle", best, "note", text)], wrong)


def double_bounds(trial: Trial) -> Leaves:
    """How far two float64 evaluations may lie apart, each rounded: per element."""
    with jax.enable_x64(True):
        wide = [[leaf.astype(np.float64) for leaf in leaves] for leaves in trial.args]
        bounds = rounding_bounds(trial.in_jax(trial.flat_plain), *wide, dtype=np.float64)
    return {name: np.asarray(2 * error) for name, error in bounds.errors.items()}


def _disagreement(trial: Trial, torch: Leaves, plain: Leaves) -> float:
    rows = compare("oracle", {"torch": torch}, plain, double_bounds(trial), {})
    return max(row.worst[1].budget for row in rows)


class Slope(NamedTuple):
    """A derivative along a random direction in one input, measured."""

    estimate: Estimate
    direction: np.ndarray
    kinked: bool
    """The slopes to the left and to the right differ: the point lies on a kink."""


def numerical(trial: Trial) -> dict[str, Slope]:
    """For each input: d/dt of <cotangent 0, f(x + t d)> in float64, by differences of the rule's own forward.

    Raises whatever the rule raises in float64.
    """
    rng = np.random.default_rng(trial.seed)
    with jax.enable_x64(True):
        diff = [leaf.astype(np.float64) for leaf in trial.subject.diff]
        cotangents = [c[0].astype(np.float64) for c in trial.cotangents]

        @jax.jit
        def along(t: Any, moved: Any) -> Any:
            y = trial.flat_rule(*(leaf + t * d for leaf, d in zip(diff, moved, strict=True)))
            floats = [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)]
            return sum(jnp.vdot(c, leaf.astype(jnp.float64)) for c, leaf in zip(cotangents, floats, strict=True))

        slopes = {}
        for i, name in enumerate(trial.subject.names):
            direction = rng.standard_normal(diff[i].shape)
            direction *= np.max(np.abs(diff[i]), initial=0.1) / max(float(np.linalg.norm(direction)), 1e-300)
            moved = [direction if j == i else np.zeros_like(leaf) for j, leaf in enumerate(diff)]

            def phi(t: float, moved: Any = moved) -> float:
                return float(along(t, moved))

            right, left = (phi(1e-7) - phi(0.0)) / 1e-7, (phi(0.0) - phi(-1e-7)) / 1e-7
            kinked = abs(right - left) > 1e-4 * max(abs(right), abs(left)) + 1e-7 * abs(phi(0.0))
            slopes[name] = Slope(derivative(phi), direction, kinked)
    return slopes


def slope_of(leaves: Leaves, name: str, slope: Slope) -> float:
    """What these cotangents say that the measured slope should be."""
    return float(np.vdot(np.asarray(leaves[f"{name}_bar"])[0].astype(np.float64), slope.direction))


def _misses(leaves: Leaves, slopes: dict[str, Slope]) -> int:
    """In how many inputs these cotangents contradict the measured slopes."""
    return sum(not agrees(slope_of(leaves, name, slope), slope) for name, slope in slopes.items() if not slope.kinked)


def agrees(said: float, slope: Slope) -> bool:
    """Within ten times the measurement's own uncertainty (it is an estimate), and float64's rounding of the slope."""
    value, uncertainty = slope.estimate
    return abs(said - value) <= 10 * uncertainty + 1e-12 * max(abs(said), abs(value))


def numerical_findings(trial: Trial, oracle: Oracle) -> list[Finding]:
    """The rule and the oracle against the measured slopes."""
    try:
        slopes = numerical(trial)
    except Exception as error:
        return [Finding("numerical", trial.name, "skipped", f"the rule does not run in float64: {first_line(error)}")]
    who = {oracle.name: oracle.run(*trial.args)}
    try:
        who[trial.name] = trial.in_double(trial.in_jax(trial.flat_rule), compiled=True)(*trial.args)
    except Exception as error:
        return [
            Finding("numerical", trial.name, "skipped", f"its gradient does not run in float64: {first_line(error)}")
        ]
    findings = []
    for name, slope in slopes.items():
        value, uncertainty = slope.estimate
        if slope.kinked:
            findings.append(Finding("numerical", name, "note", "lies on a kink: no derivative to measure"))
            continue
        if not np.isfinite(value) or (value and uncertainty > 1e-3 * abs(value)):
            text = f"slope {value:.3g}, unsure by {uncertainty:.1g}: too rough to judge by"
            findings.append(Finding("numerical", name, "note", text))
            continue
        said = {person: slope_of(leaves, name, slope) for person, leaves in who.items()}
        wrong = [person for person, figure in said.items() if not agrees(figure, slope)]
        figures = ", ".join(f"{person} {figure:.9g}" for person, figure in said.items())
        text = f"slope measured {value:.9g} (unsure by {uncertainty:.1g}); {figures}"
        findings.append(Finding("numerical", name, "FAIL" if wrong else "pass", text))
    return findings
