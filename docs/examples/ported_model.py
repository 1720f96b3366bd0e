"""A port of a small transformer block from torch to flax, with one mistake."""

import flax.linen as nn
import jax
import numpy as np
import torch

from pullback import parity


class Block(torch.nn.Module):
    """The original."""

    def __init__(self, width: int = 16, heads: int = 4):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 64), torch.nn.GELU(), torch.nn.Linear(64, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Port(nn.Module):
    """The port. `nn.gelu` is the tanh approximation, unless it is told otherwise."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.LayerNorm(epsilon=1e-5, name="norm1")(x)
        x = x + nn.MultiHeadDotProductAttention(4, name="attn")(h, h)
        h = nn.Dense(64, name="up")(nn.LayerNorm(epsilon=1e-5, name="norm2")(x))
        return x + nn.Dense(16, name="down")(nn.gelu(h))


if __name__ == "__main__":
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 6, 16), np.float32)
    print(parity.check_model(Port(), Block(), (x,)))
