"""A value and how far its rounding may be off: what the rules of every primitive share.

A rule takes the equation of the jaxpr and its inputs, each a value with an error bound, and returns the output so. It
carries the inputs' errors through to first order and beyond (no term is dropped), and adds its own rounding.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

KINKS_NAMED = 10  # how many elements of the kink band are named; all are counted
COMPLEX_ROUNDINGS = 8
"""One complex product is off by sqrt(5) u (Brent, Percival & Zimmermann, Math. Comp. 76, 2007), a quotient by more."""
Reals: TypeAlias = Any  # float64 arrays, or the scalars that NumPy makes of results without axes


class Bounded(NamedTuple):
    """A value, float64 where it is a real number, and a bound on its error; where a bool is uncertain. None: exact."""

    value: Reals
    """The float64 value; integers, bools and keys stay what they are."""
    error: Reals | None
    """How far off each element may be."""
    peak_of: Any = None
    """What this is the maximum (or minimum) of, as the gradient asks which one equals it: an array, along some axes; or
    two Bounded, element by element."""
    folded: bool = False
    """Whether it is a number of the program's text, or computed from such numbers alone, and rounds nothing."""


Rule: TypeAlias = Callable[..., Any]
"""(rounding, eqn, *inputs) -> a Bounded, or a list of them where the primitive has multiple results."""


def unit_roundoff(dtype: Any) -> float:
    """u of round-to-nearest: half the distance from 1 to the next number of that dtype."""
    return float(jnp.finfo(dtype).eps) / 2


def is_real(dtype: Any) -> bool:
    """Whether numbers of that dtype are rounded."""
    return jnp.issubdtype(dtype, jnp.inexact)


def exact(x: Any, dtype: Any = None) -> Bounded:
    """x without error. Real numbers become float64; the dtype is for integers that bring none along."""
    if jnp.issubdtype(getattr(x, "dtype", float), jax.dtypes.extended):  # random keys
        return Bounded(x, None)
    x = np.asarray(x, dtype)
    if x.dtype.kind in "bui" or x.dtype == jax.dtypes.float0:
        return Bounded(x, None)
    return Bounded(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64), None)


def total(*errors: Reals | None) -> Reals | None:
    """The sum of those errors that are not None, of broadcast shapes; None if none is."""
    known = [error for error in errors if error is not None]
    return sum(known[1:], known[0]) if known else None


def scaled(error: Reals | None, factor: Reals) -> Reals | None:
    """The error times |factor|; None, of what is exact, stays None."""
    return None if error is None else error * np.abs(factor)


def error_of(x: Bounded) -> Reals:
    """The error of x as an array of its value's shape; of bools, where they are uncertain."""
    if x.error is None:
        return np.zeros(np.shape(x.value), bool if x.value.dtype == bool else np.float64)
    return np.broadcast_to(x.error, np.shape(x.value))


def most_alike(values: Reals, axes: tuple[int, ...], apart: Reals = 0.0) -> Reals:
    """How often the commonest number comes along the axes, 0 aside: adding 0 rounds nothing. At least 1.

    apart: numbers that lie closer together than this count as one (an array, as if the axes were gone, or a number).
    """
    rest = [axis for axis in range(values.ndim) if axis not in axes]
    terms = math.prod(values.shape[axis] for axis in axes)
    rows = np.transpose(values, (*rest, *axes)).reshape(*[values.shape[axis] for axis in rest], terms)
    if np.any(apart):
        step = np.broadcast_to(apart, rows.shape[:-1])[..., None]
        known = np.isfinite(step) & (step > 0)
        stepped = np.where(known, np.rint(rows / np.where(known, step, 1)), rows)  # what is lost whole is lost alike
        rows = np.where(rows == 0, np.nan, stepped)  # NaN equals nothing
    else:
        rows = np.where(rows == 0, np.nan, rows)
    rows = np.sort(rows, axis=-1)
    again = rows[..., 1:] == rows[..., :-1]
    count = np.cumsum(again, axis=-1)
    run = count - np.maximum.accumulate(np.where(again, 0, count), axis=-1)
    return 1 + np.max(run, axis=-1, initial=0)


class Rounding:
    """Arithmetic in one dtype, and what was met on the way.

    product_u: what is rounded off the operands of float32 products, relative to themselves (products.py).
    inside: whether the dtypes that the jaxpr names count too, where they are coarser. If not, a cast to bfloat16 inside
    is no reason for another result. home: with inside, only dtypes count that are coarser than this one.
    constants: whether numbers in the program's text, and arrays that it closes over, were rounded to their dtype.
    ties: whether a comparison of two equal numbers may go either way.
    """

    def __init__(
        self,
        dtype: Any,
        product_u: float = 0.0,
        inside: bool = True,
        constants: bool = True,
        home: Any = None,
        ties: bool = False,
    ):
        self.u, self.underflow, self.product_u = unit_roundoff(dtype), _underflow(dtype), product_u
        self.inside, self.constants, self.ties = inside, constants, ties
        self._counted_from = 0.0 if home is None else unit_roundoff(home)
        self.key = np.dtype(dtype), product_u, inside, constants, self._counted_from, ties
        """Alike for two that allow the same errors."""
        self.values_only = False  # whether the rules may leave out the errors
        self.gates = self.kinks = 0
        self.kink_at: list[tuple[int, ...]] = []
        self.fallbacks: set[str] = set()
        self.opaque: set[str] = set()
        self.without_bound = False  # whether something was met of whose rounding nothing is known

    def u_of(self, dtype: Any) -> float:
        """u of an operation whose result has that dtype."""
        return max(self.u, unit_roundoff(dtype)) if self.counts(dtype) else self.u

    def underflow_of(self, dtype: Any) -> float:
        """What may be lost where such a result is tiny."""
        return max(self.underflow, _underflow(dtype)) if self.counts(dtype) else self.underflow

    def counts(self, dtype: Any) -> bool:
        """Whether an operation rounds to the dtype that the jaxpr names for it."""
        return self.inside and unit_roundoff(dtype) > self._counted_from

    def argument(self, leaf: Any) -> Bounded:
        """An argument: exact, unless it is subnormal where such numbers are flushed to 0."""
        x = exact(leaf)
        if not is_real(getattr(leaf, "dtype", np.float64)):
            return x
        size = np.abs(x.value)
        flushed = (size > 0) & (size < self.underflow)
        return Bounded(x.value, np.where(flushed, size, 0.0)) if flushed.any() else x

    def rounded(self, eqn: Any, value: Reals, carried: Reals | None, times: Reals = 1) -> Bounded:
        """The result of an operation that rounds `times` over, given the error that its inputs bring along (carried).

        It may be stored in the dtype under test, and in the one that the jaxpr says: the coarser one counts.
        """
        dtype = eqn.outvars[0].aval.dtype
        if self.values_only or not is_real(dtype):
            return Bounded(value, carried)
        u, underflow = self.u_of(dtype), self.underflow_of(dtype)
        if value.dtype.kind == "c":
            times = COMPLEX_ROUNDINGS * times
        size = np.abs(value) if carried is None else np.abs(value) + carried
        growth = np.expm1(times * math.log1p(u))  # (1 + u)^times - 1
        rounding = growth * size + underflow * (size > 0)  # 0 without error is 0 in any dtype
        if not np.isfinite(np.max(size, initial=0)):
            rounding = np.where(np.isfinite(value), rounding, 0)  # infinity is not rounded, and neither is NaN
        return Bounded(value, rounding if carried is None else carried + rounding)

    def factor(self, x: Bounded, dtype: Any) -> Bounded:
        """`x`, of that dtype, as the operand of a matrix product: an accelerator may round it first."""
        if not self.product_u or dtype != np.float32 or self.values_only:
            return x
        rounding = self.product_u * (np.abs(x.value) + error_of(x)) + self.underflow
        return Bounded(x.value, total(x.error, rounding))

    def gate(self, uncertain: Reals) -> None:
        """Counts a decision per element, and those within rounding error of going the other way."""
        self.gates += np.size(uncertain)
        kinks = int(np.count_nonzero(uncertain))
        self.kinks += kinks
        if kinks and len(self.kink_at) < KINKS_NAMED:
            places = np.argwhere(uncertain)[: KINKS_NAMED - len(self.kink_at)]
            self.kink_at += [tuple(int(i) for i in place) for place in places]


def _underflow(dtype: Any) -> float:
    # XLA on CPU flushes subnormals to zero, float16's excepted.
    info = jnp.finfo(dtype)
    return float(info.smallest_subnormal if info.bits == 16 and info.nmant == 10 else info.tiny)
