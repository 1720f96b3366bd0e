"""Numerical differentiation in float64: a third opinion that knows neither rule nor autodiff.

Central differences extrapolated to step 0 (Richardson 1911; Ridders, Advances in Engineering Software 4(2), 1982,
75-76), which also says how sure it is. Steps shrink until one crosses no kink: across one the extrapolation does not
settle, and the uncertainty shows it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SHRINK = 2.0
STEPS = 8
STARTS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class Estimate(NamedTuple):
    """A derivative, and how far off it may be (an estimate too)."""

    value: float
    uncertainty: float


def derivative(phi: Callable[[float], float]) -> Estimate:
    """d phi / dt at 0, of a float64 function of a number."""
    return min((_ridders(phi, start) for start in STARTS), key=lambda estimate: estimate.uncertainty)


def _ridders(phi: Callable[[float], float], step: float) -> Estimate:
    best = Estimate(np.nan, np.inf)
    previous: list[float] = []
    size = abs(phi(0.0))
    for _ in range(STEPS):
        row = [(phi(step) - phi(-step)) / (2 * step)]
        # What the rounding of phi does to the difference: no extrapolation can be surer than that.
        noise = 4 * np.finfo(np.float64).eps * max(size, abs(row[0]) * step) / step
        for order, older in enumerate(previous, start=1):
            factor = SHRINK ** (2 * order)
            row.append((factor * row[-1] - older) / (factor - 1))
            uncertainty = max(abs(row[-1] - row[-2]), abs(row[-1] - older), noise)
            if uncertainty < best.uncertainty:
                best = Estimate(float(row[-1]), float(uncertainty))
        previous = row
        step /= SHRINK
    return best
