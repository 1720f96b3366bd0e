"""Where a port stops gradients on purpose: there, and past there, its gradients are 0 and the original's are not."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..layers.marks import STATISTICS, Place
from ..layers.selection import listed


class Stops(NamedTuple):
    """What is not compared, as no gradient is meant to be there."""

    intended: list[Place]
    """Where the user said so, and where the port's gradient is 0."""
    beyond: list[Place]
    """What no gradient reaches, since it comes before those on the way forward."""
    idle: dict[str, Place]
    """A pattern of the user's -> the first place that it fits, if the port stops no gradient at any of them."""


def stops_of(
    zeros: Collection[Place], backward: Sequence[Place], order: Sequence[Place], named: Mapping[str, Collection[str]]
) -> Stops:
    """The stops that the user names.

    zeros: where the port's gradient is all 0, of the places `backward`. order: the places of the way forward, as they
    were met. named: pattern -> the layers and parameters that it fits.
    """
    met = {place: i for i, place in enumerate(order)}
    intended: list[Place] = []
    idle: dict[str, Place] = {}
    for pattern, names in named.items():
        fitting = [place for place in backward if place.path in names or parameter_of(place) in names]
        stopped = [place for place in fitting if place in zeros]
        intended += [place for place in stopped if place not in intended]
        if fitting and not stopped:
            idle[pattern] = fitting[0]
    last = max((_position(place, met) for place in intended if place.role in ("in", "out")), default=-1)
    beyond = [place for place in zeros if place not in intended and 0 <= _position(place, met) < last]
    if last >= 0:
        intended += _handed_on(order[last:], zeros)
    return Stops(intended, beyond, idle)


def _handed_on(order: Sequence[Place], zeros: Collection[Place]) -> list[Place]:
    """Where the stopped array goes on unchanged by any parameter: out of the layers that hold its own, into the next.

    order: the places of the way forward, from the stop on.
    """
    stop, *after = order
    found = []
    for place in after:
        holds = place.role == "out" and (not place.path or stop.path.startswith(f"{place.path}."))
        if (back := place._replace(backward=True)) not in zeros or not (holds or place.role == "in"):
            break
        found.append(back)
    return found


def parameter_of(place: Place) -> str:
    """The name of the parameter whose gradient, or whose change in a training step, is compared there; "" elsewhere."""
    role = place.role.removeprefix("change of ").partition(" in step ")[0]
    return "" if role in ("in", "out", *STATISTICS.values()) else f"{place.path}.{role}".lstrip(".")


def _position(place: Place, met: Mapping[Place, int]) -> int:
    """When its layer was reached on the way forward; -1 for what belongs to none."""
    if place.role in ("in", "out"):
        return met.get(place._replace(backward=False), -1)
    return max(
        (i for each, i in met.items() if each.path == place.path and each.path and each.role == "out"), default=-1
    )


def in_words(places: Sequence[Place]) -> str:
    """`first.kernel, first.bias, the output of first and 3 more`."""
    return listed([_in_words(place) for place in places])


def _in_words(place: Place) -> str:
    role = {"in": "the input of ", "out": "the output of "}.get(place.role)
    return parameter_of(place) if role is None else role + (place.path or "the model")
