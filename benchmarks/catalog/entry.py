"""An entry of the catalog, and how its inputs are drawn: from seeds of its own, so that no entry moves another."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]
SHAPE = (5, 7)
EXACT = ("float32",)
"""The dtypes of a function that jax does not run in bfloat16."""


@dataclass(frozen=True)
class Entry:
    """A public function, its counterpart in torch, and what both are called with.

    fun: of positional arrays, with an array or a tuple of arrays as its output. torch: from tensors to tensors, with
    the same outputs; None if torch has no counterpart. inputs: kind of input -> arguments, NumPy arrays of float32, or
    of int32 and bool where no derivative is meant. A coarser dtype may round a number near a kink onto it.
    """

    name: str
    fun: Callable[..., Any]
    torch: Callable[..., Any] | None
    inputs: dict[str, tuple[Any, ...]]
    dtypes: tuple[str, ...] = ("float32", "bfloat16")


def entry(
    name: str,
    fun: Callable[..., Any],
    torch: Callable[..., Any] | None = None,
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
    /,
    **kinds: Draw | tuple[Draw, ...],
) -> Entry:
    """An Entry whose inputs are drawn. `near_kinks=` is the kind "near kinks"."""
    inputs = {}
    for kind, draws in kinds.items():
        words = kind.replace("_", " ")
        rng = np.random.default_rng(zlib.crc32(f"{name}, {words}".encode()))
        inputs[words] = tuple(draw(rng) for draw in (draws if isinstance(draws, tuple) else (draws,)))
    return Entry(name, fun, torch, inputs, dtypes)


def single(a: Any) -> np.ndarray:
    return np.asarray(a, np.float32)


def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Draw:
    return lambda rng: single(shift + scale * rng.standard_normal(shape or SHAPE))


def between(low: float, high: float, *shape: int) -> Draw:
    return lambda rng: single(rng.uniform(low, high, shape or SHAPE))


def positive(low: float, high: float, *shape: int) -> Draw:
    """Of all orders of magnitude between low and high."""
    return lambda rng: single(np.exp(rng.uniform(np.log(low), np.log(high), shape or SHAPE)))


def sized(low: float, high: float, *shape: int) -> Draw:
    """As `positive`, with either sign."""
    return lambda rng: single(positive(low, high, *shape)(rng) * rng.choice([-1, 1], shape or SHAPE))


def near(*points: float, off: float = 1e-3, shape: tuple[int, ...] = SHAPE) -> Draw:
    """Beside each of the points, on either side and never on it."""
    return lambda rng: single(
        rng.choice(points, shape) + rng.choice([-1, 1], shape) * rng.uniform(0.5 * off, 1.5 * off, shape)
    )


def near_ties(*shape: int, off: float = 1e-3, size: float = 1.0) -> Draw:
    """Along the last axis, numbers that are apart by `off` or a few times that; no two are equal."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        ranks = rng.permuted(np.broadcast_to(np.arange((shape or SHAPE)[-1]), shape or SHAPE), axis=-1)
        return single(rng.uniform(0.5, 1.5, (*(shape or SHAPE)[:-1], 1)) * size + off * ranks)

    return draw


def cancelling(*shape: int, left: float = 1e-3) -> Draw:
    """Along the last axis, numbers of order 1 whose sum is of order `left`."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        x = rng.standard_normal(shape or SHAPE)
        x[..., -1] -= x.sum(-1) - left * rng.uniform(1, 2, x.shape[:-1])
        return single(rng.permuted(x, axis=-1))

    return draw


def whole(low: int, high: int, *shape: int) -> Draw:
    """Whole numbers below high."""
    return lambda rng: rng.integers(low, high, shape or SHAPE, np.int32)


def mask(*shape: int) -> Draw:
    """True more often than not, and in every first column."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        keep = rng.random(shape or SHAPE) < 0.7
        keep[..., 0] = True
        return keep

    return draw


def fixed(*values: float) -> Draw:
    return lambda rng: single(values)


def shares(*shape: int, small: float = 0.05) -> Draw:
    """Positive rows that sum to 1."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        x = rng.random(shape or SHAPE) + small
        return single(x / x.sum(-1, keepdims=True))

    return draw


def matrix(n: int = 5, m: int | None = None, condition: float = 4.0, scale: float = 1.0) -> Draw:
    """With singular values from scale down to scale / condition, evenly on a logarithmic scale."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        k = min(n, m or n)
        u, v = (np.linalg.qr(rng.standard_normal((rows, rows)))[0][:, :k] for rows in (n, m or n))
        return single((u * np.geomspace(1, 1 / condition, k) * scale) @ v.T)

    return draw


def spd(n: int = 5, condition: float = 4.0, scale: float = 1.0) -> Draw:
    """Symmetric and positive definite, with eigenvalues from scale down to scale / condition."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        a = (q * np.geomspace(1, 1 / condition, n) * scale) @ q.T
        return single((a + a.T) / 2)

    return draw


def lower(n: int = 5, diagonal: float = 1.0) -> Draw:
    """Lower triangular, with a diagonal between `diagonal` and twice that."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        a = np.tril(rng.standard_normal((n, n)), -1) / 2
        return single(a + np.diag(rng.uniform(diagonal, 2 * diagonal, n)))

    return draw
