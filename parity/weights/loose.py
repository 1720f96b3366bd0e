"""Parameters that belong to no layer that is paired whole: tokens, tables of positions, the scales of a block."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .pairing import translated
from .parameters import Arrays, Fit, same_lengths, same_numbers


class Blocks(NamedTuple):
    """Where a parameter lies."""

    pairs: Mapping[str, str]
    """The layers that are each other's, those that hold others among them: port -> original."""
    whole: set[str]
    """Layers of the port whose parameters are nobody else's."""
    whole_of_the_original: set[str]


def loose_fits(
    ours: Mapping[str, Any], theirs: Arrays, blocks: Blocks, match: Mapping[str, str], values: bool
) -> dict[str, Fit]:
    """Parameter of the port -> the array of the original that it is, as far as that is known.

    They are looked for in each pair of blocks, from the innermost on, and what is left then in the whole models. Which
    of several it is, their names tell, or else their order, where both sides have as many. match: names, or starts of
    names, that the user has matched. values: whether they are known by their numbers, and not by their shapes.
    """

    def fits(name: str, key: str) -> Fit | None:
        asked = [start for start in (translated(name, *each) for each in match.items()) if start is not None]
        if asked and not any(key == start or key.startswith(f"{start}.") for start in asked):
            return None
        if not values:
            return same_lengths(np.shape(ours[name]), key, theirs[key])
        return same_numbers(np.asarray(ours[name]), {key: theirs[key]} | _partner(key, theirs))

    found: dict[str, Fit] = {}

    def search(mine: Sequence[str], other: Sequence[str]) -> None:
        used = {key for fit in found.values() for key in fit.names}
        found.update(_paired(mine, [key for key in other if key not in used], fits))

    mine = [name for name in ours if not _inside(name, blocks.whole)]
    other = [key for key in theirs if not _inside(key, blocks.whole_of_the_original)]
    for here, there in sorted(blocks.pairs.items(), key=lambda pair: -len(pair[0])):
        search(
            [name for name in mine if _innermost(name, blocks.pairs) == here],
            [key for key in other if _innermost(key, blocks.pairs.values()) == there],
        )
    search([name for name in mine if name not in found], other)
    return found


def _paired(mine: Sequence[str], others: Sequence[str], fits: Callable[[str, str], Fit | None]) -> dict[str, Fit]:
    """By the last part of their names where each side has one; then by likeness or order, if they are as many."""
    able = {name: {key: fit for key in others if (fit := fits(name, key)) is not None} for name in mine}
    found: dict[str, Fit] = {}
    for name in mine:
        alike = [key for key in able[name] if _last(key) == _last(name)]
        if len(alike) == 1 and sum(_last(each) == _last(name) and alike[0] in able[each] for each in mine) == 1:
            found[name] = able[name][alike[0]]
    used = {key for fit in found.values() for key in fit.names}
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in mine:
        keys = tuple(key for key in able[name] if key not in used)
        if name not in found and keys:
            groups.setdefault(keys, []).append(name)
    for keys, names in groups.items():
        if len(names) == len(keys):
            found |= {name: able[name][key] for name, key in zip(names, _sorted(names, keys), strict=True)}
    return found


def _sorted(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The keys as the names have them, if each has its likest in another one; else as they are."""
    likeness = np.array([[difflib.SequenceMatcher(None, name, key).ratio() for key in keys] for name in names])
    best = likeness.argmax(1)
    certain = (likeness == likeness.max(1, keepdims=True)).sum() == len(keys) == len(set(best))
    return [keys[int(i)] for i in best] if certain else list(keys)


def _partner(key: str, theirs: Arrays) -> dict[str, np.ndarray]:
    """The other of two biases that a port may have added."""
    other = key.replace("bias_ih", "bias_hh")
    return {other: theirs[other]} if other in theirs else {}


def _innermost(name: str, paths: Iterable[str]) -> str:
    return max((path for path in paths if _inside(name, [path])), key=len, default="")


def _inside(name: str, paths: Iterable[str]) -> bool:
    return any(not path or name.startswith(f"{path}.") for path in paths)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
