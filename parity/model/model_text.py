"""A port's report as text: the verdict, the first divergence, and the tree of layers."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pullback.names import printable

from ..report.grid import Column, Grid, Line
from ..report.words import hung, listed, percent

if TYPE_CHECKING:
    from .model_report import ModelReport, Step

SHOWN = 12
"""So many names of a list are shown."""


def lines(report: "ModelReport", width: int) -> Iterator[Line]:
    """The report in `width` characters, as far as the names of layers allow that; control characters are escaped."""
    return (Line(printable(line.text), line.style) for line in _lines(report, width))


def _lines(report: "ModelReport", width: int) -> Iterator[Line]:
    yield Line("pullback check_model", "bold")
    yield from _hung(
        "  port        ", f"{report.classes['']} ({report.framework}), {_counted(len(report.order), 'layer')}", width
    )
    yield from _hung("  original    ", f"{report.original} (torch), in float64", width)
    yield from _hung("  weights     ", _weights(report), width)
    for side in ("port", "original"):
        if names := report.unmapped[side]:
            yield from _hung(f"  only in the {side}: ", f"{_some(names)}. This was not compared.", width, "yellow")
    for note in report.notes:
        yield from _hung("  note        ", note, width, "yellow")
    yield Line("")
    if first := report.first_divergence:
        yield from _hung("First divergence: ", str(first), width, "bold red")
        yield Line("")
    yield from _hung("", how_to_read(report), width)
    yield Line("")
    tree = _tree(report)
    fewer = (tree, tree.without(("its class",)), tree.without(("class", "its class")))
    yield from next((each for each in fewer if each.width <= width), fewer[-1]).lines(width)
    yield Line("")
    yield Line(verdict(report), "bold green" if report.ok else "bold red")


def how_to_read(report: "ModelReport") -> str:
    """What the tree shows."""
    return (
        "Each layer of the port was given the original's own input and, on the way back, the original's own cotangent, "
        "so a layer that fails is wrong itself. forward: its inputs and outputs, in float64. backward: the gradients "
        f"of its inputs, outputs and parameters, in float64. {report.dtype}: how much of the rounding that the layer's "
        "own operations explain was used, as jax computes it; above 100% fails. A layer without figures has no "
        "counterpart, and is judged with the layer that holds it."
    )


def verdict(report: "ModelReport") -> str:
    """The last line."""
    wrong = [step for step in report.steps if not step.ok]
    forward = [step for step in wrong if not step.place.backward]  # a wrong function has wrong gradients, too
    if found := list(dict.fromkeys(_at(step) for step in forward or wrong)):
        return f"FAIL: the port differs from the original at {_some(found)}."
    if not report.output_compared:
        return "NOT JUDGED: the port's output has no counterpart in the original's, so it was not compared."
    if any(report.unmapped.values()):
        return "NOT JUDGED: what was compared agrees, and parameters that only one side has were not compared."
    but = ", but for what the note says" if report.notes else ""
    counted = f"{_counted(len(report.pairs), 'layer')}, {_counted(len(report.steps), 'comparison')}"
    return f"PASS: {counted}: the port agrees with the original{but}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _at(step: "Step") -> str:
    return f"{'the ' * (step.place.role in ('in', 'out'))}{step.what} of {step.place.path or 'the model'}"


def _weights(report: "ModelReport") -> str:
    if not report.weights_differ:
        return "the original's, in the port's layout"
    return f"the port's own; these are not the original's: {_some(report.weights_differ)}"


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return listed(names) if more <= 0 else f"{', '.join(names[:SHOWN])} and {more} more"


def _hung(head: str, text: str, width: int, style: str = "") -> Iterator[Line]:
    for line in hung(head, text, width):
        yield Line(line, style)


def _tree(report: "ModelReport") -> Grid:
    rows, styles = [], []
    for path in report.order:
        steps = [step for step in report.steps if step.place.path == path]
        forward = [step for step in steps if not step.place.backward]
        inside = [step for step in steps if step.dtype != "float64"]
        marks = (
            mark(step for step in forward if step.dtype == "float64"),
            percent(max(step.deviation.budget for step in inside)) if inside else "",
            mark(step for step in steps if step.place.backward and step.dtype == "float64"),
        )
        depth = path.count(".") + 1 if path else 0
        name = "  " * depth + (path.rpartition(".")[2] or "the model")
        other = report.pairs.get(path)
        there = ("-", "") if other is None else (other, report.original_classes.get(other, ""))
        rows.append((name, report.classes.get(path, ""), *there, *marks))
        styles.append("red" if any(not step.ok for step in steps) else "")
    titles = ("layer of the port", "class", "layer of the original", "its class", "forward", report.dtype, "backward")
    columns = [
        Column(title, [row[i] for row in rows], right=i == 5, least=24 * (i == 2)) for i, title in enumerate(titles)
    ]
    return Grid(columns, styles, gap=2)


def mark(steps: Iterable["Step"]) -> str:
    """`pass`, `FAIL`, or "" where there is no step."""
    found = list(steps)
    if not found:
        return ""
    return "pass" if all(step.ok for step in found) else "FAIL"
