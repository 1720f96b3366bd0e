"""jax.scipy.stats: logarithms of the probabilities of counts."""

import math
from typing import Any

import jax.numpy as jnp
import torch
from jax.scipy import stats

from .entry import EXACT, Entry, between, entry, positive, whole

POSITIVE = positive(0.2, 5)
OPEN = between(0.05, 0.95)


def binom(k: Any, p: Any) -> Any:
    return stats.binom.logpmf(k.astype(p.dtype), jnp.full(p.shape, 9, p.dtype), p)


def torch_binom(k: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    k = k.to(p.dtype)
    ways = math.lgamma(10) - torch.lgamma(k + 1) - torch.lgamma(10 - k)
    return ways + torch.special.xlogy(k, p) + torch.special.xlog1py(9 - k, -p)


def entries() -> list[Entry]:
    return [
        entry(
            "stats.poisson.logpmf",
            stats.poisson.logpmf,
            lambda k, mu: torch.special.xlogy(k, mu) - torch.lgamma(k.to(mu.dtype) + 1) - mu,
            EXACT,
            ordinary=(whole(0, 9), POSITIVE),
            large=(whole(900, 1100), positive(900, 1100)),
            small=(whole(0, 3), positive(1e-6, 1e-4)),
        ),
        entry(
            "stats.bernoulli.logpmf",
            lambda k, p: stats.bernoulli.logpmf(k, p),
            lambda k, p: torch.where(k == 1, torch.log(p), torch.log1p(-p)),
            EXACT,
            ordinary=(whole(0, 2), OPEN),
            badly_conditioned=(whole(0, 2), between(0.99, 0.999)),
        ),
        entry(
            "stats.binom.logpmf",
            binom,
            torch_binom,
            EXACT,
            ordinary=(whole(0, 9), OPEN),
            badly_conditioned=(whole(0, 9), between(0.99, 0.999)),
        ),
        entry(
            "stats.nbinom.logpmf",
            lambda k, p: stats.nbinom.logpmf(k.astype(p.dtype), jnp.full(p.shape, 4, p.dtype), p),
            None,
            EXACT,
            ordinary=(whole(0, 9), OPEN),
            badly_conditioned=(whole(0, 9), between(0.99, 0.999)),
        ),
        entry(
            "stats.betabinom.logpmf",
            lambda k, a, b: stats.betabinom.logpmf(k.astype(a.dtype), jnp.full(a.shape, 9, a.dtype), a, b),
            None,
            EXACT,
            ordinary=(whole(0, 9), POSITIVE, POSITIVE),
            large=(whole(0, 9), positive(50, 500), positive(50, 500)),
        ),
    ]
