"""The page's sections in words: the verdict, what it means, who is wrong, what is wrong, and what is not judged."""

import re
from html import escape

from ..verdict.rows import ALONE
from .data import ReportData
from .text import told_failures, verdict

STATES = {0: ("pass", "✓"), 1: ("fail", "✗"), 3: ("unsure", "?")}
"""Exit code -> the verdict's class, and a sign beside its colour."""
WITHIN = "as close to a float64 computation of the same maths as the rounding of its dtype explains"
SENTENCE_ENDS = re.compile(r"(?<=[.?]) (?=[A-Z])")
LONG = 200  # characters, for a sentence in bold


def head(report: ReportData) -> str:
    """The verdict, and what it means for one who sees such a page for the first time."""
    kind, sign = STATES[report.exit_code]
    return f"""<header>
<p class="above">pullback parity: {escape(subject(report))}</p>
<h1 class="{kind}"><span aria-hidden="true">{sign}</span> {escape(verdict(report))}</h1>
<p>{escape(_meaning(report))} <a href="#read">How to read this page</a></p>
</header>"""


def subject(report: ReportData) -> str:
    """What was checked: the rule's name, or the net."""
    return next(iter(report.about.values()), "")


def _meaning(report: ReportData) -> str:
    if report.exit_code == 0:
        return f"Every result{' that could be judged' if report.unjudged else ''} is {WITHIN}."
    if report.exit_code == 3:
        text = "Nothing was found to differ, but of some results nothing can be said: they may be right or wrong."
        return f"{text} That is no agreement, and no mistake that was found."
    if not report.oracle_stands:
        return "All is compared with a float64 computation, and a second one disagrees with it: trust no figure here."
    if all(row.ok for row in report.rows):
        return f"Every result is {WITHIN}, but a further check found a mistake."
    if report.undecided:
        return f"Nobody is called wrong: {report.undecided}."
    than = "torch's function, its original," if report.is_port else "a float64 computation of the same maths"
    return f"What fails is farther from {than} than rounding explains, or is not there to be compared."


def culprits(report: ReportData) -> str:
    """On a page that fails: how many leaves of each implementation do; those that have some first."""
    if report.undecided or not report.oracle_stands or all(row.ok for row in report.rows):
        return ""
    lines = []
    for who in report.implementations:
        all_of = [row.deviations[who] for row in report.rows if who in row.deviations]
        failed = sum(deviation.problem is not None for deviation in all_of)
        verb = "differ" if report.is_port else "fail"
        said = f"{failed or 'none'} of {len(all_of)} leaves {verb}"
        kind, sign = ("fail", "✗") if failed else ("pass", "✓")
        line = f'<li><span class="{kind}"><span aria-hidden="true">{sign}</span> {escape(who)}</span>: {said}</li>'
        lines.append((not failed, line))
    listed = "\n".join(line for _, line in sorted(lines, key=lambda item: item[0]))
    return f'<ul class="who" aria-label="By implementation">\n{listed}\n</ul>'


def wrong(report: ReportData) -> str:
    """The paragraphs of the text, all of them: what it is in bold, and what to try in a line of its own."""
    if report.exit_code != 1:
        return ""
    items = []
    for told in told_failures(report):
        what, _, remedy = told.partition(" Try: ")
        first, rest = _opening(what)
        item = f"<strong>{escape(first)}</strong>{escape(rest)}"
        items.append(f"<li>{item}" + (f"<p><b>Try:</b> {escape(remedy)}</p>" if remedy else "") + "</li>")
    return "<h2>What is wrong</h2>\n<ol>\n" + "\n".join(items) + "\n</ol>" if items else ""


def _opening(text: str) -> tuple[str, str]:
    """The first sentence, or where that is long its part up to a colon, and the rest."""
    end = SENTENCE_ENDS.search(text)
    at = end.start() if end else len(text)
    if at > LONG and ": " in text[:at]:
        at = text.index(": ") + 1
    return text[:at], text[at:]


def not_judged(report: ReportData) -> str:
    """What could not be judged, why not, and what would help."""
    if not report.unjudged:
        return ""
    leaves: dict[str, list[str]] = {}
    for each in report.unjudged:
        why = each.reason.capitalize() if each.reason.startswith(ALONE) else f"In that dtype {each.reason}"
        leaf = f"<strong>{escape(each.leaf)}</strong> ({each.count:,} of {each.size:,} elements)"
        leaves.setdefault(why, []).append(leaf)
    items = "\n".join(f"<li>{', '.join(names)}. {escape(why)}.</li>" for why, names in leaves.items())
    remedies = dict.fromkeys(each.remedy for each in report.unjudged)
    told = "".join(f"<p><b>To have it judged:</b> {escape(text)}.</p>" for text in remedies)
    return f"<h2>Not judged</h2>\n<ul>\n{items}\n</ul>\n{told}"


def ran(report: ReportData) -> str:
    about = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.about.items())
    return f'<h2>What ran</h2>\n<dl class="ran">{about}</dl>'


def tracebacks(report: ReportData) -> str:
    """Of what raised, folded away."""
    shown = "\n".join(
        f"<details><summary>{escape(who)}</summary><pre>{escape(text)}</pre></details>"
        for who, text in report.errors.items()
    )
    return f"<h2>What was raised</h2>\n{shown}" if shown else ""
