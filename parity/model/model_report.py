"""What was found of a port, layer by layer: the first divergence on top, then the tree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..layers.marks import LOSS, STATISTICS, Place
from ..report.data import plain
from ..report.grid import Line
from ..report.report import ParityError
from ..report.text import NOTEBOOK, as_pre, screen_width
from ..verdict.deviation import Deviation
from . import model_text


@dataclass(frozen=True)
class Step:
    """One comparison: what reaches a mark, computed by the port from the original's values at the marks before it."""

    place: Place
    """Where. For the gradient of a parameter the role is the parameter's name."""
    dtype: str
    """In which arithmetic."""
    deviation: Deviation
    """How far the port is off."""
    index: tuple[int, ...]
    """Where it is furthest off, in the port's layout."""
    port: float
    """The port's value there."""
    original: float
    """The original's."""
    zero: bool = False
    """Whether all of the port's array is 0."""

    @property
    def ok(self) -> bool:
        """Whether the port agrees."""
        return self.deviation.problem is None

    @property
    def what(self) -> str:
        """`output`, `input`, `gradient of the input`, `gradient of kernel`, ..."""
        number = f" {self.place.leaf}" if self.place.leaf else ""
        words = {"in": f"input{number}", "out": f"output{number}"}
        word = words.get(self.place.role, self.place.role)
        return f"gradient of {'the ' * (self.place.role in words)}{word}" if self.place.backward else word


class Divergence(NamedTuple):
    """The first step that is wrong."""

    path: str
    """The layer whose output, or whose input, is the first that differs; "" is the model itself."""
    step: Step
    """The comparison itself: which array, how far it is off, and both values."""
    before: str | None
    """The last layer before it whose output agrees, where it is an input that differs: the error lies between them."""
    hint: str
    """What it looks like, or ""."""
    kinds: tuple[str, str] = ("", "")
    """The class of the layer in the port, and in the original."""
    other: str = ""
    """The layer of the original."""
    calls: int = 1
    """How often the port calls that layer."""

    @property
    def layer(self) -> str:
        """`fc1 (Dense; in the original linear1, a Linear; call 2 of 3)`."""
        ours, theirs = self.kinds
        told = [ours] if self.path else []
        if theirs and self.path:
            told.append(f"in the original {self.other or 'the model itself'}, a {theirs}")
        if self.calls > 1:
            told.append(f"call {self.step.place.call + 1} of {self.calls}")
        return (self.path or "the model itself") + (f" ({'; '.join(told)})" if any(told) else "")

    def __str__(self) -> str:
        step = self.step
        way = "backward" if step.place.backward else "forward"
        share = f"{step.deviation.relative:.1g} of the largest"
        share = share if np.isfinite(step.deviation.relative) else "the original's is 0 everywhere"
        off = f"{step.deviation.max_abs:.2g} off ({share})"
        if not np.isfinite(step.deviation.max_abs):
            off = f"wrong ({step.deviation.problem})"
        where = f" at [{', '.join(map(str, step.index))}]" if step.index else ""
        text = f"{self.layer}, {way}: its {step.what} is {off}{where}"
        if str(step.deviation.problem).startswith("raised "):
            return text.partition(" its ")[0] + f" it {step.deviation.problem}."
        text += "." if np.isnan(step.port) else f": {step.port:.9g} in the port, {step.original:.9g} in the original."
        if step.place.role == "in" and not step.place.backward:
            again = f"Its output in call {step.place.call} agrees" if self.before == self.path else ""
            agrees = (
                again or f"The output of {self.before} agrees"
                if self.before
                else "The inputs of the model are the same"
            )
            text += f" {agrees}, so the error lies between them."
        elif step.place.role in ("out", *STATISTICS.values()) and not step.place.backward:
            text += " Its input agrees."
        elif not step.place.backward:
            text += " The optimizer was given the original's own parameters and gradients."
        else:
            text += " It was given the original's own values and cotangents."
        return text + (f" It looks like {self.hint}." if self.hint else "")


@dataclass(frozen=True)
class ModelReport:
    """A port held against its original, layer by layer."""

    framework: str
    """What the port is written in."""
    steps: list[Step]
    """Every comparison, in the order of execution, first in float64, then in the port's own dtype, then backward."""
    pairs: dict[str, str]
    """Layer of the port -> layer of the original."""
    classes: dict[str, str]
    """Layer of the port -> the name of its class, of those too that have no counterpart."""
    original: str
    """The name of the original's class."""
    order: list[str]
    """The port's layers, in the order in which they began."""
    unmapped: dict[str, list[str]]
    """`port` and `original`: parameters and buffers that only that side has."""
    weights_differ: list[str] = field(default_factory=list)
    """Parameters of the port whose values are not the original's."""
    hints: dict[Place, str] = field(default_factory=dict)
    """What a wrong step looks like."""
    notes: list[str] = field(default_factory=list)
    """What differs by a convention of the port's library, and is no mistake of the port."""
    dtype: str = "float32"
    """The port's own arithmetic."""
    original_classes: dict[str, str] = field(default_factory=dict)
    """Layer of the original -> the name of its class, of those that have a counterpart."""

    @property
    def first_divergence(self) -> Divergence | None:
        """Where the port is wrong first; None where it agrees."""
        step = next((step for step in self.steps if not step.ok), None)
        if step is None:
            return None
        before = None
        for other in self.steps:
            if other is step:
                break
            if other.place.role == "out" and not other.place.backward and other.dtype == step.dtype:
                before = other.place.path
        path = step.place.path
        other = self.pairs.get(path, "")
        kinds = self.classes.get(path, ""), self.original_classes.get(other, "") if path in self.pairs else ""
        called = [
            each.place.call for each in self.steps if each.place.path == path and each.place.role in ("in", "out")
        ]
        calls = 1 + max(called, default=0)
        return Divergence(path, step, before, self.hints.get(step.place, ""), kinds, other, calls)

    @property
    def output_compared(self) -> bool:
        """Whether the model's own output, or its loss, was compared: without it nothing is proven."""
        ends = [step for step in self.steps if step.place.path in ("", LOSS) and step.place.role == "out"]
        return any(not step.place.backward for step in ends)

    @property
    def ok(self) -> bool:
        """Whether every step agrees, and every parameter and output has its counterpart."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0: the port agrees; 1: it differs; 3: something has no counterpart, and so was not judged."""
        if not all(step.ok for step in self.steps):
            return 1
        return 3 if any(self.unmapped.values()) or not self.output_compared else 0

    @property
    def worst_budget(self) -> float:
        """The largest error over its bound, of any comparison: up to 1 agrees."""
        return max((step.deviation.budget for step in self.steps), default=0.0)

    def raise_if_failed(self) -> None:
        """Raises ParityError, an AssertionError that shows the report, unless it is ok."""
        if not self.ok:
            raise ParityError(self)

    def to_html(self) -> str:
        """One self-contained HTML page: the first divergence, and the tree of layers."""
        from .model_page import as_page

        return as_page(self)

    def _repr_html_(self) -> str:
        return as_pre(Line(line.text) for line in model_text.lines(self, NOTEBOOK))

    def __str__(self) -> str:
        return "\n".join(line.text for line in model_text.lines(self, screen_width()))

    def __repr__(self) -> str:
        return f"<ModelReport {model_text.verdict(self)} print(report) shows the tree>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The report with colours: rich calls this, and who has no rich never does."""
        from rich.text import Text

        yield from (Text(line.text, line.style) for line in model_text.lines(self, options.max_width))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; numbers that JSON does not know are null."""
        first = self.first_divergence
        return plain(
            {
                "schema": 1,
                "ok": self.ok,
                "exit_code": self.exit_code,
                "framework": self.framework,
                "first_divergence": None
                if first is None
                else {
                    **_plain(first.step),
                    "class": first.kinds[0],
                    "original_path": first.other,
                    "original_class": first.kinds[1],
                    "calls": first.calls,
                    "output_agrees_of": first.before,
                    "text": str(first),
                    "hint": first.hint,
                },
                "pairs": self.pairs,
                "classes": {"port": self.classes, "original": self.original_classes},
                "unmapped": self.unmapped,
                "weights_differ": self.weights_differ,
                "notes": self.notes,
                "steps": [_plain(step) for step in self.steps],
            }
        )


def _plain(step: Step) -> dict[str, Any]:
    return {
        "path": step.place.path,
        "what": step.what,
        "call": step.place.call,
        "dtype": step.dtype,
        "ok": step.ok,
        "problem": step.deviation.problem,
        "max_abs": step.deviation.max_abs,
        "bound_used": step.deviation.budget,
        "index": list(step.index),
        "port": step.port,
        "original": step.original,
    }
