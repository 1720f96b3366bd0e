"""One step at a time: the port is fed the original's values at every layer, so that each step is judged by itself.

The port is traced once, gradients included, with marks at its layers. The trace is walked in float64; at each mark the
value that the port has computed is noted, and the original's value goes on in its place. So what reaches the next mark
was computed from the original's numbers by one layer, or by what lies between two layers, and its bound is that deep.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ..layers.cutting import has_marks, is_mark, whole
from ..layers.marks import Place, met_by
from ..layers.numbering import Numbering
from ..roundoff.bounded import Bounded, Rounding, error_of
from ..roundoff.interpreter import evaluate, inner_call, is_call, scan, walk
from ..roundoff.products import cpu


class Met(NamedTuple):
    """What the port computed at a mark, from the original's values at the marks before it."""

    value: np.ndarray
    error: np.ndarray
    """How far rounding may have moved it."""


Given: TypeAlias = Callable[[Place, np.ndarray], "np.ndarray | None"]
"""(a mark, what the port computed there) -> the original's value; None where the port's goes on."""


class Walk(NamedTuple):
    """One walk through the trace."""

    met: dict[Place, Met]
    """At each mark, in the order in which they were met."""
    outputs: list[Met]


def walked(closed: Any, args: Sequence[Any], given: Given, rounding: Rounding) -> Walk:
    """The trace, or a piece of it, in float64, with a bound on each step's rounding. args: a leaf for each input."""
    met: dict[Place, Met] = {}
    own = Numbering(whole(closed))

    def meet(place: Place, x: Bounded) -> Bounded:
        place = own(place)
        met.setdefault(place, Met(np.asarray(x.value), np.asarray(error_of(x), np.float64)))
        value = given(place, np.asarray(x.value))
        return x if value is None else Bounded(value, None)

    inputs = [leaf if isinstance(leaf, Bounded) else rounding.argument(leaf) for leaf in args]
    with np.errstate(all="ignore"), jax.default_device(cpu()), met_by(meet):
        found = evaluate(rounding, closed, inputs)
    return Walk(met, [Met(np.asarray(x.value), np.asarray(error_of(x), np.float64)) for x in found])


def ran(closed: Any, args: Sequence[Any], forced: Mapping[Place, np.ndarray]) -> Walk:
    """The same as jax computes it, compiled, in the trace's own dtypes; without bounds."""
    order: list[Place] = []

    @jax.jit
    def run(args: Any, values: list[Any]) -> Any:
        given, met, own = dict(zip(forced, values, strict=True)), {}, Numbering(whole(closed))

        def apply(eqn: Any, inputs: list[Any]) -> list[Any]:
            if is_mark(eqn):
                place = own(eqn.params["place"])
                met.setdefault(place, inputs[0])
                return [given.get(place, inputs[0])]
            if is_call(eqn) and eqn.primitive.name != "pallas_call":
                return inside(*inner_call(eqn, inputs))
            if eqn.primitive.name == "scan" and has_marks(eqn):
                return scan(eqn, inputs, inside, lambda x, i: x[i], lambda rows, aval: jnp.stack(rows))
            outputs = eqn.primitive.bind(*inputs, **eqn.params)
            return list(outputs) if eqn.primitive.multiple_results else [outputs]

        def inside(jaxpr: Any, inputs: Any) -> list[Any]:
            return walk(jaxpr, list(getattr(jaxpr, "consts", ())), list(inputs), lambda atom: atom.val, apply)

        outputs = inside(closed, args)
        order[:] = met
        return list(met.values()), outputs

    met, outputs = run(list(args), list(forced.values()))
    unknown = np.zeros(())
    each = {place: Met(np.asarray(x), unknown) for place, x in zip(order, met, strict=True)}
    return Walk(each, [Met(np.asarray(x), unknown) for x in outputs])
