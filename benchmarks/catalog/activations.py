"""jax.nn."""

import math

import jax
import torch
from torch.nn import functional as F

from .entry import Entry, cancelling, entry, mask, near, near_ties, normal, positive, sized

ORDINARY = normal(scale=2)
BESIDE_0 = sized(1e-7, 1e-5)
LARGE = sized(1e3, 1e4)
ROWS = {"near_kinks": near_ties(), "badly_conditioned": normal(scale=30), "large": near_ties(off=0.5, size=1e3)}


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """jax has rows before heads."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def sparse_plus(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x <= -1, 0 * x, torch.where(x >= 1, x, (x + 1) ** 2 / 4))


def masked_softmax(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x.masked_fill(~keep, -torch.inf), -1)


def entries() -> list[Entry]:
    nn = jax.nn
    return [
        entry("jax.nn.relu", nn.relu, torch.relu, ordinary=ORDINARY, near_kinks=near(0), large=LARGE, small=BESIDE_0),
        entry("jax.nn.relu6", nn.relu6, F.relu6, ordinary=normal(scale=5), near_kinks=near(0, 6), large=sized(0.5, 20)),
        entry("jax.nn.leaky_relu", nn.leaky_relu, F.leaky_relu, ordinary=ORDINARY, near_kinks=near(0), large=LARGE),
        entry("jax.nn.elu", nn.elu, F.elu, ordinary=ORDINARY, near_kinks=BESIDE_0, large=LARGE),
        entry(
            "jax.nn.celu", lambda x: nn.celu(x, 0.5), lambda x: F.celu(x, 0.5), ordinary=ORDINARY, near_kinks=BESIDE_0
        ),
        entry("jax.nn.selu", nn.selu, F.selu, ordinary=ORDINARY, near_kinks=near(0), large=LARGE),
        entry(
            "jax.nn.gelu, tanh",
            nn.gelu,
            lambda x: F.gelu(x, approximate="tanh"),
            **{
                "ordinary": ORDINARY,
                "near_kinks": BESIDE_0,
                "badly_conditioned": near(-5, -4, off=0.5),
                "large": LARGE,
            },
        ),
        entry(
            "jax.nn.gelu, exact",
            lambda x: nn.gelu(x, approximate=False),
            F.gelu,
            **{
                "ordinary": ORDINARY,
                "near_kinks": BESIDE_0,
                "badly_conditioned": near(-5, -4, off=0.5),
                "large": LARGE,
            },
        ),
        entry("jax.nn.silu", nn.silu, F.silu, ordinary=ORDINARY, near_kinks=BESIDE_0, large=LARGE),
        entry("jax.nn.mish", nn.mish, F.mish, ordinary=ORDINARY, near_kinks=BESIDE_0, large=LARGE),
        entry("jax.nn.sigmoid", nn.sigmoid, torch.sigmoid, ordinary=ORDINARY, near_kinks=BESIDE_0, large=sized(5, 50)),
        entry("jax.nn.log_sigmoid", nn.log_sigmoid, F.logsigmoid, ordinary=ORDINARY, near_kinks=BESIDE_0, large=LARGE),
        entry(
            "jax.nn.softplus",
            nn.softplus,
            lambda x: torch.logaddexp(x, torch.zeros_like(x)),
            **{
                "ordinary": ORDINARY,
                "near_kinks": BESIDE_0,
                "badly_conditioned": near(-15, 15, 20, off=2),
                "large": LARGE,
            },
        ),
        entry("jax.nn.soft_sign", nn.soft_sign, F.softsign, ordinary=ORDINARY, near_kinks=BESIDE_0, large=LARGE),
        entry("jax.nn.tanh", nn.tanh, torch.tanh, ordinary=ORDINARY, near_kinks=BESIDE_0, large=sized(5, 50)),
        entry(
            "jax.nn.hard_tanh",
            nn.hard_tanh,
            F.hardtanh,
            ordinary=ORDINARY,
            near_kinks=near(-1, 1),
            large=sized(0.5, 20),
        ),
        entry(
            "jax.nn.hard_sigmoid",
            nn.hard_sigmoid,
            F.hardsigmoid,
            ordinary=normal(scale=3),
            near_kinks=near(-3, 3),
            large=sized(0.5, 20),
        ),
        entry(
            "jax.nn.hard_silu", nn.hard_silu, F.hardswish, ordinary=normal(scale=3), near_kinks=near(-3, 3), large=LARGE
        ),
        entry(
            "jax.nn.sparse_plus", nn.sparse_plus, sparse_plus, ordinary=ORDINARY, near_kinks=near(-1, 1), large=LARGE
        ),
        entry(
            "jax.nn.sparse_sigmoid",
            nn.sparse_sigmoid,
            lambda x: torch.clamp((x + 1) / 2, 0, 1),
            ordinary=ORDINARY,
            near_kinks=near(-1, 1),
            large=sized(0.5, 20),
        ),
        entry(
            "jax.nn.squareplus",
            nn.squareplus,
            lambda x: (x + torch.sqrt(x**2 + 4)) / 2,
            ordinary=ORDINARY,
            near_kinks=BESIDE_0,
            badly_conditioned=near(-100, -30, off=10),
        ),
        entry(
            "jax.nn.log1mexp",
            nn.log1mexp,
            lambda x: torch.log(-torch.expm1(-x)),
            ordinary=positive(0.1, 5),
            near_kinks=near(math.log(2)),
            badly_conditioned=positive(8, 15),
            small=positive(1e-6, 1e-4),
        ),
        entry("jax.nn.glu", lambda x: nn.glu(x[:, :6]), lambda x: F.glu(x[:, :6]), ordinary=ORDINARY, large=LARGE),
        entry("jax.nn.softmax", nn.softmax, lambda x: torch.softmax(x, -1), ordinary=ORDINARY, **ROWS),
        entry("jax.nn.log_softmax", nn.log_softmax, lambda x: torch.log_softmax(x, -1), ordinary=ORDINARY, **ROWS),
        entry(
            "jax.nn.softmax, where",
            lambda x, keep: nn.softmax(x, where=keep),
            masked_softmax,
            ordinary=(ORDINARY, mask()),
            near_kinks=(near_ties(), mask()),
            badly_conditioned=(normal(scale=30), mask()),
        ),
        entry(
            "jax.nn.logsumexp",
            lambda x: nn.logsumexp(x, -1),
            lambda x: torch.logsumexp(x, -1),
            ordinary=ORDINARY,
            **ROWS,
        ),
        entry(
            "jax.nn.logmeanexp",
            lambda x: nn.logmeanexp(x, -1),
            lambda x: torch.logsumexp(x, -1) - math.log(x.shape[-1]),
            ordinary=ORDINARY,
            **ROWS,
        ),
        entry(
            "jax.nn.standardize",
            nn.standardize,
            lambda x: F.layer_norm(x, x.shape[-1:]),
            ordinary=ORDINARY,
            near_kinks=near_ties(off=1e-3),
            badly_conditioned=normal(shift=30),
            large=LARGE,
        ),
        entry(
            "jax.nn.dot_product_attention",
            nn.dot_product_attention,
            attention,
            ordinary=(normal(2, 5, 2, 4), normal(2, 5, 2, 4), normal(2, 5, 2, 4)),
            near_kinks=(near_ties(2, 5, 2, 4), near_ties(2, 5, 2, 4), normal(2, 5, 2, 4)),
            badly_conditioned=(normal(2, 5, 2, 4, scale=4), normal(2, 5, 2, 4, scale=4), cancelling(2, 5, 2, 4)),
        ),
        entry(
            "jax.nn.dot_product_attention, causal",
            lambda q, k, v: nn.dot_product_attention(q, k, v, is_causal=True),
            causal_attention,
            ordinary=(normal(2, 5, 2, 4), normal(2, 5, 2, 4), normal(2, 5, 2, 4)),
            badly_conditioned=(normal(2, 5, 2, 4, scale=4), normal(2, 5, 2, 4, scale=4), normal(2, 5, 2, 4)),
        ),
    ]
