"""What is under test: the functions that should compute the same, and the arguments at which they are held together."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .arguments import Arguments, take_apart
from .cotangents import draw_cotangents, given_cotangents
from .in_jax import InJax
from .stripping import without_rules

if TYPE_CHECKING:
    from .in_torch import InTorch


@dataclass(frozen=True, eq=False)
class Case:
    """A rule, what it is held against, and the arguments."""

    name: str
    arguments: Arguments
    rule: InJax
    reference: InJax | None  # the same maths in plain jax
    torch: "InTorch | None"
    stripped: InJax  # the rule's own primal without its rules
    seed: int
    given: Any = None  # the user's own cotangents, if any
    product_u: float = 0.0  # how far jax's device rounds the operands of float32 products (roundoff/products.py)
    prefix: str = ""  # what stands before the name of each comparison in a report
    columns: dict[str, str] = field(default_factory=dict)  # how a report calls an implementation, where not by its name
    distrusts_reference: bool = False  # it was found wrong: it is compared like the others, and nothing derived from it

    @property
    def plain(self) -> InJax:
        """What jax differentiates by itself: the reference, else the rule's own primal without its rules."""
        return self.stripped if self.reference is None or self.distrusts_reference else self.reference

    @property
    def in_jax(self) -> dict[str, InJax]:
        """The implementations in jax that are compared."""
        return {"rule": self.rule} | ({} if self.reference is None else {"reference": self.reference})

    @property
    def implementations(self) -> dict[str, Callable[..., Any]]:
        """All that are compared, each `(leaves, cotangents) -> named leaves`."""
        return self.in_jax | ({} if self.torch is None else {"torch": self.torch})

    @cached_property
    def cotangents(self) -> list[np.ndarray]:
        """For each floating-point output, stacked. Raises ValueError for given ones that do not fit."""
        traced = self.plain.traced(self.arguments.leaves)
        drawn = draw_cotangents(traced.floats, self.seed)
        if self.given is None:
            return drawn
        given = given_cotangents(self.given, traced.outputs)
        return [np.concatenate([stack, own[None]]) for stack, own in zip(drawn, given, strict=True)]

    @property
    def args(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What each implementation is called with."""
        return self.arguments.leaves, self.cotangents

    @property
    def dtype(self) -> np.dtype:
        """The coarsest dtype of the arguments: the arithmetic whose rounding is allowed."""
        # That of a complex number's parts.
        return max(
            (jnp.finfo(leaf.dtype).dtype for leaf in self.arguments.leaves), key=lambda d: float(jnp.finfo(d).eps)
        )

    @property
    def x64(self) -> contextlib.AbstractContextManager[Any]:
        """jax keeps float64 as float64 only under this; whoever has it on already keeps it."""
        wide = any(leaf.dtype in (np.float64, np.complex128) for leaf in self.arguments.leaves)
        return jax.enable_x64(True) if wide else contextlib.nullcontext()

    def cast(self, dtype: Any) -> "Case":
        """The same with every floating-point argument in `dtype`; what was compiled stays compiled."""
        return replace(self, arguments=self.arguments.cast(dtype))

    def with_diff(self, diff: Sequence[np.ndarray], seed: int) -> "Case":
        """The same at other values of the differentiated arguments, with other cotangents."""
        return replace(self, arguments=self.arguments.with_diff(diff), seed=seed)

    def with_rule(self, flat: Callable[..., Any]) -> "Case":
        """The same with another rule, one that is a function of the leaves."""
        return replace(self, rule=InJax(self.arguments, flat), reference=self.plain, torch=None)


def take_up(
    rule: Callable[..., Any],
    args: tuple[Any, ...],
    reference: Callable[..., Any] | None = None,
    torch: Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
    torch_kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    nondiff: Sequence[str] = (),
    cotangents: Any = None,
    seed: int = 0,
    product_u: float = 0.0,
) -> Case:
    """The case of `rule(*args, **kwargs)`.

    Raises TypeError or ValueError as `take_apart` does; ImportError if a torch function is given and torch is missing.
    """
    arguments = take_apart(rule, args, kwargs, static_argnums, nondiff)
    name = getattr(rule, "__name__", type(rule).__name__)
    in_torch = None
    if torch is not None:
        from .in_torch import InTorch

        in_torch = InTorch(arguments, torch, arguments.kwargs if torch_kwargs is None else torch_kwargs)
    in_jax = InJax(arguments, arguments.flat(rule))
    plain = None if reference is None else InJax(arguments, arguments.flat(reference))
    return Case(name, arguments, in_jax, plain, in_torch, _stripped(arguments, in_jax), seed, cotangents, product_u)


def _stripped(arguments: Arguments, rule: InJax) -> InJax:
    def flat(*leaves: Any) -> Any:
        traced = rule.traced(leaves)
        return jax.tree.unflatten(jax.tree.structure(traced.outputs), without_rules(traced.jaxpr)(*leaves))

    return InJax(arguments, flat)
