"""Walks a jaxpr, equation by equation, with each value's error bound: calls, loops and branches included."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal

from .bounded import Bounded, Rounding, Rule, error_of, exact, is_real, unit_roundoff
from .estimates import fallback, in_its_own
from .registry import RULES
from .rules.comparisons import select


def evaluate(rounding: Rounding, jaxpr: Any, args: list[Bounded]) -> list[Bounded]:
    """The outputs of a jaxpr (closed, or open and without constants) for these arguments."""
    consts = [exact(const) for const in getattr(jaxpr, "consts", ())]
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Bounded:
        return _literal(atom) if isinstance(atom, Literal) else env[atom]

    for eqn in _alive(jaxpr):
        inputs = [read(atom) for atom in eqn.invars]
        env.update(zip(eqn.outvars, _apply(rounding, eqn, inputs), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _alive(jaxpr: Jaxpr) -> list[Any]:
    """The equations whose results are used: the compiler drops the others, and nobody meets their kinks."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    alive = []
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            needed.update(atom for atom in eqn.invars if not isinstance(atom, Literal))
            alive.append(eqn)
    return alive[::-1]


def _literal(atom: Any) -> Bounded:
    """A constant in the program's text. A real one was rounded, unless it is plainly whole or a short fraction.

    sqrt(1/2) is another number in float32 than in float64, and 0.5 is not. A fraction that needs more than half of the
    dtype's digits is taken as rounded: 0.1 is, and 0.75 is not.
    """
    dtype = atom.aval.dtype
    if not is_real(dtype):
        return exact(atom.val, dtype)
    x = exact(atom.val)
    digits = jnp.finfo(dtype).nmant // 2
    parts = np.array([x.value.real, x.value.imag])
    if not np.isfinite(parts).all() or not (parts * 2**digits % 1).any():
        return x
    return Bounded(x.value, unit_roundoff(dtype) * np.abs(x.value))


def _apply(rounding: Rounding, eqn: Any, inputs: list[Bounded]) -> list[Bounded]:
    name = eqn.primitive.name
    if name in CONTROL:
        return CONTROL[name](rounding, eqn, *inputs)
    rounds = any(is_real(atom.aval.dtype) for atom in (*eqn.invars, *eqn.outvars))
    if name == "bitcast_convert_type" or not rounds:
        if all(x.error is None for x in inputs):
            return [Bounded(value, None) for value in in_its_own(eqn, *[x.value for x in inputs])]
    output = RULES.get(name, fallback)(rounding, eqn, *inputs)
    return output if eqn.primitive.multiple_results else [output]


def _call(rounding, eqn, *args):
    inner = next(eqn.params[key] for key in ("jaxpr", "call_jaxpr") if key in eqn.params)
    return evaluate(rounding, inner, list(args))


def _cond(rounding, eqn, which, *args):
    branches = eqn.params["branches"]
    if which.error is None:
        return evaluate(rounding, branches[int(np.clip(which.value, 0, len(branches) - 1))], list(args))
    every = [evaluate(rounding, branch, list(args)) for branch in branches]
    return [select(which, list(cases)) for cases in zip(*every, strict=True)]


def _scan(rounding, eqn, *args):
    params, inner = eqn.params, eqn.params["jaxpr"]
    # How many there are of each, from their shapes: how the parameters say it differs between versions of jax.
    n_carry = len(inner.out_avals) - _one_axis_more(eqn.outvars, inner.out_avals)
    n_fixed = len(args) - _one_axis_more(eqn.invars, inner.in_avals)
    consts, carry, xs = args[: n_fixed - n_carry], args[n_fixed - n_carry : n_fixed], args[n_fixed:]
    steps = range(params["length"])[:: -1 if params["reverse"] else 1]
    rows = {}
    for i in steps:
        x = [Bounded(*[None if a is None else a[i] for a in (x.value, x.error)]) for x in xs]
        outputs = evaluate(rounding, inner, [*consts, *carry, *x])
        carry, rows[i] = outputs[:n_carry], outputs[n_carry:]
    in_order = [rows[i] for i in sorted(rows)]
    return [*carry, *[_stack([row[k] for row in in_order], var.aval) for k, var in enumerate(eqn.outvars[n_carry:])]]


def _one_axis_more(outside: Any, inside: Any) -> int:
    """How many of the atoms are arrays of rows for what the loop's body sees."""
    return sum(len(atom.aval.shape) > len(aval.shape) for atom, aval in zip(outside, inside, strict=True))


def _stack(rows: list[Bounded], aval: Any) -> Bounded:
    if not rows:
        return exact(np.zeros(aval.shape), None if is_real(aval.dtype) else aval.dtype)
    known = any(row.error is not None for row in rows)
    return Bounded(np.stack([row.value for row in rows]), np.stack([error_of(row) for row in rows]) if known else None)


def _while(rounding, eqn, *args):
    params = eqn.params
    n_cond, n_fixed = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    state = list(args[n_fixed:])
    while True:
        (on,) = evaluate(rounding, params["cond_jaxpr"], [*args[:n_cond], *state])
        if np.any(error_of(on)):
            # Rounding may end the loop a step sooner or later; the bound follows the float64 values' way.
            rounding.fallbacks.add("while")
        if not on.value:
            return state
        state = evaluate(rounding, params["body_jaxpr"], [*args[n_cond:n_fixed], *state])


def _linear_solve(rounding, eqn, *args):
    counts, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    start = counts.matvec + counts.vecmat
    return evaluate(rounding, jaxprs.solve, [*args[start : start + counts.solve], *args[sum(counts) :]])


CONTROL: dict[str, Rule] = {
    name: _call
    for name in ("jit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")
} | {"cond": _cond, "scan": _scan, "while": _while, "custom_linear_solve": _linear_solve}
