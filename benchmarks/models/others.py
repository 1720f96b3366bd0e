"""Attention, cells and pools: right, and with each default that differs."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from .case import Applied, Batched, Case, Held, cases, normal

KEY = jax.random.key(0)
F = torch.nn.functional


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def all_cases() -> Iterator[Case]:
    yield from attention()
    yield from cells()
    yield from pools()


class Attention(torch.nn.Module):
    """torch's, called with what a port has: one array, two, or two and a mask of what may be seen."""

    def __init__(self, bias: bool = True):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(8, 2, batch_first=True, bias=bias)

    def forward(self, x: Any, memory: Any = None, mask: Any = None) -> Any:
        memory = x if memory is None else memory
        return self.attn(x, memory, memory, attn_mask=None if mask is None else ~mask, need_weights=False)[0]


class Attended(eqx.Module):
    attn: eqx.nn.MultiheadAttention

    def __call__(self, x: Any, memory: Any = None) -> Any:
        memory = x if memory is None else memory
        return self.attn(x, memory, memory)


def attended(**settings: Any) -> Any:
    biases = {f"use_{part}_bias": True for part in ("query", "key", "value", "output")} | settings
    return Batched(Attended(eqx.nn.MultiheadAttention(2, 8, **biases, key=KEY)))


def of_linen(scale: float = 1.0, **settings: Any) -> Any:
    def fun(x: Any, memory: Any = None, mask: Any = None) -> Any:
        query = x if scale == 1.0 else x * scale
        return nn.MultiHeadDotProductAttention(2, name="attn", **settings)(query, x if memory is None else memory,
                                                                           mask=mask)  # fmt: skip

    return Applied(fun)


def of_nnx(**settings: Any) -> Any:
    layer = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs(), **settings)
    return Held(lambda attn, x, memory=None, mask=None: attn(x, memory, mask=mask), layer)


def unscaled(query: Any, key: Any, value: Any, **_: Any) -> Any:
    return nn.dot_product_attention(query * np.float32(np.sqrt(query.shape[-1])), key, value)


def maskless() -> Any:
    return Applied(lambda x, memory, mask: nn.MultiHeadDotProductAttention(2, name="attn")(x, memory))


def attention() -> Iterator[Case]:
    x, memory = normal(2, 5, 8), normal(2, 7, 8, seed=1)
    for name, inputs in (("MultiheadAttention, self", (x,)), ("MultiheadAttention, cross", (x, memory))):
        yield from cases(
            name, Attention, *inputs, linen=of_linen, nnx=of_nnx, equinox=attended,
            wrong=(("linen", "not scaled", lambda: of_linen(attention_fn=unscaled), "not scaled", "attn"),
                   ("nnx", "not scaled", lambda: of_nnx(attention_fn=unscaled), "not scaled", "layers.0"),
                   ("equinox", "no biases", lambda: Batched(Attended(eqx.nn.MultiheadAttention(2, 8, key=KEY))),
                    "no bias", "layer.attn")),
        )  # fmt: skip
    yield from cases(
        "MultiheadAttention, no bias", lambda: Attention(bias=False), x,
        linen=lambda: of_linen(use_bias=False),
        nnx=lambda: of_nnx(use_bias=False),
        equinox=lambda: Batched(Attended(eqx.nn.MultiheadAttention(2, 8, key=KEY))),
    )  # fmt: skip
    causal = np.tril(np.ones((5, 5), bool))
    yield from cases(
        "MultiheadAttention, mask", Attention, x, x, causal, linen=of_linen, nnx=of_nnx,
        wrong=(("linen", "mask left out", maskless, "mask", "attn"),),
    )  # fmt: skip


def cells() -> Iterator[Case]:
    x, h, c = normal(3, 4), normal(3, 5, seed=1), normal(3, 5, seed=2)
    yield from cases(
        "GRUCell", lambda: torch.nn.GRUCell(4, 5), x, h,
        linen=lambda: Applied(lambda x, h: nn.GRUCell(5)(h, x)[0]),
        equinox=lambda: Batched(eqx.nn.GRUCell(4, 5, key=KEY)),
        wrong=(("nnx", "no bias of the hidden n gate",
                lambda: Held(lambda cell, x, h: cell(h, x)[0], nnx.GRUCell(4, 5, rngs=rngs())), "bias_hh",
                "layers.0"),
               ("linen", "gates in another order", lambda: Applied(lambda x, h: SwappedGates(name="cell")(h, x)),
                "gates in the order", "cell")),
    )  # fmt: skip
    yield from cases(
        "GRUCell, no hidden bias", lambda: torch.nn.GRUCell(4, 5), x, h,
        nnx=lambda: Held(lambda cell, x, h: cell(h, x)[0], nnx.GRUCell(4, 5, rngs=rngs())),
        mode=zero_hidden_n,
    )  # fmt: skip
    yield from cases(
        "LSTMCell", LongShort, x, h, c,
        linen=lambda: Applied(lambda x, h, c: nn.LSTMCell(5)((c, h), x)[0][::-1]),
        nnx=lambda: Held(lambda cell, x, h, c: cell((c, h), x)[0][::-1], nnx.LSTMCell(4, 5, rngs=rngs())),
        equinox=lambda: Batched(Stated(eqx.nn.LSTMCell(4, 5, key=KEY))),
    )  # fmt: skip
    yield from cases(
        "LSTMCell, optimized", LongShort, x, h, c,
        linen=lambda: Applied(lambda x, h, c: nn.OptimizedLSTMCell(5)((c, h), x)[0][::-1]),
        nnx=lambda: Held(lambda cell, x, h, c: cell((c, h), x)[0][::-1], nnx.OptimizedLSTMCell(4, 5, rngs=rngs())),
    )  # fmt: skip
    yield from cases(
        "RNNCell", lambda: torch.nn.RNNCell(4, 5), x, h,
        linen=lambda: Applied(lambda x, h: nn.SimpleCell(5)(h, x)[0]),
        nnx=lambda: Held(lambda cell, x, h: cell(h, x)[0], nnx.SimpleCell(4, 5, rngs=rngs())),
    )  # fmt: skip


class LongShort(torch.nn.Module):
    """torch's cell, with h and c as two arguments."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTMCell(4, 5)

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return self.cell(x, (h, c))


class Stated(eqx.Module):
    cell: eqx.nn.LSTMCell

    def __call__(self, x: Any, h: Any, c: Any) -> Any:
        return self.cell(x, (h, c))


def zero_hidden_n(cell: torch.nn.Module) -> torch.nn.Module:
    """A cell whose n gate has no hidden bias."""
    with torch.no_grad():
        torch.nn.Module.get_parameter(cell, "bias_hh")[10:] = 0
    return cell


class SwappedGates(nn.GRUCell):
    """A cell of one's own, in torch's layout of weights, with the reset and the update gate swapped."""

    features: int = 5

    @nn.compact
    def __call__(self, h: Any, x: Any) -> Any:
        w, u = self.param("weight_ih", zeros, (15, 4)), self.param("weight_hh", zeros, (15, 5))
        b, bn = self.param("bias", zeros, (15,)), self.param("bias_n", zeros, (5,))
        (iz, ir, i_n), (hz, hr, hn) = jnp.split(x @ w.T + b, 3, -1), jnp.split(h @ u.T, 3, -1)
        r, z = nn.sigmoid(ir + hr), nn.sigmoid(iz + hz)
        return (1 - z) * jnp.tanh(i_n + r * (hn + bn)) + z * h


zeros = nn.initializers.zeros


def pools() -> Iterator[Case]:
    x = normal(2, 6, 6, 3)
    same: Any = ((1, 1), (1, 1))
    far: Any = ((0, 2), (0, 2))
    yield from cases(
        "MaxPool2d", lambda: torch.nn.MaxPool2d(3, 2, padding=1), x, picture=True,
        linen=lambda: Applied(lambda x: nn.max_pool(x, (3, 3), (2, 2), same)),
        equinox=lambda: Batched(eqx.nn.MaxPool2d(3, 2, padding=1)),
        wrong=(("linen", "average", lambda: Applied(lambda x: nn.avg_pool(x, (3, 3), (2, 2), same)), "average"),
               ("linen", "padding SAME", lambda: Applied(lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME")), "SAME")),
    )  # fmt: skip

    def average(count: bool) -> Any:
        return Applied(lambda x: nn.avg_pool(x, (2, 2), (2, 2), same, count_include_pad=count))

    yield from cases(
        "AvgPool2d", lambda: torch.nn.AvgPool2d(2, 2, padding=1), x, picture=True,
        linen=lambda: average(True),
        equinox=lambda: Batched(eqx.nn.AvgPool2d(2, 2, padding=1)),
        wrong=(("linen", "count_include_pad=False", lambda: average(False), "count_include_pad=False"),),
    )  # fmt: skip
    yield from cases(
        "AvgPool2d in a net",
        lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.AvgPool2d(2, 2, padding=1), torch.nn.Flatten(),
                                    torch.nn.Linear(64, 5)),
        x, picture=True,
        linen=lambda: pooled(True),
        wrong=(("linen", "count_include_pad=False", lambda: pooled(False), "count_include_pad=False", "Dense_0"),),
    )  # fmt: skip
    yield from cases(
        "MaxPool2d, ceil_mode", lambda: torch.nn.MaxPool2d(4, ceil_mode=True), x, picture=True,
        linen=lambda: Applied(lambda x: nn.max_pool(x, (4, 4), (4, 4), far)),
        wrong=(("linen", "the rest is left out", lambda: Applied(lambda x: nn.max_pool(x, (4, 4), (4, 4))), ""),),
    )  # fmt: skip
    yield from cases(
        "AdaptiveAvgPool2d", lambda: torch.nn.AdaptiveAvgPool2d(2), x, picture=True,
        linen=lambda: Applied(lambda x: nn.avg_pool(x, (3, 3), (3, 3))),
        equinox=lambda: Batched(eqx.nn.AdaptiveAvgPool2d(2)),
        wrong=(("linen", "largest", lambda: Applied(lambda x: nn.max_pool(x, (3, 3), (3, 3))), ""),),
    )  # fmt: skip

    def resized(method: str, shape: tuple[int, ...] = (2, 12, 12, 3)) -> Any:
        return Applied(lambda x: jax.image.resize(x, shape, method))

    yield from cases(
        "Upsample, bilinear", lambda: torch.nn.Upsample(scale_factor=2, mode="bilinear"), x, picture=True,
        linen=lambda: resized("bilinear"),
        wrong=(("linen", "nearest", lambda: resized("nearest"), "nearest"),),
    )  # fmt: skip
    yield from cases(
        "Upsample, corners", lambda: torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), x,
        picture=True,
        wrong=(("linen", "corners not aligned", lambda: resized("bilinear"), "align_corners=False"),),
    )  # fmt: skip
    yield from cases(
        "Upsample, smaller", lambda: torch.nn.Upsample(scale_factor=0.5, mode="bilinear"), x, picture=True,
        linen=lambda: Applied(lambda x: jax.image.resize(x, (2, 3, 3, 3), "bilinear", antialias=False)),
        wrong=(("linen", "smoothed before", lambda: resized("bilinear", (2, 3, 3, 3)), "antialias=True"),),
    )  # fmt: skip


def pooled(count: bool) -> Any:
    around: Any = ((1, 1), (1, 1))

    def fun(x: Any) -> Any:
        x = nn.avg_pool(nn.Conv(4, (1, 1))(x), (2, 2), (2, 2), around, count_include_pad=count)
        return nn.Dense(5)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))

    return Applied(fun)
