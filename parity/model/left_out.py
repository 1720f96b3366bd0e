"""Gradients that are not compared because the user says so, and those that stop where nobody says so."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..layers.calls import Calls, in_a_line
from ..layers.inputs import layout_hint
from ..layers.marks import LOSS, Place
from ..layers.port import Port
from ..layers.selection import listed
from ..verdict.deviation import Deviation, deviation_of
from ..weights.alignment import Alignment
from ..weights.counterparts import Counterparts
from ..weights.own_layout import Layouts
from ..weights.stops import in_words, parameter_of, stops_of
from .model_report import Step

if TYPE_CHECKING:
    from ..layers.original import Original
    from ..layers.recording import Recording


class Kept(NamedTuple):
    """The steps that count, with what is to be said of the others."""

    steps: list[Step]
    notes: list[str]
    hints: dict[Place, str]
    """What a gradient looks like that only one side stops."""


def as_asked(
    steps: Sequence[Step], align: Alignment | None, frozen: Collection[str], intended: Mapping[str, Collection[str]]
) -> Kept:
    """Adds the cotangents that the port has not at all, and leaves out what is frozen or stopped on purpose.

    align: None where nothing was compared on the way back. frozen: parameters. intended: patterns of the user's -> the
    layers and parameters of the port that they fit.
    """
    steps = [step for step in steps if parameter_of(step.place) not in frozen]
    exact = [step for step in steps if step.dtype == "float64"]
    order = [step.place for step in exact if not step.place.backward]
    at = 1 + max((i for i, step in enumerate(steps) if step in exact and step.place.role in ("in", "out")), default=-1)
    whole = [*steps[:at], *(_silent(exact, order, align) if align else ()), *steps[at:]]
    backward = [step for step in whole if step.place.backward and step.dtype == "float64"]
    zeros = [step.place for step in backward if step.zero and not step.ok]
    found = stops_of(zeros, [step.place for step in backward], order, intended)
    apart = {*found.intended, *found.beyond}
    kept = [step for step in whole if step.place not in apart]
    for pattern, place in found.idle.items():
        problem = f"intended_stop names {pattern}, and the port stops no gradient there"
        kept.insert(at, Step(place, "float64", Deviation(problem=problem), (), np.nan, np.nan))
    said = [
        ("The port does not train these (frozen), so their gradients were not compared", listed(list(frozen))),
        (
            "The port stops these gradients on purpose (intended_stop), so they were not compared",
            in_words(found.intended),
        ),
        ("No gradient gets past there to these, so theirs were not compared either", in_words(found.beyond)),
    ]
    notes = [f"{text}: {names}." for text, names in said if names]
    return Kept(kept, notes, {step.place: hint for step in kept if (hint := _hint(step))})


def only_one_side_has(both: Counterparts, recording: "Recording", last: str | None) -> dict[str, list[str]]:
    """Parameters, buffers and outputs. last: the layer whose outputs are differentiated; None where none are.

    Under `torch.no_grad()` there is nothing to compare the gradient of an output with.
    """
    midway = both.calls.raised or recording.raised  # then nobody knows what has a counterpart
    ours, theirs = ([] if midway else list(names) for names in both.unmapped)
    outputs, there = len(both.layers[""].outputs), len(recording.leaves("", "out", 0))
    theirs += [] if midway else [f"output {i}" for i in range(outputs, there)]
    if last is not None:
        places = recording.leaves(both.pairs[last], "out", 0)[: len(both.layers[last].outputs)]
        floats = [place for place in places if recording.values[place].dtype.kind == "f"]
        ours += [f"the gradient of output {place.leaf}" for place in floats if place not in recording.tracked]
    if recording.raised_on_the_way_back:
        ours.append(f"gradients (on the way back the original raised {recording.raised_on_the_way_back})")
    return {"port": ours, "original": theirs}


def raised(place: Place, error: Exception) -> Step:
    """A step of the port that raised."""
    return Step(place, "float64", Deviation(problem=f"raised {in_a_line(error)}"), (), np.nan, np.nan)


def raised_forward(calls: Calls) -> list[Step]:
    """The layer of the port that raised, if one did: nothing comes after it."""
    layer = calls.raised
    return [] if layer is None else [raised(Place(layer.path, "out", 0, layer.call), layer.error)]


def raised_midway(calls: Calls, recording: "Recording") -> list[str]:
    """What to say of layers that raised, on either side."""
    sides = {"port": str(calls.raised or ""), "original": recording.raised}
    said = "What comes after that was not compared, nor were gradients."
    return [f"Of the {side}, {what}. {said}" for side, what in sides.items() if what]


def counterparts(
    port: Port,
    calls: Calls,
    original: "Original",
    recording: "Recording",
    match: Mapping[str, str],
    keep: bool,
    inputs: Sequence[np.ndarray],
    layout: Layouts,
) -> Counterparts:
    """The pairs of layers and parameters; where there are none, and the inputs' layout may be why, that is said."""
    try:
        return Counterparts(port, calls, original, recording, match, keep, layout)
    except ValueError as error:
        hint = layout_hint(inputs, original.channels, port.framework)
        raise ValueError(f"{error}{hint}") from None


def _silent(exact: Sequence[Step], order: Sequence[Place], align: Alignment) -> list[Step]:
    """The cotangents that reach a place in the original, and not in the port, last layer first."""
    met = {step.place for step in exact}
    last = LOSS if any(place.path == LOSS for place in order) else ""
    found = []
    for place in reversed([each._replace(backward=True) for each in order if each.role in ("in", "out")]):
        is_given = (place.path, place.role) == (last, "out")
        want = None if is_given or place in met else align.known(place)
        if want is not None and want.dtype.kind == "f" and want.any():
            deviation = deviation_of(np.zeros(want.shape), want, np.zeros(want.shape), want.dtype)
            index = deviation.index
            found.append(Step(place, "float64", deviation, index, 0.0, float(want[index]), zero=True))
    return found


def _hint(step: Step) -> str:
    if step.ok or not step.place.backward or step.dtype != "float64" or not np.isfinite(step.deviation.max_abs):
        return ""
    if step.zero:
        return "a gradient that the port stops, and the original does not"
    return "" if np.isfinite(step.deviation.relative) else "a gradient that the original stops, and the port does not"
