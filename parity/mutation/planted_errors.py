"""Wrong rules, made from a right one: what people get wrong when they write a backward pass by hand.

A mutant is a function of the leaves with a custom_vjp around the right rule; its forward or backward is off in one
place. `where` is the input whose cotangent it spoils, or -1 for the output.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..case.arguments import is_float

BF16 = jnp.bfloat16
Planted = tuple[str, Callable[..., Any]]  # an error's name, and the function of the leaves with the error in its rule


def _first(a: Any) -> Any:
    return a.at[(0,) * a.ndim]


def _any(a: Any) -> bool:
    return True


def _has_several(a: Any) -> bool:
    return a.size > 1


def _has_rows(a: Any) -> bool:
    return a.ndim > 0 and a.shape[0] > 1


def _has_columns(a: Any) -> bool:
    return a.ndim > 1 and a.shape[-1] > 1


# What becomes of a right cotangent `a`; the second entry says for which shapes it makes sense.
SPOIL_COTANGENT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bool]]] = {
    "doubled": (lambda a: 2 * a, _any),
    "halved": (lambda a: a / 2, _any),
    "times 1.001": (lambda a: a * 1.001, _any),
    "times 1.0003": (lambda a: a * 1.0003, _any),
    "sign flipped": (lambda a: -a, _any),
    "absolute value": (jnp.abs, _any),
    "zero": (jnp.zeros_like, _any),
    "None": (lambda a: None, _any),
    "transposed": (lambda a: jnp.swapaxes(a, -1, -2), lambda a: a.ndim > 1 and a.shape[-1] == a.shape[-2]),
    "first element dropped": (lambda a: _first(a).set(0), _has_several),
    "first element off by 1%": (lambda a: _first(a).multiply(1.01), _has_several),
    "first row dropped": (lambda a: a.at[0].set(0), _has_rows),
    "last row dropped": (lambda a: a.at[-1].set(0), _has_rows),
    "last column dropped": (lambda a: a.at[..., -1].set(0), _has_columns),
    "shifted by a row": (lambda a: jnp.roll(a, 1, 0), _has_rows),
    "shifted by a column": (lambda a: jnp.roll(a, 1, -1), _has_columns),
    "rows reversed": (lambda a: jnp.flip(a, 0), _has_rows),
    "columns reversed": (lambda a: jnp.flip(a, -1), _has_columns),
    "a mean over rows for a sum": (lambda a: a / a.shape[0], _has_rows),
    "a sum over rows for a mean": (lambda a: a * a.shape[0], _has_rows),
    "n for n - 1": (lambda a: a * (a.size / (a.size - 1)), lambda a: 1 < a.size < 1000),
    "averaged over rows": (lambda a: jnp.broadcast_to(a.mean(0, keepdims=True), a.shape), _has_rows),
    "rounded to bfloat16": (lambda a: a.astype(BF16).astype(a.dtype), lambda a: a.dtype != BF16),
    "of dtype bfloat16": (lambda a: a.astype(BF16), lambda a: a.dtype != BF16),
    "clipped at half its largest": (lambda a: jnp.clip(a, -jnp.abs(a).max() / 2, jnp.abs(a).max() / 2), _has_several),
    "with a constant added": (lambda a: a + 0.01, _any),
}

# What becomes of the incoming cotangent before the right backward sees it.
SPOIL_INCOMING: dict[str, Callable[[Any], Any]] = {
    "ignores the cotangent": jnp.ones_like,
    "takes the cotangent's sign only": jnp.sign,
    "takes the cotangent squared": lambda g: g * g,
    "takes the cotangent's mean for all": lambda g: jnp.broadcast_to(g.mean(), g.shape),
    "takes the cotangent in bfloat16": lambda g: g.astype(BF16).astype(g.dtype),
}

# What forward kept for backward.
SPOIL_RESIDUALS: dict[str, Callable[[Any], Any]] = {
    "stale residual": lambda x: jnp.roll(x.reshape(-1), 1).reshape(x.shape),
    "residual of zeros": jnp.zeros_like,
    "residual in bfloat16": lambda x: x.astype(BF16).astype(x.dtype),
    "residual's sign lost": jnp.abs,
}

# What the forward rule returns, where the primal is right.
SPOIL_FORWARD: dict[str, Callable[[Any], Any]] = {
    "forward times 1.001": lambda y: y * 1.001,
    "forward in bfloat16": lambda y: y.astype(BF16).astype(y.dtype),
    "forward with the first element off": lambda y: _first(y).add(0.01),
}


def _same(tree: Any) -> Any:
    return tree


def _on_floats(spoil: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What is counted, and its cotangent, which is none, stay as they are."""
    return lambda tree: jax.tree.map(lambda leaf: spoil(leaf) if is_float(leaf) else leaf, tree)


def _plant(
    flat: Callable[..., Any],
    forward: Callable[[Any], Any] = _same,
    residuals: Callable[[Sequence[Any]], Sequence[Any]] = _same,
    incoming: Callable[[Any], Any] = _same,
    bars: Callable[[tuple[Any, ...], Sequence[Any], Any], tuple[Any, ...]] = lambda bars, diff, y_bar: bars,
) -> Callable[..., Any]:
    @jax.custom_vjp
    def mutant(*diff: Any) -> Any:
        return flat(*diff)

    def fwd(*diff: Any) -> Any:
        return forward(flat(*diff)), tuple(residuals(diff))

    def bwd(diff: Any, y_bar: Any) -> Any:
        return bars(jax.vjp(flat, *diff)[1](incoming(y_bar)), diff, y_bar)

    mutant.defvjp(fwd, bwd)
    return mutant


def plant_all(flat: Callable[..., Any], names: Sequence[str], diff: Sequence[Any]) -> Iterator[Planted]:
    """Every planted error that makes sense for a function of these leaves."""

    def at(i: int, spoil: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
        return lambda leaves: tuple(spoil(leaf) if j == i else leaf for j, leaf in enumerate(leaves))

    for i, name in enumerate(names):
        for kind, (spoil, sensible) in SPOIL_COTANGENT.items():
            if sensible(diff[i]):
                change = at(i, spoil)
                yield (f"{name}_bar {kind}", _plant(flat, bars=lambda bars, d, g, change=change: change(bars)))
        for kind, spoil in SPOIL_RESIDUALS.items():
            if diff[i].dtype != BF16 or "bfloat16" not in kind:
                yield (f"{kind} of {name}", _plant(flat, residuals=at(i, spoil)))
        for j in range(i + 1, len(names)):
            if diff[i].shape == diff[j].shape:
                swap = lambda bars, d, g, i=i, j=j: tuple(bars[{i: j, j: i}.get(k, k)] for k in range(len(bars)))  # noqa: E731
                yield (f"{name}_bar and {names[j]}_bar swapped", _plant(flat, bars=swap))
    y = jax.eval_shape(flat, *diff)
    narrow = all(leaf.dtype == BF16 for leaf in jax.tree.leaves(y) if is_float(leaf))
    for kind, spoil in SPOIL_INCOMING.items():
        if not (narrow and "bfloat16" in kind):
            yield (kind, _plant(flat, incoming=_on_floats(spoil)))
    for kind, spoil in SPOIL_FORWARD.items():
        if not (narrow and "bfloat16" in kind):
            yield (kind, _plant(flat, forward=_on_floats(spoil)))
    if isinstance(y, jax.ShapeDtypeStruct):
        for i, name in enumerate(names):
            if y.shape == diff[i].shape and y.shape:

                def kinked(bars: Any, diff: Any, y_bar: Any, i: int = i) -> tuple[Any, ...]:
                    return at(i, lambda bar: jnp.where(diff[i] == 0, y_bar.astype(bar.dtype), bar))(bars)

                yield (f"{name}_bar 1 at 0", _plant(flat, bars=kinked))
