"""Names of layers and parameters, chosen by patterns: `head`, `block*.norm`, `**.bias`."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase


def chosen(option: str, patterns: str | Iterable[str], names: Iterable[str]) -> dict[str, list[str]]:
    """Each pattern -> the names that it fits, or that lie under what it fits. One pattern may be given by itself.

    `*` stands for one step of a name, or a part of it, and `**` for any number of steps. option: the argument that the
    patterns came by. Raises ValueError for a pattern that fits nothing.
    """
    there = list(dict.fromkeys(names))
    found = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found[pattern] = [name for name in there if fits(pattern, name)]
        if not found[pattern]:
            raise ValueError(f"{option} has {pattern!r}, which fits nothing in the port; there are {listed(there)}")
    return found


def fits(pattern: str, name: str) -> bool:
    """Whether a pattern fits a name, or something that it lies under: `**.attn` fits `block0.attn.query.kernel`."""
    return _fits(pattern.split("."), name.split("."))


def _fits(pattern: Sequence[str], steps: Sequence[str]) -> bool:
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(pattern[1:], steps[i:]) for i in range(len(steps) + (len(pattern) == 1)))
    return bool(steps) and fnmatchcase(steps[0], pattern[0]) and _fits(pattern[1:], steps[1:])


def listed(names: Sequence[str], most: int = 12) -> str:
    """The names, each once, and how many more there are."""
    words = list(dict.fromkeys(names))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
