"""One comparison of a port with its original, and the first that is wrong, in words."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..layers.marks import STATISTICS, Place
from ..verdict.deviation import Deviation


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

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": self.place.path,
            "what": self.what,
            "call": self.place.call,
            "dtype": self.dtype,
            "ok": self.ok,
            "problem": self.deviation.problem,
            "max_abs": self.deviation.max_abs,
            "bound_used": self.deviation.budget,
            "index": list(self.index),
            "port": self.port,
            "original": self.original,
        }


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
