"""Does a wrong leaf look like the work of a coarser arithmetic? By its values, and by how its errors are spread."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..roundoff.bounded import unit_roundoff

FORMATS = ("float32", "float16", "bfloat16")
ARITHMETICS = {"float32": 2.0**-24, "TF32 or float16": 2.0**-11, "bfloat16": 2.0**-8}
CHANCE_BITS = 12
"""That so many bits are all 0 is no chance: 1 in 4096."""
ROUGH = 0.8
"""Of errors in the order of their values: the mean square of the steps between neighbours, over the errors' variance
(von Neumann's ratio). It is 2 for noise, and near 0 for a smooth function of the value."""
ENOUGH = 6
"""With fewer errors than these, nothing is said of how they are spread."""


def rounded_to(got: np.ndarray, want: np.ndarray, bound: np.ndarray, dtype: Any) -> str:
    """The coarser dtype that holds every value of a leaf exactly, if this is the right leaf, rounded to it; ""."""
    u = unit_roundoff(dtype)
    for name in FORMATS:
        coarse = unit_roundoff(name)
        if coarse <= u:
            continue
        with np.errstate(all="ignore"):
            held = bool(np.all(got.astype(jnp.dtype(name)).astype(np.float64) == got))
            fits = want.astype(jnp.dtype(name)).astype(np.float64) == want
        tiny = float(jnp.finfo(name).tiny)
        near = np.abs(got - want) <= bound + coarse * np.maximum(np.abs(want), tiny) * (1 + 2 * u)
        spare = np.log2(coarse / u) * np.count_nonzero(~fits)  # bits that would not be 0 by themselves
        if held and bool(np.all(near)) and spare >= CHANCE_BITS:
            return name
    return ""


def coarser_arithmetic(got: np.ndarray, want: np.ndarray, bound: np.ndarray, dtype: Any, stacked: bool) -> str:
    """The arithmetic whose rounding errors these errors look like, or "".

    The bound grows with u, so inside that of a coarser arithmetic an error may be its rounding. It is named if the
    errors also have both signs and are no smooth function of the values: another formula would be that.
    """
    u = unit_roundoff(dtype)
    error = got - want
    with np.errstate(all="ignore"):
        share = np.where(bound > 0, error / bound, 0)
    needed = float(np.max(np.abs(share))) * u
    off = float(np.linalg.norm(error) / np.linalg.norm(want)) if want.any() else np.inf
    fits = [name for name, c in ARITHMETICS.items() if u < c and c / 64 < needed <= c and off <= 8 * c]
    if not fits:
        return ""
    if stacked and _cotangent_rounded(got, want, bound, ARITHMETICS[fits[0]]):
        return fits[0]
    slices = list(zip(share, want, strict=True)) if stacked else [(share, want)]
    largest = np.max(np.abs(share))
    return fits[0] if _mixed(share, want) and all(_rough(*each) for each in slices if _counts(each[0], largest)) else ""


def _mixed(share: np.ndarray, want: np.ndarray) -> bool:
    """Whether values come out too large and too small, and too far from 0 and too near."""
    large = (np.abs(share) > 0.02 * np.max(np.abs(share))) & (want != 0)
    signs = np.sign(share[large])
    mixed = (0.1 <= np.mean(each > 0) <= 0.9 for each in (signs, signs * np.sign(want[large])))
    return len(signs) >= ENOUGH and all(mixed)


def _counts(share: np.ndarray, largest: float) -> bool:
    """Whether the errors of one cotangent are more than what the leaf's own dtype rounds (ones need no rounding)."""
    return bool(np.max(np.abs(share)) > 0.05 * largest)


def _rough(share: np.ndarray, want: np.ndarray) -> bool:
    """Whether the errors jump from one value to the next larger one."""
    # One of each value: ones as a cotangent make rows alike.
    near = np.round(np.ravel(want) / (1e-5 * np.max(np.abs(want), initial=0) or 1))
    _, first = np.unique(near, return_index=True)
    relative = (np.ravel(share) * np.sign(np.ravel(want)))[first]
    relative = relative[relative != 0]
    if len(relative) < 2 * ENOUGH:
        return True
    return bool(np.mean(np.diff(relative) ** 2) >= ROUGH * np.var(relative))


def _cotangent_rounded(got: np.ndarray, want: np.ndarray, bound: np.ndarray, coarse: float) -> bool:
    """Whether each cotangent has a factor of its own, within that rounding of 1; ones are not rounded, and have 1."""
    axes = tuple(range(1, want.ndim))
    size = np.sum(want * want, axis=axes)
    with np.errstate(all="ignore"):
        ratio = np.where(size > 0, np.sum(want * got, axis=axes) / size, 1.0)
    model = want * ratio.reshape(-1, *[1] * len(axes))
    drawn, ones = np.abs(ratio[:3] - 1), abs(ratio[3] - 1)
    return bool(
        np.all(np.abs(got - model) <= bound)
        and drawn.max() <= coarse
        and ones < 0.1 * drawn.max()
        and np.ptp(ratio[:3]) > 0.1 * drawn.max()
    )
