"""jnp.linalg, jax.scipy.linalg and jax.lax.linalg. Where signs are free, or which triangle counts, what is unique."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import torch
from jax import lax
from jax.scipy import linalg as jsl

from .entry import EXACT, Draw, Entry, entry, lower, matrix, near, normal, single, spd

L = torch.linalg
SQUARE = {"ordinary": matrix(), "badly_conditioned": matrix(condition=1e4), "large": matrix(scale=1e3)}
SYMMETRIC = {"ordinary": spd(), "badly_conditioned": spd(condition=1e4), "large": spd(scale=1e3)}
TALL = {"ordinary": matrix(6, 4), "badly_conditioned": matrix(6, 4, condition=1e4), "large": matrix(6, 4, scale=1e3)}


def symmetric(a: torch.Tensor) -> torch.Tensor:
    """jax takes the symmetric part of its argument first, torch does not."""
    return (a + a.mT) / 2


def close_values(apart: float) -> Draw:
    """Symmetric, with eigenvalues 1, 1 + apart, 2, 2 + apart, 4."""

    def draw(rng: Any) -> Any:
        a = matrix(condition=1)(rng).astype(float)
        return single((a * [1, 1 + apart, 2, 2 + apart, 4]) @ a.T)

    return draw


def projector(factors: Any) -> tuple[Any, Any]:
    """Of QR: the projector onto the columns; and the upper triangle, signs aside."""
    q, r = factors
    return q @ q.T, abs(r)


def rebuilt(a: Any) -> Any:
    """The square root of a symmetric matrix."""
    values, vectors = jnp.linalg.eigh(a)
    return (vectors * jnp.sqrt(abs(values))[None]) @ vectors.T


def torch_rebuilt(a: torch.Tensor) -> torch.Tensor:
    values, vectors = L.eigh(symmetric(a))
    return (vectors * torch.sqrt(abs(values))) @ vectors.mT


def tempered(a: Any) -> Any:
    """U diag(sqrt(s)) V^T."""
    u, s, v = jnp.linalg.svd(a, full_matrices=False)
    return (u * jnp.sqrt(s)[None]) @ v


def torch_tempered(a: torch.Tensor) -> torch.Tensor:
    u, s, v = L.svd(a, full_matrices=False)
    return (u * torch.sqrt(s)) @ v


def tridiagonal(low: Any, middle: Any, high: Any, b: Any) -> Any:
    return lax.linalg.tridiagonal_solve(low.at[0].set(0), middle, high.at[-1].set(0), b)


def torch_tridiagonal(low: torch.Tensor, middle: torch.Tensor, high: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return L.solve(torch.diag(low[1:], -1) + torch.diag(middle) + torch.diag(high[:-1], 1), b)


def toeplitz(c: torch.Tensor) -> torch.Tensor:
    i = torch.arange(len(c))
    return c[(i[:, None] - i[None]).abs()]


def named(name: str, of_torch: Callable[..., Any] | None = None, /, **kinds: Any) -> Entry:
    """A function that has the same name in torch, unless another one is given."""
    return entry(f"jnp.linalg.{name}", getattr(jnp.linalg, name), of_torch or getattr(L, name), EXACT, **kinds)


def norms() -> list[Entry]:
    norm, of_torch = jnp.linalg.norm, L.matrix_norm
    return [
        entry(
            f"jnp.linalg.norm, matrix, {kind}",
            lambda a, kind=kind: norm(a, kind),
            lambda a, kind=kind: of_torch(a, kind),
            EXACT,
            **TALL,
        )
        for kind in ("fro", "nuc", 2, -2)
    ] + [
        entry(
            "jnp.linalg.matrix_norm, 1",
            lambda a: jnp.linalg.matrix_norm(a, ord=1),
            lambda a: of_torch(a, 1),
            EXACT,
            **TALL,
        ),
        named("cond", **SQUARE),
    ]


def solves() -> list[Entry]:
    b = normal(5, 2)
    both = {kind: (draw, b) for kind, draw in SQUARE.items()}
    pd = {kind: (draw, b) for kind, draw in SYMMETRIC.items()}
    triangles = {"ordinary": (lower(), b), "badly_conditioned": (lower(diagonal=0.05), b)}
    rows = {"ordinary": (matrix(6, 4), normal(6, 2)), "badly_conditioned": (matrix(6, 4, condition=1e3), normal(6, 2))}
    return [
        named("solve", **both),
        entry(
            "jax.scipy.linalg.solve, pos",
            lambda a, b: jsl.solve((a + a.T) / 2, b, assume_a="pos"),
            lambda a, b: L.solve(symmetric(a), b),
            EXACT,
            **pd,
        ),
        entry("jnp.linalg.lstsq", lambda a, b: jnp.linalg.lstsq(a, b)[0], lambda a, b: L.lstsq(a, b)[0], EXACT, **rows),
        entry(
            "jax.scipy.linalg.lu_solve",
            lambda a, b: jsl.lu_solve(jsl.lu_factor(a), b),
            L.solve,
            EXACT,
            **both,
        ),
        entry(
            "jax.scipy.linalg.cho_solve",
            lambda a, b: jsl.cho_solve(jsl.cho_factor((a + a.T) / 2), b),
            lambda a, b: torch.cholesky_solve(b, L.cholesky(symmetric(a))),
            EXACT,
            **pd,
        ),
        entry(
            "jax.scipy.linalg.solve_triangular",
            lambda a, b: jsl.solve_triangular(a, b, lower=True),
            lambda a, b: L.solve_triangular(a.tril(), b, upper=False),
            EXACT,
            **triangles,
        ),
        entry(
            "jax.lax.linalg.triangular_solve",
            lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True, transpose_a=True),
            lambda a, b: L.solve_triangular(a.tril().mT, b, upper=True),
            EXACT,
            **triangles,
        ),
        entry(
            "jax.lax.linalg.tridiagonal_solve",
            tridiagonal,
            torch_tridiagonal,
            EXACT,
            ordinary=(normal(5), normal(5, shift=6), normal(5), b),
            badly_conditioned=(near(1, shape=(5,)), near(2, shape=(5,)), near(1, shape=(5,)), b),
        ),
        entry(
            "jnp.linalg.tensorsolve",
            lambda a, b: jnp.linalg.tensorsolve(a.reshape(2, 3, 6), b),
            lambda a, b: L.tensorsolve(a.reshape(2, 3, 6), b),
            EXACT,
            ordinary=(matrix(6), normal(2, 3)),
            badly_conditioned=(matrix(6, condition=1e4), normal(2, 3)),
        ),
    ]


def entries() -> list[Entry]:
    return (
        norms()
        + solves()
        + [
            named("inv", **SQUARE),
            named("pinv", **TALL),
            named("det", **SQUARE),
            entry(
                "jnp.linalg.slogdet",
                lambda a: jnp.linalg.slogdet(a)[1],
                lambda a: L.slogdet(a)[1],
                EXACT,
                **SQUARE,
            ),
            named("cholesky", lambda a: L.cholesky(symmetric(a)), **SYMMETRIC),
            named("eigvalsh", lambda a: L.eigvalsh(symmetric(a)), **SYMMETRIC, near_kinks=close_values(1e-2)),
            entry("jnp.linalg.eigh", rebuilt, torch_rebuilt, EXACT, **SYMMETRIC, near_kinks=close_values(1e-2)),
            entry(
                "jnp.linalg.eigvals",
                lambda a: jnp.sort(abs(jnp.linalg.eigvals(a))),
                lambda a: torch.sort(abs(L.eigvals(a)))[0],
                EXACT,
                **SYMMETRIC,
            ),
            named("svdvals", **TALL),
            entry("jnp.linalg.svd", tempered, torch_tempered, EXACT, **TALL),
            entry("jnp.linalg.qr", lambda a: projector(jnp.linalg.qr(a)), lambda a: projector(L.qr(a)), EXACT, **TALL),
            entry("jax.scipy.linalg.lu", lambda a: jsl.lu(a)[1:], lambda a: L.lu(a)[1:], EXACT, **SQUARE),
            entry(
                "jnp.linalg.matrix_power", lambda a: jnp.linalg.matrix_power(a, 3), lambda a: a @ a @ a, EXACT, **SQUARE
            ),
            entry(
                "jnp.linalg.matrix_power, -2",
                lambda a: jnp.linalg.matrix_power(a, -2),
                lambda a: L.matrix_power(a, -2),
                EXACT,
                ordinary=matrix(),
                badly_conditioned=matrix(condition=100),
            ),
            entry(
                "jnp.linalg.multi_dot",
                lambda a, b, c: jnp.linalg.multi_dot([a, b, c]),
                lambda a, b, c: L.multi_dot([a, b, c]),
                ordinary=(normal(5, 4), normal(4, 6), normal(6, 3)),
                large=(normal(5, 4, scale=1e3), normal(4, 6), normal(6, 3)),
            ),
            entry("jnp.linalg.trace", jnp.linalg.trace, torch.trace, **SQUARE),
            entry(
                "jnp.linalg.cross",
                jnp.linalg.cross,
                L.cross,
                ordinary=(normal(5, 3), normal(5, 3)),
                badly_conditioned=(near(1, shape=(5, 3)), near(1, shape=(5, 3))),
            ),
            entry(
                "jax.scipy.linalg.expm",
                jsl.expm,
                torch.matrix_exp,
                EXACT,
                ordinary=matrix(),
                large=matrix(scale=8),
                small=matrix(scale=1e-4),
            ),
            entry(
                "jax.scipy.linalg.polar",
                lambda a: jsl.polar(a, method="svd"),
                None,
                EXACT,
                ordinary=matrix(),
                badly_conditioned=matrix(condition=100),
            ),
            entry("jax.scipy.linalg.toeplitz", jsl.toeplitz, toeplitz, ordinary=normal(5), large=normal(5, scale=1e3)),
            entry(
                "jax.scipy.linalg.block_diag",
                jsl.block_diag,
                torch.block_diag,
                ordinary=(normal(2, 3), normal(3, 2)),
                large=(normal(2, 3, scale=1e3), normal(3, 2)),
            ),
        ]
    )
