"""A failure as mistakes: one for each thing that is wrong, however many dtypes and derivatives show it."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..verdict.deviation import OUTSIDE
from ..verdict.diagnosis import GUESS, Diagnosis
from ..verdict.rows import SECOND, Row

PRIMAL = " (primal)"
RAISED = "raised "
KIND = re.compile(rf"(?:^|(?<= ))(?:b?float\d+(?: maths)?|maths|{'|'.join(SECOND)})$")
"""How the name of a check ends; what stands before it is the op that it is of."""


@dataclass
class Mistake:
    """One thing that is wrong, in one or several implementations."""

    who: list[str]
    """The implementations that are wrong alike."""
    leaves: list[str]
    """The first one is described; in the others it looks alike."""
    rows: list[Row]
    """All that show it; the first one is described."""
    after: list[Row] = field(default_factory=list)
    """Second derivatives that are off where the first is: what follows from a mistake, not one of its own."""

    @property
    def row(self) -> Row:
        """The row that is described."""
        return self.rows[0]

    @property
    def problem(self) -> str:
        """What is wrong with the row that is described."""
        return self.row.deviations[self.who[0]].problem or ""

    @property
    def raised(self) -> bool:
        """Whether it is an exception, for which there is nothing to compare."""
        return self.problem.startswith(RAISED)

    @property
    def diagnosis(self) -> Diagnosis:
        """What it looks like: in the row that is described, or the first that has a diagnosis."""
        said = (row.diagnosis.get(who) for row in self.rows for who in self.who)
        found = next((text for text in said if text), "")
        return found if isinstance(found, Diagnosis) else Diagnosis(found)

    @property
    def is_second(self) -> bool:
        """Whether only second derivatives show it."""
        return all(row.is_second for row in self.rows)

    @property
    def kind(self) -> str:
        """That of the diagnosis, or ""."""
        return self.diagnosis.kind

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        row, deviation = self.row, self.row.deviations[self.who[0]]
        index, cotangent = row.own_index(deviation.budget_index)
        return {
            "who": self.who,
            "leaves": self.leaves,
            "kind": self.kind,
            "diagnosis": str(self.diagnosis),
            "problem": self.problem,
            "extent": row.extent.get(self.who[0], ""),
            "index": index,
            "cotangent": cotangent,
            "budget": deviation.budget,
            "checks": list(dict.fromkeys(row.check for row in [*self.rows, *self.after])),
        }


def mistakes_in(
    rows: Sequence[Row], checks: Sequence[str] = (), own_slopes: Collection[str] = (), undecided: bool = False
) -> list[Mistake]:
    """The mistakes that rows show, the most important first.

    checks: the rows' checks in the order in which they were made; a mistake is described where it was seen first.
    own_slopes: the arguments whose cotangent is the measured slope of the rule's own forward. If the value is wrong,
    the cotangent is then no mistake of its own. undecided: whether nobody is called wrong, and so only leaves differ.
    """
    order = {check: i for i, check in enumerate(checks)}
    rank = lambda row: (row.is_second, order.get(row.check, len(order)), row.leaf.endswith("_bar"))  # noqa: E731
    found: dict[tuple[Any, ...], Mistake] = {}
    for row in sorted((row for row in rows if not row.ok), key=rank):
        for who, deviation in row.deviations.items():
            if not deviation.problem:
                continue
            leaf, raised = row.leaf.removesuffix(PRIMAL), deviation.problem.startswith(RAISED)
            key = ("" if undecided else who, place_of(row.check), deviation.problem if raised else leaf)
            before = [each for other, each in found.items() if other[:2] == key[:2] and not each.is_second]
            if key in found:
                _add(found[key], who, leaf, row)
            elif before and (row.is_second or (not undecided and _follows(who, leaf, before[0], own_slopes))):
                before[0].after.append(row)
            else:
                found[key] = Mistake([who], [leaf], [row])
    return _merged(list(found.values()))


def _add(mistake: Mistake, who: str, leaf: str, row: Row) -> None:
    mistake.rows += [row] if row not in mistake.rows else []
    mistake.leaves += [leaf] if leaf not in mistake.leaves else []
    mistake.who += [who] if who not in mistake.who else []


def _follows(who: str, leaf: str, value: Mistake, own_slopes: Collection[str]) -> bool:
    """Whether a wrong cotangent is right for the wrong value."""
    is_own = leaf.endswith("_bar") and leaf.removesuffix("_bar") in own_slopes
    return is_own and who in ("rule", "custom_vjp") and not value.leaves[0].endswith("_bar")


def without_guesses(rows: Sequence[Row]) -> list[Row]:
    """The rows, with no lower precision guessed where the leaf is as far off in float64: that is another formula."""
    sure: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.dtype == "float64":
            for who, deviation in row.deviations.items():
                sure[who, place_of(row.check), row.leaf] = deviation.relative if deviation.problem else 0.0
    kept = []
    for row in rows:
        off = {who: sure.get((who, place_of(row.check), row.leaf), 0.0) for who in row.diagnosis}
        guesses = {who for who, text in row.diagnosis.items() if text.endswith(GUESS)}
        drop = {who for who in guesses if off[who] > 0.1 * row.deviations[who].relative}
        diagnosis = {who: text for who, text in row.diagnosis.items() if who not in drop}
        kept.append(replace(row, diagnosis=diagnosis) if drop else row)
    return kept


def place_of(check: str) -> str:
    """The op that a check is of, if there are several: what stands before the kind of check in its name."""
    return KIND.sub("", check).strip()


def kind_of_check(check: str) -> str:
    """`float32`, `grad of grad`, ...: the check's name without what it is of."""
    found = KIND.search(check)
    return found.group() if found else check


def _merged(mistakes: list[Mistake]) -> list[Mistake]:
    """The same mistake in several implementations, or in several leaves of one, is one."""
    kept: list[Mistake] = []
    for mistake in mistakes:
        for other in kept:
            if place_of(other.row.check) != place_of(mistake.row.check):
                continue
            if other.leaves == mistake.leaves and _is_same_number(other, mistake):
                other.who += mistake.who
            elif other.who == mistake.who and _looks_like(other, mistake):
                other.leaves += mistake.leaves
            else:
                continue
            other.rows += [row for row in mistake.rows if row not in other.rows]
            other.after += [row for row in mistake.after if row not in other.after]
            break
        else:
            kept.append(mistake)
    return kept


def _is_same_number(one: Mistake, other: Mistake) -> bool:
    """Whether two implementations are wrong in one row, and off by the same."""
    if one.row is not other.row or one.problem != other.problem:
        return False
    errors = [each.row.deviations[each.who[0]].max_abs for each in (one, other)]
    return one.problem != OUTSIDE or abs(errors[0] - errors[1]) <= 1e-3 * max(errors)


def _looks_like(one: Mistake, other: Mistake) -> bool:
    return bool(one.diagnosis) and one.diagnosis == other.diagnosis and one.is_second == other.is_second
