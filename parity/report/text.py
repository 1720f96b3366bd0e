"""A report as people see it: a table in a terminal, text, and HTML for a notebook."""

import io
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..verdict.deviation import Deviation
from ..verdict.finding import Finding
from ..verdict.rows import Row
from .data import ReportData

SHOWN_ROWS = 24  # to stay on one screen; the dict and the page have them all
SHOWN_FAILURES = 8
NO_BOUND = 1e100  # a budget beyond it is an error where nothing is rounded, and so nothing allowed
PRIMAL = " (primal)"
STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}  # of the verdict, by exit code
WIDE = 116  # columns that the whole table needs; on a narrower terminal it keeps the essentials


def parts(report: ReportData, width: int) -> Iterator[RenderableType]:
    """What a console prints, from top to bottom."""
    yield _heading(report)
    yield table(report, wide=width >= WIDE)
    if report.findings:
        yield findings(report)
    yield legend(report)
    if not all(row.ok for row in report.rows):
        yield failures(report)
    if report.unjudged:
        yield not_judged(report)
    yield Text(verdict(report), STYLES[report.exit_code])


def as_text(report: ReportData) -> str:
    """The report without colours, WIDE columns wide."""
    # Not for Jupyter: there, rich would show an output of its own beside the text.
    console = Console(file=io.StringIO(), width=WIDE, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        console.print(*parts(report, WIDE), sep="\n")
    return capture.get().rstrip()


def as_html_fragment(report: ReportData) -> str:
    """The same with colours, as one `<pre>` for a notebook."""
    console = Console(file=io.StringIO(), width=WIDE, record=True, force_jupyter=False)
    console.print(*parts(report, WIDE), sep="\n")
    style = "overflow-x:auto;white-space:pre;line-height:normal;font-family:monospace"
    return console.export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')


def _heading(report: ReportData) -> Text:
    width = max(map(len, report.about))
    lines = ["pullback parity", *(f"  {name:<{width}}  {text}" for name, text in report.about.items()), ""]
    return Text("\n".join(lines))


def table(report: ReportData, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    people = report.implementations if wide else []
    for title in ("\nleaf", "\nshape"):
        table.add_column(title, no_wrap=True)
    for who in people:
        table.add_column(_two_lines(who), justify="right")
    for title in ("max\n|error|", "\nat", "\nulps", "of\nbound", "\nnotices", "\nverdict"):
        table.add_column(title, justify="left" if title in ("\nat", "\nverdict") else "right", no_wrap=True)
    for row in report.rows[:SHOWN_ROWS]:
        _who, worst = row.worst
        table.add_row(
            f"{row.check} {row.leaf}",
            "×".join(map(str, row.shape)) or "scalar",
            *(_cell(row.deviations.get(who)) for who in people),
            _figure(worst.max_abs),
            ",".join(map(str, worst.index)) or "-",
            _figure(worst.ulps),
            _percent(worst.budget),
            _figure(row.floor) if row.floor else "any",
            row.verdict,
            style={"FAIL": "bold red", "not judged": "bold yellow"}.get(row.verdict, ""),
        )
    if len(report.rows) > SHOWN_ROWS:
        table.add_row(f"and {len(report.rows) - SHOWN_ROWS} more, nearer to 0%")
    return table


def findings(report: ReportData) -> Table:
    """What failed, is worth knowing or was left out, a line each; what passed, a line per check."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("check", "of", "verdict", "found"):
        table.add_column(f"\n{title}", no_wrap=title in ("check", "verdict"))
    grouped: dict[tuple[str, str, str], list[str]] = {}
    passed: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.status == "pass":
            passed.setdefault(finding.check, []).append(finding)
        else:
            grouped.setdefault((finding.check, finding.status, finding.text), []).append(finding.about)
    for (check, status, text), abouts in grouped.items():
        # Text: a bracket in a finding is no markup.
        cells = (check, ", ".join(abouts), status, text)
        table.add_row(*map(Text, cells), style="bold red" if status == "FAIL" else "")
    for check, findings in passed.items():
        texts = list(dict.fromkeys(finding.text for finding in findings))
        abouts = _shortened(", ".join(finding.about for finding in findings), 60)
        table.add_row(*map(Text, (check, abouts, "pass", _shortened("; ".join(texts), 150))))
    return table


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 4].rstrip(" ,;") + " ..."


def failures(report: ReportData) -> Text:
    """Who is wrong, where, and what everybody has there: one entry a mistake, the worst first, to fit on one screen."""
    mistakes: dict[Any, list[Row]] = {}
    for row in report.rows:
        if not row.ok:
            mistakes.setdefault((row.leaf.removesuffix(PRIMAL), _culprits(row)), []).append(row)
    lines = [line for rows in list(mistakes.values())[:SHOWN_FAILURES] for line in failure(rows)]
    if len(mistakes) > SHOWN_FAILURES:
        lines.append(f"      And {len(mistakes) - SHOWN_FAILURES} more leaves.")
    return Text("\n".join(["", *lines]))


def _culprits(row: Row) -> tuple[str, ...]:
    return tuple(sorted(who for who, deviation in row.deviations.items() if deviation.problem))


def failure(rows: list[Row]) -> list[str]:
    """One mistake, of which the first row shows most: in two lines, and a third if other rows show it too."""
    row = rows[0]
    blame = "; ".join(f"{who}: {_problem(row, who)}" for who, d in row.deviations.items() if d.problem)
    lines = [f"FAIL  {row.check} {row.leaf}. {blame}" + ("" if blame.endswith("?") else ".")]
    if row.values:
        index = ", ".join(map(str, row.worst[1].budget_index))
        lines.append(f"      At [{index}]: {_apart(row)}.")
    if len(rows) > 1:
        also = dict.fromkeys(other.check + (PRIMAL if other.leaf.endswith(PRIMAL) else "") for other in rows[1:])
        lines.append(f"      The same in {', '.join(also)}.")
    return lines


def _apart(row: Row) -> str:
    """Everybody's value, with as many digits as tell who is wrong from the oracle."""
    every = [{who: f"{value:.{digits}g}" for who, value in row.values.items()} for digits in (9, 13, 17)]
    wrong = [who for who in _culprits(row) if who in row.values]
    shown = next((x for x in every if all(x[who] != x.get("oracle") for who in wrong)), every[-1])
    return ", ".join(f"{who} {value}" for who, value in shown.items())


def not_judged(report: ReportData) -> Text:
    """What could not be judged, why not, and what would help."""
    lines = ["", "Not judged, and so no agreement:"]
    for each in report.unjudged[:SHOWN_FAILURES]:
        lines.append(f"      {each.leaf}: {each.count:,} of {each.size:,} elements. In that dtype {each.reason}.")
    if len(report.unjudged) > SHOWN_FAILURES:
        lines.append(f"      And {len(report.unjudged) - SHOWN_FAILURES} more leaves.")
    return Text("\n".join([*lines, f"      To have it judged, {report.unjudged[0].remedy}."]))


def _problem(row: Row, who: str) -> str:
    deviation = row.deviations[who]
    text = deviation.problem or ""
    if math.isfinite(deviation.max_abs):
        text += f", {_percent(deviation.budget)} of it" if deviation.budget < NO_BOUND else ", which is 0"
    return f"{text}: {row.diagnosis[who]}" if who in row.diagnosis else text


def legend(report: ReportData) -> Text:
    sentences = [
        "Under each implementation: its largest |error| over the leaf's largest |value|. max |error|, at, ulps and of "
        "bound are those of the one that comes off worst; of bound is how much of its rounding-error bound the worst "
        "element uses. notices: a leaf that is off by this factor of itself, or more, is sure to fail."
    ]
    if report.gates:
        within = "lie within rounding error of their kink, where either side is right"
        gates = f"{report.kinks:,} of {report.gates:,} gates (a relu's x > 0, say)"
        sentences.append(f"Kink band: {gates} {within}{_places(report)}.")
    if report.fallbacks:
        sentences.append(f"The bound is an estimate, and weaker, for want of a rule for {', '.join(report.fallbacks)}.")
    if report.oracle_budget is not None:
        share = _percent(report.oracle_budget)
        sentences.append(f"Second opinion on the oracle: {share} of what float64 rounding allows.")
    return Text("\n" + "\n".join(sentences) + "\n")


def _places(report: ReportData) -> str:
    named = ", ".join(f"[{','.join(map(str, place))}]" for place in report.kink_at)
    return f": at {named}" + (", ..." if report.kinks > len(report.kink_at) else "") if named else ""


def verdict(report: ReportData) -> str:
    """The last line: PASS, FAIL or NOT JUDGED, of how many, and who is wrong."""
    count = f"{len(report.rows)} leaves in {len(report.implementations)} implementations"
    failed = sum(not row.ok for row in report.rows)
    statuses = [finding.status for finding in report.findings]
    broken, passed = statuses.count("FAIL"), statuses.count("pass")
    further = f" Further checks: {broken} fail." if broken else ""
    if not report.oracle_stands:
        return "FAIL: the oracle and a second computation disagree in float64 already, so there is nothing to judge by."
    if report.undecided:
        return f"FAIL: {failed} of {count} differ, and who is wrong is undecided."
    if failed and report.is_port:
        return f"FAIL: your port differs from torch, in {failed} of {count}.{further}"
    if failed:
        return f"FAIL: {failed} of {count} disagree. Wrong: {', '.join(report.culprits)}.{further}"
    if broken:
        return f"FAIL: all {count} agree, but of the further checks {broken} fail."
    left = len(report.unjudged)
    if left and not report.allow_unjudged:
        rest = "the others agree" if left < len(report.rows) else "that is no agreement"
        return f"NOT JUDGED: {left} of {count} could not be judged; {rest}."
    if all(row.verdict == "empty" for row in report.rows):
        return f"PASS, on nothing: none of the {count} has an element."
    text = f"PASS: all {count} agree"
    text += f", but for {left} that could not be judged, as you allow." if left else "."
    return text + (f" Further checks: {passed} pass." if passed else "")


def _two_lines(who: str) -> str:
    head, _, tail = who.replace("jax.", "jax .").replace("nn.", "nn .").replace("_", " _").partition(" ")
    return f"{head}\n{tail}" if tail else f"\n{head}"


def _cell(deviation: Deviation | None) -> str:
    return "-" if deviation is None else _figure(deviation.relative) + (" !" if deviation.problem else "")


def _figure(value: float) -> str:
    """0, 0.5, 12, 3e-8: one or two digits."""
    if value == 0 or not math.isfinite(value):
        return "-" if value else "0"
    return f"{value:.1f}" if 0.05 <= value < 10 else f"{value:.0f}" if 10 <= value < 1000 else _power(value)


def _percent(share: float) -> str:
    if not math.isfinite(share):
        return "-"
    if share >= NO_BOUND:
        return "inf"
    return f"{share:.0%}" if share < 100 else f"{_power(share)}×"


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
