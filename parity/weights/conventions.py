"""What a library does otherwise than torch by its own convention: no mistake of the port, but to be said."""

from collections.abc import Iterable

import numpy as np

from ..layers.marks import STATISTICS, Place
from .counterparts import Counterparts

SHOWN = 6
"""So many layers are named."""


def by_convention(both: Counterparts, place: Place) -> np.ndarray | None:
    """What the port's library makes of a place otherwise than torch; None where it has no convention of its own."""
    theirs = both.recording.values.get(place._replace(path=both.pairs.get(place.path, "")))
    return None if theirs is None else biased_variance(both, place, theirs)


def biased_variance(both: Counterparts, place: Place, theirs: np.ndarray) -> np.ndarray | None:
    """The running variance that the library's own batch norm makes of the batches that the original has seen.

    flax and equinox keep the biased variance of a batch, torch the unbiased one, n / (n - 1) times as large for the n
    numbers of a channel. theirs: torch's. None for any other place, and for a layer that is not the library's own.
    """
    layer = both.layers[place.path].settings if place.path in both.layers else None
    if place.role != STATISTICS["running_var"] or not _is_the_librarys(layer):
        return None
    other = both.pairs[place.path]
    share = both.original.parts[other].momentum
    inputs = _inputs(both, other)
    if share is None or not inputs:
        return None
    kept = theirs.copy()
    for age, x in enumerate(reversed(inputs)):
        excess = x.var(axis=(0, *range(2, x.ndim))) / (_numbers(x) - 1)
        kept -= share * (1 - share) ** age * excess
    return kept


def note_on_variances(both: Counterparts, places: Iterable[Place]) -> list[str]:
    """What to say of the batch norms that differ by that convention alone; [] if there are none."""
    paths = [place.path for place in places]
    if not paths:
        return []
    library = type(both.layers[paths[0]].settings).__module__.partition(".")[0]
    counts = sorted({_numbers(x) for path in paths for x in _inputs(both, both.pairs[path])})
    named = ", ".join(path or "the model itself" for path in paths[:SHOWN])
    named += f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return [
        f"{library} keeps the biased variance of the batch, torch the unbiased one, which is n / (n - 1) times as "
        f"large for the n numbers of a channel (here n = {several}: up to {counts[0] / (counts[0] - 1):.4g} times). "
        f"By this, and by nothing else, the updated running variances differ: {named}. Outputs and gradients in train "
        "mode do not use them; in eval mode, after training with small batches, they show."
    ]


def _is_the_librarys(layer: object) -> bool:
    """A class of flax or equinox itself, and none that derives from it."""
    kind = type(layer)
    return kind.__name__ == "BatchNorm" and kind.__module__.partition(".")[0] in ("flax", "equinox")


def _inputs(both: Counterparts, path: str) -> list[np.ndarray]:
    """What the original's layer was called with, call by call."""
    values, found = both.recording.values, []
    while (x := values.get(Place(path, "in", 0, len(found)))) is not None:
        found.append(x)
    return found


def _numbers(x: np.ndarray) -> int:
    """Of each channel, which torch has second."""
    return x.size // x.shape[1]
