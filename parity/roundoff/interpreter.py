"""Walks a jaxpr, equation by equation, with each value's error bound: calls, loops and branches included."""

import weakref
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal

from .bounded import Bounded, Rounding, Rule, error_of, exact, is_real, unit_roundoff
from .estimates import fallback, in_its_own
from .high_level import NAME, expanded, is_high_level
from .kernels import kernel_jaxpr
from .registry import RULES
from .rules.comparisons import COMPARISONS, select
from .rules.movement import COLLECTIVES, VIEWS


def evaluate(rounding: Rounding, jaxpr: Any, args: list[Bounded]) -> list[Bounded]:
    """The outputs of a jaxpr (closed, or open and without constants) for these arguments."""
    consts = [constant(rounding, const, getattr(const, "dtype", None)) for const in getattr(jaxpr, "consts", ())]
    return walk(jaxpr, consts, args, lambda atom: _literal(rounding, atom), lambda eqn, xs: apply(rounding, eqn, xs))


def walk(jaxpr: Any, consts: list[Any], args: list[Any], literal: Callable[[Any], Any], apply: Any) -> list[Any]:
    """The outputs of a jaxpr, by `apply(eqn, inputs) -> outputs`; what is not needed again is let go."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return literal(atom) if isinstance(atom, Literal) else env[atom]

    used = alive(jaxpr)
    last = {atom: i for i, eqn in enumerate(used) for atom in eqn.invars if not isinstance(atom, Literal)}
    kept = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    for i, eqn in enumerate(used):
        env.update(zip(eqn.outvars, apply(eqn, [read(atom) for atom in eqn.invars]), strict=True))
        for atom in (*eqn.invars, *eqn.outvars):
            if not isinstance(atom, Literal) and last.get(atom, i) == i and atom not in kept:
                env.pop(atom, None)
    return [read(atom) for atom in jaxpr.outvars]


def alive(jaxpr: Jaxpr) -> list[Any]:
    """The equations whose results are used: the compiler drops the others, and nobody meets their kinks."""
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    found = []
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            needed.update(atom for atom in eqn.invars if not isinstance(atom, Literal))
            found.append(eqn)
    return found[::-1]


def _literal(rounding: Rounding, atom: Any) -> Bounded:
    return constant(rounding, atom.val, atom.aval.dtype)


def constant(rounding: Rounding, value: Any, dtype: Any) -> Bounded:
    """A number in the program's text, or an array that it closes over. A real one was rounded, unless it is plainly
    whole or a short fraction.

    sqrt(1/2) is another number in float32 than in float64, and 0.5 is not. A fraction that needs more than half of the
    dtype's digits is taken as rounded: 0.1 is, and 0.75 is not. One of float64 that float32 has too came from there.
    In half precision a quarter of the digits: 1.125 is what bfloat16 makes of 2 / sqrt(pi).
    """
    x = exact(value, None if dtype is None or not jnp.issubdtype(dtype, jnp.integer) else dtype)
    if dtype is None or not is_real(dtype):
        return x
    if not rounding.constants or rounding.values_only:
        return x._replace(folded=not np.ndim(x.value))
    parts = np.stack([x.value.real, x.value.imag])
    with np.errstate(all="ignore"):
        if dtype == np.float64 and np.array_equal(x.value, x.value.astype(np.float32)):
            dtype = np.float32
        digits = jnp.finfo(dtype).nmant // (2 if jnp.finfo(dtype).nmant > 10 else 4)
        fraction, whole = np.frexp(parts)[0] * 2.0 ** (digits + 1), parts % 1 == 0
        short = ~np.isfinite(parts).all(0) | (whole | (fraction % 1 == 0)).all(0)
    slip = unit_roundoff(dtype) * np.abs(x.value) + float(jnp.finfo(dtype).smallest_subnormal) / 2
    return x._replace(folded=not np.ndim(x.value)) if short.all() else Bounded(x.value, np.where(short, 0, slip))


FOLDING = ("add", "sub", "mul", "div")
"""The compiler computes them once, of numbers in the program's text: (7 - 1) / 2 is 3, and rounds nothing."""


def folds(eqn: Any, inputs: Any) -> bool:
    """Whether an equation computes a number from the program's numbers alone."""
    return eqn.primitive.name in FOLDING and all(x.folded for x in inputs)


OF_WHOLE_NUMBERS = {*VIEWS, *COMPARISONS, *COLLECTIVES, "axis_index", "select_n", "concatenate", "iota", "add", "sub"}
"""Whose rules are those of whole numbers too; other operations on them are jax's own."""


def apply(rounding: Rounding, eqn: Any, inputs: list[Bounded]) -> list[Bounded]:
    """The outputs of one equation."""
    name = eqn.primitive.name
    if is_call(eqn):
        return _call(rounding, eqn, *inputs)
    if name in CONTROL:
        return CONTROL[name](rounding, eqn, *inputs)
    rounds = any(is_real(atom.aval.dtype) for atom in (*eqn.invars, *eqn.outvars))
    certain = all(x.error is None or not np.any(x.error) for x in inputs)
    bits = name in ("and", "or", "xor", "not") and eqn.outvars[0].aval.dtype != bool
    ours = name in RULES and name not in ("div", "rem") and not bits
    if not rounds and name not in OF_WHOLE_NUMBERS and (certain or not ours):
        values = in_its_own(eqn, *[x.value for x in inputs])
        if certain:
            return [Bounded(value, None) for value in values]
        # Any number may have come of it: samples (sampling.py) know more.
        return [Bounded(v, np.full(v.shape, v.dtype == bool or max(v.size, 1))) for v in values]
    output = RULES.get(name, fallback)(rounding, eqn, *inputs)
    if folds(eqn, inputs) and (number := constant(rounding, output.value, eqn.outvars[0].aval.dtype)).folded:
        return [number]
    return output if eqn.primitive.multiple_results else [output]


def _cond(rounding, eqn, which, *args):
    branches = eqn.params["branches"]
    if which.error is None:
        return evaluate(rounding, chosen(branches, which.value), list(args))
    every = [evaluate(rounding, branch, list(args)) for branch in branches]
    return [select(which, list(cases)) for cases in zip(*every, strict=True)]


def chosen(branches: Any, which: Any) -> Any:
    """The branch of a cond that is taken."""
    return branches[int(np.clip(which, 0, len(branches) - 1))]


def _scan(rounding, eqn, *args):
    def row(x: Bounded, i: int) -> Bounded:
        return Bounded(x.value[i], None if x.error is None else x.error[i])

    return scan(eqn, args, lambda inner, xs: evaluate(rounding, inner, xs), row, _stack)


def scan(eqn: Any, args: Any, body: Callable[..., list[Any]], row: Callable[..., Any], stack: Any) -> list[Any]:
    """The outputs of a scan: `body(jaxpr, inputs)` once for each row of the arguments that have rows."""
    params, inner = eqn.params, eqn.params["jaxpr"]
    # How many there are of each, from their shapes: how the parameters say it differs between versions of jax.
    n_carry = len(inner.out_avals) - _one_axis_more(eqn.outvars, inner.out_avals)
    n_fixed = len(args) - _one_axis_more(eqn.invars, inner.in_avals)
    consts, carry, xs = args[: n_fixed - n_carry], args[n_fixed - n_carry : n_fixed], args[n_fixed:]
    rows = {}
    for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
        outputs = body(inner, [*consts, *carry, *[row(x, i) for x in xs]])
        carry, rows[i] = outputs[:n_carry], outputs[n_carry:]
    in_order = [rows[i] for i in sorted(rows)]
    return [*carry, *[stack([each[k] for each in in_order], var.aval) for k, var in enumerate(eqn.outvars[n_carry:])]]


def _one_axis_more(outside: Any, inside: Any) -> int:
    """How many of the atoms are arrays of rows for what the loop's body sees."""
    return sum(len(atom.aval.shape) > len(aval.shape) for atom, aval in zip(outside, inside, strict=True))


def _stack(rows: list[Bounded], aval: Any) -> Bounded:
    if not rows:
        return exact(np.zeros(aval.shape), None if is_real(aval.dtype) else aval.dtype)
    known = any(row.error is not None for row in rows)
    return Bounded(np.stack([row.value for row in rows]), np.stack([error_of(row) for row in rows]) if known else None)


def _while(rounding, eqn, *args):
    def on(value: Bounded) -> Any:
        if np.any(error_of(value)):
            # Rounding may end the loop a step sooner or later; the bound follows the float64 values' way.
            rounding.fallbacks.add("while")
        return value.value

    def choose(going: Any, new: Bounded, old: Bounded) -> Bounded:
        return select(Bounded(going, None), [old, new])

    if eqn.params["body_jaxpr"] not in LONG:
        try:
            return loop(eqn, args, lambda inner, xs: evaluate(rounding, inner, xs), on, choose)
        except TooLong:
            pass
    # By jax, in its own dtype. Its inputs are not moved for an estimate: a loop so changed may never end.
    rounding.opaque.add("while")
    rounding.without_bound = True
    values = in_its_own(eqn, *[x.value for x in args])
    return [Bounded(value, np.full(value.shape, np.inf) if value.dtype.kind in "fc" else None) for value in values]


STEPS = 500
"""A while loop that takes more steps is not interpreted, at milliseconds a step."""
LONG: weakref.WeakSet[Any] = weakref.WeakSet()
"""The bodies of loops that were found to take more: they are not tried again."""


class TooLong(Exception):
    """A loop takes more than STEPS steps."""


def loop(eqn: Any, args: Any, body: Callable[..., list[Any]], on: Callable[[Any], Any], choose: Any) -> list[Any]:
    """The outputs of a while loop: `body(jaxpr, inputs)` evaluates its condition and its step.

    Under vmap the condition is an array: `choose(going, new, old)` keeps the state of rows that have ended.
    Raises TooLong.
    """
    params = eqn.params
    n_cond, n_fixed = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    state = list(args[n_fixed:])
    avals, steps = [var.aval for var in eqn.outvars], 0
    while np.any(going := np.asarray(on(body(params["cond_jaxpr"], [*args[:n_cond], *state])[0]))):
        if (steps := steps + 1) > STEPS:
            LONG.add(params["body_jaxpr"])
            raise TooLong
        new = body(params["body_jaxpr"], [*args[n_cond:n_fixed], *state])
        if going.ndim:
            masks = [going.reshape(going.shape + (1,) * (len(aval.shape) - going.ndim)) for aval in avals]
            new = [choose(*each) for each in zip(masks, new, state, strict=True)]
        state = new
    return state


def inner_call(eqn: Any, args: Any) -> tuple[Any, list[Any]]:
    """What a primitive calls that only calls: the jaxpr, and its arguments."""
    if eqn.primitive.name == "custom_linear_solve":
        counts, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
        start = counts.matvec + counts.vecmat
        return jaxprs.solve, [*args[start : start + counts.solve], *args[sum(counts) :]]
    if eqn.primitive.name == "pallas_call":
        return kernel_jaxpr(eqn), list(args)
    if is_high_level(eqn):
        return expanded(eqn), list(args)
    return next(eqn.params[key] for key in ("jaxpr", "call_jaxpr", "call") if key in eqn.params), list(args)


def is_call(eqn: Any) -> bool:
    """Whether a primitive only calls; a shard_map on one device does, and a Pallas kernel that can be interpreted."""
    name = eqn.primitive.name
    if name == "shard_map":
        return eqn.params["mesh"].size == 1
    return name in CALLS or (name == "pallas_call" and kernel_jaxpr(eqn) is not None)


def _call(rounding, eqn, *args):
    return evaluate(rounding, *inner_call(eqn, args))


CALLS = ("jit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")
CALLS += ("custom_linear_solve", "custom_vmap_call", "eval_jaxpr", NAME)
CONTROL: dict[str, Rule] = {"cond": _cond, "scan": _scan, "while": _while}
