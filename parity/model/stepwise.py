"""Every step of a trace is judged: in float64, is it the same function? In the port's dtype, is it in its bound?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..layers.cutting import MOST, Piece, flat, pieces
from ..layers.marks import Place
from ..layers.numbering import Numbering
from ..roundoff.bounded import Bounded, Rounding
from ..verdict.deviation import Deviation, deviation_of
from ..verdict.rows import APPROXIMATED
from ..weights.alignment import Alignment
from ..weights.conventions import by_convention
from ..weights.counterparts import Counterparts
from .model_report import Step
from .steps import Met, Walk, ran, walked


@dataclass
class Judged:
    """The steps of a trace, as far as it was walked."""

    exact: list[Step] = field(default_factory=list)
    """In float64."""
    rounded: list[Step] = field(default_factory=list)
    """In the port's dtype."""
    order: list[Place] = field(default_factory=list)
    """The places, in the order in which they were met."""
    wrong: dict[Place, np.ndarray] = field(default_factory=dict)
    """What the port computed in float64 at the places where it differs."""
    by_convention: list[Place] = field(default_factory=list)
    """The places that differ from the original by a convention of the port's library alone, and so agree."""

    def followed_by(self, other: "Judged") -> "Judged":
        """Both; a step of the other that this one has too is left out, if it agrees there."""
        seen = {(step.place, step.dtype) for step in (*self.exact, *self.rounded)}

        def new(steps: list[Step]) -> list[Step]:
            return [step for step in steps if not step.ok or (step.place, step.dtype) not in seen]

        exact, rounded = [*self.exact, *new(other.exact)], [*self.rounded, *new(other.rounded)]
        order, excused = ([*dict.fromkeys((*a, *b))] for a, b in (
            (self.order, other.order), (self.by_convention, other.by_convention),
        ))  # fmt: skip
        return Judged(exact, rounded, order, {**other.wrong, **self.wrong}, excused)

    @property
    def forward(self) -> list[Place]:
        """The places on the way forward, in the order in which they were met."""
        return [place for place in self.order if not place.backward]

    def in_order(self, training: Sequence[Step] = ()) -> list[Step]:
        """The way forward, the cotangents on the way back, and the gradients of parameters; float64 first.

        training: the training steps, which follow on float64's.
        """
        return [*sorted(self.exact, key=_phase), *training, *sorted(self.rounded, key=_phase)]


class Trace:
    """A trace of the port, with its arguments and with the original's values at its marks.

    closed: the trace. exact, args: its arguments in float64, and in the port's own dtypes, of which `dtype` is the
    coarsest. gradients: output of the trace -> the place of the parameter whose gradient it is. wanted: the original's
    gradients, at these places.
    """

    def __init__(
        self,
        closed: Any,
        exact: Any,
        args: Any,
        dtype: Any,
        both: Counterparts,
        align: Alignment,
        gradients: Mapping[int, Place] = MappingProxyType({}),
        wanted: Mapping[Place, np.ndarray] = MappingProxyType({}),
    ):
        self._closed, self._both, self._align, self._dtype = flat(closed), both, align, np.dtype(dtype)
        self._numbering = Numbering(self._closed.jaxpr)
        self._gradients, self._wanted = gradients, wanted
        self._exact = dict(zip(self._closed.jaxpr.invars, jax.tree.leaves(exact), strict=True))
        self._args = dict(zip(self._closed.jaxpr.invars, jax.tree.leaves(args), strict=True))
        self._known: dict[Any, Place] = {}  # the marks that were met, whose values the original gave

    def judged(self, put_in: Collection[Place] = ()) -> Judged:
        """All its steps, but for the places where a cotangent is put in; a piece of the trace is held at a time."""
        found, done = Judged(), set(put_in)
        for piece in pieces(self._closed, self._known, MOST):
            walk = self._in_float64(piece)
            new = [place for place in walk.met if place not in done]
            done.update(new)
            found.order += new
            for step in self._steps(walk, new, piece):
                place, met = step.place, walk.met.get(step.place)
                if not step.ok and met is not None:
                    if (excused := self._by_convention(place, met)) is not None:
                        step = excused
                        found.by_convention.append(place)
                    else:
                        found.wrong[place] = met.value
                found.exact.append(step)
            if self._dtype != np.float64:
                found.rounded += self._steps_in_dtype(piece, walk, new)
            self._note(piece, walk)
        return found

    def _note(self, piece: Piece, walk: Walk) -> None:
        """Notes at which marks the original's value went on: the pieces that follow begin with those."""
        for eqn in piece.marks:
            place = self._numbering.of_only(eqn.params["place"])
            if place in walk.met and self._given(place, walk.met[place].value.shape) is not None:
                self._known[eqn.outvars[0]] = place

    def _given(self, place: Place, shape: tuple[int, ...]) -> np.ndarray | None:
        """The original's value at a mark that the walk in float64 has met."""
        value = self._align.known(place)
        return value if value is not None and value.shape == shape else None

    def _in_float64(self, piece: Piece) -> Walk:
        known = {var: self._align.known(self._known[var]) for var in piece.invars if var in self._known}
        inputs = [Bounded(known[var], None) if var in known else self._exact[var] for var in piece.invars]
        return walked(piece, inputs, self._align.found, Rounding(np.float64, inside=False))

    def _steps(self, walk: Walk, places: Sequence[Place], piece: Piece) -> list[Step]:
        """In float64, where both sides round, and numbers are typed with so many digits."""
        steps = []
        for place in places:
            met = walk.met[place]
            if (want := self._align.known(place)) is not None:
                steps.append(compared(place, "float64", met.value, want, allowed(met, want)))
            elif place in self._align.unfit:
                problem = f"its shape is {met.value.shape}, and the original's {self._align.unfit[place]}"
                steps.append(Step(place, "float64", Deviation(problem=problem), (), np.nan, np.nan))
        for place, met in self._of_parameters(walk, piece).items():
            want = self._wanted[place]
            steps.append(compared(place, "float64", met.value, want, allowed(met, want)))
        return steps

    def _by_convention(self, place: Place, met: Met) -> Step | None:
        """The step that agrees with the convention of the port's library; None where it has none or differs from it."""
        kept = by_convention(self._both, place)
        step = None if kept is None else compared(place, "float64", met.value, kept, allowed(met, kept))
        return step if step is not None and step.ok else None

    def _steps_in_dtype(self, piece: Piece, exact: Walk, places: Sequence[Place]) -> list[Step]:
        """As jax computes them, each within its bound; the gradients of parameters are judged in float64 alone.

        They have a hundred thousand elements each, and the bound of a sum is a likely one (docs/how-it-decides.md).
        """
        shapes = {place: met.value.shape for place, met in exact.met.items()}
        given = {place: self._given(place, shape) for place, shape in shapes.items()}
        forced = {place: self._cast(value) for place, value in given.items() if value is not None}
        before = {var: self._cast(self._align.known(self._known[var])) for var in piece.invars if var in self._known}
        inputs = [before[var] if var in before else self._args[var] for var in piece.invars]
        exactly = [Bounded(_widened(before[var]), None) if var in before else self._args[var] for var in piece.invars]
        want = walked(piece, exactly, lambda place, _: _widened(forced.get(place)), Rounding(self._dtype))
        got = ran(piece, inputs, forced)
        pairs = {place: (got.met[place], want.met[place]) for place in places if place in forced}
        return [compared(place, self._dtype.name, g.value, w.value, w.error) for place, (g, w) in pairs.items()]

    def _of_parameters(self, walk: Walk, piece: Piece) -> dict[Place, Met]:
        """The gradients of parameters among a piece's outputs, those that the original has too."""
        places = [self._gradients.get(k) for k in piece.outputs]
        pairs = zip(places, walk.outputs, strict=False)
        return {place: met for place, met in pairs if place is not None and place in self._wanted}

    def _cast(self, value: Any) -> np.ndarray:
        return value.astype(self._dtype) if value.dtype.kind == "f" else value


def _phase(step: Step) -> int:
    place = step.place
    return place.backward + (place.backward and place.role not in ("in", "out"))


def allowed(met: Met, want: np.ndarray) -> np.ndarray:
    """In float64: both sides round, and both may have typed constants and approximations."""
    return 2 * met.error + APPROXIMATED * np.max(np.abs(want), initial=0, where=np.isfinite(want))


def compared(place: Place, dtype: str, got: Any, want: Any, bound: Any) -> Step:
    """The step that compares `got`, of the port, with `want`."""
    bound = np.zeros(want.shape) if want.dtype.kind in "bui" else bound
    deviation = deviation_of(got, want, bound, got.dtype)
    index = deviation.index if deviation.problem is None else deviation.budget_index
    alike = got.shape == want.shape and got.size
    values = (float(got[index]), float(want[index])) if alike else (np.nan, np.nan)
    return Step(place, dtype, deviation, index, *values, zero=not np.any(got))


def _widened(value: Any) -> np.ndarray | None:
    return None if value is None else value.astype(np.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value
