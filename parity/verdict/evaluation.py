"""A case, evaluated: the leaves of every implementation, the oracle's and the bounds, made once for every probe."""

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..case.case import Case
from ..case.leaves import Leaves, as_numpy
from .comparison import Comparison
from .finding import Finding
from .in_double import InDouble
from .rows import apart
from .slopes import Slope, measured_slopes


class Evaluation:
    """What was computed of a case, in its own dtype and in float64.

    `values` compares every implementation with the oracle; `values.got`, `values.want` and `values.allowed` are the
    leaves, the oracle's leaves and the bounds, each by name.
    """

    def __init__(self, case: Case, dtypes: Sequence[str] = ()):
        self.case = case
        self.dtypes = [name for name in dtypes if name != case.dtype.name]
        """The other dtypes in which it will be evaluated too."""
        self.findings: list[Finding] = []
        """What was found on the way."""
        self.oracle_is_torch = False
        """Whether torch is the oracle (choose_oracle decides it), and not the plain jax function."""
        self._in_double: InDouble | None = None
        self._is_widened = False

    @property
    def in_double(self) -> InDouble:
        """Everybody on the same numbers in float64."""
        if self._in_double is None:
            self._in_double = InDouble(self.case, self._drawn_in_double())
        return self._in_double

    def _drawn_in_double(self) -> list[np.ndarray] | None:
        """The cotangents of the check in float64; None where there is none, or the case cannot be cast."""
        if "float64" not in self.dtypes:
            return None
        try:
            with jax.enable_x64(True):
                return self.case.cast(np.float64).cotangents
        except Exception:
            return None  # that check will say why

    @property
    def oracle(self) -> Any:
        """The implementation that everybody is held against, in float64."""
        return self.case.torch if self.oracle_is_torch else self.case.plain

    @cached_property
    def values(self) -> Comparison:
        """Value and cotangents of everybody, against the oracle."""
        compared = self._compared()
        if self._vmap_is_wrong(compared):
            compared = self._compared()
        return compared

    def _compared(self) -> Comparison:
        case, kept = self.case, self.in_double
        implementations: dict[str, Callable[..., Leaves]] = dict(case.implementations)
        oracle, bounds = kept.own, None
        if self._is_widened:
            implementations = {who: lambda *_, run=run: kept.more(run) for who, run in implementations.items()}
            oracle, bounds = kept.more, lambda: kept.more_bounds(case.plain)
        outputs = jax.eval_shape(case.plain.run, *case.args)
        return Comparison(
            f"{case.prefix}{case.dtype.name}",
            case.args,
            implementations,
            case.plain.run_one_by_one,
            lambda *_: oracle(self.oracle),
            case.dtype,
            dtypes={name: leaf.dtype for name, leaf in outputs.items()},
            product_u=case.product_u,
            second_opinion=False,  # choose_oracle has asked for it
            cotangent_axis=True,
            columns=case.columns,
            bounds_from=bounds,
        )

    def _vmap_is_wrong(self, compared: Comparison) -> bool:
        """Whether the vmap of the rule's pullback made its leaves wrong; if so, it is called one by one from now on."""
        rule = self.case.rule
        if rule.one_by_one or self._is_widened or "rule" not in compared.got:
            return False
        column = compared.columns.get("rule", "rule")
        if all(row.deviations[column].problem is None for row in compared.rows):
            return False
        try:
            each = as_numpy(jax.jit(rule.run_one_by_one)(*self.case.args))
        except Exception:
            return False
        difference = apart(each, compared.got["rule"], compared.allowed)
        if difference is None or difference.share <= 1:
            return False
        text = f"{difference.text}: the table has one call of the pullback for each cotangent"
        self.findings.append(Finding("transformations", "vmap of the pullback", "FAIL", text))
        rule.without_vmap()
        return True

    @cached_property
    def slopes(self) -> dict[str, Slope]:
        """The measured slope of the rule's own forward, for each argument. Raises what the rule raises in float64."""
        return measured_slopes(self.case)

    def cast(self, dtype: Any) -> "Evaluation":
        """The same case with every floating-point argument in another dtype, against the same oracle."""
        other = Evaluation(self.case.cast(dtype))
        other.oracle_is_torch = self.oracle_is_torch
        if dtype == np.float64:
            other._in_double, other._is_widened = self.in_double, True
        return other

    def without_reference(self) -> "Evaluation":
        """The same, where the reference is one of the candidates only, and nothing is derived from it."""
        other = copy.copy(self)
        other.case = self.case.without_reference()
        other.__dict__.pop("values", None)
        return other
