"""The axes of an activation: torch has channels second, flax last; a sequence may come first or second."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """How an array of the original becomes one of the port's: its axes in another order, then split or joined."""

    axes: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    """The port's, where it has another number of axes: heads and their width apart, say."""

    def of(self, array: np.ndarray) -> np.ndarray:
        """The array in this layout."""
        turned = array.transpose(self.axes)
        return turned if self.shape is None else turned.reshape(self.shape)


def permutations(rank: int) -> list[tuple[int, ...]]:
    """How an array of the original may have to be transposed: not at all, channels last, first two axes swapped."""
    same = tuple(range(rank))
    if rank < 3:
        return [same]
    last = (0, *range(2, rank), 1)
    return [same, last, (1, 0, *range(2, rank))] + ([(*range(1, rank), 0)] if rank == 3 else [])


def fitting(theirs: np.ndarray, ours: np.ndarray, preferred: Sequence[Layout] = ()) -> Layout | None:
    """The layout that makes the original's array the port's shape, and if several do, the likest values.

    preferred: which to take where the values do not tell. None if no layout has the shape.
    """
    if theirs.size != ours.size:
        return None
    all_layouts = [Layout(axes) for axes in permutations(theirs.ndim)]
    if theirs.ndim != ours.ndim:
        all_layouts = [layout._replace(shape=ours.shape) for layout in all_layouts]
    fits = [layout for layout in all_layouts if layout.of(theirs).shape == ours.shape]
    if len(fits) < 2:
        return fits[0] if fits else None
    size = float(np.max(np.abs(theirs), initial=0)) or 1.0
    with np.errstate(all="ignore"):
        gaps = [float(np.max(np.abs(layout.of(theirs) - ours), initial=0)) / size for layout in fits]
    close = [layout for layout, gap in zip(fits, gaps, strict=True) if gap < 1e-6]
    if close:
        return close[0]
    return next((layout for layout in preferred if layout in fits), fits[0])


def as_the_original_has_it(x: np.ndarray, channels: int | None) -> np.ndarray:
    """An input of the port, channels last, with channels second; x itself where it is so already, or has none.

    channels: how many the original's first layer takes, where that is a convolution.
    """
    if channels is None or x.ndim < 3 or x.shape[1] == channels or x.shape[-1] != channels:
        return x
    return np.moveaxis(x, -1, 1)
