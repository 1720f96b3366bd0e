"""Small models in torch and their ports, right and wrong."""

import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

RNG = np.random.default_rng(0)


def randomized(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module in eval mode, its parameters and statistics all different from their defaults, scales from 0.5 on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for leaf in [*module.parameters(), *module.buffers()]:
            if leaf.is_floating_point():
                leaf.copy_(torch.rand(leaf.shape, generator=generator) - 0.5 + (leaf.ndim == 1))
    return module.eval()


class Block(torch.nn.Module):
    """Norm, attention, norm, two linear layers with a gelu between them."""

    def __init__(self, width: int = 8, heads: int = 2):
        super().__init__()
        self.norm_a = torch.nn.LayerNorm(width)
        self.attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_b = torch.nn.LayerNorm(width)
        self.wide, self.narrow = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def forward(self, x):
        h = self.norm_a(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.narrow(torch.nn.functional.gelu(self.wide(self.norm_b(x))))


class Transformer(torch.nn.Module):
    """Tokens in, logits out."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(11, 8)
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.head = torch.nn.Linear(8, 11)

    def forward(self, ids):
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class PortedBlock(nn.Module):
    tanh: bool = False
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(epsilon=1e-5, name="ln1")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="mha")(h, h)
        h = nn.Dense(16, name="up")(nn.LayerNorm(epsilon=self.eps, name="ln2")(x))
        return x + nn.Dense(8, name="down")(nn.gelu(h, approximate=self.tanh))


class PortedTransformer(nn.Module):
    second: tuple = ()

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(11, 8, name="embed")(ids)
        x = PortedBlock(name="b0")(x)
        x = PortedBlock(**dict(self.second), name="b1")(x)
        return nn.Dense(11, name="logits")(x)


IDS = np.arange(12, dtype=np.int32).reshape(2, 6) % 11


class Picture(torch.nn.Module):
    """Two convolutions, the first with stride, a batch norm, and a linear layer of all that is left."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.BatchNorm2d(4)
        self.two, self.out = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Linear(64, 5)

    def forward(self, x):
        return self.out(torch.relu(self.two(torch.relu(self.norm(self.one(x))))).flatten(1))


class PortedPicture(nn.Module):
    channels_first: bool = True
    same: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), strides=2, padding="SAME" if self.same else 1, name="one")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="norm")(x))
        x = nn.relu(nn.Conv(4, (3, 3), padding=1, name="two")(x))
        x = x.transpose(0, 3, 1, 2) if self.channels_first else x
        return nn.Dense(5, name="out")(x.reshape(len(x), -1))


IMAGES = RNG.standard_normal((2, 8, 8, 3)).astype(np.float32)


@jax.custom_vjp
def halved_gradient(x):
    return x


halved_gradient.defvjp(lambda x: (x, None), lambda _, y_bar: (y_bar / 2,))


class Dense(nn.Module):
    """Two linear layers; `between` stands where the original has relu."""

    between: Callable[[Any], Any] = nn.relu

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="second")(self.between(nn.Dense(8, name="first")(x)))


def linear_layers() -> torch.nn.Module:
    return randomized(torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)))


ROWS = RNG.standard_normal((5, 6)).astype(np.float32)


@pytest.fixture
def nets():
    """This file: the models above."""
    return sys.modules[__name__]
