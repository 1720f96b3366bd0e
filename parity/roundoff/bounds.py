"""How far two right answers may lie apart: a rounding-error bound, element by element, from the computation itself.

The function's jaxpr is evaluated in float64, and beside each value a bound on the error that the same operations may
make in the dtype under test (running error analysis: Wilkinson 1963; Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed. 2002, section 3.3). With u the unit roundoff:

    x op y              the errors of x and y carried through, + u |x op y| for the rounding of the result
    a sum of k terms    + u min(k A, sqrt(r) (5 A + sqrt(k) |S|)), with S the sum, A the sum of absolute values, and
                        r how often the commonest term comes (0 aside), 1 if all differ

k A is the worst case (Higham 2002, section 4.2). The other is the probabilistic one, for rounding errors of mean zero:
a part that the terms' spread causes, which does not grow with k, and a part that their mean causes, which grows like
sqrt(k) (Higham & Mary, SIAM J. Sci. Comput. 42(5), 2020, A3427-A3446). The constant: summed one after the other, k
terms of random sign have partial sums that grow like sqrt(k), and an error of standard deviation k rms(terms) u /
sqrt(6), 0.51 A u for normal terms; 5 is nine to ten of those. (Measured: 0.56 A u, torch, 39 million sums.) Equal
terms, added to partial sums of one binade, make the same rounding error, not independent ones: r of them together have
r^2 times the variance of one, so all have at most r times the sum of their variances. (784 pixels of a digit, most of
them the same white, with the weight 1: 23 A u, in torch and in jax. 36,226 rows, each nine times, in torch: 170 A u.)

A comparison whose sides lie within their own error of each other is uncertain: rounding may send the select that it
steers either way, so there the bound spans both. Those gates are the kink band; they are counted.

The operands of a float32 matrix product may be rounded first, on an accelerator: |x| product_u more (precision.py).

Every value may be stored in the dtype under test, as an eager framework stores it. Sums accumulate in the dtype that
the jaxpr says.
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
    """Primitives without a rule: where they come in, the errors are estimates (rounding_fallback.py)."""


def rounding_bounds(fun: Callable[..., Any], *args: Any, dtype: Any, product_u: float = 0.0) -> Bounds:
    """`fun(*args)` in float64, and per element how far a computation in `dtype` may be from it.

    `args` are trees of arrays that every implementation is given bit for bit, so they carry no error.
    product_u: how far off an operand of a float32 matrix product may be when it is multiplied (precision.py).
    An error is infinite where there is no bound: 1 / x, say, where x may be 0.
    Raises NotImplementedError for a primitive that has no rule and cannot be run alone; ValueError where
    JAX_PLATFORMS leaves the CPU out.
    """
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    rounding = Rounding(dtype, product_u)
    with np.errstate(all="ignore"), jax.default_device(cpu()):
        outputs = evaluate(rounding, closed, [exact(leaf) for leaf in jax.tree.leaves(args)])
    tree = jax.tree.structure(shapes)
    values = [np.asarray(x.value) for x in outputs]
    errors = [np.asarray(error_of(x), np.float64) for x in outputs]
    errors = [np.where(np.isnan(error), np.inf, error) for error in errors]
    fallbacks = tuple(sorted(rounding.fallbacks))
    return Bounds(
        tree.unflatten(values),
        tree.unflatten(errors),
        rounding.gates,
        rounding.kinks,
        tuple(rounding.kink_at),
        fallbacks,
    )
