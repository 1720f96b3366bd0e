"""How layers are put together: tables of positions, shared weights, a layer called twice, several outputs."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import numpy as np
import torch
from flax import nnx

from .case import Applied, Batched, Case, Held, cases, normal

KEY = jax.random.key(0)
IDS = np.array([[1, 3, 0], [7, 2, 2]], np.int32)


class Positions(torch.nn.Module):
    """A token before the others, and a table of positions that is added."""

    def __init__(self):
        super().__init__()
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 6))
        self.pos_embed = torch.nn.Parameter(torch.zeros(1, 5, 6))
        self.proj = torch.nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.proj(x)], 1)
        return x + self.pos_embed


class LinenPositions(nn.Module):
    first: bool = True

    @nn.compact
    def __call__(self, x: Any) -> Any:
        cls = self.param("cls_token", nn.initializers.zeros, (1, 1, 6))
        pos = self.param("pos_embed", nn.initializers.zeros, (5, 6))
        x, cls = nn.Dense(6, name="proj")(x), jax.numpy.tile(cls, (len(x), 1, 1))
        return jax.numpy.concatenate([cls, x] if self.first else [x, cls], 1) + pos[None]


class NnxPositions(nnx.Module):
    def __init__(self):
        self.cls = nnx.Param(np.zeros((1, 6), np.float32))
        self.pos = nnx.Param(np.zeros((5, 6), np.float32))
        self.proj = nnx.Linear(6, 6, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        cls = jax.numpy.tile(self.cls[None], (len(x), 1, 1))
        return jax.numpy.concatenate([cls, self.proj(x)], 1) + self.pos[None]


class EqxPositions(eqx.Module):
    cls_token: jax.Array
    pos_embed: jax.Array
    proj: eqx.nn.Linear

    def __init__(self):
        self.cls_token, self.pos_embed = jax.numpy.zeros((1, 6)), jax.numpy.zeros((5, 6))
        self.proj = eqx.nn.Linear(6, 6, key=KEY)

    def __call__(self, x: Any) -> Any:
        return jax.numpy.concatenate([self.cls_token, jax.vmap(self.proj)(x)]) + self.pos_embed


class Tied(torch.nn.Module):
    """The embedding is the head, too."""

    def __init__(self):
        super().__init__()
        self.emb, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Any) -> Any:
        return self.head(torch.tanh(self.emb(ids)))


class LinenTied(nn.Module):
    @nn.compact
    def __call__(self, ids: Any) -> Any:
        emb = nn.Embed(9, 4, name="emb")
        return emb.attend(nn.tanh(emb(ids)))


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 6)

    def forward(self, x: Any) -> Any:
        return self.fc(F_gelu(self.fc(x)))


F_gelu = torch.nn.functional.gelu


class LinenTwice(nn.Module):
    approximate: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        fc = nn.Dense(6, name="fc")
        return fc(nn.gelu(fc(x), approximate=self.approximate))


class Several(torch.nn.Module):
    """A dict of a tuple and an array."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 3), torch.nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        return {"pair": (self.a(x), self.b(x)), "sum": self.a(x).sum(-1)}


def several(x: Any) -> Any:
    a, b = nn.Dense(3, name="a"), nn.Dense(4, name="b")
    return {"pair": (a(x), b(x)), "sum": a(x).sum(-1)}


def two_layers(net: Any = None) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4))


def all_cases() -> Iterator[Case]:
    x = normal(2, 4, 6)
    yield from cases(
        "table of positions", Positions, x,
        linen=LinenPositions, nnx=NnxPositions, equinox=lambda: Batched(EqxPositions()),
        wrong=(("linen", "the token comes last", lambda: LinenPositions(False), ""),),
    )  # fmt: skip
    yield from cases(
        "shared weights", Tied, IDS,
        linen=LinenTied,
        nnx=lambda: Held(lambda emb, ids: emb.attend(nnx.tanh(emb(ids))), nnx.Embed(9, 4, rngs=nnx.Rngs(0))),
    )  # fmt: skip
    yield from cases(
        "a layer called twice", Twice, normal(3, 6),
        linen=LinenTwice,
        nnx=lambda: Held(lambda fc, x: fc(nnx.gelu(fc(x), approximate=False)),
                         nnx.Linear(6, 6, rngs=nnx.Rngs(0))),
        wrong=(("linen", "tanh form", lambda: LinenTwice(True), "gelu(approximate=True)", "fc"),),
    )  # fmt: skip
    yield from cases("a dict of outputs", Several, normal(3, 6), linen=lambda: Applied(several))
    yield from cases(
        "fewer layers", two_layers, normal(3, 6),
        wrong=(("linen", "one layer", lambda: Applied(lambda x: nn.Dense(4)(x)), "Only the original has 0.weight"),
               ("nnx", "one layer", lambda: Held(lambda a, x: a(x), nnx.Linear(6, 4, rngs=nnx.Rngs(0))),
                "Only the original has 0.weight")),
    )  # fmt: skip
