"""What was found of a port, layer by layer: the first divergence on top, then the tree."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..layers.marks import LOSS, Place
from ..report.data import plain
from ..report.grid import Line
from ..report.report import ParityError
from ..report.text import NOTEBOOK, as_pre, screen_width
from . import model_text
from .divergence import Divergence, Step


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
                    **first.step.to_dict(),
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
                "steps": [step.to_dict() for step in self.steps],
            }
        )
