"""parity.check: is this rule right, who is wrong, and where?"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .check import Check, Outcome, run_check
from .finding import Finding, first_line
from .kinks import kink_findings
from .oracle import Oracle, choose_oracle, numerical_findings
from .precision import local_device
from .report import Report
from .result import Leaves, as_numpy
from .second import second_derivatives
from .strip import custom_rules
from .subject import output_names
from .transform import transformation_findings
from .trial import Trial, on_trial

CHECKS = ("values", "structure", "rule ran", "transformations", "dtypes", "kinks", "numerical")
DTYPES = ("float32", "float64", "bfloat16", "float16")


def check(
    rule: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    torch: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    torch_kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    checks: Sequence[str] = CHECKS,
    dtypes: Sequence[str] = DTYPES,
    seed: int = 0,
) -> Report:
    """Compare a rule's value and cotangents with plain jax, torch and float64, and say who is wrong where.

    rule: any function of trees of arrays, with one or several outputs: a custom_vjp, a kernel, a whole loss.
    reference: the same maths in plain jax. torch: the same in torch, from tensors to tensors. With neither, the rule's
    own forward without its rules is the reference, and the report says what that cannot see.

    args: floating-point arrays are differentiated, integer and boolean ones passed on. What is no array is named in
    static_argnums (positions) or given in kwargs (torch_kwargs, where torch calls them otherwise).
    checks: which of CHECKS to make; "values" always is. dtypes: which to try beside the arguments' own.

    Raises TypeError or ValueError, naming the argument, for arguments that cannot be checked; ImportError if a torch
    function is given and torch is missing. What goes wrong inside one implementation is reported, not raised.
    """
    for option, names, known in (("checks", checks, CHECKS), ("dtypes", dtypes, DTYPES)):
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{option} must be among {', '.join(map(repr, known))}; got {unknown[0]!r}")
    trial = on_trial(rule, args, reference, torch, kwargs, torch_kwargs, static_argnums, seed)
    outcomes, findings, oracle = examine(trial, checks, dtypes)
    return Report.of(_about(trial, oracle), outcomes, findings)


def examine(trial: Trial, checks: Sequence[str], dtypes: Sequence[str]) -> tuple[list[Outcome], list[Finding], Oracle]:
    """Every check that is asked for. Raises ValueError if rule and reference cannot be called, or differ in outputs."""
    with trial.x64:
        _same_outputs(trial)
        oracle = choose_oracle(trial)
        trusted = replace(trial, distrust_reference=oracle.reference_is_wrong)
        outcomes, findings = _examined(trusted, oracle, checks, dtypes)
    return outcomes, findings, oracle


def _examined(
    trial: Trial, oracle: Oracle, checks: Sequence[str], dtypes: Sequence[str]
) -> tuple[list[Outcome], list[Finding]]:
    first = _values(trial, oracle, trial.dtype.name)
    outcomes = [first]
    findings = oracle.findings + _unbounded(first, trial.dtype.name) + linearity_findings(trial, first)
    if "structure" in checks:
        findings += _structure(trial)
    if "rule ran" in checks:
        findings += _rule_ran(trial)
    if "transformations" in checks:
        findings += transformation_findings(trial, first.bounds)
        second, notes = second_derivatives(trial)
        outcomes += second
        findings += notes
    if "dtypes" in checks:
        for dtype in dtypes:
            if dtype != trial.dtype.name:
                more, notes = _in_dtype(trial, oracle, dtype)
                outcomes += more
                findings += notes
    if "kinks" in checks:
        findings += kink_findings(trial)
    if "numerical" in checks:
        findings += numerical_findings(trial, oracle)
    return outcomes, findings


def _same_outputs(trial: Trial) -> None:
    """Raises ValueError where the rule's call fails or the reference's outputs are others."""
    shapes = {}
    for who, flat in (("rule", trial.flat_rule), ("reference", trial.flat_plain)):
        try:
            tree = jax.eval_shape(flat, *trial.subject.diff)
        except Exception as error:
            raise ValueError(f"the {who} cannot be called with these arguments: {first_line(error)}") from error
        shapes[who] = {
            name: f"{leaf.dtype}{list(leaf.shape)}"
            for name, leaf in zip(output_names(tree), jax.tree.leaves(tree), strict=True)
        }
    if shapes["rule"] != shapes["reference"]:
        raise ValueError(f"the rule returns {shapes['rule']}, the reference {shapes['reference']}: they must be alike")
    if not trial.cotangents:
        raise ValueError("the rule has no floating-point output, so there is nothing to differentiate")


def values_check(trial: Trial, oracle: Oracle, name: str) -> Check:
    """Value and cotangents of everybody, against the oracle."""
    plain = trial.in_jax(trial.flat_plain)
    who = {"rule": trial.in_jax(trial.flat_rule)}
    if trial.reference is not None:
        who["reference"] = trial.in_jax(trial.subject.flat(trial.reference))
    torch = trial.in_torch()
    expected = jax.eval_shape(plain, *trial.args)
    return Check(
        name,
        trial.args,
        who,
        {} if torch is None else {"torch": torch},
        plain,
        oracle.run,
        as_numpy,
        {name: leaf.dtype for name, leaf in expected.items()},
        cotangent_axis=True,
        second_opinion=False,  # choose_oracle has asked for it
    )


def _values(trial: Trial, oracle: Oracle, name: str) -> Outcome:
    return run_check(values_check(trial, oracle, name), trial.dtype, trial.product_u)


def _in_dtype(trial: Trial, oracle: Oracle, dtype: str) -> tuple[list[Outcome], list[Finding]]:
    """The values with every argument in another dtype; a note if they do not fit in it, or nothing runs in it."""
    with np.errstate(over="ignore"):
        other = trial.cast(jnp.dtype(dtype))
    for name, leaf in zip(other.subject.names, other.subject.diff, strict=True):
        if not np.isfinite(leaf.astype(np.float64)).all():
            return [], [Finding("dtypes", dtype, "skipped", f"{name} does not fit in it")]
    try:
        with other.x64:
            outcome = _values(other, oracle, dtype)
    except Exception as error:
        return [], [Finding("dtypes", dtype, "note", f"does not run in it: {first_line(error)}")]
    problems = [deviation.problem or "" for row in outcome.rows for deviation in row.deviations.values()]
    if all(problem.startswith("raised") for problem in problems):
        return [], [Finding("dtypes", dtype, "skipped", f"nobody runs in it: rule {problems[0]}")]
    return [outcome], _unbounded(outcome, dtype)


def _unbounded(outcome: Outcome, dtype: str) -> list[Finding]:
    """Elements that nothing can be said of are counted, not hidden."""
    findings = []
    for name, bound in outcome.bounds.items():
        if count := int(np.count_nonzero(np.isinf(bound))):
            text = f"{count} of {bound.size} elements are not judged: beyond its range, or a quotient by what may be 0"
            findings.append(Finding("values", f"{dtype} {name}", "note", text))
    return findings


def linearity_findings(trial: Trial, outcome: Outcome) -> list[Finding]:
    """Cotangent 2 is cotangent 0 + twice cotangent 1, cotangent 4 is zero; the rule must be linear, oracle or not."""
    try:
        leaves: Leaves = jax.jit(trial.in_jax(trial.flat_rule))(*trial.args)
    except Exception:
        return []  # it is in the rows
    findings = []
    for name in trial.subject.names:
        bar, bound = (np.asarray(x[f"{name}_bar"], np.float64) for x in (leaves, outcome.bounds))
        if bar.shape != bound.shape or not bar.size:
            continue
        with np.errstate(all="ignore"):
            off = np.abs(bar[2] - bar[0] - 2 * bar[1])
            off = np.where(off == 0, 0, off / (bound[0] + 2 * bound[1] + bound[2]))
        share = float(np.max(np.where(np.isnan(off), np.inf, off)))
        ok = share <= 1 and not bar[4].any()
        text = f"linear in the cotangent, {share:.0%} of what rounding allows"
        if not ok:
            text = (
                "not zero for a zero cotangent"
                if bar[4].any()
                else f"not linear in the cotangent: {share:.3g} bounds off"
            )
        findings.append(Finding("linearity", f"{name}_bar", "pass" if ok else "FAIL", text))
    return findings


def _structure(trial: Trial) -> list[Finding]:
    """jax accepts a cotangent of another dtype, or None, in silence."""
    try:
        leaves = jax.eval_shape(trial.in_jax(trial.flat_rule), *trial.args)
    except Exception as error:
        return [Finding("structure", "cotangents", "FAIL", f"jax refuses them: {first_line(error)}")]
    wrong = []
    for name, primal in zip(trial.subject.names, trial.subject.diff, strict=True):
        bar = leaves[f"{name}_bar"]
        if (bar.shape[1:], bar.dtype) != (primal.shape, primal.dtype):
            wrong.append(f"{name}_bar is {bar.dtype}{list(bar.shape[1:])}, {name} {primal.dtype}{list(primal.shape)}")
    text = "; ".join(wrong) or "each has its primal's shape and dtype"
    return [Finding("structure", "cotangents", "FAIL" if wrong else "pass", text)]


def _rule_ran(trial: Trial) -> list[Finding]:
    """That the gradient is the hand-written one: which rules the function's jaxpr holds."""
    names = custom_rules(trial.flat_rule, *trial.subject.diff)
    if not names:
        return [Finding("rule ran", trial.name, "note", "no custom rule in it: jax derives this gradient itself")]
    counted = ", ".join(f"{n}" + (f" × {names.count(n)}" if names.count(n) > 1 else "") for n in dict.fromkeys(names))
    return [Finding("rule ran", trial.name, "pass", f"its jaxpr holds {counted}")]


def _about(trial: Trial, oracle: Oracle) -> dict[str, str]:
    device = local_device()
    versions = f"jax {jax.__version__}, pullback {version('pullback')}, Python {platform.python_version()}"
    if trial.torch is not None:
        versions = f"torch {version('torch')}, " + versions
    return {
        "rule": trial.name,
        "arguments": ", ".join(
            f"{name} {leaf.dtype}[{','.join(map(str, leaf.shape))}]"
            for name, leaf in zip(trial.subject.names, trial.subject.diff, strict=True)
        ),
        "against": ", ".join(
            [*(["reference"] if trial.reference is not None else []), *(["torch"] if trial.torch is not None else [])]
        )
        or "its own forward, differentiated by jax",
        "oracle": f"{oracle.name}, in float64",
        "cotangents": f"0, 1 random, 2 their sum (first + twice the second), 3 ones, 4 zeros; seed {trial.seed}",
        "device": f"{device.platform} ({device.device_kind}), matmul precision "
        f"{getattr(jax.config, 'jax_default_matmul_precision', None) or 'default'}",
        "versions": versions,
    }
