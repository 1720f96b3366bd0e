"""The slope of the rule's own forward, measured in float64: a third opinion that knows neither rule nor autodiff.

Central differences extrapolated to step 0 (Richardson 1911; Ridders, Advances in Engineering Software 4(2), 1982,
75-76), which also says how sure it is. Steps shrink until one crosses no kink: across one the extrapolation does not
settle, and the uncertainty shows it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..case.arguments import is_float
from ..case.case import Case
from ..case.leaves import Leaves, widened

SHRINK = 2.0
STEPS = 8
STARTS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class Estimate(NamedTuple):
    """A derivative, and how far off it may be (an estimate too)."""

    value: float
    uncertainty: float


class Slope(NamedTuple):
    """A derivative along a random direction in one input, measured."""

    estimate: Estimate
    direction: np.ndarray
    kinked: bool  # the slopes to the left and to the right differ: the point lies on a kink


def measured_slopes(case: Case) -> dict[str, Slope]:
    """For each input: d/dt of <cotangent 0, f(x + t d)> in float64, by differences of the rule's own forward.

    Raises whatever the rule raises in float64.
    """
    rng = np.random.default_rng(case.seed)
    with jax.enable_x64(True):
        leaves = widened(case.arguments.leaves)
        diff = [leaves[i] for i in case.arguments.wrt]
        cotangents = [c[0] for c in widened(case.cotangents)]
        rule = case.rule.traced(leaves)

        @jax.jit
        def along(t: Any, moved: Any) -> Any:
            y = rule(*case.rule.filled(leaves, [leaf + t * d for leaf, d in zip(diff, moved, strict=True)]))
            floats = [leaf for leaf in jax.tree.leaves(y) if is_float(leaf)]
            return sum(jnp.vdot(c, leaf.astype(jnp.float64)) for c, leaf in zip(cotangents, floats, strict=True))

        slopes = {}
        for i, name in enumerate(case.arguments.diff_names):
            direction = rng.standard_normal(diff[i].shape)
            direction *= np.max(np.abs(diff[i]), initial=0.1) / max(float(np.linalg.norm(direction)), 1e-300)
            moved = [direction if j == i else np.zeros_like(leaf) for j, leaf in enumerate(diff)]

            def phi(t: float, moved: Any = moved) -> float:
                return float(along(t, moved))

            right, left = (phi(1e-7) - phi(0.0)) / 1e-7, (phi(0.0) - phi(-1e-7)) / 1e-7
            kinked = abs(right - left) > 1e-4 * max(abs(right), abs(left)) + 1e-7 * abs(phi(0.0))
            slopes[name] = Slope(derivative(phi), direction, kinked)
    return slopes


def slope_of(leaves: Leaves, name: str, slope: Slope) -> float:
    """What these cotangents say that the measured slope should be."""
    return float(np.vdot(np.asarray(leaves[f"{name}_bar"])[0].astype(np.float64), slope.direction))


def misses(leaves: Leaves, slopes: dict[str, Slope]) -> int:
    """In how many inputs these cotangents contradict the measured slopes."""
    return sum(not agrees(slope_of(leaves, name, slope), slope) for name, slope in slopes.items() if not slope.kinked)


def agrees(said: float, slope: Slope) -> bool:
    """Within ten times the measurement's own uncertainty (it is an estimate), and float64's rounding of the slope."""
    value, uncertainty = slope.estimate
    return abs(said - value) <= 10 * uncertainty + 1e-12 * max(abs(said), abs(value))


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
