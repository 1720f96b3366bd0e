"""A report as one HTML page that needs nothing beside it: the verdict, every failure in words, a plot, and tables."""

from html import escape
from importlib.resources import files

from .data import ReportData
from .glossary import how_to_read
from .grid import Grid
from .plot import ROWS, as_svg
from .sections import culprits, head, not_judged, ran, subject, tracebacks, wrong
from .tables import findings, leaves
from .text import notes

STYLE = files("pullback.parity.report").joinpath("page.css").read_text(encoding="utf-8")
TITLES = {0: "PASS", 1: "FAIL", 3: "NOT JUDGED"}


def as_page(report: ReportData) -> str:
    """The page as text; the same for the same report. Without matplotlib it says so in the plot's place."""
    table = leaves(report)
    said = "".join(f"<p>{escape(line)}</p>" for line in notes(report))
    caption = "Each leaf, worst first: relative error in each implementation, then how the worst of them comes off."
    parts = [
        head(report),
        culprits(report),
        wrong(report),
        not_judged(report),
        f"<h2>Error against bound</h2>\n{_figure(report)}",
        f"<h2>Leaves</h2>\n{_table(table, caption, 'leaves')}\n{said}",
    ]
    if report.findings:
        further = _table(findings(report), "What else was checked, failures first.", "findings")
        parts.append(f"<h2>Further checks</h2>\n{further}")
    body = "\n".join(part for part in [*parts, tracebacks(report), ran(report), how_to_read(report)] if part)
    return document(f"{TITLES[report.exit_code]}: {escape(subject(report))} - pullback parity", body)


def document(title: str, body: str, style: str = "") -> str:
    """A whole page, of HTML text: the page's own style comes after that of every page."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _figure(report: ReportData) -> str:
    outside = sum(not row.ok for row in report.rows)
    label = "How many times its bound each error is. "
    label += f"{outside} of {len(report.rows)} leaves fail." if outside else "All lie within their bound."
    try:
        drawn = [as_svg(report, escape(label), narrow) for narrow in (False, True)]
    except ImportError as error:
        return f"<p>There is no plot here: {escape(str(error))}</p>"
    sentences = []
    if all(drawn):
        sentences.append(
            "A row is a leaf, and a small tick one of its elements (some of them, evenly spread); the marker is the "
            "worst element of an implementation, and the figure at the right the worst of all. What lies right of the "
            "line at 1× has a larger error than rounding explains. The axis is in powers of ten."
        )
        if report.undecided:
            sentences.append("Nobody is called wrong: an error here is how far off the oracle is that What ran names.")
        if "∞ or" in drawn[0]:
            sentences.append("∞ or NaN: the result is no finite number, or nothing is rounded there and it is off.")
        if len(report.rows) > ROWS:
            sentences.append(f"The {ROWS} leaves that come off worst, of {len(report.rows)}.")
    bare: dict[str, list[str]] = {}
    for row in report.rows:
        for who, deviation in row.deviations.items():
            if not deviation.points:
                bare.setdefault(f"{who} ({deviation.problem or 'empty'})", []).append(f"{row.check} {row.leaf}")
    sentences += [f"Not drawn: {who}: {', '.join(leaves)}." for who, leaves in bare.items()]
    caption = "<br>".join(map(escape, sentences))
    plots = "\n".join(f'<div class="{name}">{svg}</div>' for name, svg in zip(("broad", "narrow"), drawn, strict=True))
    return f"<figure>\n{plots if all(drawn) else ''}\n<figcaption>{caption}</figcaption>\n</figure>"


def _table(grid: Grid, caption: str, name: str) -> str:
    """A table of the text in HTML."""
    sides = [' class="right"' if column.right else "" for column in grid.columns]
    titles = [column.plain_title for column in grid.columns]
    head = "".join(f'<th scope="col"{side}>{escape(title)}</th>' for title, side in zip(titles, sides, strict=True))
    rows = []
    for first, *rest in grid.rows:
        cells = "".join(_cell(cell, side) for cell, side in zip(rest, sides[1:], strict=True))
        rows.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    body = "\n".join(rows)
    # tabindex: what scrolls must be reached by the keyboard as well.
    return f"""<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">
<table class="{name}"><caption><span>{escape(caption)}</span></caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>"""


def _cell(text: str, side: str) -> str:
    if text.endswith(" !"):
        text = f"{text[:-1]}FAIL".removeprefix("- ")  # without a figure: the word alone
    kind = "fail" if text.endswith("FAIL") else "unsure" if text == "not judged" else ""
    shown = f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text)
    return f"<td{side}>{shown}</td>"
