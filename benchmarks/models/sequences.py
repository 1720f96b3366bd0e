"""Layers over whole sequences: torch's LSTM, GRU and RNN against flax's RNN and a loop over equinox's cells."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import torch
from flax import nnx

from .case import Applied, Case, Held, cases, normal


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


class Outputs(torch.nn.Module):
    """The outputs without the last state."""

    def __init__(self, kind: Any, **settings: Any):
        super().__init__()
        self.rnn = kind(4, 5, batch_first=True, **settings)

    def forward(self, x: Any) -> Any:
        return self.rnn(x)[0]


class Looped(eqx.Module):
    """A loop over a cell of equinox, forward in time or backward."""

    cell: Any
    reverse: bool = False

    def __call__(self, x: Any) -> Any:
        arrays = 2 if isinstance(self.cell, eqx.nn.LSTMCell) else 1
        zeros = tuple(jnp.zeros(5) for _ in range(arrays))

        def step(state: Any, x: Any) -> Any:
            state = self.cell(x, state)
            return state, state[0] if arrays > 1 else state

        start = zeros if arrays > 1 else zeros[0]
        return jax.vmap(lambda x: jax.lax.scan(step, start, x, reverse=self.reverse)[1])(x)


def of_linen(cell: Any, layers: int = 1, **settings: Any) -> Any:
    def fun(x: Any) -> Any:
        for _ in range(layers):
            x = nn.RNN(cell(5), **settings)(x)
        return x

    return Applied(fun)


def both_ways(keep_order: bool = True) -> Any:
    def fun(x: Any) -> Any:
        ways: Any = nn.RNN(nn.GRUCell(5)), nn.RNN(nn.GRUCell(5), reverse=True, keep_order=keep_order)
        return jnp.concatenate([way(x) for way in ways], -1)

    return Applied(fun)


def all_cases() -> Iterator[Case]:
    x, key = normal(2, 3, 4), jax.random.key(0)
    yield from cases(
        "LSTM", lambda: Outputs(torch.nn.LSTM), x,
        linen=lambda: of_linen(nn.OptimizedLSTMCell),
        nnx=lambda: Held(lambda rnn, x: rnn(x), nnx.RNN(nnx.LSTMCell(4, 5, rngs=rngs()))),
        equinox=lambda: Looped(eqx.nn.LSTMCell(4, 5, key=key)),
        wrong=(("linen", "backward in time", lambda: of_linen(nn.OptimizedLSTMCell, reverse=True),
                "another order in time", "OptimizedLSTMCell_0"),
               ("equinox", "backward in time", lambda: Looped(eqx.nn.LSTMCell(4, 5, key=key), True),
                "another order in time", "cell")),
    )  # fmt: skip
    yield from cases(
        "GRU", lambda: Outputs(torch.nn.GRU), x,
        linen=lambda: of_linen(nn.GRUCell),
        equinox=lambda: Looped(eqx.nn.GRUCell(4, 5, key=key)),
    )  # fmt: skip
    yield from cases(
        "LSTM, two layers", lambda: Outputs(torch.nn.LSTM, num_layers=2, dropout=0.5), x,
        linen=lambda: of_linen(nn.LSTMCell, layers=2),
    )  # fmt: skip
    yield from cases(
        "GRU, both directions", lambda: Outputs(torch.nn.GRU, bidirectional=True), x,
        linen=both_ways,
        wrong=(("linen", "the second is not turned back", lambda: both_ways(False), "another order"),),
    )  # fmt: skip
    yield from cases(
        "RNN, relu", lambda: Outputs(torch.nn.RNN, nonlinearity="relu"), x,
        linen=lambda: of_linen(lambda width: nn.SimpleCell(width, activation_fn=nn.relu)),
        wrong=(("linen", "tanh", lambda: of_linen(nn.SimpleCell), "nonlinearity=tanh", "SimpleCell_0"),),
    )  # fmt: skip
