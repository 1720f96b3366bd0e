"""A report as people see it: a table in a terminal, text, and HTML for a notebook."""

import io
import os
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..verdict.deviation import Deviation
from ..verdict.finding import Finding
from ..verdict.rows import ALONE, Row
from .data import ReportData
from .paragraphs import paragraph
from .words import figure, hung, percent

SHOWN_ROWS = 24  # to stay on one screen; the dict and the page have them all
SHOWN_FAILURES = 8
STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}  # of the verdict, by exit code
WIDE = 116  # columns that the whole table needs; on a narrower terminal it keeps the essentials
NARROW = 60


def parts(report: ReportData, width: int) -> Iterator[RenderableType]:
    """What a console prints, from top to bottom."""
    yield _heading(report, width)
    if report.exit_code == 1 and told_failures(report):
        yield failures(report, width)
    yield table(report, wide=width >= WIDE)
    if report.findings:
        yield findings(report)
    yield legend(report, width)
    if report.unjudged:
        yield not_judged(report, width)
    yield Text("\n".join(hung("", verdict(report), width)), STYLES[report.exit_code])


def as_text(report: ReportData) -> str:
    """The report without colours: WIDE columns wide, or COLUMNS, where the environment has it and it is less."""
    asked = os.environ.get("COLUMNS", "")
    width = min(WIDE, max(NARROW, int(asked))) if asked.isdecimal() and int(asked) else WIDE
    # Not for Jupyter: there, rich would show an output of its own beside the text.
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    with console.capture() as capture:
        console.print(*list(parts(report, width))[:-1], sep="\n")
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return "\n".join([*lines, verdict(report)])  # one line, however long: programs read it


def as_html_fragment(report: ReportData) -> str:
    """The same with colours, as one `<pre>` for a notebook."""
    console = Console(file=io.StringIO(), width=WIDE, record=True, force_jupyter=False)
    console.print(*parts(report, WIDE), sep="\n")
    style = "overflow-x:auto;white-space:pre;line-height:normal;font-family:monospace"
    return console.export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')


def _heading(report: ReportData, width: int) -> Text:
    names = max(map(len, report.about))
    lines = [line for name, text in report.about.items() for line in hung(f"  {name:<{names}}  ", text, width)]
    return Text("\n".join(["pullback parity", *lines, ""]))


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
            "×".join(map(str, row.own_shape)) or "scalar",
            *(_cell(row.deviations.get(who)) for who in people),
            figure(worst.max_abs),
            _at(row, worst.index),
            figure(worst.ulps),
            percent(worst.budget),
            figure(row.floor) if row.floor else "any",
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


def failures(report: ReportData, width: int = WIDE) -> Text:
    """A paragraph for each mistake, and one for each further check that fails; to fit on one screen."""
    told = told_failures(report)
    lines = [
        line for number, text in enumerate(told[:SHOWN_FAILURES], 1) for line in hung(f"{number:3}. ", text, width)
    ]
    if len(told) > SHOWN_FAILURES:
        lines.append(f"     And {len(told) - SHOWN_FAILURES} more.")
    return Text("\n".join(["What is wrong:", *lines, ""]))


def told_failures(report: ReportData) -> list[str]:
    """Each failure in a paragraph; none where there is nothing to judge by."""
    if not report.oracle_stands:
        return []
    others = []
    for check, found in report.other_failures.items():
        same: dict[str, list[str]] = {}
        for finding in found:
            same.setdefault(finding.text, []).append(finding.about)
        texts = [f"{', '.join(abouts)}: {text}" for text, abouts in same.items()]
        others.append(f"{check} {'; '.join(texts)}.")
    told = [paragraph(mistake, report) for mistake in report.mistakes]
    return others + told if report.undecided else told + others


def not_judged(report: ReportData, width: int = WIDE) -> Text:
    """What could not be judged, why not, and what would help."""
    lines = ["Not judged, and so no agreement:"]
    for each in report.unjudged[:SHOWN_FAILURES]:
        why = each.reason.capitalize() if each.reason.startswith(ALONE) else f"In that dtype {each.reason}"
        text = f"{each.leaf}: {each.count:,} of {each.size:,} elements. {why}."
        lines += hung("     ", text, width)
    if len(report.unjudged) > SHOWN_FAILURES:
        lines.append(f"     And {len(report.unjudged) - SHOWN_FAILURES} more leaves.")
    lines += hung("     ", f"To have it judged, {report.unjudged[0].remedy}.", width)
    return Text("\n".join([*lines, ""]))


def legend(report: ReportData, width: int = WIDE) -> Text:
    """What the columns say, and what the bound leaves room for."""
    named = "those of the one that comes off worst"
    sentences = [
        f"max |error|, at, ulps and of bound are {named}; of bound is how much of its rounding-error bound the "
    ]
    if width >= WIDE:
        sentences.insert(0, "Under each implementation: its largest |error| over the leaf's largest |value|. ")
    sentences.append(
        "worst element uses. notices: a leaf that is off by this factor of itself, or more, is sure to fail."
    )
    if any(row.cotangents for row in report.rows):
        sentences.append(" at: the element, and the cotangent for which it is so (0,12 c2: element 0,12 for c2).")
    sentences = ["".join(sentences)]
    if report.gates:
        within = "lie within rounding error of their kink, where either side is right"
        gates = f"{report.kinks:,} of {report.gates:,} gates (a relu's x > 0, say)"
        sentences.append(f"Kink band: {gates} {within}{_places(report)}.")
    if report.fallbacks:
        sentences.append(f"The bound is an estimate, and weaker, for want of a rule for {', '.join(report.fallbacks)}.")
    if report.oracle_budget is not None:
        share = percent(report.oracle_budget)
        sentences.append(f"Second opinion on the oracle: {share} of what float64 rounding allows.")
    return Text("\n" + "\n".join(line for text in sentences for line in hung("", text, width)) + "\n")


def _at(row: Row, index: tuple[int, ...]) -> str:
    place, cotangent = row.own_index(index)
    shown = ",".join(map(str, place))
    return (shown if cotangent is None else f"{shown} c{cotangent}".strip()) or "-"


def _places(report: ReportData) -> str:
    named = ", ".join(f"[{','.join(map(str, place))}]" for place in report.kink_at)
    return f": at {named}" + (" and others" if report.kinks > len(report.kink_at) else "") if named else ""


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
    return "-" if deviation is None else figure(deviation.relative) + (" !" if deviation.problem else "")
