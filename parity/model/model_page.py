"""A port's report as one HTML page that needs nothing beside it: the first divergence, and the tree of layers."""

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pullback.names import printable

from ..report.page import TITLES, document
from ..report.sections import STATES
from ..report.words import figure, percent
from . import model_text

if TYPE_CHECKING:
    from .model_report import ModelReport, Step

BARS = """
.bar { display: inline-block; width: 6rem; height: .55rem; background: var(--panel); position: relative; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--good); } .bar .over { background: var(--bad); }
.tree [scope=row] { padding-left: calc(var(--depth) * 1.1rem); white-space: nowrap; text-align: left; }
tr:has(.fail) { background: var(--panel); }
"""


def as_page(report: "ModelReport") -> str:
    """The page as text; the same for the same report."""
    kind, sign = STATES[report.exit_code]
    first = report.first_divergence
    parts = [f'<h1 class="{kind}"><span aria-hidden="true">{sign}</span> {_text(model_text.verdict(report))}</h1>']
    if first is not None:
        parts.append(f"<h2>First divergence</h2>\n<p>{_text(str(first))}</p>")
    parts += [
        "".join(f"<p>Note: {_text(note)}</p>" for note in report.notes),
        _unmapped(report),
        f"<h2>Layer by layer</h2>\n<p>{_text(model_text.how_to_read(report))}</p>",
        _tree(report),
    ]
    body = "\n".join(part for part in parts if part)
    subject = f"{report.classes['']} ({report.framework}) against {report.original} (torch)"
    body = f'<p class="above">pullback check_model: {_text(subject)}</p>\n{body}'
    return document(f"{TITLES[report.exit_code]}: {_text(subject)} - pullback check_model", body, BARS)


def _text(text: str) -> str:
    return html.escape(printable(text))


def _unmapped(report: "ModelReport") -> str:
    items = [
        f"<li>Only the {side} has {_text(', '.join(names))}. This was not compared.</li>"
        for side, names in report.unmapped.items()
        if names
    ]
    if report.weights_differ:
        names = _text(", ".join(report.weights_differ))
        items.append(f"<li>These of the port's own weights are not the original's: {names}.</li>")
    return f"<h2>Parameters</h2>\n<ul>{''.join(items)}</ul>" if items else ""


def _tree(report: "ModelReport") -> str:
    rows = []
    for path in report.order:
        steps = [step for step in report.steps if step.place.path == path]
        depth = path.count(".") + 1 if path else 0
        name = _text(path.rpartition(".")[2] or "the model")
        exact = [step for step in steps if step.dtype == "float64"]
        cells = [
            _text(report.classes.get(path, "")),
            _text(report.pairs.get(path, "none")) or "the model",
            _text(report.original_classes.get(report.pairs.get(path, "-"), "")),
            _mark(step for step in exact if not step.place.backward),
            _mark(step for step in exact if step.place.backward),
            _bar([step for step in steps if step.dtype != "float64"]),
            _worst(exact),
        ]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row" style="--depth:{depth}" title="{_text(path)}">{name}</th>{row}</tr>')
    titles = (
        "layer of the port",
        "class",
        "layer of the original",
        "its class",
        "forward",
        "backward",
        f"{report.dtype}: bound used",
        "worst in float64",
    )
    head = "".join(f'<th scope="col">{_text(title)}</th>' for title in titles)
    body = "\n".join(rows)
    return f"""<div class="wide" tabindex="0" role="region" aria-label="Layer by layer">
<table class="leaves tree">
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>"""


def _mark(steps: Iterable["Step"]) -> str:
    text = model_text.mark(steps)
    return f'<span class="{text.lower()}">{text}</span>' if text else ""


def _bar(steps: list["Step"]) -> str:
    if not steps:
        return ""
    share = max(step.deviation.budget for step in steps)
    over = ' class="over"' if share > 1 else ""
    length = f"{min(share, 1):.0%}"
    return f'<span class="bar" aria-hidden="true"><i{over} style="width:{length}"></i></span> {percent(share)}'


def _worst(steps: list["Step"]) -> str:
    """The step that comes off worst, and how far it is off, relative to the original's largest element."""
    known = [step for step in steps if np.isfinite(step.deviation.relative)]
    if not known:
        return ""
    step = max(known, key=lambda step: (not step.ok, step.deviation.budget))
    return (
        f"{_text(step.what)}, {figure(step.deviation.relative)} of the largest"
        if step.deviation.relative
        else "nothing"
    )
