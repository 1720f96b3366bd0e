"""The same function with its hand-written rules taken out, so that jax derives the gradient itself.

A custom_vjp is a rule of the user's. A custom_jvp mostly is one of jax's own functions (jax.nn.relu and its like), so
it is only taken out where there is no custom_vjp.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ..roundoff.high_level import NAME, inner_jaxprs, is_custom_vjp, is_high_level, name_of
from ..roundoff.interpreter import inner_call

VJP, JVP = "custom_vjp_call", "custom_jvp_call"
CALLS = ("jit", "pjit", "closed_call", "checkpoint", "remat2", "eval_jaxpr", NAME)


def without_rules(closed: ClosedJaxpr) -> Callable[..., list[Any]]:
    """The jaxpr as a function of its flat arguments, without its rules. What hides inside a loop or a kernel stays."""
    kinds = {kind for kind, _ in _found(closed.jaxpr)}
    inlined = {VJP if VJP in kinds else JVP, *CALLS}
    return lambda *args: _evaluate(closed.jaxpr, closed.consts, args, inlined)


def custom_rules(closed: ClosedJaxpr) -> list[str]:
    """The functions with a hand-written rule that the jaxpr calls, in order: `lin (custom_vjp)`."""
    return [f"{name} ({kind.removesuffix('_call')})" for kind, name in _found(closed.jaxpr)]


def dtypes_of(jaxpr: Jaxpr) -> set[Any]:
    """The dtypes of everything that a jaxpr computes, and of what it calls."""
    found = {getattr(var.aval, "dtype", None) for eqn in jaxpr.eqns for var in eqn.outvars} - {None}
    return found.union(*(dtypes_of(inner) for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn)))


STEPS = {"stop_gradient", "round", "floor", "ceil", "sign", "rem", "bitcast_convert_type", "while", VJP, JVP}


def may_stop_gradients(jaxpr: Jaxpr) -> bool:
    """Whether the derivative that jax makes may be another than the slope, on purpose: gradients stopped, steps, rules.

    Custom rules count, of a call that is none of the user's too: they say what the derivative is to be.
    """

    def stops(eqn: Any) -> bool:
        whole = (
            eqn.primitive.name == "convert_element_type" and not _is_real(eqn.outvars[0]) and _is_real(eqn.invars[0])
        )
        return whole or _kind(eqn) in STEPS or any(may_stop_gradients(inner) for inner in inner_jaxprs(eqn))

    return any(stops(eqn) for eqn in jaxpr.eqns)


def _is_real(atom: Any) -> bool:
    return jnp.issubdtype(atom.aval.dtype, jnp.inexact)


def primitives_of(jaxpr: Jaxpr) -> set[str]:
    """The names of all primitives in a jaxpr, and in what it calls."""
    return {eqn.primitive.name for eqn in jaxpr.eqns}.union(
        *(primitives_of(inner) for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn))
    )


def _kind(eqn: Any) -> str:
    """The primitive's name; a custom_vjp is one, by whatever name jax knows it."""
    return VJP if is_custom_vjp(eqn) else eqn.primitive.name


def _found(jaxpr: Jaxpr) -> list[tuple[str, str]]:
    found = []
    for eqn in jaxpr.eqns:
        if (kind := _kind(eqn)) in (VJP, JVP):
            found.append((kind, name_of(eqn) if is_high_level(eqn) else _name(eqn.params["call_jaxpr"])))
        for inner in inner_jaxprs(eqn):
            found += _found(inner)
    return found


def _name(closed: ClosedJaxpr) -> str:
    return closed.jaxpr.debug_info.func_name


def _evaluate(jaxpr: Jaxpr, consts: Any, args: Any, inlined: set[str]) -> list[Any]:
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        if _kind(eqn) in inlined:
            inner, inputs = inner_call(eqn, inputs)
            outputs = _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs, inlined)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            subfuns, params = params if isinstance(params, tuple) else ((), params)  # a pair before jax 0.10
            outputs = eqn.primitive.bind(*subfuns, *inputs, **params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
