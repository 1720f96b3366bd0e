"""Gradients that are not compared because the user says so, and those that stop where nobody says so."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..layers.marks import LOSS, Place
from ..verdict.deviation import Deviation, deviation_of
from ..weights.alignment import Alignment
from ..weights.counterparts import Counterparts
from ..weights.stops import in_words, listed, parameter_of, stops_of
from .model_report import Step

if TYPE_CHECKING:
    from ..layers.recording import Recording


class Kept(NamedTuple):
    """The steps that count, with what is to be said of the others."""

    steps: list[Step]
    notes: list[str]
    hints: dict[Place, str]
    """What a gradient looks like that only one side stops."""


def as_asked(
    steps: Sequence[Step], align: Alignment, frozen: Collection[str], intended: Mapping[str, Collection[str]]
) -> Kept:
    """Adds the cotangents that the port has not at all, and leaves out what is frozen or stopped on purpose.

    frozen: parameters. intended: patterns of the user's -> the layers and parameters of the port that they fit.
    """
    steps = [step for step in steps if parameter_of(step.place) not in frozen]
    exact = [step for step in steps if step.dtype == "float64"]
    order = [step.place for step in exact if not step.place.backward]
    at = 1 + max((i for i, step in enumerate(steps) if step in exact and step.place.role in ("in", "out")), default=-1)
    whole = [*steps[:at], *_silent(exact, order, align), *steps[at:]]
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
    ours, theirs = (list(names) for names in both.unmapped)
    outputs, there = len(both.layers[""].outputs), len(recording.leaves("", "out", 0))
    theirs += [f"output {i}" for i in range(outputs, there)]
    if last is not None:
        places = recording.leaves(both.pairs[last], "out", 0)[: len(both.layers[last].outputs)]
        floats = [place for place in places if recording.values[place].dtype.kind == "f"]
        ours += [f"the gradient of output {place.leaf}" for place in floats if place not in recording.tracked]
    return {"port": ours, "original": theirs}


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
