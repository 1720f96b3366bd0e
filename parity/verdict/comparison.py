"""One computation in several implementations: run each on the same arrays, and hold each leaf against the oracle."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from ..case.leaves import Leaves, added, as_numpy
from ..roundoff.bounded import unit_roundoff
from ..roundoff.bounds import Bounds, rounding_bounds
from .diagnosis import diagnose
from .finding import first_line
from .rows import Row, compare


class Outcome(NamedTuple):
    """What a comparison comes to: its rows, and the figures that go with them."""

    rows: list[Row]
    gates: int  # these three as in Bounds: comparisons, those in the kink band, and where the first of these are
    kinks: int
    kink_at: tuple[tuple[int, ...], ...]
    oracle_budget: float | None  # how far the oracle is from the twin in float64, over what float64 rounding allows
    fallbacks: tuple[str, ...]  # primitives without a rounding rule, whose part of the bound is an estimate
    errors: dict[str, str] = {}  # who raised in which comparison -> the whole traceback


@dataclass(eq=False)
class Comparison:
    """The same computation in several implementations. Each part is computed when it is first asked for, and kept."""

    name: str
    args: tuple[Any, ...]  # trees of NumPy arrays; every implementation gets the same bits
    implementations: dict[str, Callable[..., Any]]
    """Who -> the implementation, which is called as it is. One that raises fails every leaf, and nobody else's."""
    twin: Callable[..., Any]  # the one in plain jax whose jaxpr gives the bound
    oracle: Callable[..., Any]  # the one in float64
    dtype: Any  # the arithmetic under test
    naming: Callable[[Any], Leaves] = as_numpy  # from an implementation's result to named arrays
    dtypes: dict[str, Any] = field(default_factory=dict)  # what a leaf's dtype must be, where not the one under test
    product_u: float = 0.0
    """What jax's device rounds off the operands of float32 products (roundoff/products.py). Torch is on the CPU, and
    far inside."""
    second_opinion: bool = True  # whether to hold the oracle against a float64 evaluation of the twin
    cotangent_axis: bool = False  # whether the first axis of each `_bar` leaf counts cotangents
    columns: dict[str, str] = field(default_factory=dict)  # how the rows call an implementation, where not by its name
    bounds_from: Callable[[], Bounds] | None = None  # where the bounds come from, if not from the twin and args here
    beside: Leaves = field(default_factory=dict)
    """What each element is allowed beside its bound: by how much the implementations' maths differ."""
    own: dict[str, Leaves] = field(default_factory=dict)  # who -> other bounds for it alone
    lenient: bool = False  # whether NaN and infinities are not judged where the computation may lead there by rounding

    @cached_property
    def _ran(self) -> tuple[dict[str, Leaves], dict[str, BaseException]]:
        got, raised = {}, {}
        for who, implementation in self.implementations.items():
            try:
                got[who] = self.naming(implementation(*self.args))
            except Exception as error:
                raised[who] = error
        return got, raised

    @property
    def got(self) -> dict[str, Leaves]:
        """Who -> its leaves."""
        return self._ran[0]

    @property
    def raised(self) -> dict[str, BaseException]:
        """Who, in place of leaves -> what it raised."""
        return self._ran[1]

    def leave_out(self, who: str) -> None:
        """From now on this one is not compared."""
        self.implementations = {name: run for name, run in self.implementations.items() if name != who}
        for part in self._ran:
            part.pop(who, None)
        self.__dict__.pop("rows", None)

    @cached_property
    def want(self) -> Leaves:
        """The oracle's leaves."""
        return self.naming(self.oracle(*self.args))

    @cached_property
    def bounds(self) -> Bounds:
        """The twin in float64, with the bound of its rounding in the dtype under test; trees of leaves by name."""
        if self.bounds_from is not None:
            return self.bounds_from()
        return rounding_bounds(self.twin, *self.args, dtype=self.dtype, product_u=self.product_u)

    @cached_property
    def _errors(self) -> Leaves:
        return self.naming(self.bounds.errors)

    @property
    def _oracle_share(self) -> float:
        # A half-precision bound has float32 sums in it, hence the promotion.
        return unit_roundoff(np.float64) / unit_roundoff(np.promote_types(self.dtype, np.float32))

    @cached_property
    def allowed(self) -> Leaves:
        """How far off the oracle each element may be: its bound, and what the oracle itself is rounded by."""
        return {name: np.asarray(error * (1 + self._oracle_share)) for name, error in self._errors.items()}

    def allowed_to(self, who: str) -> Leaves:
        """The same for one implementation."""
        bounds = self.own.get(who, self.allowed)
        return {name: bound + self.beside.get(name, 0.0) for name, bound in bounds.items()} if self.beside else bounds

    def accept(self, room: Leaves) -> None:
        """From now on everybody may be off by this too: by what conventions differ, say."""
        self.beside = added(self.beside, room)
        self.__dict__.pop("rows", None)

    def widen(self, who: str, errors: Leaves | None) -> None:
        """From now on this one may be off by these errors too; None: no more than the others."""
        self.own = {key: bound for key, bound in self.own.items() if key != who}
        if errors is not None:
            self.own[who] = {name: np.maximum(bound, errors[name]) for name, bound in self.allowed.items()}
        self.__dict__.pop("rows", None)

    def fails(self, who: str) -> bool:
        """Whether a leaf of this one is wrong."""
        column = self.columns.get(who, who)
        return any(row.deviations[column].problem for row in self.rows if column in row.deviations)

    @property
    def _expected(self) -> dict[str, Any]:
        return {name: self.dtypes.get(name, self.dtype) for name in self.want}

    @cached_property
    def oracle_budget(self) -> float | None:
        """How far the oracle is from the twin's float64 evaluation, over what float64 rounding allows."""
        if not self.second_opinion:
            return None
        plain = self._errors
        if self.product_u:  # both are in float64, on the CPU: no operand is rounded there
            plain = self.naming(rounding_bounds(self.twin, *self.args, dtype=self.dtype).errors)
        double = {name: np.asarray(error * (2 * self._oracle_share)) for name, error in plain.items()}
        rows = compare("oracle", {"twin": self.naming(self.bounds.values)}, self.want, double, {})
        return max(row.worst[1].budget for row in rows)

    @cached_property
    def rows(self) -> list[Row]:
        """Each leaf, in every implementation, with a diagnosis where one is wrong."""
        column = {who: self.columns.get(who, who) for who in self.implementations}
        raised = {column[who]: first_line(error) for who, error in self.raised.items()}
        got = {column[who]: leaves for who, leaves in self.got.items()}
        own = {column[who]: self.allowed_to(who) for who in self.got}
        excused = self.naming(self.bounds.unsafe) if self.lenient and self.bounds.unsafe is not None else None
        widest = self.allowed
        for other in self.own.values():
            widest = {name: np.maximum(bound, other[name]) for name, bound in widest.items()}
        rows = compare(
            self.name,
            got,
            self.want,
            widest,
            self._expected,
            raised,
            own,
            excused,
            self.bounds.unsafe is not None,
            self.cotangent_axis,
        )
        sizes = {size for leaf in jax.tree.leaves(self.args) for size in np.shape(leaf)}
        single = self.cotangent_axis and sum(np.size(c[0]) for each in self.args[1:] for c in each) == 1
        for row in rows:
            leaf, stacked = row.leaf, self.cotangent_axis and row.leaf.endswith("_bar")
            for who, deviation in row.deviations.items():
                if deviation.problem and leaf in got.get(who, {}) and leaf in self.want:
                    right = self.want[leaf], self.allowed[leaf], self._expected[leaf]
                    pattern = diagnose(got[who][leaf], *right, sizes, stacked, single)
                    row.diagnosis.update({who: pattern} if pattern else {})
        return rows

    @property
    def errors(self) -> dict[str, str]:
        """Who raised in this comparison -> the whole traceback."""
        return {f"{self.name} {who}": "".join(traceback.format_exception(e)) for who, e in self.raised.items()}

    @property
    def outcome(self) -> Outcome:
        """The rows and figures, without the arrays."""
        bounds = self.bounds
        band = bounds.gates, bounds.kinks, bounds.kink_at
        return Outcome(self.rows, *band, self.oracle_budget, bounds.fallbacks, self.errors)
