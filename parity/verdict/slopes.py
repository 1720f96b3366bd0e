"""The slope of a function's own forward, measured in float64: a third opinion that knows neither rule nor autodiff.

Central differences extrapolated to step 0 (Richardson 1911; Ridders, Advances in Engineering Software 4(2), 1982,
75-76), which also says how sure it is. Steps shrink until one crosses no kink: across one the extrapolation does not
settle, and the uncertainty shows it. What the function's own rounding does to a difference is measured too (Moré and
Wild, Estimating Computational Noise, SIAM J. Sci. Comput. 33(3), 2011).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..case.arguments import is_float, put
from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, widened
from ..roundoff.bounds import values_of

SHRINK = 2.0
STEPS = 8
STARTS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
SURE = 1e-9
"""A slope as sure as this, of itself, is not measured again with smaller steps."""
ROUNDINGS = 2.0
"""So many, of the size of what is summed, a forward that can only run in its own dtype may be off by."""
DIGITS = 1e-6
"""A slope is not heard on differences that are smaller, of itself: the float64 comparison sees those better."""


class Estimate(NamedTuple):
    """A derivative, and how far off it may be (an estimate too)."""

    value: float
    """The derivative."""
    uncertainty: float
    """How far off it may be."""


class Slope(NamedTuple):
    """A derivative along a random direction in one input, measured."""

    estimate: Estimate
    """The slope, and how unsure it is."""
    direction: np.ndarray
    """The direction in which it was measured, of the input's shape."""
    kinked: bool
    """Whether the slopes to the left and to the right differ: the point lies on a kink."""

    @property
    def is_sure(self) -> bool:
        """Whether it is precise enough to judge by."""
        value, uncertainty = self.estimate
        return bool(np.isfinite(value)) and not (value and uncertainty > 1e-3 * abs(value))

    @property
    def is_clear(self) -> bool:
        """Whether there is a derivative, and one to judge by."""
        return self.is_sure and not self.kinked


def measured_slopes(case: Case, run: InJax, u: float = 0.0) -> dict[str, Slope]:
    """For each input: d/dt of <cotangent 0, f(x + t d)>, by differences of `run`'s forward, its own trace in float64.

    u: the unit roundoff of what in it can only run in its own dtype. Its rounding is as good as constant over steps
    that it does not resolve, where noise is measured, and so must be told.
    Raises whatever the function raises, and NotImplementedError for a primitive that cannot be run alone.
    """
    rng = np.random.default_rng(case.seed)
    slopes = {}
    for at, name in zip(case.arguments.wrt, case.arguments.diff_names, strict=True):
        phi, size, direction = _along(case, run, at, rng)
        kinked = not u and _bends(phi, size)  # where it steps from float to float, the two sides say nothing
        slopes[name] = Slope(derivative(phi, size, ROUNDINGS * u), direction, kinked)
    return slopes


def has_kink(case: Case, run: InJax, name: str, where: np.ndarray) -> bool:
    """Whether the slopes to both sides differ as these elements of that argument move, and no others."""
    at = dict(zip(case.arguments.diff_names, case.arguments.wrt, strict=True))[name]
    phi, size, _ = _along(case, run, at, np.random.default_rng(case.seed), where)
    return _bends(phi, size)


def _along(
    case: Case, run: InJax, at: int, rng: np.random.Generator, where: Any = True
) -> tuple[Callable[[float], float], float, np.ndarray]:
    """t -> <cotangent 0, f(x + t d)>, the size of what it sums up, and d: random, with elements where `where` says."""
    leaves = widened(case.arguments.leaves)
    cotangents = [c[0] for c in widened(case.cotangents)]
    traced, leaf = run.traced(case.arguments.leaves), leaves[at]
    finite = np.isfinite(leaf)
    direction = np.where(finite & where, rng.standard_normal(leaf.shape), 0)
    if leaf.dtype.kind == "c":
        direction = direction + 1j * np.where(finite & where, rng.standard_normal(leaf.shape), 0)
    direction *= np.max(np.abs(leaf), initial=0.1, where=finite) / max(float(np.linalg.norm(direction)), 1e-300)

    def products(t: float) -> list[np.ndarray]:
        outputs = values_of(traced.jaxpr, put(leaves, [at], [leaf + t * direction]))
        floats = [y for y, var in zip(outputs, traced.jaxpr.out_avals, strict=True) if is_float(var)]
        return [np.nan_to_num(c * y, posinf=0, neginf=0).real for c, y in zip(cotangents, floats, strict=True)]

    size = float(sum(np.abs(p).sum() for p in products(0.0)))
    return lambda t: float(sum(p.sum() for p in products(t))), size, direction


def _bends(phi: Callable[[float], float], size: float) -> bool:
    """Whether the slopes to both sides differ, and go on to differ as the step shrinks: what curves does not."""

    def sides(step: float) -> tuple[float, float]:
        return (phi(step) - phi(0.0)) / step, (phi(0.0) - phi(-step)) / step

    right, left = sides(1e-7)
    differ = abs(right - left) > 1e-4 * max(abs(right), abs(left)) + 1e-7 * size
    if not differ:
        return False
    right_before, left_before = sides(1e-6)
    return abs(right - left) > abs(right_before - left_before) / 2


def slope_of(leaves: Leaves, name: str, slope: Slope) -> float:
    """What these cotangents say that the measured slope should be."""
    bar = np.asarray(leaves[f"{name}_bar"])[0]
    return float(np.sum(bar.astype(np.complex128 if bar.dtype.kind == "c" else np.float64) * slope.direction).real)


def misses(leaves: Leaves, slopes: dict[str, Slope]) -> int:
    """In how many inputs these cotangents contradict the measured slopes."""
    clear = {name: slope for name, slope in slopes.items() if slope.is_clear}
    return sum(not agrees(slope_of(leaves, name, slope), slope) for name, slope in clear.items())


def agrees(said: float, slope: Slope) -> bool:
    """Within ten times the measurement's own uncertainty (it is an estimate), and the digits that it is heard on."""
    value, uncertainty = slope.estimate
    return abs(said - value) <= 10 * uncertainty + DIGITS * max(abs(said), abs(value))


def derivative(phi: Callable[[float], float], size: float = 0.0, u: float = 0.0) -> Estimate:
    """d phi / dt at 0, of a float64 function of a number; size: of what it sums up, if that is more than its value.

    u: how far off phi may be, relative to that size, where that is more than float64's rounding.
    """
    noise = max(_noise(phi), max(u, float(np.finfo(np.float64).eps)) * max(size, abs(phi(0.0))))
    best = Estimate(np.nan, np.inf)
    for start in STARTS:
        best = min(best, _ridders(phi, start, noise), key=lambda estimate: estimate.uncertainty)
        if best.uncertainty <= SURE * abs(best.value):
            break
    return best


def _noise(phi: Callable[[float], float]) -> float:
    """The standard deviation of phi's rounding: of its third differences, at steps that it does not resolve."""
    values = np.array([phi(k * 2.0**-40) for k in range(-3, 4)])
    return float(np.sqrt(np.mean(np.diff(values, 3) ** 2) / 20))


def _ridders(phi: Callable[[float], float], step: float, noise: float) -> Estimate:
    best = Estimate(np.nan, np.inf)
    previous: list[float] = []
    for _ in range(STEPS):
        row = [(phi(step) - phi(-step)) / (2 * step)]
        for order, older in enumerate(previous, start=1):
            factor = SHRINK ** (2 * order)
            row.append((factor * row[-1] - older) / (factor - 1))
            # No extrapolation can be surer than what the rounding of phi does to the difference.
            uncertainty = max(abs(row[-1] - row[-2]), abs(row[-1] - older), 4 * noise / step)
            if uncertainty < best.uncertainty:
                best = Estimate(float(row[-1]), float(uncertainty))
        previous = row
        step /= SHRINK
    return best
