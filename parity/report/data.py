"""The verdict as data, for programs: what was compared, each leaf's figures, and what else was found."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..verdict.comparison import Outcome
from ..verdict.finding import STATUSES, Finding
from ..verdict.rows import Deviation, Row

SCHEMA = 1
R = TypeVar("R", bound="ReportData")


@dataclass(frozen=True, repr=False)
class ReportData:
    """What was compared, each leaf's figures, and the verdict."""

    about: dict[str, str]
    """What ran, on which data, device and versions, and against which oracle."""
    rows: list[Row]
    """One for each leaf of each check, worst first."""
    gates: int
    """Elements that were compared with something (relu's x > 0, say) in the first check."""
    kinks: int
    """How many of them lie within rounding error of it: the kink band."""
    kink_at: tuple[tuple[int, ...], ...]
    """Where the first few of these are."""
    oracle_budget: float | None
    """How far the oracle is from a second float64 computation, over what float64 rounding allows: up to 1 is fine.
    None where that was not asked: `check` compares its candidates before it chooses, and says so in a finding."""
    findings: list[Finding] = field(default_factory=list)
    """What else was checked, a line each; failures first."""
    fallbacks: tuple[str, ...] = ()
    """Primitives without a rounding rule: their part of the bound is an estimate."""

    errors: dict[str, str] = field(default_factory=dict)
    """Who raised in which check -> the whole traceback; one line of it is in the table."""

    @classmethod
    def of(cls: type[R], about: dict[str, str], outcomes: Sequence[Outcome], findings: Sequence[Finding] = ()) -> R:
        """The report on several checks; the kink band is that of the first."""
        rows = [row for outcome in outcomes for row in outcome.rows]
        rows.sort(key=lambda row: (row.ok, -row.worst[1].budget))
        asked = [outcome.oracle_budget for outcome in outcomes if outcome.oracle_budget is not None]
        oracle_budget = max(asked) if asked else None
        ordered = sorted(findings, key=lambda finding: STATUSES.index(finding.status))
        fallbacks = tuple(sorted({name for outcome in outcomes for name in outcome.fallbacks}))
        errors = {who: text for outcome in outcomes for who, text in outcome.errors.items()}
        first = outcomes[0]
        band = first.gates, first.kinks, first.kink_at
        return cls(about, rows, *band, oracle_budget, ordered, fallbacks, errors)

    @property
    def ok(self) -> bool:
        """Whether everybody agrees with the oracle, the oracle with its second opinion, and no finding is a failure."""
        agree = self.oracle_stands and all(row.ok for row in self.rows)
        return agree and all(finding.status != "FAIL" for finding in self.findings)

    @property
    def oracle_stands(self) -> bool:
        """Whether the oracle's second opinion, if there is one, agrees."""
        return self.oracle_budget is None or self.oracle_budget <= 1

    @property
    def implementations(self) -> list[str]:
        """Who was compared, in the order of the table's columns: as in the rows that have most of them."""
        fullest_first = sorted(self.rows, key=lambda row: -len(row.deviations))
        return list(dict.fromkeys(who for row in fullest_first for who in row.deviations))

    @property
    def culprits(self) -> list[str]:
        """Who disagrees with the oracle anywhere."""
        return [
            who
            for who in self.implementations
            if any(row.deviations[who].problem for row in self.rows if who in row.deviations)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; numbers that JSON does not know are null."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "about": self.about,
            "gates": self.gates,
            "kinks": self.kinks,
            "kink_at": [list(place) for place in self.kink_at],
            "oracle_budget": _finite(self.oracle_budget),
            "fallbacks": list(self.fallbacks),
            "culprits": self.culprits,
            "errors": self.errors,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "rows": [
                {
                    "check": row.check,
                    "leaf": row.leaf,
                    "ok": row.ok,
                    "shape": list(row.shape),
                    "dtype": row.dtype,
                    "floor": _finite(row.floor),
                    "values": {who: _finite(value) for who, value in row.values.items()},
                    "diagnosis": row.diagnosis,
                    "implementations": {who: _deviation_dict(d) for who, d in row.deviations.items()},
                }
                for row in self.rows
            ],
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _deviation_dict(deviation: Deviation) -> dict[str, Any]:
    return {
        "ok": deviation.problem is None,
        "max_abs": _finite(deviation.max_abs),
        "index": list(deviation.index),
        "relative": _finite(deviation.relative),
        "ulps": _finite(deviation.ulps),
        "budget": _finite(deviation.budget),
        "problem": deviation.problem,
    }
