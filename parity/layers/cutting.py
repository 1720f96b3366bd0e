"""A trace in pieces: whoever holds a model's values at the marks can compute what lies between without the rest.

At a mark the original's value goes on, so what comes after it needs nothing of what came before. A piece is so many
marks in a row, with the equations between them and the marks before: the values of one piece are let go before the
next is computed. What a backward piece needs of the way forward is computed again, from the marks around it.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from ..roundoff.high_level import inner_jaxprs
from ..roundoff.interpreter import alive, inner_call, is_call, walk
from .marks import mark_p

MOST = 2**25
"""So many bytes pass the marks of a piece, in float64, if no single value is larger."""


class Piece(NamedTuple):
    """Part of a trace, with what a walk asks of a jaxpr."""

    constvars: list[Any]
    consts: list[Any]
    invars: list[Any]
    """Arguments of the trace, and values at earlier marks."""
    outvars: list[Any]
    """Outputs of the trace, and then the marks' own values, so that no mark is dropped as unused."""
    eqns: list[Any]
    outputs: list[int]
    """Which of the trace's outputs the first of `outvars` are."""
    marks: list[Any]
    """The equations of the marks that are met in this piece; those in loops aside."""
    trace: Any
    """The jaxpr of the whole trace: it tells which call of its layer a mark belongs to."""


def whole(closed: Any) -> Any:
    """The jaxpr of a trace, and of the trace that a piece belongs to."""
    return closed.trace if isinstance(closed, Piece) else closed.jaxpr


def is_mark(eqn: Any) -> bool:
    """Whether a value, or a cotangent, is met here."""
    return eqn.primitive is mark_p and not eqn.params["tangent"]


def has_marks(eqn: Any) -> bool:
    """Whether there are marks in what an equation calls."""
    return any(inner.primitive is mark_p or has_marks(inner) for jaxpr in inner_jaxprs(eqn) for inner in jaxpr.eqns)


def flat(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same trace, with the calls inlined that have marks in them. Loops stay."""
    if not any(has_marks(eqn) for eqn in closed.jaxpr.eqns):
        return closed

    def apply(eqn: Any, inputs: list[Any]) -> list[Any]:
        if is_call(eqn) and has_marks(eqn):
            return inside(*inner_call(eqn, inputs))
        outputs = eqn.primitive.bind(*inputs, **eqn.params)
        return list(outputs) if eqn.primitive.multiple_results else [outputs]

    def inside(jaxpr: Any, inputs: Any) -> list[Any]:
        return walk(jaxpr, list(getattr(jaxpr, "consts", ())), list(inputs), lambda atom: atom.val, apply)

    return jax.make_jaxpr(lambda *args: inside(closed, args))(*closed.in_avals)


def pieces(closed: ClosedJaxpr, known: Collection[Any], most: int = MOST) -> Iterator[Piece]:
    """The pieces of a trace that is flat, in order.

    known: the marks' variables whose values the caller has; it grows while the caller goes on from piece to piece.
    most: the bytes of a piece. A trace that meets one place several times, as in a loop, is one piece: which time it is
    is known only if the times before it are met too.
    """
    eqns = alive(closed.jaxpr)
    places = [eqn.params["place"] for eqn in eqns if is_mark(eqn)]
    undivided = len(set(places)) < len(places) or any(has_marks(eqn) for eqn in eqns)
    outputs = _outputs(closed.jaxpr, eqns)
    start, size = 0, 0
    for i, eqn in enumerate(eqns):
        met = sum(_bytes(var) for var in eqn.outvars) if is_mark(eqn) or i in outputs else 0
        if not undivided and size and size + met > most:
            yield _piece(closed, eqns, start, i, outputs, known)
            start, size = i, 0
        size += met
    yield _piece(closed, eqns, start, len(eqns), outputs, known)


def _outputs(jaxpr: Any, eqns: list[Any]) -> dict[int, list[int]]:
    """Equation -> the outputs of the trace that it makes; what none makes is given to the first."""
    made = {var: i for i, eqn in enumerate(eqns) for var in eqn.outvars}
    outputs: dict[int, list[int]] = {}
    for k, atom in enumerate(jaxpr.outvars):
        outputs.setdefault(0 if isinstance(atom, Literal) else made.get(atom, 0), []).append(k)
    return outputs


def _piece(
    closed: ClosedJaxpr, eqns: list[Any], start: int, stop: int, outputs: dict[int, list[int]], known: Collection[Any]
) -> Piece:
    marks = [eqn for eqn in eqns[start:stop] if is_mark(eqn)]
    indices = [k for i in range(start, max(stop, 1)) for k in outputs.get(i, ())]
    outvars = [closed.jaxpr.outvars[k] for k in indices] + [eqn.outvars[0] for eqn in marks]
    needed = dict.fromkeys(_variables(outvars))
    found: list[Any] = []
    for i in reversed(range(stop)):
        eqn = eqns[i]
        cut = i < start and is_mark(eqn) and eqn.outvars[0] in known
        if not cut and any(var in needed for var in eqn.outvars):
            needed.update(dict.fromkeys(_variables(eqn.invars)))
            found.append(eqn)
    made = {var for eqn in found for var in eqn.outvars}
    consts = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    given = [var for var in needed if var not in made]
    closed_over = [var for var in given if var in consts]
    return Piece(
        constvars=closed_over,
        consts=[consts[var] for var in closed_over],
        invars=[var for var in given if var not in consts],
        outvars=outvars,
        eqns=found[::-1],
        outputs=indices,
        marks=marks,
        trace=closed.jaxpr,
    )


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def _bytes(var: Any) -> int:
    return 8 * int(np.prod(getattr(var.aval, "shape", ())))
