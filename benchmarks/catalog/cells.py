"""equinox.nn: attention and recurrent cells, as functions of their parameters and of what they are called with."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import torch
from equinox import nn
from torch.nn import functional as F

from .entry import EXACT, Entry, entry, mask, near_ties, normal, sized

KEY = jax.random.key(0)


def without_numbers(kind: Any, *sizes: Any, **options: Any) -> Any:
    """A layer that is drawn by nobody: its parameters are shapes, and `layer` puts arrays there."""
    return eqx.filter_eval_shape(kind, *sizes, **options)


def layer(of: Any, names: tuple[str, ...], call: Callable[..., Any] = lambda layer, x: layer(x)) -> Callable[..., Any]:
    """A function of the layer's parameters, by name, and of what `call` calls it with."""

    def run(*arrays: Any) -> Any:
        parameters = arrays[: len(names)]
        changed = eqx.tree_at(lambda m: [leaf(m, name) for name in names], of, list(parameters))
        return call(changed, *arrays[len(names) :])

    return run


def leaf(tree: Any, name: str) -> Any:
    """`layers.0.weight` of a tree."""
    for part in name.split("."):
        tree = tree[int(part)] if part.isdigit() else getattr(tree, part)
    return tree


def attention(*arrays: torch.Tensor) -> torch.Tensor:
    """Two heads; q and k from x, v from y."""
    q, k, v, out, x, y = arrays
    q, k, v = ((z @ w.mT).reshape(5, 2, 3).transpose(0, 1) for w, z in ((q, x), (k, y), (v, y)))
    return F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(5, 6) @ out.mT


def gru(
    w: torch.Tensor, u: torch.Tensor, b: torch.Tensor, b_n: torch.Tensor, x: torch.Tensor, h: torch.Tensor
) -> torch.Tensor:
    """torch has two biases; equinox's second one is that of the last gate only."""
    second = torch.cat([torch.zeros_like(b_n), torch.zeros_like(b_n), b_n])
    return torch.gru_cell(x[None], h[None], w, u, b, second)[0]


def lstm(
    w: torch.Tensor, u: torch.Tensor, b: torch.Tensor, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    h, c = torch.lstm_cell(x[None], (h[None], c[None]), w, u, b, torch.zeros_like(b))
    return h[0], c[0]


def rotary(x: torch.Tensor) -> torch.Tensor:
    """The first half of the columns is turned with the second one."""
    half = x.shape[1] // 2
    angle = torch.arange(len(x))[:, None] / 10_000 ** (torch.arange(half) / half)
    cos, sin = (f(angle).to(x.dtype) for f in (torch.cos, torch.sin))
    a, b = x[:, :half], x[:, half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], 1)


def recurrent() -> list[Entry]:
    gates = ("weight_ih", "weight_hh", "bias")
    state = {"ordinary": 1.0, "badly_conditioned": 5.0, "small": 1e-3}
    return [
        entry(
            "equinox.nn.GRUCell",
            layer(without_numbers(nn.GRUCell, 5, 4, key=KEY), (*gates, "bias_n"), lambda cell, x, h: cell(x, h)),
            gru,
            **{
                kind: (normal(12, 5), normal(12, 4), normal(12), normal(4), normal(5, scale=s), normal(4, scale=s))
                for kind, s in state.items()
            },
        ),
        entry(
            "equinox.nn.LSTMCell",
            layer(without_numbers(nn.LSTMCell, 5, 4, key=KEY), gates, lambda cell, x, h, c: cell(x, (h, c))),
            lstm,
            **{
                kind: (normal(16, 5), normal(16, 4), normal(16), *(normal(n, scale=s) for n in (5, 4, 4)))
                for kind, s in state.items()
            },
        ),
    ]


def entries() -> list[Entry]:
    projections = tuple(f"{part}_proj.weight" for part in ("query", "key", "value", "output"))
    heads = without_numbers(nn.MultiheadAttention, 2, 6, key=KEY)
    square = normal(6, 6, scale=0.4)
    return recurrent() + [
        entry(
            "equinox.nn.MultiheadAttention",
            layer(heads, projections, lambda mha, x, y: mha(x, y, y)),
            attention,
            ordinary=(*(square,) * 4, normal(5, 6), normal(5, 6)),
            near_kinks=(*(square,) * 4, near_ties(5, 6), near_ties(5, 6)),
            badly_conditioned=(*(square,) * 4, normal(5, 6, scale=5), normal(5, 6, scale=5)),
        ),
        entry(
            "equinox.nn.MultiheadAttention, mask",
            layer(heads, projections, lambda mha, x, y, keep: mha(x, y, y, mask=keep)),
            None,
            ordinary=(*(square,) * 4, normal(5, 6), normal(5, 6), mask(5, 5)),
            badly_conditioned=(*(square,) * 4, normal(5, 6, scale=5), normal(5, 6, scale=5), mask(5, 5)),
        ),
        entry(
            "equinox.nn.RotaryPositionalEmbedding",
            nn.RotaryPositionalEmbedding(6),
            rotary,
            EXACT,
            ordinary=normal(5, 6),
            large=sized(1e3, 1e4, 5, 6),
        ),
    ]
