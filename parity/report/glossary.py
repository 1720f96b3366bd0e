"""The page's words explained, those that come up on it."""

from collections.abc import Iterator
from html import escape

from .data import ReportData


def how_to_read(report: ReportData) -> str:
    items = "\n".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in explained(report))
    return f'<h2 id="read">How to read this page</h2>\n<dl class="words">\n{items}\n</dl>'


def explained(report: ReportData) -> Iterator[tuple[str, str]]:
    """The words of the page that need explaining, each with what it means."""
    rows = report.rows
    yield (
        "leaf",
        "One array that is compared: a value that the function returns (y, say), or the gradient with respect to one "
        "argument, or one array of it (x_bar is the gradient with respect to x). What stands before its name is the "
        "check that it is of: the dtype in which it ran, the operation, or a second derivative.",
    )
    yield "implementation", _implementations(report)
    yield "oracle", "What all are compared with: the same maths in float64. What ran, above, says whose."
    yield (
        "bound",
        "How far from the oracle a right result may lie, because numbers are rounded. It is computed for each element "
        "from the computation itself; no tolerance is chosen. An error beyond it is a mistake, and no rounding.",
    )
    yield (
        "bound used",
        "The error over its bound, at the leaf's worst element. Up to 100% passes; 3e5× is 300,000 times too much.",
    )
    yield (
        "would notice",
        "How small a mistake in this leaf would have been found: a leaf that is wrong by this factor, or more, fails "
        "for certain. 2e-6 is two parts in a million; any: every mistake would be found.",
    )
    yield "ulps", "The error counted in steps from one number of the dtype to the next, at the oracle's value."
    if any(row.cotangents for row in rows):
        yield (
            "cotangent",
            "What a backward pass is given: the gradient with respect to the output. Each backward is run with "
            "several, c0, c1 and so on; at names the element that is farthest off, and for which of them.",
        )
    if any(row.check.endswith("maths") for row in rows):
        yield (
            "maths",
            "The operations of an implementation, each carried out in float64. They are off where its maths is wrong; "
            "where only its rounding is coarse, they are right.",
        )
    if any(row.is_second for row in rows):
        yield "grad of grad, forward over reverse", "Second derivatives: the gradient of the gradient, in two ways."
    if report.gates:
        yield (
            "kink",
            "Where a function chooses by comparing two numbers (relu's x > 0, say), its gradient jumps where they are "
            "equal. So near to it that rounding may turn the comparison, either side is right. These elements are "
            "counted, and results that depend on them may have either value.",
        )
    if any(row.unjudged for row in rows):
        yield (
            "not judged",
            "Rounding may move the result by more than its own size, or nothing else computes it. Whether it is right "
            "cannot be said, and so it counts neither as agreement nor as a mistake.",
        )
    if report.findings:
        yield (
            "note, skipped",
            "Of the further checks: a note is worth knowing, and no fault; skipped is what did not apply, or could not "
            "be made, and why.",
        )


def _implementations(report: ReportData) -> str:
    known = {
        "rule": "rule is the function that is checked",
        "reference": "reference is the same maths in plain jax",
        "torch": "torch is the same maths in torch",
    }
    who = [known[name] for name in report.implementations if name in known]
    told = f": {'; '.join(who)}" if "rule" in report.implementations else ""
    return f"One way to compute the leaves{told}. A - stands where it has no such leaf."
