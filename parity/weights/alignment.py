"""The original's value at each mark of the port, with its axes as the port has them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers.marks import Place
from .counterparts import Counterparts
from .layout import Layout, fitting
from .pairing import argument_order

if TYPE_CHECKING:
    from ..layers.recording import Recording


class Alignment:
    """Finds the layout of each array on the way forward, where the port computes it, and keeps it."""

    def __init__(self, framework: str, both: Counterparts, recording: "Recording"):
        self._framework, self._both, self._recording = framework, both, recording
        self._layouts: dict[Place, Layout] = {}
        self._usual: list[Layout] = []
        self._whole: dict[Place, Any] = {}  # the port's dtypes of ids
        self.unfit: dict[Place, tuple[int, ...]] = {}
        """Where the original's array, whose shape this is, is not the port's in any order of its axes."""

    def found(self, place: Place, ours: np.ndarray) -> np.ndarray | None:
        """The original's value where the port has computed `ours`; None where they are no pair."""
        theirs, key = self._array(place), place._replace(backward=False)
        if theirs is None or (ours.dtype.kind in "biu" and not self._are_ids(place, ours, theirs)):
            return None
        if key not in self._layouts:
            if place.backward:
                return None
            if (layout := fitting(theirs, ours, self._usual)) is None:
                ours_count, theirs_count = self._counts(place)
                if ours_count == theirs_count:
                    self.unfit[place] = theirs.shape
                return None
            self._layouts[key] = layout
            if theirs.ndim >= 3 and layout.shape is None and layout not in self._usual:
                self._usual.insert(0, layout)
        value = self._layouts[key].of(theirs)
        if ours.dtype.kind in "iu":
            self._whole[key] = ours.dtype
            value = value.astype(ours.dtype)
        return value if value.shape == ours.shape else None

    def known(self, place: Place) -> np.ndarray | None:
        """The same where the layout is known already."""
        theirs, layout = self._array(place), self._layouts.get(place._replace(backward=False))
        if theirs is None or layout is None:
            return None
        return layout.of(theirs).astype(self._whole.get(place._replace(backward=False), theirs.dtype))

    def _are_ids(self, place: Place, ours: np.ndarray, theirs: np.ndarray) -> bool:
        """Whether these are numbers of rows, the same on both sides: a mask may mean the contrary in the other."""
        return self._both.kinds[place.path] == "embedding" and ours.shape == theirs.shape and theirs.dtype.kind in "iu"

    def _counts(self, place: Place) -> tuple[int, int]:
        """How many inputs, or outputs, the port's layer has and the original's."""
        called = self._both.layers[place.path]
        theirs = self._recording.leaves(self._both.pairs[place.path], place.role, place.call)
        return len(called.inputs if place.role == "in" else called.outputs), len(theirs)

    def _array(self, place: Place) -> np.ndarray | None:
        both = self._both
        other = both.pairs.get(place.path)
        if other is None:
            return None
        ours, theirs = self._counts(place)
        if ours != theirs and place.backward and place.role == "in":
            return None  # one side has one array where the other has several: their cotangents are sums of others
        kind = both.kinds[place.path] or both.layers[place.path].kind
        order: Sequence[int] = argument_order(self._framework, kind, place.role, ours)
        if order and ours != theirs:
            return None  # h and c may be one array of zeros: which is which is not known then
        leaf = min(order[place.leaf] if place.leaf < len(order) else place.leaf, theirs - 1)
        there = place._replace(path=other, leaf=leaf)
        return self._recording.cotangent(there) if place.backward else self._recording.values.get(there)
