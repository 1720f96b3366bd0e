"""A report as people see it: text in a terminal, a file or a pipe, and HTML for a notebook."""

import shutil
from collections.abc import Iterable, Iterator
from html import escape

from ..verdict.rows import ALONE
from .data import ReportData
from .grid import Line
from .paragraphs import paragraph
from .tables import SHOWN_ROWS, findings, leaves
from .words import hung, percent

SHOWN_FAILURES = 8
STYLES = {0: "bold green", 1: "bold red", 3: "bold yellow"}  # of the verdict, by exit code
WIDE = 116  # characters in a line of text, at most; a table may be wider where the terminal is
NARROW = 60
NOTEBOOK = 96  # what a notebook's cell has room for
COLOURS = {"red": "#c62828", "yellow": "#946200", "green": "#2e7d32"}


def lines(report: ReportData, width: int) -> Iterator[Line]:
    """What is printed, from top to bottom, in `width` characters."""
    text = min(width, WIDE)
    yield from _heading(report, text)
    if report.exit_code == 1 and told_failures(report):
        yield from failures(report, text)
        yield Line("")
    table = leaves(report, width)
    yield from _wrapped(guide(report, [column.plain_title for column in table.columns]), text)
    yield Line("")
    yield from table.lines(width)
    if len(report.rows) > SHOWN_ROWS:
        yield Line(f"and {len(report.rows) - SHOWN_ROWS} more, which use less of their bound")
    yield Line("")
    if report.findings:
        yield from findings(report).lines(text)
        yield Line("")
    if said := notes(report):
        yield from _wrapped(said, text)
        yield Line("")
    if report.unjudged:
        yield from not_judged(report, text)
        yield Line("")
    yield from (Line(line, STYLES[report.exit_code]) for line in hung("", verdict(report), text))


def as_text(report: ReportData) -> str:
    """The report without colours, as wide as the terminal, or as COLUMNS says; the verdict is one line, the last."""
    width = screen_width()
    shown = [line.text for line in lines(report, width)]
    last = len(hung("", verdict(report), min(width, WIDE)))
    return "\n".join([*shown[:-last], verdict(report)])  # one line, however long: programs read it


def as_html_fragment(report: ReportData) -> str:
    """The same with colours, as one `<pre>` for a notebook."""
    return as_pre(lines(report, NOTEBOOK))


def screen_width() -> int:
    """The terminal's, or what COLUMNS says, but no less than a report needs."""
    return max(NARROW, shutil.get_terminal_size((WIDE, 24)).columns)


def as_pre(shown_lines: Iterable[Line]) -> str:
    """Lines for a notebook, with their colours."""
    shown = "\n".join(map(_coloured, shown_lines))
    return f'<pre style="overflow-x:auto;white-space:pre;line-height:normal;font-family:monospace">{shown}</pre>'


def _coloured(line: Line) -> str:
    bold, _, colour = line.style.partition(" ")
    if not bold:
        return escape(line.text)
    colour = f";color:{COLOURS[colour]}" if colour else ""
    return f'<span style="font-weight:bold{colour}">{escape(line.text)}</span>'


def _heading(report: ReportData, width: int) -> Iterator[Line]:
    yield Line("pullback parity", "bold")
    names = max(map(len, report.about))
    for name, text in report.about.items():
        yield from map(Line, hung(f"  {name:<{names}}  ", text, width))
    yield Line("")


def _wrapped(texts: list[str], width: int) -> Iterator[Line]:
    return (Line(line) for text in texts for line in hung("", text, width))


def failures(report: ReportData, width: int = WIDE) -> Iterator[Line]:
    """A paragraph for each mistake, and one for each further check that fails; to fit on one screen."""
    told = told_failures(report)
    yield Line("What is wrong:", "bold")
    for number, text in enumerate(told[:SHOWN_FAILURES], 1):
        yield from map(Line, hung(f"{number:3}. ", text, width))
    if len(told) > SHOWN_FAILURES:
        yield Line(f"     And {len(told) - SHOWN_FAILURES} more.")


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


def not_judged(report: ReportData, width: int = WIDE) -> Iterator[Line]:
    """What could not be judged, why not, and what would help."""
    yield Line("Not judged, and so no agreement:", "bold")
    for each in report.unjudged[:SHOWN_FAILURES]:
        why = each.reason.capitalize() if each.reason.startswith(ALONE) else f"In that dtype {each.reason}"
        text = f"{each.leaf}: {each.count:,} of {each.size:,} elements. {why}."
        yield from map(Line, hung("     ", text, width))
    if len(report.unjudged) > SHOWN_FAILURES:
        yield Line(f"     And {len(report.unjudged) - SHOWN_FAILURES} more leaves.")
    yield from map(Line, hung("     ", f"To have it judged, {report.unjudged[0].remedy}.", width))


def guide(report: ReportData, titles: list[str]) -> list[str]:
    """What a row is, and what the columns of these titles say."""
    rows = (
        "Each row is a leaf: one array of one check, an output or a gradient (x_bar is the gradient with respect to x)."
    )
    all_shown = any(who in titles for who in report.implementations)
    if all_shown:
        rows += " Under each implementation: its largest |error|, divided by the leaf's largest |value|."
    said = []
    if len(report.implementations) > 1:
        figures = "max |error| and the columns after it are" if all_shown else "The figures are"
        said.append(f"{figures} those of the implementation that comes off worst.")
    if any(row.cotangents for row in report.rows):
        said.append("at: the element, and the cotangent with which it is so (0,12 c2: element [0, 12], cotangent c2).")
    if "ulps" in titles:
        said.append("ulps: |error| in units of the last binary digit.")
    said.append(
        "bound used: the worst element's error, as a share of what rounding can explain there; above 100% fails."
    )
    said.append("would notice: a leaf that is wrong by this factor, or more, fails for certain.")
    return [rows, " ".join(said)]


def notes(report: ReportData) -> list[str]:
    """What the bound leaves room for, and how far the oracle is to be trusted."""
    said = []
    if report.gates:
        gates = f"{report.kinks:,} of {report.gates:,} comparisons (a relu's x > 0, say)"
        within = "are within rounding error of a tie, where either side is right"
        said.append(f"Kinks: {gates} {within}{_places(report)}.")
    if report.fallbacks:
        said.append(f"The bound is an estimate, and weaker, for want of a rule for {', '.join(report.fallbacks)}.")
    if report.oracle_budget is not None:
        share = percent(report.oracle_budget)
        said.append(f"The oracle and a second float64 computation differ by {share} of what float64 rounding allows.")
    return said


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
        return f"PASS, on nothing: nothing was compared, for none of the {count} has an element."
    text = f"PASS: all {count} agree"
    text += f", but for {left} that could not be judged, as you allow." if left else "."
    return text + (f" Further checks: {passed} pass." if passed else "")
