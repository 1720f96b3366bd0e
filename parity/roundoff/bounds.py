"""How far two right answers may lie apart: a bound on rounding, element by element, from the computation itself.

The function's jaxpr is evaluated in float64, and beside each value a bound on the error that the same operations may
make in the dtype under test (running error analysis: Wilkinson 1963; Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed. 2002, section 3.3). Where carrying errors through the whole computation says too little, random
samples of its roundings say more (sampling.py). The proof, the assumptions and the constants: docs/how-it-decides.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .bounded import Reals, Rounding, error_of, exact
from .interpreter import evaluate
from .products import cpu
from .sampling import spreads

SHARP = 1e-4
"""A bound that reaches further than this share of the leaf's own size is asked of samples too; in float64 one that
reaches further than 2^14 u, in half precision than 64 u."""


class Bounds(NamedTuple):
    """For each leaf of a function's output, in the output's tree: its float64 value and the error bound."""

    values: Any
    """The float64 values."""
    errors: Any
    """How far off each may be."""
    gates: int
    """How many elements were compared (a relu's x > 0, say) in the computation."""
    kinks: int
    """How many of them lie in the kink band."""
    kink_at: tuple[tuple[int, ...], ...]
    """The index of the first few of those, each in the array that was compared."""
    fallbacks: tuple[str, ...]
    """Primitives without a rule: where they come in, the errors are estimates (estimates.py)."""
    opaque: tuple[str, ...] = ()
    """Primitives that could only be run in their own dtype: the values are no better than that."""
    unsafe: Any = None
    """Per element, whether rounding in that dtype may lead to NaN or beyond its range; None where it was not asked."""


def rounding_bounds(
    fun: Callable[..., Any],
    *args: Any,
    dtype: Any,
    product_u: float = 0.0,
    inside: bool = True,
    constants: bool = True,
    sampled: bool = False,
) -> Bounds:
    """`fun(*args)` in float64, and per element how far a computation in `dtype` may be from it.

    `args` are trees of arrays that every implementation is given bit for bit, so they carry no error.
    product_u: how far off an operand of a float32 matrix product may be when it is multiplied (products.py).
    inside, constants: whether coarser dtypes inside, and the dtypes of constants, count too (`Rounding`).
    sampled: whether to take samples where the bound says little; they need thirteen times the memory.
    An error is infinite where there is no bound: 1 / x, say, where x may be 0.
    Raises NotImplementedError for a primitive that has no rule and cannot be run alone; ValueError where
    JAX_PLATFORMS leaves the CPU out.
    """
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    return bounds_of(closed, shapes, args, Rounding(dtype, product_u, inside, constants), sampled)


def bounds_of(closed: Any, shapes: Any, args: Any, rounding: Rounding, sampled: bool) -> Bounds:
    """The same of a function that is traced already: its jaxpr, and the tree of its outputs' shapes."""
    inputs = [rounding.argument(leaf) for leaf in jax.tree.leaves(args)]
    unsafe = None
    with np.errstate(all="ignore"), jax.default_device(cpu()):
        outputs = evaluate(rounding, closed, inputs)
        values = [np.asarray(x.value) for x in outputs]
        errors = [
            _where_finite(value, np.asarray(error_of(x), np.float64)) for value, x in zip(values, outputs, strict=True)
        ]
        little = any(map(_says_little, values, errors, [rounding.u] * len(values)))
        if sampled and little and not rounding.without_bound:
            rounding.gates, rounding.kinks, rounding.kink_at = 0, 0, []
            estimated = bool(rounding.fallbacks)  # then what was carried is no bound, and may be too small
            found = spreads(rounding, closed, inputs)
            unsafe = [x.unsafe for x in found]
            spread = [_where_finite(value, x.error) for value, x in zip(values, found, strict=True)]
            errors = spread if estimated else list(map(np.fmin, errors, spread))
    tree = jax.tree.structure(shapes)
    return Bounds(
        tree.unflatten(values),
        tree.unflatten(errors),
        rounding.gates,
        rounding.kinks,
        tuple(rounding.kink_at),
        tuple(sorted(rounding.fallbacks)),
        tuple(sorted(rounding.opaque)),
        None if unsafe is None else tree.unflatten(unsafe),
    )


def values_of(closed: Any, args: Any) -> list[Reals]:
    """The outputs of a traced function, in float64, for arrays that may be finer than those it was traced for."""
    rounding = Rounding(np.float64, inside=False, constants=False)
    rounding.values_only = True
    with np.errstate(all="ignore"), jax.default_device(cpu()):
        return [np.asarray(x.value) for x in evaluate(rounding, closed, [exact(leaf) for leaf in args])]


def _where_finite(value: Reals, error: Reals) -> Reals:
    """NaN is no bound. What is itself infinite or NaN is so in any dtype, unless its error may have led it there."""
    error = np.where(np.isnan(error), np.inf, error)
    finite = np.isfinite(value) if value.dtype.kind in "fc" else True
    return np.where(finite | np.isinf(error), error, 0)


def _says_little(value: Reals, error: Reals, u: float) -> bool:
    if not value.size or value.dtype.kind not in "fc" or not np.any(error):
        return False
    size = np.abs(np.where(np.isfinite(value), value, 0))
    return bool(np.max(error) > min(2**14 * u, max(SHARP, 64 * u)) * np.sqrt(np.mean(size**2)))
