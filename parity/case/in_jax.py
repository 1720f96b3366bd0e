"""A function of leaves in jax: its value, and its cotangents for several incoming ones.

The function is traced once for each dtype, and that trace is what is compiled, transformed and bounded.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from .arguments import Arguments, is_float, output_names, put
from .leaves import Leaves, as_numpy

Pullback: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]  # from the outputs' cotangents to those of the leaves
BarsOf: TypeAlias = Callable[[Pullback, Sequence[Any]], Sequence[Any]]  # the same for several, stacked


class Traced(NamedTuple):
    """The function at certain shapes and dtypes."""

    jaxpr: ClosedJaxpr
    outputs: Any  # the tree of the outputs' shapes and dtypes

    def __call__(self, *leaves: Any) -> Any:
        return jax.tree.unflatten(jax.tree.structure(self.outputs), jaxpr_as_fun(self.jaxpr)(*leaves))

    @property
    def described(self) -> dict[str, str]:
        """Output -> its dtype and shape."""
        shapes = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(self.outputs)]
        return dict(zip(output_names(self.outputs), shapes, strict=True))

    @property
    def float_names(self) -> list[str]:
        """Names of the outputs that get a cotangent, in the cotangents' order (a dict out of jit has them sorted)."""
        named = zip(output_names(self.outputs), jax.tree.leaves(self.outputs), strict=True)
        return [name for name, leaf in named if is_float(leaf)]

    @property
    def floats(self) -> list[Any]:
        """Shapes and dtypes of the outputs that get a cotangent."""
        return [leaf for leaf in jax.tree.leaves(self.outputs) if is_float(leaf)]


class InJax:
    """`(leaves, cotangents) -> {y, y (primal), x_bar, ...}`, compiled, from NumPy to NumPy.

    cotangents: one array for each floating-point output, with a leading axis that counts them; the `_bar` leaves have
    that axis too. `y` comes from the forward rule, `y (primal)` from calling the function.
    """

    def __init__(self, arguments: Arguments, flat: Callable[..., Any]):
        self.flat, self.wrt, self.names = flat, arguments.wrt, arguments.diff_names
        self.one_by_one = False  # whether the pullback is called once for each cotangent: some cannot be vmapped
        self._traced: dict[Any, Traced] = {}
        self.compiled = jax.jit(self.run)

    def __call__(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        try:
            return as_numpy(self.compiled(leaves, cotangents))
        except Exception:
            if self.one_by_one:
                raise
            self.without_vmap()  # what raises for another reason than vmap raises again
            return as_numpy(self.compiled(leaves, cotangents))

    def traced(self, leaves: Sequence[Any]) -> Traced:
        """The function, traced for leaves of these shapes and dtypes. Raises what the function raises."""
        settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision  # pyright: ignore
        key = settings, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if key not in self._traced:
            shapes = [jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
            self._traced[key] = Traced(*jax.make_jaxpr(self.flat, return_shape=True)(*shapes))
        return self._traced[key]

    def run(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        """The same inside jax, to be transformed. All cotangents go through one vmap of the pullback, if it can."""
        return self._run(self.traced(leaves), leaves, cotangents, self._vmapped)

    def run_one_by_one(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        """The same, with a call of the pullback for each cotangent."""
        return self._run(self.traced(leaves), leaves, cotangents, _one_by_one)

    def eager(self, leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        """The same operation by operation, on the function itself, and a call of the pullback for each cotangent."""
        on_device = jax.device_put(list(leaves))
        # Divided and stacked by NumPy, so that nothing but the function itself is compiled.
        bars_of = functools.partial(_one_by_one, place=jax.device_put, stack=np.stack)
        return as_numpy(self._run(self.flat, on_device, cotangents, bars_of))

    def run_under(self, transform: Callable[..., Any], leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        """`run_one_by_one` of the function under `transform` (`jax.checkpoint`, say)."""
        return self._run(transform(self.traced(leaves).__call__), leaves, cotangents, _one_by_one)

    def without_vmap(self) -> None:
        """From now on the pullback is called once for each cotangent."""
        self.one_by_one, self.compiled = True, jax.jit(self.run_one_by_one)

    def _vmapped(self, pullback: Pullback, cotangents: Sequence[Any]) -> Sequence[Any]:
        if self.one_by_one:
            return _one_by_one(pullback, cotangents)
        return jax.vmap(pullback)([jnp.asarray(c) for c in cotangents])

    def _run(self, fun: Callable[..., Any], leaves: Any, cotangents: Any, bars_of: BarsOf) -> Leaves:
        primal = fun(*leaves)

        def floats(*diff: Any) -> tuple[list[Any], Any]:
            y = fun(*self.filled(leaves, diff))
            return [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)], y

        _, pullback, y = jax.vjp(floats, *[leaves[i] for i in self.wrt], has_aux=True)
        outputs = output_names(y)
        named = dict(zip(outputs, jax.tree.leaves(y), strict=True))
        named |= {f"{name} (primal)": leaf for name, leaf in zip(outputs, jax.tree.leaves(primal), strict=True)}
        bars = bars_of(pullback, cotangents)
        return named | {f"{name}_bar": bar for name, bar in zip(self.names, bars, strict=True)}

    def filled(self, leaves: Sequence[Any], diff: Sequence[Any]) -> list[Any]:
        """The leaves with these in the place of the differentiated ones."""
        return put(leaves, self.wrt, diff)


def _one_by_one(
    pullback: Pullback,
    cotangents: Sequence[Any],
    place: Callable[[Any], Any] = jnp.asarray,
    stack: Callable[..., Any] = jnp.stack,
) -> list[Any]:
    each = [pullback([place(c[k]) for c in cotangents]) for k in range(len(cotangents[0]))]
    return [stack(bars) for bars in zip(*each, strict=True)]
