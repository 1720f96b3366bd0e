"""The same numbers in float64: each implementation is called once, and whoever asks gets its part of the result."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves
from ..roundoff.bounds import Bounds, rounding_bounds


class InDouble:
    """A case's leaves in float64, with two sets of cotangents at once: its own, and more.

    The oracle of the case needs its own cotangents; a check in float64 draws some that use all of float64's bits.
    """

    def __init__(self, case: Case, more: Sequence[np.ndarray] | None = None):
        self.leaves = [leaf.astype(np.float64) for leaf in case.arguments.leaves]
        own = [c.astype(np.float64) for c in case.cotangents]
        self._count = len(own[0])
        self._cotangents = own if more is None else [np.concatenate(pair) for pair in zip(own, more, strict=True)]
        self._called: dict[int, Leaves | Exception] = {}
        self._bounds: dict[int, Bounds] = {}

    def own(self, run: Any) -> Leaves:
        """What `run` (an InJax or InTorch) gives for the case's own cotangents. Raises what it raises."""
        return self._part(self._leaves(run), slice(None, self._count))

    def more(self, run: Any) -> Leaves:
        """What it gives for the others."""
        return self._part(self._leaves(run), slice(self._count, None))

    def own_bounds(self, plain: InJax) -> Bounds:
        """How far a float64 evaluation of `plain` may be off, for the case's own cotangents."""
        return self._bounds_of(plain, slice(None, self._count))

    def more_bounds(self, plain: InJax) -> Bounds:
        """The same for the others."""
        return self._bounds_of(plain, slice(self._count, None))

    def _leaves(self, run: Any) -> Leaves:
        key = id(run)
        if key not in self._called:
            try:
                with jax.enable_x64(True):
                    self._called[key] = run(self.leaves, self._cotangents)
            except Exception as error:
                self._called[key] = error
        found = self._called[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _bounds_of(self, plain: InJax, part: slice) -> Bounds:
        if id(plain) not in self._bounds:
            with jax.enable_x64(True):
                args = self.leaves, self._cotangents
                self._bounds[id(plain)] = rounding_bounds(plain.run_one_by_one, *args, dtype=np.float64)
        bounds = self._bounds[id(plain)]
        return bounds._replace(values=self._part(bounds.values, part), errors=self._part(bounds.errors, part))

    @staticmethod
    def _part(leaves: Leaves, part: slice) -> Leaves:
        return {name: leaf[part] if name.endswith("_bar") else leaf for name, leaf in leaves.items()}
