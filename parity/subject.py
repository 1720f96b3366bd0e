"""What is under test: a function of trees of arrays, and how each framework is asked for its value and cotangents.

Everything is flattened once: the differentiable leaves (floating-point arrays), one after the other, and the rest of
the arguments, which stay as they are. Every implementation is then `(diff leaves, cotangents) -> named leaves`.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .result import Leaves


@dataclass(frozen=True)
class Subject:
    """Arguments taken apart, and how to put them together again."""

    diff: list[np.ndarray]
    """The floating-point leaves, in order: what is differentiated."""
    names: list[str]
    """Their names: `x`, `params[0][1]`."""
    rebuild: Callable[[Sequence[Any]], tuple[Any, ...]]
    """From diff leaves to the positional arguments."""
    kwargs: dict[str, Any]

    def flat(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """`fun` as a function of its differentiable leaves."""
        return lambda *diff: fun(*self.rebuild(diff), **self.kwargs)

    def cast(self, dtype: Any) -> "Subject":
        """The same with every differentiable leaf in `dtype`."""
        return Subject([leaf.astype(dtype) for leaf in self.diff], self.names, self.rebuild, self.kwargs)


def take_apart(
    rule: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None, static_argnums: Sequence[int]
) -> Subject:
    """The subject of `rule(*args, **kwargs)`.

    Raises TypeError for a leaf that is no array (name its argument in static_argnums, or make it an array) or complex,
    and ValueError if nothing is left to differentiate, a number is not finite, or a static position is none.
    """
    for number in static_argnums:
        if not -len(args) <= number < len(args):
            raise ValueError(f"static_argnums must be positions among the {len(args)} arguments; got {number}")
    statics = {number % len(args) for number in static_argnums}
    parameters = _parameter_names(rule, len(args))
    dynamic = [() if i in statics else arg for i, arg in enumerate(args)]
    paths, tree = jax.tree_util.tree_flatten_with_path(tuple(dynamic))
    diff, names, places, leaves = [], [], [], []
    for place, (path, leaf) in enumerate(paths):
        name = parameters[path[0].idx] + jax.tree_util.keystr(path[1:])
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
            raise TypeError(
                f"argument {name} is a {type(leaf).__name__}, not an array: make it an array to differentiate it, or "
                f"give its position in static_argnums, or pass it in kwargs"
            )
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):  # a random key
            leaves.append(leaf)
            continue
        # Integers in jax's own width: its primitives take no other.
        leaf = np.asarray(leaf, leaf.dtype if is_float(leaf) else jnp.result_type(leaf))
        leaves.append(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise TypeError(f"argument {name} is {leaf.dtype}: complex numbers are not supported")
        if is_float(leaf):
            if not np.isfinite(leaf.astype(np.float64)).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(leaf.astype(np.float64)))[0])
                raise ValueError(
                    f"argument {name} holds {leaf[where]} at {list(where)}: give finite numbers to check at"
                )
            diff.append(leaf)
            names.append(name)
            places.append(place)
    if not diff:
        raise ValueError("no argument is a floating-point array, so there is nothing to differentiate")

    def rebuild(new: Sequence[Any]) -> tuple[Any, ...]:
        full: list[Any] = list(leaves)
        for place, leaf in zip(places, new, strict=True):
            full[place] = leaf
        rebuilt = jax.tree.unflatten(tree, full)
        return tuple(arg if i in statics else rebuilt[i] for i, arg in enumerate(args))

    return Subject(diff, names, rebuild, dict(kwargs or {}))


def _parameter_names(rule: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = inspect.signature(rule).parameters.values()
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"args[{i}]" for i in range(count)]


def output_names(tree: Any) -> list[str]:
    """`y` for a single output, `y[0]`, `y['loss']` for several."""
    return ["y" + jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def is_float(leaf: Any) -> bool:
    """Whether an array is differentiated, or gets a cotangent."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def with_cotangents(names: Sequence[str], flat: Callable[..., Any]) -> Callable[..., Leaves]:
    """In jax: `(diff, cotangents) -> {y, y (primal), x_bar, ...}`, for a function of leaves with these names.

    cotangents: one array for each floating-point output, with a leading axis that counts them; the `_bar` leaves have
    that axis too. `y` comes from the forward rule, `y (primal)` from calling the function.
    """

    def run(diff: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        primal = flat(*diff)

        def floats(*diff: Any) -> tuple[list[Any], Any]:
            y = flat(*diff)
            return [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)], y

        _, pullback, y = jax.vjp(floats, *diff, has_aux=True)
        outputs = output_names(y)
        leaves = dict(zip(outputs, jax.tree.leaves(y), strict=True))
        leaves |= {f"{name} (primal)": leaf for name, leaf in zip(outputs, jax.tree.leaves(primal), strict=True)}
        bars = [pullback([c[k] for c in cotangents]) for k in range(len(cotangents[0]))]
        for name, *each in zip(names, *bars, strict=True):
            leaves[f"{name}_bar"] = jnp.concatenate([bar[None] for bar in each])
        return leaves

    return run


def float_outputs(flat: Callable[..., Any], diff: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the outputs that get a cotangent."""
    shapes = jax.eval_shape(flat, *diff)
    return [leaf for leaf in jax.tree.leaves(shapes) if is_float(leaf)]


def draw_cotangents(outputs: list[jax.ShapeDtypeStruct], seed: int) -> list[np.ndarray]:
    """For each output, stacked: c1 and c2 (random), c1 + 2 c2, ones, zeros.

    c1 and c2 use all but three bits of their dtype, from -4 to 4, so that c1 + 2 c2 is exact (linearity can be asked of
    the rule alone) and an arithmetic of fewer bits shows.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for output in outputs:
        top = 2 ** (jnp.finfo(output.dtype).nmant - 2)
        c1, c2 = (rng.integers(-top, top + 1, output.shape) * (4 / top) for _ in range(2))
        if output.size and c1.flat[0] * c2.flat[0] > 0:
            c2 = -c2  # of a scalar's cotangents one is positive and one negative: a lost sign shows
        stack = np.stack([c1, c2, c1 + 2 * c2, np.ones(output.shape), np.zeros(output.shape)])
        drawn.append(stack.astype(output.dtype))
    return drawn
