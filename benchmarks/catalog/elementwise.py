"""Maths of jax.numpy and jax.lax, element by element."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import torch
from jax import lax

from .entry import EXACT, Draw, Entry, between, entry, fixed, near, normal, positive, sized, whole

ORDINARY = normal()
SMALL = sized(1e-6, 1e-4)
LARGE = sized(1e3, 1e4)
POSITIVE = {"ordinary": positive(0.1, 10), "large": positive(1e3, 1e5), "small": positive(1e-6, 1e-4)}
LOG = {**POSITIVE, "badly_conditioned": near(1)}
ANYWHERE = {"ordinary": normal(), "large": LARGE, "small": SMALL}
NEVER_SMALL = {"ordinary": sized(0.1, 10), "large": LARGE, "small": SMALL}
TWO = {
    "ordinary": (normal(), normal()),
    "large": (LARGE, LARGE),
    "small": (SMALL, SMALL),
}


def near_each_other(off: float = 1e-3) -> tuple[Draw, Draw]:
    """Two arrays whose elements differ by about off, at 1 and -2."""
    return (lambda rng: near(1, off=off)(rng), lambda rng: near(1, off=off)(rng))


NEAR_TIES = {"near_kinks": near_each_other()}
OF_A_COMPLEX_NUMBER = {
    "ordinary": (normal(), normal()),
    "near_kinks": (sized(0.5, 2), sized(1e-6, 1e-4)),
    "small": (SMALL, SMALL),
}


def complex_exp(x: Any, y: Any) -> tuple[Any, Any]:
    z = jnp.exp(lax.complex(x, y))
    return z.real, z.imag


def torch_complex_exp(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.exp(torch.complex(x, y))
    return z.real, z.imag


def sinusoids() -> list[Entry]:
    names = ("sin", "cos", "tan", "sinh", "cosh", "arctan", "arcsinh", "tanh")
    kinds: dict[str, dict[str, Draw]] = {
        "sin": {"badly_conditioned": near(math.pi, 2 * math.pi), "large": sized(1e2, 1e3)},
        "cos": {"badly_conditioned": near(math.pi / 2), "large": sized(1e2, 1e3)},
        "tan": {"badly_conditioned": near(math.pi / 2, off=1e-2)},
        "sinh": {"large": sized(10, 30)},
        "cosh": {"large": sized(10, 30)},
        "arctan": {"large": LARGE},
        "arcsinh": {"large": LARGE, "badly_conditioned": sized(0.3, 3)},
        "tanh": {"large": sized(5, 50)},
    }
    return [
        entry(f"jnp.{name}", getattr(jnp, name), getattr(torch, name), ordinary=normal(), small=SMALL, **kinds[name])
        for name in names
    ]


def binary(name: str, fun: Callable[..., Any], of_torch: Callable[..., Any], **more: Any) -> Entry:
    return entry(name, fun, of_torch, **{**TWO, **more})


def entries() -> list[Entry]:
    return sinusoids() + [
        entry("jnp.abs", jnp.abs, torch.abs, ordinary=normal(), near_kinks=near(0), large=LARGE, small=SMALL),
        entry(
            "jnp.arccos", jnp.arccos, torch.acos, ordinary=between(-0.9, 0.9), badly_conditioned=between(0.99, 0.9999)
        ),
        entry(
            "jnp.arcsin",
            jnp.arcsin,
            torch.asin,
            ordinary=between(-0.9, 0.9),
            badly_conditioned=between(0.99, 0.9999),
            small=SMALL,
        ),
        entry(
            "jnp.arccosh",
            jnp.arccosh,
            torch.acosh,
            ordinary=between(1.1, 5),
            badly_conditioned=between(1.0005, 1.005),
            large=positive(1e3, 1e4),
        ),
        entry(
            "jnp.arctanh",
            jnp.arctanh,
            torch.atanh,
            ordinary=between(-0.9, 0.9),
            badly_conditioned=between(0.99, 0.999),
            small=SMALL,
        ),
        entry(
            "jnp.arctan2",
            jnp.arctan2,
            torch.atan2,
            ordinary=(normal(), normal()),
            near_kinks=(near(0), sized(0.5, 2)),
            large=(LARGE, LARGE),
            small=(SMALL, SMALL),
        ),
        entry("jnp.cbrt", jnp.cbrt, lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3), **NEVER_SMALL),
        entry("jnp.exp", jnp.exp, torch.exp, ordinary=normal(), small=SMALL, large=between(20, 60)),
        entry("jnp.exp2", jnp.exp2, torch.exp2, ordinary=normal(), small=SMALL, large=between(20, 90)),
        entry("jnp.expm1", jnp.expm1, torch.expm1, ordinary=normal(), small=SMALL, large=between(20, 60)),
        entry("jnp.log", jnp.log, torch.log, **LOG),
        entry("jnp.log2", jnp.log2, torch.log2, **LOG),
        entry("jnp.log10", jnp.log10, torch.log10, **LOG),
        entry(
            "jnp.log1p",
            jnp.log1p,
            torch.log1p,
            **{**POSITIVE, "small": SMALL, "badly_conditioned": between(-0.999, -0.9)},
        ),
        entry("jnp.sqrt", jnp.sqrt, torch.sqrt, **POSITIVE),
        entry("jax.lax.rsqrt", lax.rsqrt, torch.rsqrt, **POSITIVE),
        entry("jnp.square", jnp.square, torch.square, **ANYWHERE),
        entry("jnp.reciprocal", jnp.reciprocal, torch.reciprocal, **NEVER_SMALL),
        entry("jax.lax.integer_pow, 3", lambda x: lax.integer_pow(x, 3), lambda x: x**3, **ANYWHERE),
        entry("jax.lax.integer_pow, -2", lambda x: lax.integer_pow(x, -2), lambda x: x**-2, **NEVER_SMALL),
        entry("jnp.deg2rad", jnp.deg2rad, torch.deg2rad, **ANYWHERE),
        entry(
            "jnp.sinc",
            jnp.sinc,
            torch.sinc,
            ordinary=sized(0.1, 3),
            near_kinks=sized(1e-6, 1e-5),
            badly_conditioned=sized(1e-3, 1e-2),
            large=sized(30, 100),
        ),
        entry(
            "jnp.clip",
            lambda x: jnp.clip(x, -1, 1),
            lambda x: torch.clamp(x, -1, 1),
            ordinary=normal(scale=2),
            near_kinks=near(-1, 1),
            large=sized(0.5, 20),
        ),
        entry(
            "jax.lax.clamp",
            lambda low, x, high: lax.clamp(low, x, high),
            lambda low, x, high: torch.minimum(torch.maximum(x, low), high),
            ordinary=(between(-2, -0.5), normal(scale=2), between(0.5, 2)),
            near_kinks=(between(-2, -1.9), near(-1.95, 1.95, off=0.1), between(1.9, 2)),
        ),
        entry("jnp.nan_to_num", jnp.nan_to_num, torch.nan_to_num, **ANYWHERE),
        binary("jnp.add", jnp.add, torch.add),
        binary("jnp.subtract", jnp.subtract, torch.sub, badly_conditioned=near_each_other()),
        binary("jnp.multiply", jnp.multiply, torch.mul),
        entry(
            "jnp.divide",
            jnp.divide,
            torch.div,
            ordinary=(normal(), sized(0.1, 10)),
            large=(LARGE, LARGE),
            small=(SMALL, SMALL),
        ),
        binary("jnp.maximum", jnp.maximum, torch.maximum, **NEAR_TIES),
        binary("jnp.minimum", jnp.minimum, torch.minimum, **NEAR_TIES),
        binary("jnp.fmax", jnp.fmax, torch.fmax, **NEAR_TIES),
        binary("jnp.fmin", jnp.fmin, torch.fmin, **NEAR_TIES),
        binary("jnp.hypot", jnp.hypot, torch.hypot),
        binary("jnp.logaddexp", jnp.logaddexp, torch.logaddexp, **NEAR_TIES),
        binary("jnp.logaddexp2", jnp.logaddexp2, torch.logaddexp2, **NEAR_TIES),
        entry(
            "jnp.copysign",
            jnp.copysign,
            torch.copysign,
            ordinary=(normal(), normal()),
            near_kinks=(near(0), near(0)),
        ),
        entry(
            "jnp.power",
            jnp.power,
            torch.pow,
            ordinary=(positive(0.1, 10), normal()),
            badly_conditioned=(near(1), normal(scale=20)),
            large=(positive(1e3, 1e4), between(2, 4)),
            small=(positive(1e-6, 1e-4), between(0.5, 2)),
        ),
        entry(
            "jnp.float_power",
            jnp.float_power,
            torch.pow,
            ordinary=(positive(0.1, 10), normal()),
            badly_conditioned=(near(1), normal(scale=20)),
        ),
        entry(
            "jnp.mod",
            jnp.mod,
            torch.remainder,
            ordinary=(normal(scale=5), sized(1, 3)),
            near_kinks=(near(4, 6, -4, off=1e-2), near(2, -2, off=1e-4)),
        ),
        entry(
            "jnp.fmod",
            jnp.fmod,
            torch.fmod,
            ordinary=(normal(scale=5), sized(1, 3)),
            near_kinks=(near(4, 6, -4, off=1e-2), near(2, -2, off=1e-4)),
        ),
        entry(
            "jnp.ldexp",
            jnp.ldexp,
            lambda x, n: x * 2.0**n,
            ordinary=(normal(), whole(-3, 4)),
            large=(LARGE, whole(5, 10)),
        ),
        entry(
            "jnp.modf, fraction",
            lambda x: jnp.modf(x)[0],
            lambda x: torch.frac(x),
            ordinary=normal(scale=3),
            near_kinks=near(1, 2, -2),
        ),
        entry(
            "jnp.polyval",
            jnp.polyval,
            lambda p, x: sum(c * x ** (len(p) - 1 - k) for k, c in enumerate(p)),
            ordinary=(normal(5), normal()),
            badly_conditioned=(fixed(1, -4, 6, -4, 1), near(1, off=0.1)),
            small=(normal(5), SMALL),
        ),
        entry(
            "jnp.abs, complex",
            lambda x, y: jnp.abs(lax.complex(x, y)),
            lambda x, y: torch.abs(torch.complex(x, y)),
            EXACT,
            **OF_A_COMPLEX_NUMBER,
        ),
        entry(
            "jnp.angle",
            lambda x, y: jnp.angle(lax.complex(x, y)),
            lambda x, y: torch.angle(torch.complex(x, y)),
            EXACT,
            **OF_A_COMPLEX_NUMBER,
        ),
        entry("jnp.exp, complex", complex_exp, torch_complex_exp, EXACT, **OF_A_COMPLEX_NUMBER),
    ]
