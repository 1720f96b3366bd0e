"""How far one implementation's leaf is from the oracle's, each element against its own bound."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..case.leaves import same_number

POINTS = 40
OUTSIDE = "outside the bound"


@dataclass(frozen=True)
class Deviation:
    """How far one implementation's leaf is from the oracle's."""

    max_abs: float = np.nan
    """Largest |got - oracle|."""
    index: tuple[int, ...] = ()
    """Where that is."""
    relative: float = np.nan
    """max_abs over the leaf's largest |oracle|."""
    ulps: float = np.nan
    """max_abs in units in the last place of the oracle's value there."""
    budget: float = np.inf
    """Largest |got - oracle| / bound of any element: up to 1 agrees."""
    budget_index: tuple[int, ...] = ()
    """Where that is."""
    problem: str | None = None
    """What is wrong, in words, or None."""
    points: tuple[tuple[float, float], ...] = ()
    """`(bound, |error|)` of some elements, evenly spread, and of the worst: for a plot."""


def deviation_of(
    got: Any, want: Any, bound: Any, dtype: np.dtype, excuse: Any = None, stacked: bool = False
) -> Deviation:
    """stacked: whether the first axis counts cotangents, so that places are named without it."""
    if got is None:
        # Of a leaf that only somebody else has, there is nothing to say.
        return Deviation(0.0, (), 0.0, 0.0, 0.0) if want is None else Deviation(problem="leaf is missing")
    if want is None or bound is None:
        return Deviation(problem="leaf is unknown to the oracle")
    if got.shape != want.shape:
        return Deviation(problem=f"shape is {got.shape[stacked:]}, expected {want.shape[stacked:]}")
    whole = want.dtype.kind in "bui"
    if (got.dtype.kind not in "bui") if whole else (got.dtype != dtype):
        return Deviation(problem=f"dtype is {got.dtype}, expected {dtype}")
    if not got.size:
        return Deviation(0.0, (), 0.0, 0.0, 0.0, ())
    with np.errstate(all="ignore"):
        # In place: at 50,000 rows x_bar alone is 314 MB of float64.
        error = np.asarray(got.astype(want.dtype if want.dtype.kind == "c" else np.float64) - want)
        error = np.abs(error, out=None if error.dtype.kind == "c" else error)
        problem = None
        if not np.isfinite(np.max(error)):
            error[np.isnan(error)] = np.inf  # NaN against a number
            error[same_number(got, want)] = 0  # the same infinity, or NaN twice
            error[_overflows(got, want, bound, dtype)] = 0
            error[~np.isfinite(want) & np.isinf(bound)] = 0  # rounding led the oracle there, and may lead back
            if stacked:
                error[_zero_times_infinity(got, want)] = 0
            if excuse is not None:
                error[excuse] = 0
            problem = _not_finite(got, want, np.isinf(error), stacked)
        at = _argmax(error)
        max_abs = float(error[at])
        relative = float(max_abs / np.max(np.abs(want))) if max_abs else 0.0  # infinite against zeros
        ulps = max_abs if whole else max_abs / _ulp(float(np.abs(want[at])), dtype)
        spread = np.arange(0, error.size, -(-error.size // POINTS))
        errors = error.flat[spread]
        unfit = problem is not None
        ratio = np.divide(error, np.maximum(bound, np.finfo(np.float64).tiny), where=error != 0, out=error)
        ratio[np.isnan(ratio)] = np.inf  # infinitely far off, where the bound is infinite too
        budget_at = _argmax(ratio)
        budget = float(ratio[budget_at])
        worst = np.inf if unfit else np.abs(got[budget_at].astype(want.dtype) - want[budget_at]) if budget else 0.0
    points = tuple((float(np.ravel(bound)[i]), float(error)) for i, error in zip(spread, errors, strict=True))
    points += ((float(bound[budget_at]), float(worst)),)
    problem = problem or (None if budget <= 1 else OUTSIDE)
    return Deviation(max_abs, at, relative, ulps, budget, budget_at, problem, points)


def _overflows(got: Any, want: Any, bound: Any, dtype: Any) -> Any:
    """Where the value may lie beyond the dtype's largest number: infinity is right too."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return np.zeros(np.shape(want), bool)
    beyond = np.abs(want) + bound >= float(jnp.finfo(dtype).max)
    return beyond & np.isinf(got.astype(np.float64)) & (np.sign(got.astype(np.float64)) == np.sign(want))


def _zero_times_infinity(got: Any, want: Any) -> Any:
    """Where one says 0 and the other NaN, of an element whose derivative is infinite: for a cotangent that is 0."""
    either = ((want == 0) & np.isnan(got)) | (np.isnan(want) & (got == 0))
    return either & np.isinf(want).any(axis=0)


def _not_finite(got: Any, want: Any, where: Any, stacked: bool) -> str | None:
    """Who is NaN or infinite where the other is not, and at which elements."""
    if not where.any():
        return None
    first = tuple(np.argwhere(where)[0])
    where = where.any(axis=0) if stacked else where
    at = f" at {places(where)}" if where.ndim else ""
    return f"is {_number(got[first])}{at}, where {_number(want[first])} is right"


def _number(value: Any) -> str:
    return f"{value.item() if np.iscomplexobj(value) else float(value):.9g}".replace("nan", "NaN")


def extent_of(got: Any, want: Any, bound: Any, excuse: Any, stacked: bool) -> str:
    """Which elements are outside their bound, for any cotangent, in words; "" for a single number."""
    with np.errstate(all="ignore"):
        off = ~(np.abs(got.astype(want.dtype if want.dtype.kind == "c" else np.float64) - want) <= bound)
    off &= ~same_number(got, want) if excuse is None else ~(same_number(got, want) | excuse)
    nonzero = want != 0
    if stacked:
        off, nonzero = off.any(axis=0), nonzero.any(axis=0)
    if not off.ndim:
        return ""
    count = int(np.count_nonzero(off))
    if count == off.size:
        return "at every element" if count > 1 else ""
    if np.array_equal(off, nonzero):
        return "at every element that should not be 0"
    named = places(off)
    return f"at {count:,} of {off.size:,} elements" + ("" if named.endswith("more") else f", {named}")


def places(where: Any) -> str:
    """The elements of a mask: `[2, :]` where they are a block, else the first of them and how many more there are."""
    found = np.argwhere(where)
    lines = [np.unique(axis) for axis in found.T]
    if math.prod(map(len, lines)) == len(found) and all(len(x) == x[-1] - x[0] + 1 for x in lines):
        return f"[{', '.join(_line(x, size) for x, size in zip(lines, where.shape, strict=True))}]"
    return f"[{', '.join(map(str, found[0]))}] and {len(found) - 1} more"


def _line(x: Any, size: int) -> str:
    return str(x[0]) if len(x) == 1 else ":" if len(x) == size else f"{x[0]}:{x[-1] + 1}"


def _argmax(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(array), array.shape))


def _ulp(value: float, dtype: Any) -> float:
    """Distance from |value| to the next number of that dtype."""
    info = jnp.finfo(dtype)
    return float(info.eps) * 2.0 ** np.floor(np.log2(max(abs(value), float(info.tiny))))


def floor_of(want: np.ndarray | None, bound: np.ndarray | None) -> float | None:
    if want is None or bound is None or not np.any(want):
        return None
    with np.errstate(all="ignore"):
        # Twice the bound: a right answer may already lie one bound off in the other direction.
        noticed = 2 * bound / np.abs(want)
    return float(np.min(np.where((want == 0) | np.isnan(noticed), np.inf, noticed)))
