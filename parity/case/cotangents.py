"""The cotangents that a rule's backward is run with: random ones, sums, ones, zeros, and the user's own."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arguments import is_complex, is_float, output_names
from .leaves import widened

NAMES = ("random", "random", "c0 + 2 c1", "ones", "zeros", "yours")
"""What each cotangent is, by its number."""
DRAWN = "c0, c1 random, c2 = c0 + 2 c1, c3 ones, c4 zeros"


def draw_cotangents(outputs: Sequence[Any], seed: int) -> list[np.ndarray]:
    """For each floating-point output, stacked along a new first axis: c1 and c2 (random), c1 + 2 c2, ones, zeros.

    c1 and c2 use all but three bits of their dtype, from -4 to 4, so that c1 + 2 c2 is exact (linearity can be asked of
    the rule alone) and an arithmetic of fewer bits shows.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for output in outputs:
        top = 2 ** (jnp.finfo(output.dtype).nmant - 2)
        c1, c2 = (rng.integers(-top, top + 1, output.shape) * (4 / top) for _ in range(2))
        if is_complex(output):
            c1, c2 = (c + 1j * rng.integers(-top, top + 1, output.shape) * (4 / top) for c in (c1, c2))
        if output.size and (c1.flat[0] * c2.flat[0]).real > 0:
            c2 = -c2  # of a scalar's cotangents one is positive and one negative: a lost sign shows
        stack = np.stack([c1, c2, c1 + 2 * c2, np.ones(output.shape), np.zeros(output.shape)])
        drawn.append(stack.astype(output.dtype))
    return drawn


def given_cotangents(given: Any, outputs: Any) -> list[np.ndarray]:
    """The user's cotangents, one array for each floating-point output, in order.

    outputs: the tree of the outputs' shapes and dtypes. given: one array for a single output, else a tree like it;
    what stands in the place of an integer output is ignored.
    Raises ValueError where structure or shape are others, or a number is not finite in the output's dtype.
    """
    wanted, tree = jax.tree.flatten(outputs)
    try:
        parts = jax.tree.leaves(given) if len(wanted) == 1 else tree.flatten_up_to(given)
    except (TypeError, ValueError):
        parts = []
    if len(parts) != len(wanted):
        names = ", ".join(output_names(outputs))
        raise ValueError(f"cotangents must have one array for each output ({names}), in the outputs' tree")
    found = []
    for name, part, output in zip(output_names(outputs), parts, wanted, strict=True):
        if not is_float(output):
            continue
        array = np.asarray(part)
        if array.shape != output.shape or array.dtype.kind in ("OSUMm" if is_complex(output) else "OSUMmc"):
            fits, got = (f"{a.dtype}{list(a.shape)}" for a in (output, array))
            raise ValueError(f"cotangents: that of {name} must be {fits}; got {got}")
        if not np.isfinite(widened(array)).all():
            raise ValueError(f"cotangents: that of {name} holds a number that is not finite")
        with np.errstate(over="ignore"):
            found.append(array.astype(output.dtype))
        if not np.isfinite(widened(found[-1])).all():
            raise ValueError(f"cotangents: that of {name} holds a number that does not fit in {output.dtype}")
    return found
