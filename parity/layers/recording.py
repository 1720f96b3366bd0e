"""What passes the layers of a torch module: hooks mark each layer's inputs and outputs, and their values are kept."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..case.torch_arrays import to_numpy, torch
from .marks import Place


@dataclass
class Recording:
    """What passed the layers of the original."""

    values: dict[Place, np.ndarray] = field(default_factory=dict)
    """Each value, and each cotangent (`place.backward`)."""
    order: list[tuple[str, int]] = field(default_factory=list)
    """The calls of layers, in the order in which they ended: path and number."""
    grads: dict[str, np.ndarray] = field(default_factory=dict)
    """The gradient of each parameter that has one."""
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
        return marked((args, kwargs), recording, Place(path, "in", 0, call))

    def after(_: Any, args: Any, y: Any) -> Any:
        call = begun.pop()
        recording.order.append((path, call))
        return marked(y, recording, Place(path, "out", 0, call))

    return [part.register_forward_pre_hook(before, with_kwargs=True), part.register_forward_hook(after)]


def marked(tree: Any, recording: Recording, first: Place) -> Any:
    seen: dict[int, Any] = {}

    def each(x: torch.Tensor) -> torch.Tensor:
        if id(x) not in seen:
            place = first._replace(leaf=len(seen))
            recording.keep(place, x)
            marked = _Mark.apply(x, recording, place) if x.is_floating_point() and x.requires_grad else x
            seen[id(x)] = x, marked
        return seen[id(x)][1]

    return _mapped(tree, each)


def _mapped(tree: Any, each: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The tree with its tensors replaced; what is neither tensor, tuple, list nor dict is let be."""
    if isinstance(tree, torch.Tensor):
        return each(tree)
    if isinstance(tree, dict):
        in_order = sorted(tree) if all(isinstance(name, str) for name in tree) else tree  # as jax orders them
        found = {name: _mapped(tree[name], each) for name in in_order}
        mapped = {name: found[name] for name in tree}
        return mapped if type(tree) is dict else type(tree)(**mapped)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[_mapped(part, each) for part in tree])
    if isinstance(tree, (tuple, list)):
        return type(tree)(_mapped(part, each) for part in tree)
    return tree


def tensors(tree: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        found.append(x)
        return x

    _mapped(tree, note)
    return found
