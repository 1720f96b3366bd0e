"""The calls of a port's layers while it runs, with their arrays marked."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .marks import mark


class Called(NamedTuple):
    """One call of a layer: which one, what it is, and its arrays."""

    path: str
    kind: str
    """The name of its class, or of the function that it is."""
    call: int
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    settings: Any
    """The layer itself, to be asked for its settings: its arrays are no more than shapes."""


@dataclass
class Calls:
    """The calls of one run, in the order in which they ended; `begun` has them as they began."""

    ended: list[Called] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    statistics: list[Any] = field(default_factory=list)
    """The updated running statistics, marked: part of the trace only if it returns them."""

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Those of the model itself."""
        return next(called.outputs for called in self.ended if not called.path)

    def marked(self, layer: Any, path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """`call(*args, **kwargs)`, its arrays marked as those of the layer."""
        number = self.counts.get(path, 0)
        self.counts[path] = number + 1
        self.begun.append(path)
        (args, kwargs), inputs = marked_leaves((args, kwargs), functools.partial(_mark, path, "in", number))
        y, outputs = marked_leaves(call(*args, **kwargs), functools.partial(_mark, path, "out", number))
        before, after = (tuple(jax.typeof(x) for x in each) for each in (inputs, outputs))
        self.ended.append(Called(path, getattr(layer, "__name__", type(layer).__name__), number, before, after, layer))
        return y


def _mark(path: str, role: str, call: int, leaf: int, x: Any) -> Any:
    return mark(jnp.asarray(x), path, role, leaf, call)


def marked_leaves(tree: Any, mark_one: Callable[[int, Any], Any]) -> tuple[Any, list[Any]]:
    """The tree with its arrays marked, and these in order; an array that comes twice is one leaf."""
    seen: dict[int, Any] = {}

    def each(x: Any) -> Any:
        if not isinstance(x, (jax.Array, np.ndarray)) or jnp.issubdtype(x.dtype, jax.dtypes.extended):
            return x
        if id(x) not in seen:
            seen[id(x)] = x, mark_one(len(seen), x)
        return seen[id(x)][1]

    return jax.tree.map(each, tree, is_leaf=_is_state), [marked for _, marked in seen.values()]


def _is_state(tree: Any) -> bool:
    """equinox hands its state through the layers, in one piece: it is no input of theirs."""
    return type(tree).__name__ == "State" and type(tree).__module__.startswith("equinox")
