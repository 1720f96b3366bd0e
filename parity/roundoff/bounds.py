"""How far two right answers may lie apart: a bound on rounding, element by element, from the computation itself.

The function's jaxpr is evaluated in float64, and beside each value a bound on the error that the same operations may
make in the dtype under test (running error analysis: Wilkinson 1963; Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed. 2002, section 3.3). The proof, the assumptions and the constants: docs/how-it-decides.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .bounded import Rounding, error_of, exact
from .interpreter import evaluate
from .products import cpu


class Bounds(NamedTuple):
    """For each leaf of a function's output, in the output's tree: its float64 value and the error bound."""

    values: Any
    errors: Any
    gates: int
    """How many elements were compared (a relu's x > 0, say) in the computation."""
    kinks: int
    """How many of them lie in the kink band."""
    kink_at: tuple[tuple[int, ...], ...]
    """The index of the first few of those, each in the array that was compared."""
    fallbacks: tuple[str, ...]
    """Primitives without a rule: where they come in, the errors are estimates (estimates.py)."""


def rounding_bounds(fun: Callable[..., Any], *args: Any, dtype: Any, product_u: float = 0.0) -> Bounds:
    """`fun(*args)` in float64, and per element how far a computation in `dtype` may be from it.

    `args` are trees of arrays that every implementation is given bit for bit, so they carry no error.
    product_u: how far off an operand of a float32 matrix product may be when it is multiplied (products.py).
    An error is infinite where there is no bound: 1 / x, say, where x may be 0.
    Raises NotImplementedError for a primitive that has no rule and cannot be run alone; ValueError where
    JAX_PLATFORMS leaves the CPU out.
    """
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    rounding = Rounding(dtype, product_u)
    with np.errstate(all="ignore"), jax.default_device(cpu()):
        outputs = evaluate(rounding, closed, [exact(leaf) for leaf in jax.tree.leaves(args)])
    tree = jax.tree.structure(shapes)
    values = tree.unflatten(np.asarray(x.value) for x in outputs)
    errors = [np.asarray(error_of(x), np.float64) for x in outputs]
    errors = tree.unflatten(np.where(np.isnan(error), np.inf, error) for error in errors)
    band = rounding.gates, rounding.kinks, tuple(rounding.kink_at)
    return Bounds(values, errors, *band, tuple(sorted(rounding.fallbacks)))
