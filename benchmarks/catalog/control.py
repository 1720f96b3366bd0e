"""Control flow, and what solves equations in the course of it: scan, cond, map, custom_root, ..."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import lax
from jax.experimental.ode import odeint

from .entry import EXACT, Entry, entry, near, normal, positive, sized, spd

STATE = {
    "ordinary": (normal(4), normal(4, 4, scale=0.5), normal(6, 4)),
    "badly_conditioned": (normal(4), normal(4, 4, scale=2), normal(6, 4)),
    "small": (sized(1e-6, 1e-4, 4), normal(4, 4), sized(1e-6, 1e-4, 6, 4)),
}


def rnn(h: Any, w: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = jnp.tanh(w @ h + x)
        return h, h

    return lax.scan(step, h, xs)


def rnn_backwards(h: Any, w: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> tuple[Any, Any]:
        h = jnp.tanh(w @ h + x)
        return h, h

    return lax.scan(jax.checkpoint(step), h, xs, reverse=True)


def torch_rnn(h: torch.Tensor, w: torch.Tensor, xs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    kept = []
    for x in xs:
        h = torch.tanh(w @ h + x)
        kept.append(h)
    return h, torch.stack(kept)


def torch_rnn_backwards(h: torch.Tensor, w: torch.Tensor, xs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    last, kept = torch_rnn(h, w, xs.flip(0))
    return last, kept.flip(0)


def branch(x: Any) -> Any:
    return lax.cond(x.sum() > 0, jnp.sin, lambda x: x * x, x)


def torch_branch(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) if x.sum() > 0 else x * x


def switch(which: Any, x: Any) -> Any:
    return lax.switch(which[0], [jnp.sin, jnp.cos, jnp.exp], x)


def torch_switch(which: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (torch.sin, torch.cos, torch.exp)[int(which[0])](x)


def loop(x: Any) -> Any:
    """The logistic map, three times."""
    return lax.fori_loop(0, 3, lambda _, x: 3.5 * x * (1 - x), x)


def torch_loop(x: torch.Tensor) -> torch.Tensor:
    for _ in range(3):
        x = 3.5 * x * (1 - x)
    return x


def root(a: Any) -> Any:
    """The x for which x + x**3 = a, by Newton's method; its derivative by the implicit function theorem."""

    def solve(f: Any, x: Any) -> Any:
        return lax.fori_loop(0, 30, lambda _, x: x - f(x) / (1 + 3 * x * x), x)

    return lax.custom_root(lambda x: x + x * x * x - a, 0 * a, solve, lambda g, y: y / g(jnp.ones_like(y)))


def torch_root(a: torch.Tensor) -> torch.Tensor:
    """Cardano's formula, in its hyperbolic form, which does not cancel."""
    return 2 / 3**0.5 * torch.sinh(torch.asinh(3 * 3**0.5 / 2 * a) / 3)


def linear_solve(a: Any, b: Any) -> Any:
    return lax.custom_linear_solve(lambda x: a @ x, b, lambda _, b: jnp.linalg.solve(a, b), symmetric=True)


def decay(y: Any, rate: Any) -> Any:
    """Along a line, y' = -rate y, at times 0, 0.5, 1."""
    return odeint(lambda y, t, rate: -rate * y, y, jnp.array([0, 0.5, 1], y.dtype), rate, rtol=1e-7, atol=1e-7)


def torch_decay(y: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    return torch.stack([y * torch.exp(-rate * t) for t in (0, 0.5, 1)])


def scan_of_products(x: Any) -> Any:
    return lax.associative_scan(jnp.multiply, x, axis=1)


def entries() -> list[Entry]:
    return [
        entry("jax.lax.scan", rnn, torch_rnn, **STATE),
        entry("jax.lax.scan, reverse, jax.checkpoint", rnn_backwards, torch_rnn_backwards, **STATE),
        entry(
            "jax.lax.associative_scan",
            scan_of_products,
            lambda x: x.cumprod(1),
            ordinary=sized(0.3, 3),
            small=sized(1e-3, 1e-2),
        ),
        entry("jax.lax.cond", branch, torch_branch, ordinary=normal(shift=1), large=sized(1e3, 1e4)),
        entry(
            "jax.lax.switch",
            switch,
            torch_switch,
            ordinary=(lambda rng: rng.integers(0, 3, 1, "int32"), normal()),
            small=(lambda rng: rng.integers(0, 3, 1, "int32"), sized(1e-6, 1e-4)),
        ),
        entry("jax.lax.fori_loop", loop, torch_loop, ordinary=positive(0.1, 0.9), near_kinks=near(0.5)),
        entry(
            "jax.lax.map",
            lambda x: lax.map(lambda row: jnp.cumsum(row) / (1 + row @ row), x),
            lambda x: x.cumsum(1) / (1 + (x * x).sum(1, keepdim=True)),
            ordinary=normal(),
            large=sized(1e3, 1e4),
        ),
        entry(
            "jax.vmap of jnp.linalg.norm",
            jax.vmap(jnp.linalg.norm),
            lambda x: torch.linalg.vector_norm(x, dim=1),
            ordinary=normal(),
            small=sized(1e-6, 1e-4),
        ),
        entry("jax.lax.custom_root", root, torch_root, ordinary=normal(scale=3), small=sized(1e-6, 1e-4)),
        entry(
            "jax.lax.custom_linear_solve",
            linear_solve,
            lambda a, b: torch.linalg.solve(a, b),
            EXACT,
            ordinary=(spd(), normal(5)),
            badly_conditioned=(spd(condition=1e3), normal(5)),
        ),
        entry(
            "jax.experimental.ode.odeint",
            decay,
            torch_decay,
            EXACT,
            ordinary=(normal(5), positive(0.5, 2, 5)),
            small=(sized(1e-4, 1e-2, 5), positive(0.5, 2, 5)),
        ),
    ]
