"""The verdict as data, for programs: what was compared, each leaf's figures, and what else was found."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pullback.names import printable

from ..verdict.comparison import Outcome
from ..verdict.finding import STATUSES, Finding
from ..verdict.rows import ALONE, Row
from .mistakes import PRIMAL, RAISED, Mistake, mistakes_in, without_guesses
from .names import with_printable_names

SCHEMA = 1
R = TypeVar("R", bound="ReportData")


@dataclass(frozen=True)
class Unjudged:
    """A leaf of which something could not be judged."""

    leaf: str
    """With the check that it is of: `float32 x_bar`."""
    count: int
    """How many of its elements."""
    size: int
    """Of how many."""
    reason: str
    """Why nothing can be said of them."""
    remedy: str
    """What would make it judgeable."""


def about_what(finding: Finding) -> str:
    """What a finding is about, without the op that it is of."""
    return finding.about.rpartition(": ")[2]


def _without_repeats(rows: Sequence[Row]) -> list[Row]:
    """The rows but those of a `y (primal)` that comes off as `y` does: it agrees too, or is off by the same."""
    others = {(row.check, row.leaf): row for row in rows}
    return [row for row in rows if not _repeats(row, others.get((row.check, row.leaf.removesuffix(PRIMAL))))]


def _repeats(row: Row, other: Row | None) -> bool:
    if other is None or other is row or row.verdict != other.verdict:
        return False
    return row.ok or repr(row.deviations) == repr(other.deviations)


def _unjudged(row: Row) -> Unjudged:
    finer = "" if row.dtype in ("float64", "complex128") else "arguments in float64, "
    remedy = f"try {finer}a better conditioned reference, or other arguments"
    if row.reason.startswith(ALONE):
        remedy = "say what it should be: reference=, the same maths in plain jax, or torch="
    return Unjudged(f"{row.check} {row.leaf}", row.unjudged, math.prod(row.shape), row.reason, remedy)


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
    undecided: str = ""
    """Why nobody is called wrong, where implementations disagree and nothing says who is right."""
    is_port: bool = False
    """Whether torch's function is the only other one, and so the original: what differs from it is the port."""
    allow_unjudged: bool = False
    """Whether the report may be ok though something in it was not judged."""
    checks: tuple[str, ...] = ()
    """The rows' checks, in the order in which they were made: the arguments' own dtype first."""

    def __post_init__(self) -> None:
        """Names are text: nothing that comes from outside moves a cursor or sets a colour, wherever it is shown."""
        for name in ("about", "rows", "findings", "fallbacks", "undecided", "checks"):
            object.__setattr__(self, name, with_printable_names(getattr(self, name)))
        errors = {printable(who): printable(text, keep="\n\t") for who, text in self.errors.items()}
        object.__setattr__(self, "errors", errors)

    @classmethod
    def of(
        cls: type[R],
        about: dict[str, str],
        outcomes: Sequence[Outcome],
        findings: Sequence[Finding] = (),
        undecided: str = "",
        port: bool = False,
        allow: bool = False,
    ) -> R:
        """The report on several checks; the kink band is that of the first."""
        rows = [row for outcome in outcomes for row in _without_repeats(outcome.rows)]
        checks = tuple(dict.fromkeys(row.check for row in rows))
        rows = without_guesses(rows)
        rows.sort(key=lambda row: (row.ok, -row.worst[1].budget))
        oracle_budget = max((o.oracle_budget for o in outcomes if o.oracle_budget is not None), default=None)
        ordered = sorted(findings, key=lambda finding: STATUSES.index(finding.status))
        fallbacks = tuple(sorted({name for outcome in outcomes for name in outcome.fallbacks}))
        errors = {who: text for outcome in outcomes for who, text in outcome.errors.items()}
        first = outcomes[0]
        band = first.gates, first.kinks, first.kink_at
        return cls(about, rows, *band, oracle_budget, ordered, fallbacks, errors, undecided, port, allow, checks)

    @property
    def ok(self) -> bool:
        """Whether everybody agrees with the oracle, the oracle with its second opinion, and no finding is a failure.

        What could not be judged does not agree: see `unjudged`.
        """
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0: all agree. 1: something differs. 3: nothing differs, and something could not be judged."""
        agree = self.oracle_stands and all(row.ok for row in self.rows)
        if not agree or any(finding.status == "FAIL" for finding in self.findings):
            return 1
        return 3 if self.unjudged and not self.allow_unjudged else 0

    @property
    def mistakes(self) -> list[Mistake]:
        """What is wrong, one entry for each mistake, however many rows show it."""
        measured = [finding for finding in self.findings if finding.check == "numerical" and finding.status == "note"]
        own = {about_what(finding) for finding in measured if finding.text.startswith("slope measured")}
        return mistakes_in(self.rows, self.checks, own, bool(self.undecided))

    @property
    def other_failures(self) -> dict[str, list[Finding]]:
        """Check -> its findings that failed and are no second sign of a mistake in the rows."""
        seen = {leaf for mistake in self.mistakes for leaf in mistake.leaves}
        raised = [mistake.problem for mistake in self.mistakes if mistake.raised]
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            leaf = about_what(finding).removesuffix("_bar") + "_bar"
            again = finding.check in ("numerical", "linearity") and leaf in seen
            again |= any(problem.removeprefix(RAISED) in finding.text for problem in raised)
            if finding.status == "FAIL" and not again:
                found.setdefault(finding.check, []).append(finding)
        return found

    @property
    def unjudged(self) -> list[Unjudged]:
        """What could not be judged: neither agreement nor difference."""
        return [_unjudged(row) for row in self.rows if row.verdict == "not judged"]

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
        """Who disagrees with the oracle anywhere; nobody, where it is undecided who is wrong."""
        if self.undecided:
            return []
        wrong = {who for row in self.rows for who, deviation in row.deviations.items() if deviation.problem}
        return [who for who in self.implementations if who in wrong]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; numbers that JSON does not know are null."""
        names = ("ok", "exit_code", "about", "gates", "kinks", "kink_at", "oracle_budget", "fallbacks")
        names += ("culprits", "undecided", "errors")
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        mistakes = [mistake.to_dict() for mistake in self.mistakes]
        unjudged = [dataclasses.asdict(each) for each in self.unjudged]
        rows = [_row_dict(row) for row in self.rows]
        return plain(
            {"schema": SCHEMA}
            | _picked(self, names)
            | {"mistakes": mistakes, "unjudged": unjudged, "findings": findings, "rows": rows}
        )


def _row_dict(row: Row) -> dict[str, Any]:
    figures = ("max_abs", "index", "relative", "ulps", "budget", "problem")
    everybody = {who: {"ok": d.problem is None} | _picked(d, figures) for who, d in row.deviations.items()}
    names = ("check", "leaf", "ok", "verdict", "shape", "cotangents", "dtype", "floor", "values", "diagnosis", "extent")
    names += ("unjudged", "reason")
    return _picked(row, names) | {"implementations": everybody}


def _picked(thing: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
