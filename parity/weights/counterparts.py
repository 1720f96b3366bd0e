"""Which layer and which parameter of the port is which of the original's, and the values that this gives the port."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from ..layers.calls import Calls
from ..layers.marks import LOSS
from ..layers.port import Port
from .loose import Blocks, loose_fits
from .own_layout import Layouts, given_layouts, likely_arrays
from .pairing import Unit, containers, kind_of, paired
from .parameters import LAYOUTS, Source, in_the_ports_layout

if TYPE_CHECKING:
    from ..layers.original import Original
    from ..layers.recording import Recording

COUNTERS = ("num_batches_tracked",)
"""Buffers that only count calls."""


class Counterparts:
    """The pairs of layers and parameters.

    keep: whether the port's values stay; else it gets the original's. layout: the user's own layouts. Raises
    ValueError, with both lists, where values cannot be carried over.
    """

    def __init__(
        self,
        port: Port,
        calls: Calls,
        original: "Original",
        recording: "Recording",
        match: Mapping[str, str],
        keep: bool,
        layout: Layouts = MappingProxyType({}),
    ):
        self.port, self.calls, self.original, self.recording = port, calls, original, recording
        self.layers = {called.path: called for called in calls.ended}
        self.kinds = {path: kind_of(called.settings) for path, called in self.layers.items()}
        """Layer of the port -> what it is ("linear", ...), or ""."""
        self.state = original.state
        self.pairs = self._pairs(match, [path for path, _ in recording.order])
        """Layer of the port -> layer of the original."""
        self.sources, self.unmapped = self._sources(match, layout)
        self.params = dict(port.params) if keep else self._with_the_originals()
        """The parameters that the port is run with."""
        self.differing = self._differing() if keep else []
        """Those whose values are not the original's."""

    def _pairs(self, match: Mapping[str, str], order: Sequence[str]) -> dict[str, str]:
        sizes = {name: array.size for name, array in self.state.items() if name.rpartition(".")[2] not in COUNTERS}
        ours = _units(self.kinds, {name: np.size(value) for name, value in self.port.params.items()})
        theirs = _units({path: kind_of(self.original.parts.get(path)) for path in order}, sizes)
        pairs = {path: path for path in (LOSS,) if path in self.layers} | paired(ours, theirs, match)
        return {**containers(list(self.layers), order, pairs), **pairs}

    def _arrays(self) -> dict[str, np.ndarray]:
        """What the user sees of the original's parameters and buffers."""
        names = [name for name in self.state if name.rpartition(".")[2] not in COUNTERS]
        return {name: self.state[name] for name in names if name not in self.original.aliases}

    def _sources(
        self, match: Mapping[str, str], layout: Layouts
    ) -> tuple[dict[str, Source], tuple[list[str], list[str]]]:
        """How each parameter of the port comes from the original's, and what only one side has."""
        given = given_layouts(layout, self.port.params, self.state, self._likely(match))
        found: dict[str, Source] = {name: each.source for name, each in given.items()}
        used: set[str] = {each.name for each in given.values()}
        for name, value in self.port.params.items():
            path = self.owner(name)
            if path is not None and name not in found:
                other, layer = self.pairs[path], self.layers[path].settings
                source = self._by_layout(self.kinds[path], other, _within(name, path), np.shape(value), layer)
                if source(self.state, True) is not None:
                    found[name] = source
                    used |= {f"{other}.{key}" if other else key for key in _under(self.state, other)}
        used |= self.original.shared_with(used)
        left: dict[str, np.ndarray] = {}
        for key, array in self._arrays().items():
            if key not in used and key not in self.original.shared_with(set(left)):
                left[key] = array
        ours = {name: value for name, value in self.port.params.items() if name not in found}
        theirs = [other for path, other in self.pairs.items() if self.kinds.get(path)]
        blocks = Blocks(self.pairs, self._whole(self.kinds, self.pairs), self._whole(self._kinds(), theirs))
        for name, fit in loose_fits(ours, left, blocks, match, self.port.given).items():
            found[name] = fit.source
            used |= set(fit.names)
        used |= self.original.shared_with(used)
        ours = [name for name in self.port.params if name not in found]
        return found, (ours, [name for name in self._arrays() if name not in used])

    def _kinds(self) -> dict[str, str]:
        """What the original's layers are."""
        return {path: kind_of(part) for path, part in self.original.parts.items()}

    def _whole(self, kinds: Mapping[str, str], paired: Iterable[str]) -> set[str]:
        """Layers whose parameters are nobody else's: those that are paired, and, where numbers do not tell, those that
        have a layout of their own: a square kernel is not guessed by its shape."""
        own = () if self.port.given else (path for path, kind in kinds.items() if kind in LAYOUTS)
        return {path for path in paired if kinds.get(path)} | set(own)

    def _likely(self, match: Mapping[str, str]) -> Callable[[str], list[str]]:
        return lambda name: likely_arrays(name, match, self.owner(name), self.pairs)

    def gradient(self, name: str) -> np.ndarray | None:
        """The original's gradient of a parameter of the port."""
        return self.sources[name](self.recording.grads, False) if name in self.sources else None

    @staticmethod
    def _by_layout(kind: str, other: str, name: str, shape: tuple[int, ...], layer: Any) -> Source:
        return lambda arrays, summed: in_the_ports_layout(kind, _under(arrays, other), name, shape, layer, summed)

    def owner(self, name: str) -> str | None:
        """The paired layer whose parameter this is."""
        paths = [path for path in self.pairs if self.kinds[path] and (not path or name.startswith(f"{path}."))]
        return max(paths, key=len, default=None)

    def _with_the_originals(self) -> dict[str, Any]:
        ours, theirs = self.unmapped
        if ours and self.calls.raised is None:
            raise ValueError(
                "the original's weights cannot be carried over whole. Only the port has "
                f"{', '.join(ours)}. Only the original has {', '.join(theirs) or 'nothing'}. Say which layers "
                'are each other\'s with match={"layer of the port": "layer of the original"}, or give the port its '
                'values and weights="port".'
            )
        values = {name: source(self.state, True) for name, source in self.sources.items()}
        own = self.port.params.items()
        return {name: jnp.asarray(values.get(name, v), jnp.asarray(v).dtype) for name, v in own}

    def _differing(self) -> list[str]:
        """Parameters of the port that are not the original's, rounded to their dtype."""
        own = {name: np.asarray(value) for name, value in self.params.items()}
        return [
            name
            for name, source in self.sources.items()
            if not np.array_equal(own[name], np.asarray(source(self.state, True)).astype(own[name].dtype))
        ]

    @cached_property
    def exact(self) -> dict[str, Any]:
        """The parameters as the original has them in float64: the sum of two biases is rounded in the port."""
        same = {name: source(self.state, True) for name, source in self.sources.items() if name not in self.differing}
        return {name: same.get(name, value) for name, value in self.params.items()}


def _units(kinds: Mapping[str, str], sizes: Mapping[str, int]) -> list[Unit]:
    """The layers that are paired as a whole, in order of their calls: known kinds, and none inside another."""
    known = {path: kind for path, kind in kinds.items() if kind}
    units = []
    for path, kind in known.items():
        if any(other != path and (not other or path.startswith(f"{other}.")) for other in known):
            continue
        own = {_within(name, path): size for name, size in sizes.items() if not path or name.startswith(f"{path}.")}
        # A bias may be there on one side only, or be the sum of two: that is said later, and is no other layer.
        units.append(Unit(path, kind, sum(n for name, n in own.items() if not re.search("bias|mean|var", name))))
    return units


def _under(arrays: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {_within(name, path): array for name, array in arrays.items() if not path or name.startswith(f"{path}.")}


def _within(name: str, path: str) -> str:
    return name.removeprefix(f"{path}.") if path else name
