"""Leaf by leaf: every implementation against the oracle, each element against its own bound."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..case.leaves import Leaves, same_bits

POINTS = 40
APPROXIMATED = 2.0**-30
"""In float64, so much of a leaf's largest element is no error of maths: constants are typed with ten digits, and special
functions approximated as well."""
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
    unjudged: int = 0
    """How many elements nothing can be said of."""
    reason: str = ""
    """Why not."""

    @property
    def ok(self) -> bool:
        """Whether nobody differs; what could not be judged does not differ."""
        return all(deviation.problem is None for deviation in self.deviations.values())

    @property
    def verdict(self) -> str:
        """`FAIL`, `not judged`, `empty` (there is no element) or `pass`."""
        agree = "not judged" if self.unjudged else "empty" if 0 in self.shape else "pass"
        return agree if self.ok else "FAIL"

    def is_approximated(self, who: str) -> bool:
        """Whether this one is off by no more than typed constants and approximations are, in float64."""
        deviation = self.deviations[who]
        return deviation.problem == OUTSIDE and deviation.relative <= APPROXIMATED

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
    own: Mapping[str, Leaves] | None = None,
    excused: Leaves | None = None,
) -> list[Row]:
    """One Row for each leaf that the oracle or any implementation has: a missing leaf fails, and so does an extra one.

    got: who -> leaves. bounds: per element of the oracle's leaves, how far off a right answer may be. dtypes: what each
    leaf must have. Integers must be equal, in whatever width a framework counts.
    raised: who, in place of leaves -> the error it raised; it fails every leaf. own: who -> other bounds for it alone.
    excused: elements that are not judged at all, where nobody's NaN counts.
    """
    names = dict.fromkeys([*oracle, *(name for leaves in got.values() for name in leaves)])
    rows = []
    for name in names:
        want, bound, excuse = oracle.get(name), bounds.get(name), (excused or {}).get(name)
        dtype = np.dtype(dtypes.get(name, np.float64))
        deviations = {}
        for who, leaves in got.items():
            allowed = (own or {}).get(who, bounds).get(name)
            deviations[who] = _deviation(leaves.get(name), want, allowed, dtype, excuse)
        deviations |= {who: Deviation(problem=f"raised {error}") for who, error in (raised or {}).items()}
        shape = next(leaves[name].shape for leaves in (oracle, *got.values()) if name in leaves)
        floor = _floor(want, bound)
        unjudged, reason = _unjudged(want, bound, excuse, floor)
        if unjudged and floor is not None and floor > 1:  # its bounds say nothing, so they call nobody wrong either
            far = {who: d for who, d in deviations.items() if d.problem == OUTSIDE}
            deviations |= {who: replace(deviation, problem=None) for who, deviation in far.items()}
        row = Row(check, name, shape, dtype.name, deviations, {}, {}, floor, unjudged, reason)
        index = row.worst[1].budget_index
        for who, leaves in {"oracle": oracle, **got}.items():
            leaf = leaves.get(name)
            if leaf is not None and leaf.shape == shape and leaf.size and len(index) == leaf.ndim:
                row.values[who] = leaf[index].item() if leaf.dtype.kind == "c" else float(leaf[index])
        rows.append(row)
    return rows


def _unjudged(want: Any, bound: Any, excuse: Any, floor: float | None) -> tuple[int, str]:
    """How many elements are not judged, and why."""
    if want is None or bound is None or not want.size:
        return 0, ""
    none = np.isinf(bound) if excuse is None else np.isinf(bound) | excuse
    if count := int(np.count_nonzero(none)):
        return count, "rounding may move them without bound, or to NaN or beyond the dtype's range"
    if floor is not None and floor > 1 and want.dtype.kind not in "bui":
        return want.size, "rounding may move every element by more than its own size"
    return 0, ""


class Difference(NamedTuple):
    """Where two runs of one implementation differ most."""

    leaf: str
    share: float  # how far they are apart, over what rounding allows; infinite where shape or dtype differ
    text: str


def apart(one: Leaves, other: Leaves, bounds: Leaves) -> Difference | None:
    """How far two runs of one implementation lie apart; None if all their leaves are bitwise equal.

    bounds: by leaf; one without bounds is infinitely far apart.
    """
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
            wide = np.complex128 if want.dtype.kind == "c" else np.float64
            ratio = np.abs(got.astype(wide) - want.astype(wide)) / (2 * bounds.get(leaf, 0.0))
            ratio = np.where(np.isnan(ratio), np.inf, ratio)
            ratio = np.where((got == want) | ((got != got) & (want != want)), 0, ratio)  # whatever their bound
        share = float(np.max(ratio, initial=0))
        if worst is None or share > worst.share:
            worst = Difference(leaf, share, f"{leaf} differs, {share:.0%} of what rounding allows")
    return worst


def _deviation(got: Any, want: Any, bound: Any, dtype: np.dtype, excuse: Any = None) -> Deviation:
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
        error = np.asarray(got.astype(want.dtype if want.dtype.kind == "c" else np.float64) - want)
        error = np.abs(error, out=None if error.dtype.kind == "c" else error)
        problem = None
        if not np.isfinite(np.max(error)):
            error[np.isnan(error)] = np.inf  # NaN against a number
            error[(got == want) | ((got != got) & (want != want))] = 0  # the same infinity, or NaN twice
            error[_overflows(got, want, bound, dtype)] = 0
            if excuse is not None:
                error[excuse] = 0
            problem = _not_finite(got, want, np.isinf(error))
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


def _not_finite(got: Any, want: Any, where: Any) -> str | None:
    """Who is NaN or infinite where the other is not, and at which elements."""
    if not where.any():
        return None
    first = tuple(np.argwhere(where)[0])
    at = f" at {places(where)}" if where.ndim else ""
    return f"is {_number(got[first])}{at}, where {_number(want[first])} is right"


def _number(value: Any) -> str:
    return f"{value.item() if np.iscomplexobj(value) else float(value):.9g}".replace("nan", "NaN")


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


def _floor(want: np.ndarray | None, bound: np.ndarray | None) -> float | None:
    if want is None or bound is None or not np.any(want):
        return None
    with np.errstate(all="ignore"):
        # Twice the bound: a right answer may already lie one bound off in the other direction.
        noticed = 2 * bound / np.abs(want)
    return float(np.min(np.where((want == 0) | np.isnan(noticed), np.inf, noticed)))
