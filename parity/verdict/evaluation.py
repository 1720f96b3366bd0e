"""A case, evaluated: the leaves of every implementation, the oracle's and the bounds, made once for every probe."""

import contextlib
import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, as_numpy, widened
from ..roundoff.bounds import Bounds, rounding_bounds
from .comparison import Comparison
from .finding import Finding
from .rows import apart
from .slopes import Slope, measured_slopes


class InDouble:
    """A case in float64, with two sets of cotangents at once: its own, and more.

    The oracle of the case needs its own cotangents; a check in float64 draws some that use all of float64's bits. Each
    implementation is called once, and whoever asks gets its part of the result.
    """

    def __init__(self, case: Case, more: Sequence[np.ndarray] | None = None):
        leaves, own = widened(case.args)
        both = own if more is None else [np.concatenate(pair) for pair in zip(own, more, strict=True)]
        self._args, self._parts = (leaves, both), (slice(None, len(own[0])), slice(len(own[0]), None))
        self._leaves: dict[Any, Leaves] = {}
        self._bounds: dict[InJax, Bounds] = {}

    def leaves(self, run: Any, more: bool = False) -> Leaves:
        """What `run` (an InJax or InTorch) gives for the case's own cotangents, or for the others."""
        if run not in self._leaves:
            with jax.enable_x64(True):
                self._leaves[run] = run(*self._args)
        return self._part(self._leaves[run], more)

    def bounds(self, plain: InJax, more: bool = False) -> Bounds:
        """How far a float64 evaluation of `plain` may be off, for one set of cotangents or the other."""
        if plain not in self._bounds:
            with jax.enable_x64(True):
                self._bounds[plain] = rounding_bounds(plain.run_one_by_one, *self._args, dtype=np.float64)
        bounds = self._bounds[plain]
        return bounds._replace(values=self._part(bounds.values, more), errors=self._part(bounds.errors, more))

    def _part(self, leaves: Leaves, more: bool) -> Leaves:
        return {name: leaf[self._parts[more]] if name.endswith("_bar") else leaf for name, leaf in leaves.items()}


class Evaluation:
    """What was computed of a case.

    `values` compares every implementation with the oracle; `values.got`, `values.want` and `values.allowed` are the
    leaves, the oracle's leaves and the bounds, each by name. `in_double` has everybody in float64.
    """

    oracle_is_torch = False  # whether torch is the oracle (oracle.py decides it), and not the plain jax function
    _of_float64 = False

    def __init__(self, case: Case, dtypes: Sequence[str] = ()):
        self.case = case
        self.dtypes = [name for name in dtypes if name != case.dtype.name]
        """The other dtypes in which it will be evaluated too."""
        self.findings: list[Finding] = []  # what was found on the way

    @cached_property
    def in_double(self) -> InDouble:
        """Everybody on the same numbers in float64."""
        more = None
        if "float64" in self.dtypes:
            with contextlib.suppress(Exception), jax.enable_x64(True):  # the check in float64 will say why
                more = self.case.cast(np.float64).cotangents
        return InDouble(self.case, more)

    @property
    def oracle(self) -> Any:
        """The implementation that everybody is held against, in float64."""
        return self.case.torch if self.oracle_is_torch else self.case.plain

    @cached_property
    def slopes(self) -> dict[str, Slope]:
        """The measured slope of the rule's own forward, for each argument. Raises what the rule raises in float64."""
        return measured_slopes(self.case)

    @cached_property
    def values(self) -> Comparison:
        """Value and cotangents of everybody, against the oracle."""
        compared = self._compared()
        return self._compared() if self._vmap_is_wrong(compared) else compared

    def _compared(self) -> Comparison:
        case, double, more = self.case, self.in_double, self._of_float64
        runs = case.implementations
        if more:
            runs = {who: lambda *_, run=run: double.leaves(run, more) for who, run in runs.items()}
        outputs = jax.eval_shape(case.plain.run_one_by_one, *case.args)
        return Comparison(
            f"{case.prefix}{case.dtype.name}",
            case.args,
            runs,
            case.plain.run_one_by_one,
            lambda *_: double.leaves(self.oracle, more),
            case.dtype,
            dtypes={name: leaf.dtype for name, leaf in outputs.items()},
            product_u=case.product_u,
            second_opinion=False,  # oracle.py has asked for it
            cotangent_axis=True,
            columns=case.columns,
            bounds_from=(lambda: double.bounds(case.plain, more)) if more else None,
        )

    def _vmap_is_wrong(self, compared: Comparison) -> bool:
        """Whether the vmap of the rule's pullback made its leaves wrong; if so, it is called one by one from now on."""
        rule, column = self.case.rule, compared.columns.get("rule", "rule")
        if rule.one_by_one or self._of_float64 or "rule" not in compared.got:
            return False
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

    def cast(self, dtype: Any) -> "Evaluation":
        """The same case with every floating-point argument in another dtype, against the same oracle."""
        other = Evaluation(self.case.cast(dtype))
        other.oracle_is_torch = self.oracle_is_torch
        if dtype == np.float64 and "float64" in self.dtypes:  # its cotangents are among those of in_double
            other.in_double, other._of_float64 = self.in_double, True
        return other

    def without_reference(self) -> "Evaluation":
        """The same, where the reference is one of the candidates only, and nothing is derived from it."""
        other = copy.copy(self)
        other.case = self.case.without_reference()
        return other
