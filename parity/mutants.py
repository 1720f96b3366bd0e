"""The check on the check: how many wrong versions of a rule would these arguments have found out?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from .check import run_check
from .compare import compare
from .finding import first_line
from .kinks import kink_findings
from .oracle import choose_oracle
from .planted import plant_all
from .result import Leaves, as_numpy
from .rule import linearity_findings, values_check
from .transform import same_bits
from .trial import Trial, on_trial


@dataclass(frozen=True)
class MutationScore:
    """Which planted errors were caught."""

    rule: str
    caught: dict[str, str]
    """Planted error -> what caught it."""
    equivalent: list[str]
    """Planted errors that change nothing, here or on random arguments: no errors at all."""
    survivors: dict[str, str]
    """Planted error -> why it was not seen."""

    @property
    def ok(self) -> bool:
        """Whether every error that is one was caught."""
        return not self.survivors

    def __str__(self) -> str:
        real = len(self.caught) + len(self.survivors)
        lines = [
            f"{self.rule}: {len(self.caught)} of {real} planted errors caught ({len(self.equivalent)} more: equivalent)"
        ]
        lines += [f"  survived    {name}: {why}" for name, why in self.survivors.items()]
        lines += [f"  equivalent  {name}" for name in self.equivalent]
        return "\n".join(lines)


def mutants(
    rule: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    seed: int = 0,
) -> MutationScore:
    """Plants errors in a right rule, one at a time, and says which ones `check` finds on these arguments.

    The errors (parity/planted.py): wrong factors and signs, dropped or shifted rows and elements, transposes, ignored
    or rounded cotangents, stale or rounded residuals, wrong dtypes, a forward rule that differs from the primal, a
    derivative of 1 at 0, ... A survivor is an error that would go unseen in a test with these arguments.

    Raises what `check` raises for arguments that cannot be checked, and ValueError if the rule itself is not right.
    """
    trial = on_trial(rule, args, reference, None, kwargs, None, static_argnums, seed)
    with trial.x64:
        judge = _Judge(trial)
        elsewhere = [_elsewhere(trial, seed + k) for k in (1, 2, 3)]
        if problem := judge.finds(trial.flat_rule):
            raise ValueError(f"the rule itself is wrong ({problem}): set it right before planting errors in it")
        caught, equivalent, survivors = {}, [], {}
        for planted in plant_all(trial.flat_rule, trial.subject.names, trial.subject.diff):
            if problem := judge.finds(planted.fun):
                caught[planted.name] = problem
            elif not _changes_nothing(trial, planted.fun):
                survivors[planted.name] = "within rounding error"
            elif all(_changes_nothing(other, planted.fun) for other in elsewhere):
                equivalent.append(planted.name)
            else:
                survivors[planted.name] = "changes nothing with these arguments, though it does with random ones"
    return MutationScore(trial.name, caught, equivalent, survivors)


class _Judge:
    """The part of `check` that sees wrong rules, with everything that does not depend on the rule computed once."""

    def __init__(self, trial: Trial):
        self.trial = trial
        self.oracle = choose_oracle(trial)
        self.right = run_check(values_check(trial, self.oracle, "values"), trial.dtype)
        self.want = self.oracle.run(*trial.args)
        self.dtypes = {name: leaf.dtype for name, leaf in _leaves(trial, trial.flat_rule).items()}

    def finds(self, flat: Callable[..., Any]) -> str:
        """What is wrong with this rule, or ""."""
        try:
            leaves = _leaves(self.trial, flat)
        except Exception as error:
            return first_line(error)
        for row in compare("values", {"rule": leaves}, self.want, self.right.bounds, self.dtypes):
            if not row.ok:
                return f"{row.leaf}: {row.deviations['rule'].problem}"
        planted = self.trial.with_flat_rule(flat)
        for finding in [*linearity_findings(planted, self.right), *kink_findings(planted)]:
            if finding.status == "FAIL":
                return f"{finding.check}, {finding.about}"
        return ""


def _leaves(trial: Trial, flat: Callable[..., Any]) -> Leaves:
    return as_numpy(jax.jit(trial.in_jax(flat))(*trial.args))


def _changes_nothing(trial: Trial, flat: Callable[..., Any]) -> bool:
    """Whether value and cotangents are, bit for bit, those of the right rule."""
    got, right = _leaves(trial, flat), _leaves(trial, trial.flat_rule)
    return all(same_bits(got[name], leaf) for name, leaf in right.items())


def _elsewhere(trial: Trial, seed: int) -> Trial:
    """The same trial with random arguments of the same shapes, and other cotangents."""
    rng = np.random.default_rng(seed)
    diff = [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in trial.subject.diff]
    return replace(trial.with_diff(diff), seed=seed)
