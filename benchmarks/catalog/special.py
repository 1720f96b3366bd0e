"""jax.scipy.special."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.scipy import special as jsp

from .entry import EXACT, Entry, between, entry, fixed, near, near_ties, normal, positive, sized

S = torch.special
SMALL = sized(1e-6, 1e-4)
POSITIVE = positive(0.1, 5)
OPEN = between(0.05, 0.95)
TINY = positive(1e-6, 1e-4)
BESSEL = {"ordinary": normal(scale=2), "near_kinks": sized(1e-6, 1e-5), "large": sized(10, 50), "at_0": fixed(0.0)}


def kl_div(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """p log(p / q) - p + q; torch's own kl_div takes log p and leaves out the rest."""
    return -S.entr(p) - S.xlogy(p, q) - p + q


def sph_harm(theta: Any, phi: Any) -> tuple[Any, Any]:
    """Of degree 2 and order 1."""
    n, m = jnp.full(theta.shape, 2), jnp.full(theta.shape, 1)
    y = jsp.sph_harm_y(n, m, theta, phi, n_max=2)
    return y.real, y.imag


def torch_sph_harm(theta: torch.Tensor, phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = -math.sqrt(15 / (8 * math.pi)) * torch.sin(theta) * torch.cos(theta)
    return size * torch.cos(phi), size * torch.sin(phi)


def wofz(x: Any, y: Any) -> tuple[Any, Any]:
    w = jsp.wofz(jax.lax.complex(x, y))
    return w.real, w.imag


def signed_logsumexp(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    top = x.max(-1, keepdim=True).values
    return torch.log(torch.abs((b * torch.exp(x - top)).sum(-1))) + top[..., 0]


def of_the_error_function() -> list[Entry]:
    return [
        entry("jsp.erf", jsp.erf, torch.erf, ordinary=normal(), small=SMALL, large=sized(4, 10)),
        entry("jsp.erfc", jsp.erfc, torch.erfc, ordinary=normal(), small=SMALL, badly_conditioned=between(3, 8)),
        entry("jsp.erfcx", jsp.erfcx, S.erfcx, ordinary=normal(), small=SMALL, large=positive(10, 100)),
        entry(
            "jsp.erfinv",
            jsp.erfinv,
            torch.erfinv,
            ordinary=between(-0.9, 0.9),
            small=SMALL,
            badly_conditioned=between(0.99, 0.9999),
        ),
        entry("jsp.ndtr", jsp.ndtr, S.ndtr, EXACT, ordinary=normal(), small=SMALL, badly_conditioned=between(-9, -4)),
        entry(
            "jsp.log_ndtr",
            jsp.log_ndtr,
            S.log_ndtr,
            EXACT,
            ordinary=normal(scale=2),
            near_kinks=near(4.95, off=0.05),
            badly_conditioned=between(-12, -8),
            large=between(-100, -30),
        ),
        entry(
            "jsp.ndtri", jsp.ndtri, S.ndtri, EXACT, ordinary=OPEN, badly_conditioned=between(0.99, 0.999), small=TINY
        ),
        entry("jsp.dawsn", jsp.dawsn, None, ordinary=normal(scale=2), small=SMALL, large=sized(10, 100)),
        entry("jsp.fresnel", jsp.fresnel, None, EXACT, ordinary=normal(scale=2), small=SMALL, large=sized(5, 10)),
        entry("jsp.owens_t", jsp.owens_t, None, EXACT, ordinary=(normal(), normal()), small=(SMALL, SMALL)),
        entry(
            "jsp.wofz", wofz, None, EXACT, ordinary=(normal(), positive(0.1, 3)), large=(sized(10, 50), positive(1, 9))
        ),
    ]


def integrals() -> list[Entry]:
    one = np.float32(1)
    return [
        # Loops of hundreds of steps, and of thousands for small arguments: one kind of these is enough.
        entry("jsp.exp1", jsp.exp1, None, EXACT, large=positive(10, 30), ordinary=positive(1.5, 8)),
        entry("jsp.expi", jsp.expi, None, EXACT, ordinary=sized(0.5, 5), large=positive(10, 30)),
        entry("jsp.expn", lambda x: jsp.expn(2, x), None, EXACT, ordinary=positive(1.5, 8), large=positive(10, 30)),
        entry("jsp.sici", jsp.sici, None, EXACT, ordinary=POSITIVE, large=positive(10, 100), small=TINY),
        entry(
            "jsp.spence",
            jsp.spence,
            None,
            EXACT,
            # Between 1 and 2, jax's gradient is NaN.
            ordinary=near(0.3, 0.6, 3, 4, off=0.1),
            between_1_and_2=between(1.1, 1.9),
            large=positive(10, 100),
            small=TINY,
        ),
        entry(
            "jsp.hyp1f1",
            lambda x: jsp.hyp1f1(one * 1.5, one * 2.5, x),
            None,
            EXACT,
            ordinary=normal(),
            small=SMALL,
        ),
        entry(
            "jsp.hyp2f1",
            lambda x: jsp.hyp2f1(one * 1, one * 1, one * 2, x),
            lambda x: -torch.log1p(-x) / x,
            EXACT,
            ordinary=sized(0.1, 0.8),
            badly_conditioned=between(0.99, 0.999),
        ),
    ]


def entries() -> list[Entry]:
    return (
        of_the_error_function()
        + integrals()
        + [
            entry("jsp.i0", jsp.i0, torch.i0, **BESSEL),
            entry("jsp.i0e", jsp.i0e, S.i0e, **BESSEL),
            entry("jsp.i1", jsp.i1, S.i1, **BESSEL),
            entry("jsp.i1e", jsp.i1e, S.i1e, **BESSEL),
            entry(
                "jsp.bessel_jn",
                lambda z: jsp.bessel_jn(z, v=1)[1],
                None,
                # By 50 steps backwards, jax: NaN below 4 in float32, and up to 9 a gradient that is off.
                ordinary=between(10, 20),
                between_4_and_8=between(4.5, 8),
                large=between(20, 30),
            ),
            entry("jsp.entr", jsp.entr, S.entr, ordinary=POSITIVE, near_kinks=near(1), small=TINY),
            entry("jsp.expit", jsp.expit, torch.sigmoid, ordinary=normal(scale=2), large=sized(10, 60)),
            entry(
                "jsp.logit", jsp.logit, torch.logit, ordinary=OPEN, badly_conditioned=between(0.99, 0.999), small=TINY
            ),
            entry(
                "jsp.kl_div",
                jsp.kl_div,
                kl_div,
                ordinary=(POSITIVE, POSITIVE),
                badly_conditioned=(near(1), near(1)),
                small=(TINY, TINY),
            ),
            entry(
                "jsp.rel_entr",
                jsp.rel_entr,
                lambda p, q: p * torch.log(p / q),
                ordinary=(POSITIVE, POSITIVE),
                badly_conditioned=(near(1), near(1)),
                small=(TINY, TINY),
            ),
            entry(
                "jsp.xlogy", jsp.xlogy, S.xlogy, ordinary=(normal(), POSITIVE), badly_conditioned=(normal(), near(1))
            ),
            entry("jsp.xlog1py", jsp.xlog1py, S.xlog1py, ordinary=(normal(), POSITIVE), small=(SMALL, SMALL)),
            entry(
                "jsp.boxcox",
                jsp.boxcox,
                lambda x, power: torch.expm1(power * torch.log(x)) / power,
                ordinary=(POSITIVE, sized(0.1, 2)),
                badly_conditioned=(near(1), sized(1e-3, 1e-2)),
            ),
            entry(
                "jsp.boxcox1p",
                jsp.boxcox1p,
                lambda x, power: torch.expm1(power * torch.log1p(x)) / power,
                ordinary=(POSITIVE, sized(0.1, 2)),
                badly_conditioned=(SMALL, sized(1e-3, 1e-2)),
            ),
            entry(
                "jsp.logsumexp, b",
                lambda x, b: jsp.logsumexp(x, -1, b=b, return_sign=True)[0],
                signed_logsumexp,
                ordinary=(normal(), sized(0.5, 2)),
                near_kinks=(near_ties(), sized(0.5, 2)),
            ),
            entry(
                "jsp.sph_harm_y",
                sph_harm,
                torch_sph_harm,
                EXACT,
                ordinary=(between(0.1, 3, 7), between(0.1, 6, 7)),
                badly_conditioned=(between(1e-3, 1e-2, 7), between(0.1, 6, 7)),
            ),
            entry(
                "jsp.comb",
                lambda n: jsp.comb(n, 3.0),
                lambda n: n * (n - 1) * (n - 2) / 6,
                EXACT,
                ordinary=between(4, 10),
                large=between(50, 100),
            ),
        ]
    )
