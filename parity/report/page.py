"""A report as one HTML page that needs nothing beside it: verdict, plot, tables, and every failure in words."""

from html import escape
from importlib.resources import files

from .data import ReportData
from .grid import Grid
from .plot import ANNOTATED, as_svg
from .tables import findings, leaves
from .text import guide, notes, told_failures, verdict

STYLE = files("pullback.parity.report").joinpath("page.css").read_text(encoding="utf-8")


def as_page(report: ReportData) -> str:
    """The page as text; the same for the same report. Raises ImportError without matplotlib."""
    kind, sign = ("pass", "✓") if report.ok else ("fail", "✗")
    about = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.about.items())
    table = leaves(report)
    titles = [column.plain_title for column in table.columns]
    explained = "".join(f"<p>{escape(line)}</p>" for line in (*guide(report, titles), *notes(report)))
    caption = "Each leaf, worst first: relative error in each implementation, then how the worst of them comes off."
    parts = [
        f'<h1 class="{kind}">{sign} {escape(verdict(report))}</h1>',
        _failures(report),
        f"<h2>What ran</h2>\n<dl>{about}</dl>",
        f"<h2>Error against bound</h2>\n{_figure(report)}",
        f"<h2>Leaves</h2>\n{_table(table, caption, 'leaves')}\n{explained}",
    ]
    if report.findings:
        further = _table(findings(report), "What else was checked, failures first.", "findings")
        parts.append(f"<h2>Further checks</h2>\n{further}")
    body = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{kind.upper()} - pullback parity</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _failures(report: ReportData) -> str:
    """The paragraphs of the text, all of them."""
    items = [escape(text) for text in told_failures(report)] if report.exit_code == 1 else []
    return "<h2>What is wrong</h2>\n<ol>" + "\n".join(f"<li>{item}</li>" for item in items) + "</ol>" if items else ""


def _figure(report: ReportData) -> str:
    outside = sum(not row.ok for row in report.rows)
    label = "Error against bound, an element a point, log-log. "
    label += f"{outside} of {len(report.rows)} leaves fail." if outside else "None lies above the line error = bound."
    sentences = [
        "Some elements of each leaf, evenly spread, and its worst, in each implementation. Both axes are logarithmic, "
        "so 0 has a dotted line of its own; what lies above the diagonal is outside its bound."
    ]
    bare: dict[str, list[str]] = {}
    for row in report.rows:
        for who, deviation in row.deviations.items():
            if not deviation.points:
                bare.setdefault(f"{who} ({deviation.problem or 'empty'})", []).append(f"{row.check} {row.leaf}")
    sentences += [f"Not drawn: {who}: {', '.join(leaves)}." for who, leaves in bare.items()]
    if outside > ANNOTATED:
        sentences.append(f"At most {ANNOTATED} leaves are named in the plot; the list above has all.")
    caption = "<br>".join(map(escape, sentences))
    return f"<figure>\n{as_svg(report, escape(label))}\n<figcaption>{caption}</figcaption>\n</figure>"


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
    shown = f'<span class="fail">{escape(text)}</span>' if text.endswith("FAIL") else escape(text)
    return f"<td{side}>{shown}</td>"
