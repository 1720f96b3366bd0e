"""The plot's axis: where an error lies that is so many times its bound."""

import math
from collections.abc import Iterable

LOWEST, HIGHEST = -6, 24  # powers of ten; what lies beyond stands in the columns at the ends
COLUMN = 0.18  # how far these columns are from the axis between them, as a share of it


def share(bound: float, error: float) -> float:
    """How many times its bound an error is; infinite if it is no number, or if nothing is allowed."""
    if error <= bound:
        return error / bound if 0 < bound < math.inf else 0.0
    times = error / bound if bound > 0 else math.inf
    return math.inf if math.isnan(times) else times


def _log(each: float) -> float:
    return math.log10(each) if each else -math.inf


class Scale:
    """Shares as powers of ten, with a place of its own for 0, below all others, and one above for what is no number.

    The bound is always in sight, with room beside it for a word on either side.
    """

    def __init__(self, shares: Iterable[float]):
        logs = {_log(each) for each in shares}
        finite = [log for log in logs if math.isfinite(log)] or [0.0]
        high = min(HIGHEST, math.ceil(max(finite)))
        self.low = max(LOWEST, min(-2, math.floor(min(finite)), -high // 4))
        self.high = max(high, -self.low // 2)
        apart = COLUMN * (self.high - self.low)
        self.zero, self.infinite = self.low - apart, self.high + apart
        below = {log for log in logs if log < self.low}
        above = {log for log in logs if log > self.high}
        self.columns: dict[float, str] = {}
        """Place -> name, of those at the ends that hold anything."""
        if below:
            self.columns[self.zero] = "0" if below == {-math.inf} else f"under\n1e{self.low}×"
        if above:
            self.columns[self.infinite] = "∞ or\nNaN" if math.inf in above else f"over\n1e{self.high}×"

    def __call__(self, each: float) -> float:
        log = _log(each)
        return self.infinite if log > self.high else self.zero if log < self.low else log

    @property
    def limits(self) -> tuple[float, float]:
        pad = 0.03 * (self.high - self.low)
        return min([self.low, *self.columns]) - pad, max([self.high, *self.columns]) + pad

    def ticks(self, most: int) -> dict[float, str]:
        """Place -> label: the columns', and at most so many powers of ten, the bound's own among them."""
        step = -(-(self.high - self.low) // (most - 1))
        powers = range(-(-self.low // step) * step, self.high + 1, step)
        named = {float(power): f"{10.0**power:g}×" if abs(power) < 3 else f"1e{power}×" for power in powers}
        return self.columns | named
