"""The gamma function and what is made of it, of jax.scipy.special."""

import torch
from jax.scipy import special as jsp

from .entry import Entry, between, entry, near, positive

S = torch.special
POSITIVE = positive(0.1, 5)
TINY = positive(1e-6, 1e-4)
GAMMA = {
    "ordinary": positive(0.5, 5),
    "near_kinks": near(1, 2),
    "badly_conditioned": between(-3.8, -3.2),
    "large": positive(1e3, 1e4),
    "small": TINY,
}


def betainc(x: torch.Tensor) -> torch.Tensor:
    """Of a=2 and b=3 it is a polynomial."""
    return x**2 * (6 - 8 * x + 3 * x**2)


def betaln(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def entries() -> list[Entry]:
    return [
        entry("jsp.gammaln", jsp.gammaln, torch.lgamma, **GAMMA),
        entry(
            "jsp.digamma",
            jsp.digamma,
            torch.digamma,
            **{**GAMMA, "badly_conditioned": near(1.4616, off=1e-2), "near_kinks": near(-8.478, -8.465, off=1e-2)},
        ),
        entry("jsp.loggamma", jsp.loggamma, torch.lgamma, ordinary=positive(0.5, 5), near_kinks=near(1, 2), small=TINY),
        entry(
            "jsp.polygamma, 1",
            lambda x: jsp.polygamma(1, x),
            lambda x: S.polygamma(1, x),
            ordinary=positive(0.5, 5),
            large=positive(1e3, 1e4),
        ),
        entry(
            "jsp.polygamma, 3",
            lambda x: jsp.polygamma(3, x),
            lambda x: S.polygamma(3, x),
            ordinary=positive(0.5, 5),
            large=positive(1e2, 1e3),
        ),
        entry(
            "jsp.gamma",
            jsp.gamma,
            lambda x: torch.exp(torch.lgamma(x)),
            ordinary=positive(0.5, 5),
            badly_conditioned=near(1.4616, off=1e-2),
            large=between(10, 30),
            small=TINY,
        ),
        entry(
            "jsp.factorial",
            jsp.factorial,
            lambda x: torch.exp(torch.lgamma(x + 1)),
            ordinary=positive(0.5, 5),
            small=TINY,
        ),
        entry(
            "jsp.beta",
            jsp.beta,
            lambda a, b: torch.exp(betaln(a, b)),
            ordinary=(POSITIVE, POSITIVE),
            large=(positive(5, 20), positive(5, 20)),
        ),
        entry(
            "jsp.betaln",
            jsp.betaln,
            betaln,
            ordinary=(POSITIVE, POSITIVE),
            near_0=(TINY, TINY),
            badly_conditioned=(positive(50, 500), positive(0.5, 2)),
        ),
        entry(
            "jsp.poch",
            jsp.poch,
            lambda x, n: torch.exp(torch.lgamma(x + n) - torch.lgamma(x)),
            ordinary=(POSITIVE, POSITIVE),
            large=(positive(10, 20), positive(2, 9)),
        ),
        entry(
            "jsp.multigammaln",
            lambda a: jsp.multigammaln(a, 3),
            lambda a: torch.mvlgamma(a, 3),
            ordinary=positive(1.5, 10),
            near_kinks=between(1.001, 1.01),
            large=positive(1e3, 1e4),
        ),
        entry(
            "jsp.gammainc, a and x",
            jsp.gammainc,
            None,
            ordinary=(POSITIVE, POSITIVE),
            near_kinks=(between(0.95, 1.05), between(0.95, 1.05)),
            large=(positive(50, 100), positive(50, 100)),
        ),
        entry(
            "jsp.gammaincc, a and x",
            jsp.gammaincc,
            None,
            ordinary=(POSITIVE, POSITIVE),
            large=(positive(50, 100), positive(50, 100)),
        ),
        entry(
            "jsp.gammainc, x",
            lambda x: jsp.gammainc(2.5, x),
            lambda x: S.gammainc(torch.full_like(x, 2.5), x),
            ordinary=POSITIVE,
            small=positive(1e-3, 1e-2),
            large=positive(10, 30),
        ),
        entry(
            "jsp.betainc",
            lambda x: jsp.betainc(2.0, 3.0, x),
            betainc,
            ordinary=between(0.05, 0.95),
            small=positive(1e-3, 1e-2),
            badly_conditioned=between(0.99, 0.999),
        ),
    ]
