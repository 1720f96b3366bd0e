"""jax.scipy.stats: logarithms of densities, and what hangs on them."""

import math
from typing import Any

import torch
from jax.scipy import stats
from torch import distributions as D

from .entry import EXACT, Entry, between, entry, near, normal, positive, shares, sized, spd

POSITIVE = positive(0.2, 5)
OPEN = between(0.05, 0.95)
SMALL = sized(1e-6, 1e-4)
FAR = sized(20, 100)


def unchecked(kind: Any) -> Any:
    """log_prob of a distribution of torch, of a sample and then its parameters."""
    return lambda x, *parameters: kind(*parameters, validate_args=False).log_prob(x)


def gaussian_kde(data: Any, points: Any) -> Any:
    return stats.gaussian_kde(data).logpdf(points)


def logistic(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.logsigmoid(x) + torch.nn.functional.logsigmoid(-x)


def wrapcauchy(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return torch.log((1 - c**2) / (2 * math.pi * (1 + c**2 - 2 * c * torch.cos(x))))


def multivariate(x: torch.Tensor, mean: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return D.MultivariateNormal(mean, factor @ factor.mT, validate_args=False).log_prob(x)


def located() -> list[Entry]:
    """A sample, a location and, but for Gumbel, a scale."""
    ordinary, far = (normal(), normal(), positive(0.5, 2)), (FAR, normal(), positive(0.5, 2))
    near_0 = (SMALL, SMALL, positive(0.5, 2))
    tight = (near(1), near(1), positive(0.01, 0.05))
    return [
        entry(
            "stats.norm.logpdf",
            stats.norm.logpdf,
            unchecked(D.Normal),
            ordinary=ordinary,
            large=far,
            badly_conditioned=tight,
        ),
        entry(
            "stats.laplace.logpdf",
            stats.laplace.logpdf,
            unchecked(D.Laplace),
            ordinary=ordinary,
            near_kinks=(near(0), near(0.01), positive(0.5, 2)),
            large=far,
        ),
        entry(
            "stats.cauchy.logpdf", stats.cauchy.logpdf, unchecked(D.Cauchy), ordinary=ordinary, large=far, small=near_0
        ),
        # With a scale, jax raises: xlogy(-1, scale) in it has an integer.
        entry(
            "stats.gumbel_r.logpdf",
            lambda x, loc: stats.gumbel_r.logpdf(x, loc),
            lambda x, loc: D.Gumbel(loc, torch.ones_like(loc), validate_args=False).log_prob(x),
            ordinary=(normal(), normal()),
            large=(positive(20, 100), normal()),
        ),
        entry(
            "stats.gumbel_l.logpdf",
            lambda x, loc: stats.gumbel_l.logpdf(x, loc),
            lambda x, loc: x - loc - torch.exp(x - loc),
            ordinary=(normal(), normal()),
            small=(SMALL, SMALL),
        ),
    ]


def entries() -> list[Entry]:
    return located() + [
        entry(
            "stats.norm.logcdf",
            stats.norm.logcdf,
            torch.special.log_ndtr,
            EXACT,
            ordinary=normal(),
            badly_conditioned=between(4, 5),
            large=between(-50, -20),
        ),
        entry(
            "stats.norm.logsf",
            stats.norm.logsf,
            lambda x: torch.special.log_ndtr(-x),
            EXACT,
            ordinary=normal(),
            badly_conditioned=between(-5, -4),
        ),
        entry(
            "stats.norm.ppf",
            stats.norm.ppf,
            torch.special.ndtri,
            EXACT,
            ordinary=OPEN,
            badly_conditioned=between(0.99, 0.999),
        ),
        entry(
            "stats.beta.logpdf",
            stats.beta.logpdf,
            unchecked(D.Beta),
            ordinary=(OPEN, POSITIVE, POSITIVE),
            badly_conditioned=(between(0.99, 0.999), POSITIVE, POSITIVE),
        ),
        entry(
            "stats.gamma.logpdf",
            stats.gamma.logpdf,
            lambda x, a: D.Gamma(a, torch.ones_like(a), validate_args=False).log_prob(x),
            ordinary=(POSITIVE, POSITIVE),
            large=(positive(100, 1000), positive(100, 1000)),
            small=(positive(1e-4, 1e-2), POSITIVE),
        ),
        entry(
            "stats.chi2.logpdf",
            stats.chi2.logpdf,
            unchecked(D.Chi2),
            ordinary=(POSITIVE, POSITIVE),
            large=(positive(100, 1000), positive(100, 1000)),
        ),
        entry(
            "stats.expon.logpdf",
            stats.expon.logpdf,
            lambda x: -x,
            ordinary=POSITIVE,
            near_kinks=positive(1e-6, 1e-4),
        ),
        entry(
            "stats.t.logpdf",
            stats.t.logpdf,
            lambda x, df: D.StudentT(df, validate_args=False).log_prob(x),
            ordinary=(normal(), POSITIVE),
            large=(FAR, POSITIVE),
            badly_conditioned=(normal(), positive(100, 1000)),
        ),
        entry(
            "stats.pareto.logpdf",
            stats.pareto.logpdf,
            lambda x, b: torch.log(b) - (b + 1) * torch.log(x),
            ordinary=(between(1.1, 5), POSITIVE),
            near_kinks=(between(1.001, 1.01), POSITIVE),
            large=(positive(1e3, 1e4), POSITIVE),
        ),
        entry(
            "stats.logistic.logpdf",
            stats.logistic.logpdf,
            logistic,
            ordinary=normal(scale=2),
            large=FAR,
            small=SMALL,
        ),
        entry(
            "stats.gennorm.logpdf",
            stats.gennorm.logpdf,
            lambda x, p: torch.log(p / 2) - torch.lgamma(1 / p) - torch.abs(x) ** p,
            ordinary=(sized(0.1, 3), positive(0.5, 3)),
            near_kinks=(near(0), between(1.1, 3)),
        ),
        entry(
            "stats.truncnorm.logpdf",
            lambda x, a, b: stats.truncnorm.logpdf(x, a, b),
            None,
            EXACT,
            ordinary=(between(-0.9, 0.9), between(-3, -1), between(1, 3)),
            badly_conditioned=(between(4.1, 4.9), between(3.5, 4), between(5, 6)),
        ),
        entry(
            "stats.vonmises.logpdf",
            stats.vonmises.logpdf,
            lambda x, kappa: kappa * (torch.cos(x) - 1) - math.log(2 * math.pi) - torch.log(torch.special.i0e(kappa)),
            ordinary=(between(-3, 3), POSITIVE),
            large=(between(-3, 3), positive(30, 100)),
            small=(between(-3, 3), positive(1e-6, 1e-4)),
        ),
        entry(
            "stats.wrapcauchy.logpdf",
            stats.wrapcauchy.logpdf,
            wrapcauchy,
            ordinary=(between(0.1, 6), OPEN),
            badly_conditioned=(between(1e-3, 1e-2), between(0.9, 0.99)),
        ),
        entry(
            "stats.dirichlet.logpdf",
            lambda x, a: stats.dirichlet.logpdf(x, a),
            None,
            ordinary=(shares(5), positive(0.5, 5, 5)),
            large=(shares(5), positive(50, 500, 5)),
        ),
        entry(
            "stats.multivariate_normal.logpdf",
            lambda x, mean, factor: stats.multivariate_normal.logpdf(x, mean, factor @ factor.T),
            multivariate,
            EXACT,
            ordinary=(normal(5), normal(5), spd()),
            badly_conditioned=(normal(5), normal(5), spd(condition=100)),
        ),
        entry(
            "stats.gaussian_kde.logpdf",
            gaussian_kde,
            None,
            EXACT,
            ordinary=(normal(9), normal(5)),
            badly_conditioned=(normal(9), sized(3, 5, 5)),
        ),
        entry(
            "stats.sem",
            lambda x: stats.sem(x, axis=-1),
            None,
            ordinary=normal(),
            badly_conditioned=normal(shift=30),
        ),
    ]
