"""The slope of the rule's own forward, measured in float64: an opinion that knows neither rule nor autodiff."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..case.arguments import is_float
from ..case.case import Case
from ..case.leaves import Leaves, widened
from .differentiation import Estimate, derivative


class Slope(NamedTuple):
    """A derivative along a random direction in one input, measured."""

    estimate: Estimate
    direction: np.ndarray
    kinked: bool
    """The slopes to the left and to the right differ: the point lies on a kink."""


def measured_slopes(case: Case) -> dict[str, Slope]:
    """For each input: d/dt of <cotangent 0, f(x + t d)> in float64, by differences of the rule's own forward.

    Raises whatever the rule raises in float64.
    """
    rng = np.random.default_rng(case.seed)
    with jax.enable_x64(True):
        leaves = widened(case.arguments.leaves)
        diff = [leaves[i] for i in case.arguments.wrt]
        cotangents = [c[0].astype(np.float64) for c in case.cotangents]
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
