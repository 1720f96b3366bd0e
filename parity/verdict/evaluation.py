"""A case, evaluated: the leaves of every implementation, the oracle's and the bounds, made once for every probe."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, as_numpy, widened
from ..roundoff.bounded import Rounding, unit_roundoff
from ..roundoff.bounds import Bounds, bounds_of
from .arithmetic import judge_rule, judge_torch, leave_out_torch_without_kernel, rounds_inside
from .comparison import Comparison
from .finding import Finding
from .kink_sides import conventions
from .maths import maths_rows
from .rows import Row, apart
from .slopes import Slope, measured_slopes

Trusted: TypeAlias = Literal["torch", "reference"] | None


class Evaluation:
    """What was computed of a case.

    `maths(run)` are the float64 values of a function's own trace: the maths, without its rounding. `values` compares
    every implementation, as it runs, with the oracle: `values.got`, `values.want` and `values.allowed` are the leaves,
    the oracle's leaves and the bounds, each by name.
    """

    def __init__(self, case: Case, dtypes: Sequence[str] = (), trusted: Trusted = None, arithmetic: Any = None):
        self.case, self.arithmetic = case, arithmetic
        self.trusted: Trusted = trusted
        self.dtypes = [name for name in dtypes if name != case.dtype.name]
        """The other dtypes in which it will be evaluated too."""
        self.dtypes_asked = False  # whether the user named them
        self.home: np.dtype = case.dtype  # the arguments' own dtype
        self.is_home = True  # whether it is evaluated in that one
        self.findings: list[Finding] = []  # what was found on the way
        # oracle.py decides these.
        self.oracle_is_torch = False  # and not the plain jax function
        self.torch_agrees = False  # with the plain function, in float64
        self.torch_is_coarse = False  # it does not run in float64
        self.undecided = ""  # why nobody can be called wrong, where candidates disagree and nothing decides
        self._programs: dict[InJax, tuple[Any, Any]] = {}
        self._bounds: dict[Any, Bounds] = {}

    # Exact values and bounds.

    def maths(self, run: InJax, constants: bool = False) -> Bounds:
        """The function's value and cotangents in exact arithmetic, but for float64's rounding.

        Its trace is the one in the arguments' dtype: the same random bits, and casts inside that change nothing.
        constants: whether the errors count that the trace's constants were rounded.
        Raises NotImplementedError for a primitive that cannot be run alone.
        """
        return self._walk(run, Rounding(np.float64, inside=False, constants=constants))

    def rounding(self, run: InJax, dtype: Any = None, inside: bool = True) -> Bounds:
        """How far `run` may be off in the arguments' dtype, or in that one.

        inside: as coarse as its own casts make it.
        """
        dtype = self.case.dtype if dtype is None else np.dtype(dtype)
        product_u = self.case.product_u if inside and dtype == self.case.dtype else 0.0
        return self._walk(run, Rounding(dtype, product_u, inside))

    def exact_but_inside(self, run: InJax) -> Bounds:
        """`maths`, where casts to a coarser dtype than the arguments' round: so torch rounds too, asked in float64."""
        return self._walk(run, Rounding(np.float64, home=self.case.dtype))

    def _walk(self, run: InJax, rounding: Rounding) -> Bounds:
        key = run, rounding.key
        if key not in self._bounds:
            self._bounds[key] = bounds_of(*self.program(run), self.case.args, rounding, sampled=True)
        return self._bounds[key]

    def program(self, run: InJax) -> tuple[Any, Any]:
        """The jaxpr of a function's value and cotangents, and the shapes of these."""
        if run not in self._programs:
            self._programs[run] = jax.make_jaxpr(run.run_one_by_one, return_shape=True)(*self.case.args)
        return self._programs[run]

    def exactly(self, key: Any, fun: Any, args: Any, dtype: Any = None, inside: bool = True) -> Bounds:
        """Any function of arrays, in float64, and how far it may be off there, or in `dtype`; kept by `key`."""
        key = key, dtype, inside
        if key not in self._bounds:
            traced = jax.make_jaxpr(fun, return_shape=True)(*args)
            product_u = 0.0 if dtype is None else self.case.product_u
            rounding = Rounding(np.float64 if dtype is None else dtype, product_u, inside and dtype is not None)
            self._bounds[key] = bounds_of(*traced, args, rounding, sampled=True)
        return self._bounds[key]

    @cached_property
    def of_rule(self) -> Bounds | None:
        """The rule's maths; None where the rule raises, or cannot be evaluated in float64."""
        try:
            return self.maths(self.case.rule)
        except Exception:
            return None

    @cached_property
    def opaque(self) -> tuple[str, ...]:
        """What in the rule or the plain function can only run in its own dtype: the maths is then not known exactly."""
        both = [self.maths(self.case.plain), *([] if self.of_rule is None else [self.of_rule])]
        return tuple(sorted({name for each in both for name in each.opaque}))

    @cached_property
    def slopes(self) -> dict[str, Slope]:
        """The measured slope of the rule's own forward, for each argument."""
        return measured_slopes(self.case, self.case.rule, unit_roundoff(self.case.dtype) if self.opaque else 0.0)

    # Torch.

    @cached_property
    def torch_in_double(self) -> Leaves:
        """Torch's leaves in float64, or as good as it can. Raises what the torch function raises."""
        return self._torch(self.case.args)

    def torch_rounds_inside(self) -> bool:
        """Whether torch, asked in float64, computes in a coarser dtype."""
        return rounds_inside(self.case, self._torch, self.torch_in_double)

    def _torch(self, args: Any) -> Leaves:
        assert self.case.torch is not None
        with jax.enable_x64(True), np.errstate(all="ignore"):
            return widened(self.case.torch(*args)) if self.torch_is_coarse else self.case.torch(*widened(args))

    # Against the oracle.

    def forget(self) -> None:
        """Whatever depends on who is the oracle."""
        for name in ("want", "maths_rows", "beside", "values", "opaque", "conventions"):
            self.__dict__.pop(name, None)

    def look_at(self, **changes: Any) -> None:
        """From now on at the case with these changes: `distrusts_reference=True`, so that the reference is one of the
        candidates only; `stripped=case.rule`, so that the rule's own primal keeps its rules."""
        self.case = replace(self.case, **changes)
        self.forget()

    @cached_property
    def want(self) -> Leaves:
        """The oracle's leaves."""
        return self.torch_in_double if self.oracle_is_torch else self.maths(self.case.plain).values

    @cached_property
    def maths_rows(self) -> list[Row]:
        """The rule's maths against the oracle's, a row for each leaf; none where they are not known exactly."""
        return maths_rows(self)

    @cached_property
    def conventions(self) -> Leaves:
        """By how much torch and the plain function differ where they take different sides of a kink."""
        return conventions(self)

    @cached_property
    def beside(self) -> Leaves:
        """By how much the rule's maths and the oracle's differ, where that is nothing in float64."""
        if self.of_rule is None:
            return {}
        rule, want = self.of_rule.values, self.want
        fine = [row.leaf for row in self.maths_rows if row.ok and want[row.leaf].dtype.kind in "fc"]
        with np.errstate(all="ignore"):
            gaps = {name: np.abs(rule[name] - want[name]) for name in fine}
        return {name: np.where(np.isfinite(gap), gap, 0) for name, gap in gaps.items()}

    @cached_property
    def values(self) -> Comparison:
        """Value and cotangents of everybody, as they run, against the oracle."""
        compared = self._compared()
        if self._vmap_is_wrong(compared):
            compared = self._compared()
        leave_out_torch_without_kernel(self, compared)
        if not all(row.ok for row in compared.rows) and self.conventions:
            compared.accept(self.conventions)
        fine = {row.leaf for row in self.maths_rows if row.ok}
        judge_rule(self, compared, fine, lambda i: self.rounding(self.case.rule, self.allowed_dtype, i).errors)
        judge_torch(self, compared)
        return compared

    def _compared(self) -> Comparison:
        case, bounds = self.case, self.rounding(self.case.plain, self.allowed_dtype)
        # In another dtype the reference's exact values are all that is needed of it. And bounds that are made from what
        # differs from torch are none for torch's own rounding.
        unbounded = self.oracle_is_torch and not self.torch_agrees
        left_out = [*([] if self.is_home else ["reference"]), *(["torch"] if unbounded else [])]
        return Comparison(
            f"{case.prefix}{case.dtype.name}",
            case.args,
            {who: run for who, run in case.implementations.items() if who not in left_out},
            case.plain.run_one_by_one,
            lambda *_: self.want,
            case.dtype,
            dtypes={name: leaf.dtype for name, leaf in self.program(case.plain)[1].items()},
            second_opinion=False,  # oracle.py has asked for it
            cotangent_axis=True,
            columns=case.columns,
            bounds_from=lambda: bounds,
            beside=self.beside,
            lenient=not self.is_home,
        )

    @property
    def allowed_dtype(self) -> np.dtype:
        """The dtype whose rounding is allowed: the arguments', or a coarser one that the user names."""
        asked = [self.case.dtype] if self.arithmetic is None else [self.case.dtype, np.dtype(self.arithmetic)]
        return max(asked, key=unit_roundoff)

    def _vmap_is_wrong(self, compared: Comparison) -> bool:
        """Whether the vmap of the rule's pullback made its leaves wrong; if so, it is called one by one from now on."""
        rule, column = self.case.rule, compared.columns.get("rule", "rule")
        if rule.one_by_one or not self.is_home or "rule" not in compared.got:
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

    def traced_in_float64(self) -> "Evaluation | None":
        """The same case in float64, with the same oracle; None where it is that already, or cannot be."""
        try:
            return None if self.case.dtype == np.float64 else self.cast(np.float64)
        except TypeError:
            return None

    def cast(self, dtype: Any) -> "Evaluation":
        """The same case with every floating-point argument in another dtype, by the same kind of oracle.

        Raises TypeError for complex arguments, if that dtype has no complex numbers.
        """
        other = Evaluation(self.case.cast(dtype), (), self.trusted, self.arithmetic)
        other.oracle_is_torch, other.torch_is_coarse = self.oracle_is_torch, self.torch_is_coarse
        other.home, other.is_home, other.torch_agrees = self.home, False, self.torch_agrees
        return other
