"""jax's high-level primitives: objects that say themselves what they compute, in terms of ordinary primitives.

Under `JAX_CUSTOM_VJP3` and `JAX_REMAT3` (jax 0.12) a custom_vjp and a checkpoint are such objects, and users write
their own (`jax.experimental.hijax`).
"""

import functools
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

NAME = "call_hi_primitive"
CUSTOM_VJP = "CustomVJPTraced"


def is_high_level(eqn: Any) -> bool:
    """Whether an equation calls a high-level primitive."""
    return eqn.primitive.name == NAME


def is_custom_vjp(eqn: Any) -> bool:
    """Whether that primitive is a custom_vjp: a rule that somebody wrote by hand."""
    return is_high_level(eqn) and type(eqn.params["_prim"]).__name__ == CUSTOM_VJP


def name_of(eqn: Any) -> str:
    """The name of the function that it was made of, or of its class."""
    primitive = eqn.params["_prim"]
    return getattr(getattr(primitive, "traced", None), "fun_name", type(primitive).__name__)


def expanded(eqn: Any) -> ClosedJaxpr:
    """What a high-level primitive computes, as a jaxpr of the equation's inputs."""
    return _expanded(eqn.params["_prim"])


def inner_jaxprs(eqn: Any) -> list[Jaxpr]:
    """The jaxprs that an equation calls, of whatever primitive."""
    if is_high_level(eqn):
        return [expanded(eqn).jaxpr]
    parts = [
        part for value in eqn.params.values() for part in (value if isinstance(value, (tuple, list)) else (value,))
    ]
    return [inner for part in parts if hasattr(inner := getattr(part, "jaxpr", part), "eqns")]


@functools.lru_cache(512)
def _expanded(primitive: Any) -> ClosedJaxpr:
    flat = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in primitive.in_avals_flat]

    def run(*args: Any) -> Any:
        return jax.tree.leaves(primitive.expand(*jax.tree.unflatten(primitive.in_tree, args)))

    return jax.make_jaxpr(run)(*flat)
