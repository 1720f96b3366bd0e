"""Which call of its layer a mark belongs to, where it is met again and again: in a loop, and on the way back.

A trace has one mark for all the rounds of a loop. The way back passes the rounds from the last to the first, and a
rematerialized part passes its marks again before that.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..roundoff.high_level import inner_jaxprs
from .marks import Place, mark_p


class Numbering:
    """Counts the calls of one walk through a trace, from its start."""

    def __init__(self, jaxpr: Any):
        order = list(itertools.takewhile(lambda place: not place.backward, _marks(jaxpr)))
        numbers: dict[str, set[int]] = {}
        for place in order:
            numbers.setdefault(place.path, set()).add(place.call)
        # A body that was traced twice has left numbers that no mark in this trace has.
        ranks = {path: {call: i for i, call in enumerate(sorted(calls))} for path, calls in numbers.items()}
        self._calls: dict[Place, list[int]] = {}
        """Each mark on the way forward -> the numbers of the calls in which it is met."""
        taken: set[Place] = set()
        for place in order:
            own = place._replace(call=ranks[place.path][place.call])
            while own in taken:
                own = own._replace(call=own.call + 1)
            taken.add(own)
            self._calls.setdefault(place, []).append(own.call)
        self._met: Counter[tuple[Place, bool]] = Counter()
        self._turned = False

    def of_only(self, place: Place) -> Place:
        """The place of a mark that is met once."""
        return place._replace(call=self._calls.get(place._replace(backward=False), [place.call])[0])

    def __call__(self, place: Place) -> Place:
        """The place of a mark that is met now, with the number of its call."""
        self._turned |= place.backward
        count = self._met[place, self._turned]
        self._met[place, self._turned] += 1
        calls = self._calls.get(place._replace(backward=False), [place.call])
        if self._turned:
            return place._replace(call=calls[-1 - count % len(calls)])
        more = max(count - len(calls) + 1, 0)  # rounds of a loop that the trace does not tell the number of
        return place._replace(call=calls[min(count, len(calls) - 1)] + more)


def _marks(jaxpr: Any) -> Iterator[Place]:
    """In the order in which they are met."""
    for eqn in jaxpr.eqns:
        if eqn.primitive is mark_p:
            if not eqn.params["tangent"]:
                yield eqn.params["place"]
            continue
        for inner in inner_jaxprs(eqn):
            inside = list(_marks(inner))
            yield from inside * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
