"""The trace of a port's gradients, and where each parameter's gradient is among its outputs."""

from typing import Any

import jax
import jax.numpy as jnp

from ..layers.calls import Calls
from ..layers.marks import Place
from ..layers.port import Port
from ..weights.counterparts import Counterparts


def with_gradients(port: Port, args: Any) -> Any:
    """The trace of `(gradients of the parameters by name, of the inputs, outputs, statistics)`.

    args: the parameters and the inputs. The outputs' cotangents are 0: whoever walks the trace puts them in, at the
    marks of the outputs.
    """

    def run(params: Any, *inputs: Any) -> Any:
        frozen = {name: params[name] for name in port.frozen}
        diff = {name: value for name, value in params.items() if name not in frozen}
        floats = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]

        def of(diff: Any, some: Any) -> tuple[list[Any], Any]:
            given, calls = dict(enumerate(inputs)) | dict(zip(floats, some, strict=True)), Calls()
            leaves = jax.tree.leaves(port.run({**diff, **frozen}, calls, *given.values()))
            real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
            others = [leaf for leaf, is_real in zip(leaves, real, strict=True) if not is_real]
            return [leaf for leaf, is_real in zip(leaves, real, strict=True) if is_real], (others, calls.statistics)

        ys, pull, others = jax.vjp(of, diff, [inputs[i] for i in floats], has_aux=True)
        params_bar, inputs_bar = pull([jnp.zeros_like(y) for y in ys])
        return params_bar, inputs_bar, ys, others

    return jax.make_jaxpr(run)(*args)


def places_of_parameters(both: Counterparts) -> dict[str, Place]:
    """Parameter with a gradient -> where it is reported, in the order of the trace's outputs: jax sorts a dict."""
    places = {}
    for name in sorted(set(both.params) - both.port.frozen):
        path = both.owner(name) or ""
        places[name] = Place(path, name.removeprefix(f"{path}."), 0, 0, True)
    return places
