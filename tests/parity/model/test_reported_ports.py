"""Mistakes in ports that were reported in public: each right port agrees, and each wrong one is named where it is.

- a convolution with stride 2 and padding SAME: google/flax #2993 and #963 (a ResNet)
- positions that begin at 0, where RoBERTa's begin behind padding_idx: huggingface/transformers #10736, #5285
- a rotary embedding of neighbours against one of halves: huggingface/transformers #25199
- gelu's tanh form in a BERT: huggingface/transformers #11364
- an attention mask whose True means the contrary: NVIDIA/TransformerEngine #818
- a group norm with another eps than the others in the same net: ml-explore/mlx-examples #1434
- a head that is tied to the embedding, and scaled (T5): without the scale, it is another net
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity

F = torch.nn.functional
RNG = np.random.default_rng(0)
IDS = np.array([[5, 3, 7, 4], [6, 2, 8, 3]], np.int32)
TOKENS = RNG.standard_normal((2, 4, 8)).astype(np.float32)
PICTURES = RNG.standard_normal((2, 8, 8, 3)).astype(np.float32)


class Stem(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 4, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(4)
        self.pool, self.conv2 = torch.nn.MaxPool2d(3, 2, 1), torch.nn.Conv2d(4, 4, 3, 1, 1, bias=False)

    def forward(self, x):
        return self.conv2(self.pool(torch.relu(self.bn1(self.conv1(x)))))


class PortedStem(nn.Module):
    wrong: str = ""

    @nn.compact
    def __call__(self, x):
        around = ((1, 1), (1, 1))
        x = nn.Conv(4, (3, 3), 2, "SAME" if self.wrong == "conv" else 1, use_bias=False, name="conv1")(x)
        x = nn.relu(nn.BatchNorm(True, name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME" if self.wrong == "pool" else around)  # pyright: ignore
        return nn.Conv(4, (3, 3), use_bias=False, name="conv2")(x)


class Embeddings(torch.nn.Module):
    """RoBERTa's: positions are counted from padding_idx + 1 on."""

    def __init__(self):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(9, 8, padding_idx=1), torch.nn.Embedding(7, 8, padding_idx=1)
        self.norm = torch.nn.LayerNorm(8, eps=1e-12)

    def forward(self, ids):
        seen = ids.ne(1).int()
        return self.norm(self.words(ids) + self.places((seen.cumsum(1) * seen + 1).long()))


class PortedEmbeddings(nn.Module):
    first: int = 2
    eps: float = 1e-12

    @nn.compact
    def __call__(self, ids):
        places = jnp.broadcast_to(jnp.arange(ids.shape[1])[None] + self.first, ids.shape)
        x = nn.Embed(9, 8, name="words")(ids) + nn.Embed(7, 8, name="places")(places)
        return nn.LayerNorm(epsilon=self.eps, name="norm")(x)


class Rotary(torch.nn.Module):
    """One head, whose first half is turned with its second."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(8, 8, bias=False) for _ in range(4))

    def forward(self, x):
        q, k, v = turned(self.q(x), torch), turned(self.k(x), torch), self.v(x)
        return self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True))


def turned(x: Any, xp: Any, neighbours: bool = False) -> Any:
    angles = xp.arange(4)[:, None] * 10.0 ** -xp.arange(4)[None]
    cos, sin = xp.cos(angles)[None], xp.sin(angles)[None]
    a, b = (x[..., ::2], x[..., 1::2]) if neighbours else (x[..., :4], x[..., 4:])
    parts = [a * cos - b * sin, a * sin + b * cos]
    if neighbours:
        return xp.stack(parts, -1).reshape(x.shape)
    return torch.cat(parts, -1) if xp is torch else xp.concatenate(parts, -1)


class PortedRotary(nn.Module):
    neighbours: bool = False
    scale: float = 8**-0.5
    causal: bool = True

    @nn.compact
    def __call__(self, x):
        q, k, v = (nn.Dense(8, use_bias=False, name=name)(x) for name in "qkv")
        q, k = (turned(part, jnp, self.neighbours).astype(x.dtype) for part in (q, k))
        scores = q @ k.swapaxes(-1, -2) * np.float32(self.scale)
        seen = jnp.tril(jnp.ones((4, 4), bool)) if self.causal else jnp.ones((4, 4), bool)
        scores = jnp.where(seen[None], scores, -np.inf)
        return nn.Dense(8, use_bias=False, name="o")(jax.nn.softmax(scores) @ v)


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, hidden):
        return self.attn(x, x, x, attn_mask=hidden, need_weights=False)[0]


class PortedMasked(nn.Module):
    inverted: bool = True

    @nn.compact
    def __call__(self, x, hidden):
        mask = ~hidden if self.inverted else hidden
        return nn.MultiHeadDotProductAttention(2, name="attn")(x, mask=mask[None, None])


class Groups(torch.nn.Module):
    """As in the stem of a transformer in a U-Net: one norm has another eps than the rest."""

    def __init__(self):
        super().__init__()
        self.norm1, self.conv = torch.nn.GroupNorm(3, 3, eps=1e-5), torch.nn.Conv2d(3, 4, 1)
        self.norm2 = torch.nn.GroupNorm(2, 4, eps=1e-6)

    def forward(self, x):
        return self.norm2(F.silu(self.conv(self.norm1(x))))


class PortedGroups(nn.Module):
    eps: float = 1e-6
    groups: int = 2

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (1, 1), name="conv")(nn.GroupNorm(3, epsilon=1e-5, name="norm1")(x))
        return nn.GroupNorm(self.groups, epsilon=self.eps, name="norm2")(nn.silu(x))


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.fc = torch.nn.Embedding(9, 8), torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, 9, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(F.gelu(self.fc(self.words(ids))) * 8**-0.5)


class PortedTied(nn.Module):
    scaled: bool = True
    tanh: bool = False

    @nn.compact
    def __call__(self, ids):
        words = nn.Embed(9, 8, name="words")
        x = nn.gelu(nn.Dense(8, name="fc")(words(ids)), approximate=self.tanh)
        return words.attend(x * np.float32(8**-0.5 if self.scaled else 1))


SAME, HIDDEN = 'padding "SAME"', np.eye(4, dtype=bool)
PORTS = [
    (Stem, PortedStem(), (PICTURES,), None, ""),
    (Stem, PortedStem("conv"), (PICTURES,), "conv1", SAME),
    (Stem, PortedStem("pool"), (PICTURES,), "conv2", SAME),
    (Embeddings, PortedEmbeddings(), (IDS,), None, ""),
    (Embeddings, PortedEmbeddings(first=0), (IDS,), "places", "ids that are 2 less"),
    (Embeddings, PortedEmbeddings(eps=1e-5), (IDS,), "norm", "eps=1e-05, where the original has 1e-12"),
    (Rotary, PortedRotary(), (TOKENS,), None, ""),
    (Rotary, PortedRotary(neighbours=True), (TOKENS,), "o", ""),
    (Masked, PortedMasked(), (TOKENS, HIDDEN), None, ""),
    (Masked, PortedMasked(inverted=False), (TOKENS, HIDDEN), "attn", "a mask whose True means the contrary"),
    (Groups, PortedGroups(), (PICTURES,), None, ""),
    (Groups, PortedGroups(eps=1e-5), (PICTURES,), "norm2", "eps=1e-05, where the original has 1e-06"),
    (Groups, PortedGroups(groups=4), (PICTURES,), "norm2", "num_groups=4, where the original has 2"),
    (Tied, PortedTied(), (IDS,), None, ""),
    (Tied, PortedTied(scaled=False), (IDS,), "", "2.82843 times the original's (the root of 8)"),
    (Tied, PortedTied(tanh=True), (IDS,), "", ""),
]


@pytest.mark.parametrize(("original", "port", "inputs", "path", "hint"), PORTS)
def test_a_reported_mistake(nets, original, port, inputs, path, hint):
    torch.manual_seed(0)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        report = parity.check_model(port, nets.randomized(original()), inputs, grads=path is None)
    first = report.first_divergence
    if path is None:
        wrong = {step.place for step in report.steps if not step.ok}
        padded = {("words", "embedding"), ("places", "embedding")}  # a row that torch never moves, and flax does
        assert {place[:2] for place in wrong} <= padded if original is Embeddings else report.ok, report
    else:
        assert first is not None and first.path == path and not report.ok, report
        assert hint in first.hint, first
