"""Leaf by leaf: every implementation against the oracle, each element against its own bound."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..case.leaves import Leaves, same_bits

POINTS = 40


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


@dataclass(frozen=True)
class Row:
    """One leaf of one check, in every implementation."""

    check: str
    leaf: str
    shape: tuple[int, ...]
    dtype: str
    deviations: dict[str, Deviation]
    values: dict[str, float]
    """At the element that uses most of its budget: the oracle's value and everybody's."""
    diagnosis: dict[str, str]
    """Who -> what its wrong leaf looks like, where that is simple."""
    floor: float | None
    """The smallest s for which a leaf scaled by 1 + s is sure to be noticed; None if the leaf is all zeros."""

    @property
    def ok(self) -> bool:
        return all(deviation.problem is None for deviation in self.deviations.values())

    @property
    def worst(self) -> tuple[str, Deviation]:
        """Who comes off worst, and how: failures first, of those the ones that have figures, then by budget."""

        def rank(item: tuple[str, Deviation]) -> tuple[bool, bool, float]:
            return item[1].problem is not None, not np.isnan(item[1].max_abs), item[1].budget

        return max(self.deviations.items(), key=rank)


def compare(
    check: str,
    got: Mapping[str, Leaves],
    oracle: Leaves,
    bounds: Leaves,
    dtypes: Mapping[str, Any],
    raised: Mapping[str, str] | None = None,
) -> list[Row]:
    """One Row for each leaf that the oracle or any implementation has: a missing leaf fails, and so does an extra one.

    got: who -> leaves. bounds: per element of the oracle's leaves, how far off a right answer may be. dtypes: what each
    leaf must have. Integers must be equal, in whatever width a framework counts.
    raised: who, in place of leaves -> the error it raised; it fails every leaf.
    """
    names = dict.fromkeys([*oracle, *(name for leaves in got.values() for name in leaves)])
    rows = []
    for name in names:
        want, bound = oracle.get(name), bounds.get(name)
        dtype = np.dtype(dtypes.get(name, np.float64))
        deviations = {who: _deviation(leaves.get(name), want, bound, dtype) for who, leaves in got.items()}
        deviations |= {who: Deviation(problem=f"raised {error}") for who, error in (raised or {}).items()}
        shape = next(leaves[name].shape for leaves in (oracle, *got.values()) if name in leaves)
        row = Row(check, name, shape, dtype.name, deviations, {}, {}, _floor(want, bound))
        index = row.worst[1].budget_index
        for who, leaves in {"oracle": oracle, **got}.items():
            leaf = leaves.get(name)
            if leaf is not None and leaf.shape == shape and leaf.size and len(index) == leaf.ndim:
                row.values[who] = float(leaf[index])
        rows.append(row)
    return rows


class Difference(NamedTuple):
    """Where two runs of one implementation differ most."""

    leaf: str
    share: float  # how far they are apart, over what rounding allows; infinite where shape or dtype differ
    text: str


def apart(one: Leaves, other: Leaves, bounds: Leaves) -> Difference | None:
    """How far two runs of one implementation lie apart; None if all their leaves are bitwise equal."""
    worst = None
    for leaf, want in one.items():
        got = other.get(leaf)
        if got is None or same_bits(got, want):
            continue
        if got.shape != want.shape or got.dtype != want.dtype:
            shapes = f"{got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
            return Difference(leaf, np.inf, f"{leaf} is {shapes}")
        with np.errstate(all="ignore"):
            # Both are rounded, hence twice the bound.
            ratio = np.abs(got.astype(np.float64) - want.astype(np.float64)) / (2 * bounds[leaf])
            ratio = np.where(np.isnan(ratio), np.inf, ratio)
            ratio = np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0, ratio)  # whatever their bound
        share = float(np.max(ratio))
        if worst is None or share > worst.share:
            worst = Difference(leaf, share, f"{leaf} differs, {share:.0%} of what rounding allows")
    return worst


def _deviation(got: np.ndarray | None, want: np.ndarray | None, bound: np.ndarray | None, dtype: np.dtype) -> Deviation:
    if got is None:
        return Deviation(problem="leaf is missing")
    if want is None or bound is None:
        return Deviation(problem="leaf is unknown to the oracle")
    if got.shape != want.shape:
        return Deviation(problem=f"shape is {got.shape}, expected {want.shape}")
    whole = want.dtype.kind in "bui"
    if (got.dtype.kind not in "bui") if whole else (got.dtype != dtype):
        return Deviation(problem=f"dtype is {got.dtype}, expected {dtype}")
    if not got.size:
        return Deviation(0.0, (), 0.0, 0.0, 0.0, ())
    with np.errstate(all="ignore"):
        # In place: at 50,000 rows x_bar alone is 314 MB of float64.
        error = np.asarray(got.astype(np.float64) - want)
        np.abs(error, out=error)
        if not np.isfinite(np.max(error)):
            error[np.isnan(error)] = np.inf  # NaN against a number
            error[(got == want) | (np.isnan(got) & np.isnan(want))] = 0  # the same infinity, or NaN twice
        at = _argmax(error)
        max_abs = float(error[at])
        relative = float(max_abs / np.max(np.abs(want))) if max_abs else 0.0  # infinite against zeros
        ulps = max_abs if whole else max_abs / _ulp(float(want[at]), dtype)
        spread = np.arange(0, error.size, -(-error.size // POINTS))
        errors = error.flat[spread]
        ratio = np.divide(error, np.maximum(bound, np.finfo(np.float64).tiny), where=error != 0, out=error)
        ratio[np.isnan(ratio)] = np.inf
        if np.isinf(np.max(bound)):
            ratio[np.isinf(bound)] = 0  # no bound, no verdict
        budget_at = _argmax(ratio)
        budget = float(ratio[budget_at])
        # The worst element's error, as above: what is not finite and not equal is infinitely far off.
        worst = np.abs(np.float64(got[budget_at]) - want[budget_at]) if budget else np.float64(0)
    points = tuple((float(np.ravel(bound)[i]), float(error)) for i, error in zip(spread, errors, strict=True))
    points += ((float(bound[budget_at]), np.inf if np.isnan(worst) else float(worst)),)
    problem = None if budget <= 1 else "outside the bound"
    return Deviation(max_abs, at, relative, ulps, budget, budget_at, problem, points)


def _argmax(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(array), array.shape))


def _ulp(value: float, dtype: Any) -> float:
    """Distance from |value| to the next number of that dtype."""
    info = jnp.finfo(dtype)
    return float(info.eps) * 2.0 ** np.floor(np.log2(max(abs(value), float(info.tiny))))


def _floor(want: np.ndarray | None, bound: np.ndarray | None) -> float | None:
    if want is None or bound is None or not np.any(want):
        return None
    with np.errstate(all="ignore"):
        # Twice the bound: a right answer may already lie one bound off in the other direction.
        noticed = 2 * bound / np.abs(want)
    return float(np.min(np.where((want == 0) | np.isnan(noticed), np.inf, noticed)))
