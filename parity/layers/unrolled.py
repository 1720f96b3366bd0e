"""torch's layers over whole sequences, run as the cells that they are made of: these have counterparts in jax."""

import types
from typing import Any

from ..case.torch_arrays import torch

CELLS = {torch.nn.LSTM: torch.nn.LSTMCell, torch.nn.GRU: torch.nn.GRUCell, torch.nn.RNN: torch.nn.RNNCell}
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Direction(torch.nn.Module):
    """One direction of one layer: a cell, called once for each step of the sequence."""

    def __init__(self, cell: Any, axis: int, backward: bool):
        super().__init__()
        self.cell, self.axis, self.backward = cell, axis, backward

    def forward(self, x: Any, state: Any = None) -> Any:
        """The outputs of all steps, and then the last state: y, h, and an LSTM's c."""
        steps = list(x.unbind(self.axis))
        if state is None:
            zeros = [steps[0].new_zeros(len(steps[0]), self.cell.hidden_size) for _ in range(self._arrays)]
            state = tuple(zeros)
        outputs = []
        for step in reversed(steps) if self.backward else steps:
            found = self.cell(step, state if self._arrays > 1 else state[0])
            state = found if self._arrays > 1 else (found,)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if self.backward else outputs, self.axis), *state

    @property
    def _arrays(self) -> int:
        """How many a state has."""
        return 2 if isinstance(self.cell, torch.nn.LSTMCell) else 1


def unroll(module: Any) -> dict[str, str]:
    """Lets each LSTM, GRU and RNN in a module run as `Direction`s of cells, `lstm.l0.cell`, with the same parameters.

    Returns the new names of the parameters, each with the name that torch has for it. A layer with projections
    (`proj_size`), and one of a class that the user has derived, is left as it is.
    """
    names = {}
    for path, part in list(module.named_modules()):
        if type(part) in CELLS and not part.proj_size:
            for suffix in _suffixes(part):
                part.add_module(f"l{suffix}", _direction(part, suffix))
                for name in PARTS if part.bias else PARTS[:2]:
                    start = f"{path}." if path else ""
                    names[f"{start}l{suffix}.cell.{name}"] = f"{start}{name}_l{suffix}"
            part.forward = types.MethodType(_forward, part)
    return names


def _suffixes(layer: Any) -> list[str]:
    """`0`, `0_reverse`, `1`, ...: one for each direction of each layer."""
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    return [f"{i}{way}" for i in range(layer.num_layers) for way in ways]


def _direction(layer: Any, suffix: str) -> Direction:
    parts = {name: getattr(layer, f"{name}_l{suffix}") for name in (PARTS if layer.bias else PARTS[:2])}
    settings = {"nonlinearity": layer.nonlinearity} if isinstance(layer, torch.nn.RNN) else {}
    size = parts["weight_ih"].shape[1]
    cell = CELLS[type(layer)](size, layer.hidden_size, bias=layer.bias, device="meta", **settings)
    for name, parameter in parts.items():
        setattr(cell, name, parameter)
    return Direction(cell.train(layer.training), 1 if layer.batch_first else 0, suffix.endswith("_reverse"))


def _forward(layer: Any, x: Any, hx: Any = None) -> Any:
    """What the layer's own `forward` computes, without dropout."""
    if not isinstance(x, torch.Tensor):  # a packed sequence: its steps have other numbers of rows
        return type(layer).forward(layer, x, hx)
    given = None if hx is None else hx if isinstance(hx, tuple) else (hx,)
    alone = x.dim() == 2
    axis = 1 if layer.batch_first else 0
    if alone:
        x = x.unsqueeze(1 - axis)
        given = None if given is None else tuple(part.unsqueeze(1) for part in given)
    ends, ways = [], 2 if layer.bidirectional else 1
    for i, suffix in enumerate(_suffixes(layer)):
        found = layer.get_submodule(f"l{suffix}")(x, None if given is None else tuple(part[i] for part in given))
        ends.append(found)
        if len(ends) % ways == 0:
            x = torch.cat([y for y, *_ in ends[-ways:]], -1)
    state = tuple(torch.stack([end[k] for end in ends]) for k in range(1, len(ends[0])))
    if alone:
        x, state = x.squeeze(1 - axis), tuple(part.squeeze(1) for part in state)
    return x, state if isinstance(layer, torch.nn.LSTM) else state[0]
