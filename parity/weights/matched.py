"""The names that a user matches: each must be there, on both sides."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..layers.calls import Calls
from ..layers.port import Port
from ..layers.selection import listed
from .pairing import translated

if TYPE_CHECKING:
    from ..layers.original import Original


def check_match(match: Mapping[str, str], port: Port, calls: Calls, original: "Original") -> None:
    """Raises ValueError, naming the pattern, where it fits nothing in the port, or makes a name of nothing."""
    ours = [*dict.fromkeys(path for path in calls.begun if path), *port.params]
    theirs = [*filter(None, original.parts), *original.state]
    for pattern, other in match.items():
        try:
            made = {name for path in ours if (name := translated(path, pattern, other)) is not None}
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"match has {pattern!r}: {other!r}, whose braces name what the first has not") from None
        if not made and calls.raised is None:
            raise ValueError(f"match has {pattern!r}, which fits nothing in the port; there are {listed(ours)}")
        for name in made:
            if not any(there == name or there.startswith(f"{name}.") for there in theirs):
                there = listed(theirs)
                raise ValueError(f"match makes {name!r} of {pattern!r}, which the original has not; it has {there}")
