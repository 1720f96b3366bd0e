"""A net of a hundred million parameters: does the check of it fit in memory?"""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import numpy as np
import torch

from .nets import Net


class Port(nn.Module):
    """Linear layers of one width, each with a gelu after it (flax's default, the tanh form)."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for i in range(self.depth):
            x = nn.gelu(nn.Dense(self.width, name=f"linear{i}")(x))
        return x


def large(width: int = 2896, depth: int = 12, rows: int = 64) -> Iterator[Net]:
    """depth * width * (width + 1) parameters; the default has 100.7 million."""

    def original() -> torch.nn.Module:
        torch.manual_seed(0)
        layers = [(torch.nn.Linear(width, width), torch.nn.GELU(approximate="tanh")) for _ in range(depth)]
        return torch.nn.Sequential(*[layer for pair in layers for layer in pair])

    x = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    millions = depth * width * (width + 1) / 1e6
    yield Net(
        f"{depth} linear layers, {millions:.1f} million parameters", "linen", lambda: Port(width, depth), original, (x,)
    )
