"""Leaf by leaf: every implementation against the oracle, each element against its own bound."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..case.cotangents import NAMES
from ..case.leaves import Leaves, same_bits, same_number
from .deviation import OUTSIDE, Deviation, deviation_of, extent_of, floor_of

SURE = 1e-4
"""In a leaf whose bounds say nothing, elements that are known to this share of the largest are judged all the same."""
APPROXIMATED = 2.0**-30
"""In float64, so much of a leaf's largest element is no error of maths: constants are typed with ten digits, and
special functions approximated to as many."""
ALONE = "nothing else computes this gradient"
"""Why a cotangent is not judged that is held against itself (alone.py)."""
SECOND = ("grad of grad", "forward over reverse")
"""The checks of second derivatives."""

TYPED = 2.0**-23
"""So much where torch is asked in float64 about arguments of float32 or less: its kernels have constants of float32,
and what jax computes in float32 may be an approximation that is good enough for it."""


@dataclass(frozen=True)
class Row:
    """One leaf of one check, in every implementation."""

    check: str
    """Which check it is of: `float32`, `bfloat16`, `grad of grad`, `net`, ..."""
    leaf: str
    """The array's name: an output, `y`, or the cotangent of an argument, `x_bar`."""
    shape: tuple[int, ...]
    """The leaf's, the axis of cotangents included."""
    dtype: str
    """The dtype that the leaf must have."""
    deviations: dict[str, Deviation]
    """Who -> how far its leaf is from the oracle's."""
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
    extent: dict[str, str] = field(default_factory=dict)
    """Who -> which elements of its leaf are outside their bound, in words and in the argument's own indices."""
    cotangents: int = 0
    """Over how many cotangents the leaf is stacked, along its first axis; 0: there is no such axis."""

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape without the axis of cotangents: that of the argument."""
        return self.shape[1:] if self.cotangents else self.shape

    def own_index(self, index: tuple[int, ...]) -> tuple[tuple[int, ...], int | None]:
        """An index into the leaf as one into the argument, and the number of the cotangent."""
        return (index[1:], index[0]) if self.cotangents and index else (index, None)

    @staticmethod
    def cotangent_named(number: int) -> str:
        """`c2 (c0 + 2 c1)`: a cotangent, and what it is."""
        return f"c{number} ({NAMES[number]})"

    @property
    def is_second(self) -> bool:
        """Whether it is of a second derivative."""
        return self.check.endswith(SECOND)

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
    sampled: bool = False,
    stacked: bool = False,
) -> list[Row]:
    """One Row for each leaf that the oracle or any implementation has: a missing leaf fails, and so does an extra one.

    got: who -> leaves. bounds: per element of the oracle's leaves, how far off a right answer may be. dtypes: what each
    leaf must have. Integers must be equal, in whatever width a framework counts.
    raised: who, in place of leaves -> the error it raised; it fails every leaf. own: who -> other bounds for it alone.
    excused: elements that are not judged at all, where nobody's NaN counts. sampled: whether the bounds are no proofs.
    stacked: whether the first axis of each `_bar` leaf counts cotangents.
    """
    names = dict.fromkeys([*oracle, *(name for leaves in got.values() for name in leaves)])
    rows = []
    for name in names:
        want, bound, excuse = oracle.get(name), bounds.get(name), (excused or {}).get(name)
        dtype = np.dtype(dtypes.get(name, np.float64))
        axis = stacked and name.endswith("_bar")
        deviations, extent = {}, {}
        for who, leaves in got.items():
            allowed = (own or {}).get(who, bounds).get(name)
            deviations[who] = deviation_of(leaves.get(name), want, allowed, dtype, excuse, axis)
            if deviations[who].problem == OUTSIDE:
                extent[who] = extent_of(leaves[name], want, allowed, excuse, axis)
        deviations |= {who: Deviation(problem=f"raised {error}") for who, error in (raised or {}).items()}
        shape = next(leaves[name].shape for leaves in (oracle, *got.values()) if name in leaves)
        floor = floor_of(want, bound)
        unjudged, reason = _unjudged(want, bound, excuse, floor)
        if sampled and unjudged and floor is not None and floor > 1:
            # They say nothing, and so call nobody wrong. Where rounding may do anything it may lead to NaN as well.
            far = {who: d for who, d in deviations.items() if d.problem == OUTSIDE and _says_nothing(d, want, bound)}
            vague = _vague(want, bound, axis) if excuse is None else excuse | _vague(want, bound, axis)
            for who, leaves in got.items():
                allowed = (own or {}).get(who, bounds).get(name)
                if deviations[who].problem is None or who in far:
                    continue
                if deviation_of(leaves.get(name), want, allowed, dtype, vague, axis).problem is None:
                    far[who] = deviations[who]
            deviations |= {who: replace(deviation, problem=None) for who, deviation in far.items()}
        row = Row(
            check, name, shape, dtype.name, deviations, {}, {}, floor, unjudged, reason, extent, shape[0] if axis else 0
        )
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


def _says_nothing(deviation: Deviation, want: Any, bound: Any) -> bool:
    """Whether the worst element's bound is wide too: where 0 is certain, say, it is not."""
    return bool(bound[deviation.budget_index] > SURE * np.max(np.abs(want)))


def _vague(want: Any, bound: Any, stacked: bool) -> Any:
    """Which elements rounding may move by more than their own size, for any cotangent."""
    vague = bound > np.maximum(np.abs(want), SURE * np.max(np.abs(want), initial=0, where=np.isfinite(want)))
    return np.broadcast_to(vague.any(axis=0), vague.shape) if stacked else vague


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
            ratio = np.where(same_number(got, want), 0, ratio)  # whatever their bound
        share = float(np.max(ratio, initial=0))
        if worst is None or share > worst.share:
            worst = Difference(leaf, share, f"{leaf} differs, {share:.0%} of what rounding allows")
    return worst
