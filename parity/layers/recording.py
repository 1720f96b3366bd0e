"""What passes the layers of a torch module: hooks mark each layer's inputs and outputs, and their values are kept."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..case.torch_arrays import to_numpy, torch
from .marks import Place
from .tensors import mapped


@dataclass
class Recording:
    """What passed the layers of the original."""

    values: dict[Place, np.ndarray] = field(default_factory=dict)
    """Each value, and each cotangent (`place.backward`)."""
    tracked: set[Place] = field(default_factory=set)
    """Those of the values that torch differentiates; a cotangent that did not come is 0."""
    order: list[tuple[str, int]] = field(default_factory=list)
    """The calls of layers, in the order in which they ended: path and number."""
    begun: list[str] = field(default_factory=list)
    """The layers that have begun and not ended; once it is done, those that raised, the innermost last."""
    raised: str = ""
    """What a layer raised midway: there is nothing of what comes after it."""
    raised_on_the_way_back: str = ""
    """What torch raised there."""
    grads: dict[str, np.ndarray] = field(default_factory=dict)
    """The gradient of each parameter; 0 where none reaches it."""
    recent: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=4))
    """The arrays that were kept last: what leaves a layer is mostly what enters the next one, and its container's."""

    def keep(self, place: Place, x: torch.Tensor) -> None:
        """Keeps the tensor's values: a copy, for torch may write over them, or the same ones where they are kept."""
        values = to_numpy(x)
        kept = next((last for last in self.recent if np.array_equal(last, values)), None)
        if kept is None:
            kept = values.copy()
            self.recent.append(kept)
        self.values[place] = kept

    def cotangent(self, place: Place) -> np.ndarray | None:
        """What came back at a place, 0 where the original stops gradients; None where it differentiates nothing."""
        forward = place._replace(backward=False)
        if place in self.values or forward not in self.tracked:
            return self.values.get(place)
        return np.zeros(self.values[forward].shape)

    def leaves(self, path: str, role: str, call: int) -> list[Place]:
        """The places of a layer's inputs or outputs, in order."""
        found = (Place(path, role, i, call) for i in range(len(self.values)))
        places = []
        for place in found:
            if place not in self.values:
                return places
            places.append(place)
        return places

    def arrays(self, path: str, role: str, call: int) -> list[np.ndarray]:
        """What passed there."""
        return [self.values[place] for place in self.leaves(path, role, call)]


class _Mark(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, recording: Recording, place: Place) -> torch.Tensor:
        ctx.recording, ctx.place = recording, place._replace(backward=True)
        return x.clone()  # no view, so that it may be written in place

    @staticmethod
    def backward(ctx: Any, y_bar: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.recording.keep(ctx.place, y_bar)
        return y_bar, None, None


def watch(path: str, part: Any, recording: Recording) -> list[Any]:
    """Hooks that mark a module's inputs and outputs."""
    begun: list[int] = []

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        call = sum(place == path for place, _ in recording.order) + len(begun)
        begun.append(call)
        recording.begun.append(path)
        return marked((args, kwargs), recording, Place(path, "in", 0, call))

    def after(_: Any, args: Any, y: Any) -> Any:
        call = begun.pop()
        recording.begun.pop()
        recording.order.append((path, call))
        return marked(y, recording, Place(path, "out", 0, call))

    return [part.register_forward_pre_hook(before, with_kwargs=True), part.register_forward_hook(after)]


def marked(tree: Any, recording: Recording, first: Place) -> Any:
    """The tree with its tensors marked, and their values kept from that place on; one that comes twice is one leaf."""
    seen: dict[int, Any] = {}

    def each(x: torch.Tensor) -> torch.Tensor:
        if id(x) not in seen:
            place = first._replace(leaf=len(seen))
            recording.keep(place, x)
            passed = x
            if x.is_floating_point() and x.requires_grad:
                recording.tracked.add(place)
                passed = _Mark.apply(x, recording, place)
            seen[id(x)] = x, passed
        return seen[id(x)][1]

    return mapped(tree, each)
