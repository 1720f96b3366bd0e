"""A rule on trial: the functions that should compute the same, on one set of arguments."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .result import Leaves, as_numpy
from .strip import strip_rules
from .subject import Subject, draw_cotangents, float_outputs, take_apart, with_cotangents

Run = Callable[..., Leaves]
"""`(diff leaves, cotangents) -> named leaves`, NumPy in, NumPy out."""


@dataclass(frozen=True)
class Trial:
    """The rule, what it is held against, and the arguments."""

    name: str
    rule: Callable[..., Any]
    reference: Callable[..., Any] | None
    """The same maths in plain jax."""
    torch: Callable[..., Any] | None
    torch_kwargs: dict[str, Any]
    subject: Subject
    seed: int
    product_u: float = 0.0
    """What jax's device rounds off the operands of float32 products (precision.py)."""
    distrust_reference: bool = False
    """The reference was found wrong: it is compared like the others, and nothing is derived from it."""

    @property
    def flat_rule(self) -> Callable[..., Any]:
        """The rule as a function of its differentiable leaves."""
        return self.subject.flat(self.rule)

    @property
    def flat_plain(self) -> Callable[..., Any]:
        """What jax differentiates by itself: the reference, else the rule's own primal without its rules."""
        if self.reference is None or self.distrust_reference:
            return strip_rules(self.flat_rule)
        return self.subject.flat(self.reference)

    @cached_property
    def cotangents(self) -> list[np.ndarray]:
        return draw_cotangents(float_outputs(self.flat_plain, self.subject.diff), self.seed)

    @property
    def args(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return self.subject.diff, self.cotangents

    @property
    def dtype(self) -> np.dtype:
        """The coarsest dtype of the arguments: the arithmetic whose rounding is allowed."""
        return max((leaf.dtype for leaf in self.subject.diff), key=lambda dtype: float(jnp.finfo(dtype).eps))

    @property
    def x64(self) -> contextlib.AbstractContextManager[Any]:
        """jax keeps float64 as float64 only under this; whoever has it on already keeps it."""
        wide = any(leaf.dtype == np.float64 for leaf in self.subject.diff)
        return jax.enable_x64(True) if wide else contextlib.nullcontext()

    def cast(self, dtype: Any) -> "Trial":
        """The same trial with every floating-point argument in `dtype`."""
        return replace(self, subject=self.subject.cast(dtype))

    def with_diff(self, diff: list[np.ndarray]) -> "Trial":
        """The same trial at other values of the differentiable arguments."""
        return replace(self, subject=replace(self.subject, diff=diff))

    def with_flat_rule(self, flat: Callable[..., Any]) -> "Trial":
        """The same trial of another rule, one that is a function of the leaves."""
        leaves = replace(self.subject, rebuild=tuple, kwargs={})
        plain = self.flat_plain
        return replace(self, rule=flat, reference=plain, torch=None, subject=leaves)

    def in_jax(self, flat: Callable[..., Any]) -> Run:
        """Value and cotangents of a flat function, to be compiled."""
        return with_cotangents(self.subject.names, flat)

    def in_torch(self) -> Run | None:
        """Value and cotangents in torch, or None without a torch function. Raises ImportError without torch."""
        if self.torch is None:
            return None
        from .in_torch_rule import with_cotangents

        return with_cotangents(self.subject, self.torch, self.torch_kwargs)

    def in_double(self, run: Run, compiled: bool) -> Run:
        """The same run on the same numbers in float64; compiled, if it is jax's."""

        def widened(*groups: Any) -> Leaves:
            wide = [[np.asarray(leaf).astype(np.float64) for leaf in leaves] for leaves in groups]
            with jax.enable_x64(True):
                return as_numpy((jax.jit(run) if compiled else run)(*wide))

        return widened


def on_trial(
    rule: Callable[..., Any],
    args: tuple[Any, ...],
    reference: Callable[..., Any] | None,
    torch: Callable[..., Any] | None,
    kwargs: dict[str, Any] | None,
    torch_kwargs: dict[str, Any] | None,
    static_argnums: Sequence[int],
    seed: int,
) -> Trial:
    """The trial of `rule(*args, **kwargs)`. Raises TypeError or ValueError as `take_apart` does."""
    subject = take_apart(rule, args, kwargs, static_argnums)
    name = getattr(rule, "__name__", type(rule).__name__)
    return Trial(name, rule, reference, torch, subject.kwargs if torch_kwargs is None else torch_kwargs, subject, seed)
