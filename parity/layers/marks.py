"""A mark on a layer's inputs and outputs: the identity, but whoever walks the jaxpr sees the value pass, and may put
another in its place.

A mark survives `vmap` (its value has the batch in front) and differentiation: the cotangent that flows back through it
is marked too, as `backward`.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..roundoff.interpreter import OF_WHOLE_NUMBERS
from ..roundoff.registry import register_rounding_rule

STATISTICS = {"running_mean": "updated running mean", "running_var": "updated running variance"}
"""What a batch norm in train mode updates: torch's name -> the role of the place where it is compared."""


class Place(NamedTuple):
    """Where a value passes: `block1.fc1`'s first output, on the way forward, in its first call."""

    path: str
    """The layer's; "" is the model itself."""
    role: str
    """`in` or `out`, or one of STATISTICS."""
    leaf: int
    """Which of its inputs or outputs."""
    call: int = 0
    """How often the layer was called before."""
    backward: bool = False
    """Whether it is the cotangent of that value."""


LOSS = "(loss)"
"""The path of the loss, where there is one."""
mark_p = Primitive("layer_mark")
Meet = Callable[[Any, Any], Any]
"""(the mark's parameters, the value that passes) -> the value that goes on."""
_MEETING: ContextVar[Meet | None] = ContextVar("meeting", default=None)


def mark(x: Any, path: str, role: str, leaf: int, call: int) -> jax.Array:
    """x, marked."""
    return mark_p.bind(x, place=Place(path, role, leaf, call), tangent=False)


@contextlib.contextmanager
def met_by(meet: Meet) -> Iterator[None]:
    """While this is open, `meet` gets every value that passes a mark in a jaxpr that roundoff evaluates."""
    token = _MEETING.set(meet)
    try:
        yield
    finally:
        _MEETING.reset(token)


def _pass_on(rounding: Any, eqn: Any, x: Any) -> Any:
    meet = _MEETING.get()
    return x if meet is None or eqn.params["tangent"] else meet(eqn.params["place"], x)


def _jvp(primals: Any, tangents: Any, *, place: Place, tangent: bool) -> Any:
    (x,), (x_dot,) = primals, tangents
    y = mark_p.bind(x, place=place, tangent=tangent)
    if isinstance(x_dot, ad.Zero):
        return y, x_dot
    return y, mark_p.bind(x_dot, place=place, tangent=True)


def _transpose(y_bar: Any, x: Any, *, place: Place, tangent: bool) -> Any:
    if isinstance(y_bar, ad.Zero):
        return (y_bar,)
    return (mark_p.bind(y_bar, place=place._replace(backward=True), tangent=False),)


def _batch(args: Any, dims: Any, **params: Any) -> Any:
    (x,), (dim,) = args, dims
    return mark_p.bind(jnp.moveaxis(x, dim, 0), **params), 0


mark_p.def_impl(lambda x, **_: x)
mark_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(mark_p, lambda ctx, x, **_: [x])
ad.primitive_jvps[mark_p] = _jvp
ad.primitive_transposes[mark_p] = _transpose
batching.primitive_batchers[mark_p] = _batch
register_rounding_rule(mark_p, _pass_on)
OF_WHOLE_NUMBERS.add(mark_p.name)
