"""Layouts of the user's own: a function that makes a parameter of the port of an array of the original's."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..layers.calls import in_a_line
from ..layers.selection import chosen
from .pairing import translated
from .parameters import OTHERWISE_CALLED, Source

Layouts: TypeAlias = Mapping[str, Callable[[np.ndarray], Any]]
"""A pattern of the port's parameters -> what makes one of the original's array."""


class Given(NamedTuple):
    """Where a parameter of the port comes from."""

    name: str
    """The original's array."""
    source: Source


def given_layouts(
    layout: Layouts, params: Mapping[str, Any], arrays: Mapping[str, np.ndarray], other: Callable[[str], list[str]]
) -> dict[str, Given]:
    """Parameter of the port -> its array of the original's, laid out by the user's function.

    other: which of the original's arrays a parameter may be, the likeliest first. Raises ValueError where a pattern
    fits nothing, where no array is known, and where the function does not make the parameter's shape, or changes
    numbers and does not only move them: gradients go through it too.
    """
    found = {}
    for pattern, names in chosen("layout", layout, params).items():
        for name in names:
            key = next((each for each in other(name) if each in arrays), None)
            if key is None:
                raise ValueError(
                    f"layout has {pattern!r}, and it is not known which of the original's arrays {name} is: "
                    f'say so with match={{"{name}": "the name in the original"}}'
                )
            _refuse_what_does_not_fit(f"layout[{pattern!r}]", layout[pattern], arrays[key], key, name, params[name])
            found[name] = Given(key, _source(layout[pattern], key))
    return found


def likely_arrays(name: str, match: Mapping[str, str], owner: str | None, pairs: Mapping[str, str]) -> list[str]:
    """The names that a parameter of the port may have in the original: as matched, or as its layer's counterpart says.

    owner: the paired layer whose parameter it is.
    """
    last = name.rpartition(".")[2]
    starts = [start for pattern in match.items() if (start := translated(name, *pattern)) is not None]
    if owner is not None:
        starts.append(pairs[owner])
    ends = (OTHERWISE_CALLED.get(last, last), last)
    return [*starts, *(f"{start}.{end}".lstrip(".") for start in starts for end in ends), name]


def _source(function: Callable[[np.ndarray], Any], key: str) -> Source:
    return lambda arrays, summed: np.asarray(function(arrays[key])) if key in arrays else None


def _refuse_what_does_not_fit(said: str, function: Any, array: np.ndarray, key: str, name: str, value: Any) -> None:
    what = f"{said} of {key}, of shape {array.shape},"
    try:
        made, of_others = (np.asarray(function(each)) for each in (array, 1 - 2 * array))
    except Exception as error:
        raise ValueError(f"{what} raised {in_a_line(error)}") from error
    if made.shape != np.shape(value):
        raise ValueError(f"{what} makes the shape {made.shape}, and {name} has {np.shape(value)}")
    if not np.allclose(of_others, 1 - 2 * made, rtol=1e-12, atol=1e-12):
        raise ValueError(
            f"{what} changes numbers; it may only move, leave out or repeat them, as gradients go that way too"
        )
