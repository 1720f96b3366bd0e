"""The same numbers in float64: each implementation is called once, and whoever asks gets its part of the result."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, widened
from ..roundoff.bounds import Bounds, rounding_bounds


class InDouble:
    """A case's leaves in float64, with two sets of cotangents at once: its own, and more.

    The oracle of the case needs its own cotangents; a check in float64 draws some that use all of float64's bits.
    """

    def __init__(self, case: Case, more: Sequence[np.ndarray] | None = None):
        leaves = widened(case.arguments.leaves)
        own = widened(case.cotangents)
        both = own if more is None else [np.concatenate(pair) for pair in zip(own, more, strict=True)]
        self._args, self._parts = (leaves, both), (slice(None, len(own[0])), slice(len(own[0]), None))
        self._leaves: dict[Any, Leaves] = {}
        self._bounds: dict[InJax, Bounds] = {}

    def leaves(self, run: Any, more: bool = False) -> Leaves:
        """What `run` (an InJax or InTorch) gives for the case's own cotangents, or for the others."""
        if run not in self._leaves:
            with jax.enable_x64(True):
                self._leaves[run] = run(*self._args)
        return self._part(self._leaves[run], more)

    def bounds(self, plain: InJax, more: bool = False) -> Bounds:
        """How far a float64 evaluation of `plain` may be off, for one set of cotangents or the other."""
        if plain not in self._bounds:
            with jax.enable_x64(True):
                self._bounds[plain] = rounding_bounds(plain.run_one_by_one, *self._args, dtype=np.float64)
        bounds = self._bounds[plain]
        return bounds._replace(values=self._part(bounds.values, more), errors=self._part(bounds.errors, more))

    def _part(self, leaves: Leaves, more: bool) -> Leaves:
        return {name: leaf[self._parts[more]] if name.endswith("_bar") else leaf for name, leaf in leaves.items()}
