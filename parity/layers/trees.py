"""Trees of dicts, and the names of their leaves."""

from collections.abc import Mapping
from typing import Any


def flattened(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`a.b.c` -> leaf, of dicts of dicts."""
    found = {}
    for name, part in tree.items():
        inside = flattened(part) if isinstance(part, Mapping) else {"": part}
        found |= {f"{name}.{key}" if key else str(name): leaf for key, leaf in inside.items()}
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `flattened`."""
    tree: dict[str, Any] = {}
    for key, leaf in flat.items():
        *path, name = key.split(".")
        part = tree
        for step in path:
            part = part.setdefault(step, {})
        part[name] = leaf
    return tree
