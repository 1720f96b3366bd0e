"""The calls of a port's layers while it runs, with their arrays marked."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .inputs import shapes_of
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


class Raised(NamedTuple):
    """A layer that raised."""

    path: str
    kind: str
    call: int
    error: Exception

    def __str__(self) -> str:
        return f"{self.path or 'the model itself'} ({self.kind}) raised {in_a_line(self.error)}"


def in_a_line(error: BaseException) -> str:
    """`ValueError: what it says first`"""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}".removesuffix(": ").rstrip(".")


@dataclass
class Calls:
    """The calls of one run, in the order in which they ended; `begun` has them as they began."""

    ended: list[Called] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    raised: "Raised | None" = None
    """What the innermost layer that did not end raised, where one did."""
    statistics: list[Any] = field(default_factory=list)
    """The updated running statistics, marked: part of the trace only if it returns them."""

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Those of the model itself."""
        return next(called.outputs for called in self.ended if not called.path)

    def traced(self, run: Callable[..., Any], params: Any, inputs: Any) -> Any:
        """The trace of `run(params, self, *inputs)`; as far as it comes, where a layer raises once others have ended.

        Raises ValueError where nothing has ended before.
        """

        def whole(params: Any, *inputs: Any) -> Any:
            try:
                found = run(params, self, *inputs), self.statistics
            except Exception as error:
                if self.raised is None or not any(called.outputs for called in self.ended):
                    said = f"{shapes_of(inputs)}: {self.raised or in_a_line(error)}"
                    raise ValueError(f"the port cannot be called with inputs of shape {said}") from error
                return (), ()
            self.raised = None  # whoever caught what a layer raised has gone on
            return found

        closed = jax.make_jaxpr(whole)(params, *inputs)
        if self.raised is None:
            return closed
        outvars = [var for eqn in closed.jaxpr.eqns for var in eqn.outvars]  # there is no output that asks for them
        names = closed.jaxpr.debug_info._replace(result_paths=tuple("" for _ in outvars))
        return closed.replace(jaxpr=closed.jaxpr.replace(outvars=outvars, debug_info=names))

    def marked(self, layer: Any, path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """`call(*args, **kwargs)`, its arrays marked as those of the layer."""
        number = self.counts.get(path, 0)
        self.counts[path] = number + 1
        self.begun.append(path)
        (args, kwargs), inputs = marked_leaves((args, kwargs), functools.partial(_mark, path, "in", number))
        kind = getattr(layer, "__name__", type(layer).__name__)
        before = tuple(jax.typeof(x) for x in inputs)
        try:
            y, outputs = marked_leaves(call(*args, **kwargs), functools.partial(_mark, path, "out", number))
        except Exception as error:
            self.raised = self.raised or Raised(path, kind, number, error)
            self.ended.append(Called(path, kind, number, before, (), layer))
            raise
        self.ended.append(Called(path, kind, number, before, tuple(jax.typeof(y) for y in outputs), layer))
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
