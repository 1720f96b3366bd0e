"""Right rules and wrong ones, in jax and in torch: a function of the catalog with a rule of its own.

The rule's backward is that of the function itself, so it is right; a planted error is in its first cotangent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from . import catalog
from .catalog.entry import Entry

ERRORS = (
    "× 1.001",
    "× 1.00001",
    "largest element dropped",
    "sign of the largest flipped",
    "noise, 1e-4 of the largest",
    "rounded through bfloat16",
    "cotangent ignored",
)


@dataclass(frozen=True)
class Rule:
    """A custom_vjp, the same in torch, and what both are called with; error is None if it is right."""

    entry: Entry
    error: str | None
    fun: Callable[..., Any]
    in_torch: Callable[..., Any]
    args: tuple[np.ndarray, ...]


def chosen(count: int) -> list[Entry]:
    """About so many, from all areas alike: those with a counterpart in torch and floating-point arguments only."""
    areas = [[one for one in area.entries() if fits(one)] for area in catalog.AREAS]
    share = count / sum(map(len, areas))
    picked = []
    for each in areas:
        if each:
            places = np.linspace(0, len(each) - 1, max(1, round(share * len(each))))
            picked += [each[int(k)] for k in places]
    return picked


TOO_LONG = ("jax.experimental.ode.odeint",)
"""parity.check follows its loop step by step, for many minutes."""


def fits(one: Entry) -> bool:
    floats = all(a.dtype == np.float32 for a in one.inputs["ordinary"])
    return one.torch is not None and floats and one.name not in TOO_LONG


def rules(one: Entry) -> list[Rule]:
    """The right rule, and one for each error."""
    return [planted(one, error) for error in (None, *ERRORS)]


def planted(one: Entry, error: str | None) -> Rule:
    args = one.inputs["ordinary"]
    spoil = Spoiled(one, error)
    return Rule(one, error, custom_vjp(one, spoil), autograd_function(one, spoil), args)


class Spoiled:
    """What an error does to the incoming cotangents and the first outgoing one, alike in jax and torch."""

    def __init__(self, one: Entry, error: str | None):
        self.error = error
        args = one.inputs["ordinary"]
        y, pullback = jax.vjp(one.fun, *map(jnp.asarray, args))
        first = np.asarray(pullback(jax.tree.map(lambda a: jnp.linspace(1, 2, a.size).reshape(a.shape), y))[0])
        self.factor = np.full(first.shape, {"× 1.001": 1.001, "× 1.00001": 1.00001}.get(error or "", 1.0))
        largest = np.unravel_index(abs(first).argmax(), first.shape)
        if error == "largest element dropped":
            self.factor[largest] = 0
        if error == "sign of the largest flipped":
            self.factor[largest] = -1
        scale = 1e-4 if error == "noise, 1e-4 of the largest" else 0
        self.noise = scale * np.random.default_rng(0).standard_normal(first.shape)

    def incoming(self, y_bar: Any, ones_like: Callable[[Any], Any]) -> Any:
        return jax.tree.map(ones_like, y_bar) if self.error == "cotangent ignored" else y_bar

    def outgoing(self, x_bar: Any, like: Callable[[np.ndarray], Any], rounded: Callable[[Any], Any]) -> Any:
        if self.error is None:
            return x_bar
        if self.error == "rounded through bfloat16":
            return rounded(x_bar)
        return x_bar * like(self.factor) + abs(x_bar).max() * like(self.noise)


def custom_vjp(one: Entry, spoil: Spoiled) -> Callable[..., Any]:
    @jax.custom_vjp
    def rule(*args: Any) -> Any:
        return one.fun(*args)

    def forward(*args: Any) -> Any:
        return one.fun(*args), args

    def backward(args: Any, y_bar: Any) -> Any:
        _, pullback = jax.vjp(one.fun, *args)
        first, *others = pullback(spoil.incoming(y_bar, jnp.ones_like))
        dtype = first.dtype
        first = spoil.outgoing(first, lambda a: jnp.asarray(a, dtype), lambda a: a.astype(jnp.bfloat16).astype(dtype))
        return first, *others

    rule.defvjp(forward, backward)
    return rule


def autograd_function(one: Entry, spoil: Spoiled) -> Callable[..., Any]:
    assert one.torch is not None
    call = one.torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: torch.Tensor) -> Any:
            ctx.save_for_backward(*args)
            return call(*args)

        @staticmethod
        def backward(ctx: Any, *y_bar: Any) -> Any:
            args = [a.detach().requires_grad_() for a in ctx.saved_tensors]
            with torch.enable_grad():
                y = call(*args)
            y = y if isinstance(y, tuple) else (y,)
            y_bar = spoil.incoming(list(y_bar), torch.ones_like)
            first, *others = torch.autograd.grad(y, args, y_bar, allow_unused=True, materialize_grads=True)
            dtype = first.dtype
            first = spoil.outgoing(
                first, lambda a: torch.as_tensor(a).to(dtype), lambda a: a.to(torch.bfloat16).to(dtype)
            )
            return first, *others

    return Function.apply
