"""Activations, and dropout that is off: right, and with each that is taken for another."""

import functools
from collections.abc import Iterator

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import torch
from flax import nnx

from .case import Applied, Batched, Case, Held, cases, normal


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def all_cases() -> Iterator[Case]:
    x = normal(16, 6) * 4
    table = (
        ("GELU", torch.nn.GELU, lambda x: jax.nn.gelu(x, approximate=False),
         (("tanh form", jax.nn.gelu, "approximate"), ("quick form", lambda x: x * jax.nn.sigmoid(1.702 * x), "quick"))),
        ("GELU, tanh", lambda: torch.nn.GELU("tanh"), jax.nn.gelu,
         (("exact form", lambda x: jax.nn.gelu(x, approximate=False), "approximate=none"),)),
        ("SiLU", torch.nn.SiLU, jax.nn.silu, (("sigmoid", jax.nn.sigmoid, "sigmoid"),)),
        ("LeakyReLU", lambda: torch.nn.LeakyReLU(0.2), lambda x: jax.nn.leaky_relu(x, 0.2),
         (("slope 0.01", jax.nn.leaky_relu, "negative_slope=0.01"),)),
        ("Softplus", torch.nn.Softplus, jax.nn.softplus, (("relu", jax.nn.relu, "relu"),)),
        ("ELU", torch.nn.ELU, jax.nn.elu, (("celu(2)", lambda x: jax.nn.celu(x, 2.0), ""),)),
        ("Hardswish", torch.nn.Hardswish, jax.nn.hard_swish, (("silu", jax.nn.silu, "silu"),)),
        ("Mish", torch.nn.Mish, jax.nn.mish, (("silu", jax.nn.silu, "silu"),)),
        ("ReLU6", torch.nn.ReLU6, jax.nn.relu6, (("relu", lambda x: jax.nn.relu(x), "relu"),)),
        ("Tanh", torch.nn.Tanh, jnp.tanh, (("sigmoid", jax.nn.sigmoid, "sigmoid"),)),
        ("Softmax", lambda: torch.nn.Softmax(-1), jax.nn.softmax,
         (("first axis", functools.partial(jax.nn.softmax, axis=0), "dim=0"),)),
        ("Dropout, off", lambda: torch.nn.Dropout(0.5).train(), lambda x: x, ()),
    )  # fmt: skip
    for name, original, fun, errors in table:
        wrong = tuple(("linen", error, functools.partial(Applied, other), hint) for error, other, hint in errors)
        yield from cases(name, original, x, linen=functools.partial(Applied, fun), wrong=wrong)
    yield from cases(
        "PReLU", lambda: torch.nn.PReLU(), x,
        linen=nn.PReLU,
        nnx=lambda: nnx.PReLU(),
        equinox=lambda: Batched(eqx.nn.PReLU()),
    )  # fmt: skip
    yield from cases(
        "Dropout in a net",
        lambda: torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.GELU(), torch.nn.Dropout(0.5)), x,
        linen=lambda: Applied(lambda x: nn.Dropout(0.5, deterministic=True)(jax.nn.gelu(nn.Dense(6)(x), False))),
        nnx=lambda: Held(lambda a, b, x: b(nnx.gelu(a(x), approximate=False)), nnx.Linear(6, 6, rngs=rngs()),
                         nnx.Dropout(0.5, deterministic=True)),
        wrong=(("linen", "tanh form", lambda: Applied(lambda x: nn.gelu(nn.Dense(6)(x))), "gelu"),),
        mode=lambda net: net.train(),
    )  # fmt: skip
