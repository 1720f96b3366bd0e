"""The check on the check: how many wrong versions of a rule would these arguments have found out?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pullback.names import printable

from ..case.case import Case, take_up
from ..case.exits import refusing_exit
from ..case.leaves import Leaves, same_bits
from ..probes.kinks import answers, judge
from ..probes.structure import linearity_findings
from ..verdict.diagnosis import diagnose
from ..verdict.evaluation import Evaluation
from ..verdict.finding import first_line
from ..verdict.oracle import choose_oracle
from ..verdict.rows import Row, compare
from .names import tally
from .planted_errors import plant_all


@dataclass(frozen=True)
class MutationScore:
    """Which planted errors were caught."""

    rule: str
    """The rule's name."""
    caught: dict[str, str]
    """Planted error -> what caught it."""
    equivalent: list[str]
    """Planted errors that change nothing, here or on random arguments: no errors at all."""
    survivors: dict[str, str]
    """Planted error -> why it was not seen."""
    said: dict[str, str] = field(default_factory=dict)
    """Planted error that shows in a wrong leaf -> the kinds that the diagnoses of its leaves name; "" for none."""

    @property
    def ok(self) -> bool:
        """Whether every error that is one was caught."""
        return not self.survivors

    @property
    def names(self) -> dict[str, tuple[int, int]]:
        """Kind of error -> how many of those planted the diagnosis calls by that name, and of how many."""
        return tally(self.said)

    def __str__(self) -> str:
        real = len(self.caught) + len(self.survivors)
        caught, equivalent = len(self.caught), len(self.equivalent)
        lines = [f"{self.rule}: {caught} of {real} planted errors caught ({equivalent} more: equivalent)"]
        lines += [f"  survived    {name}: {why}" for name, why in self.survivors.items()]
        lines += [f"  equivalent  {name}" for name in self.equivalent]
        return "\n".join(map(printable, lines))


def mutants(
    rule: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    seed: int = 0,
) -> MutationScore:
    """Plants errors in a right rule, one at a time, and says which ones `check` finds on these arguments.

    The errors (mutation/planted_errors.py): wrong factors and signs, dropped or shifted rows and elements, transposes,
    ignored or rounded cotangents, stale or rounded residuals, wrong dtypes, a forward rule that differs from the
    primal, a derivative of 1 at 0, ... A survivor is an error that would go unseen in a test with these arguments.

    seed: of the cotangents. Raises what `check` raises for arguments that cannot be checked, and ValueError if the rule
    itself is not right.
    """
    case = take_up(rule, args, reference=reference, kwargs=kwargs, static_argnums=static_argnums, seed=seed)
    with refusing_exit(), case.x64:
        judge_of = _Judge(case)
        elsewhere = [_elsewhere(case, seed + k) for k in (1, 2, 3)]
        right = case.rule.flat
        if problem := judge_of.finds(right):
            raise ValueError(f"the rule itself is wrong ({problem}): set it right before planting errors in it")
        caught, equivalent, survivors, said = {}, [], {}, {}
        for name, planted in plant_all(right, case.arguments.names, case.arguments.leaves):
            if problem := judge_of.finds(planted):
                caught[name] = problem
                if (kinds := judge_of.says(planted)) is not None:
                    said[name] = kinds
            elif not _changes_nothing(case, planted):
                survivors[name] = "within rounding error"
            elif all(_changes_nothing(other, planted) for other in elsewhere):
                equivalent.append(name)
            else:
                survivors[name] = "changes nothing with these arguments, though it does with random ones"
    return MutationScore(case.name, caught, equivalent, survivors, said)


class _Judge:
    """The part of `check` that sees wrong rules, with everything that does not depend on the rule computed once."""

    def __init__(self, case: Case):
        self.case = case
        self.right = choose_oracle(Evaluation(case)).values
        self.reference = answers(case, case.plain)

    def finds(self, flat: Callable[..., Any]) -> str:
        """What is wrong with this rule, or ""."""
        planted = self.case.with_rule(flat)
        try:
            leaves = planted.rule(*planted.args)
        except Exception as error:
            return first_line(error)
        for row in self._wrong(leaves):
            return f"{row.leaf}: {row.deviations['rule'].problem}"
        linear = linearity_findings(planted.arguments.diff_names, leaves, self.right.allowed, self.right.want)
        kinks = judge(planted, {"rule": answers(planted, planted.rule), "reference": self.reference})
        return next((f"{found.check}, {found.about}" for found in (*linear, *kinks) if found.status == "FAIL"), "")

    def says(self, flat: Callable[..., Any]) -> str | None:
        """The kinds that the diagnoses of this rule's wrong leaves name; None if it raises, or none is wrong."""
        try:
            leaves = self.case.with_rule(flat).rule(*self.case.args)
        except Exception:
            return None
        right, sizes = self.right, {size for leaf in self.case.arguments.leaves for size in leaf.shape}
        single = sum(c[0].size for c in self.case.cotangents) == 1
        found = {}
        for leaf in (row.leaf for row in self._wrong(leaves)):
            known = right.want[leaf], right.allowed[leaf], right.dtypes[leaf]
            found[leaf] = diagnose(leaves[leaf], *known, sizes, leaf.endswith("_bar"), single).kind
        kinds = sorted({kind for kind in found.values() if kind})
        return ", ".join(kinds) if found else None

    def _wrong(self, leaves: Leaves) -> list[Row]:
        rows = compare("values", {"rule": leaves}, self.right.want, self.right.allowed, self.right.dtypes)
        return [row for row in rows if not row.ok]


def _changes_nothing(case: Case, flat: Callable[..., Any]) -> bool:
    """Whether value and cotangents are, bit for bit, those of the right rule."""
    got, right = case.with_rule(flat).rule(*case.args), case.rule(*case.args)
    return all(same_bits(got[name], leaf) for name, leaf in right.items())


def _elsewhere(case: Case, seed: int) -> Case:
    """The same case with random arguments of the same shapes, and other cotangents."""
    rng = np.random.default_rng(seed)
    diff = [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in case.arguments.diff]
    return case.with_diff(diff, seed)
