"""One check: run every implementation on the same arrays, and hold each leaf against the oracle."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .bound import rounding_bounds
from .compare import Row, compare
from .diagnose import diagnose
from .finding import first_line
from .result import Leaves
from .rounding import unit_roundoff


class Check(NamedTuple):
    """The same computation in several implementations, all called as `implementation(*args)`."""

    name: str
    args: tuple[Any, ...]
    """Trees of NumPy arrays; every implementation gets the same bits."""
    jax: dict[str, Callable[..., Any]]
    """Implementations in jax; they are compiled."""
    torch: dict[str, Callable[..., Any]]
    """Implementations from NumPy arrays to NumPy arrays, called as they are: torch's, and ours on many devices."""
    twin: Callable[..., Any]
    """The one in plain jax whose jaxpr gives the bound."""
    oracle: Callable[..., Any]
    """The one in float64."""
    leaves: Callable[[Any], Leaves]
    """From an implementation's result to named arrays."""
    dtypes: dict[str, Any] = {}
    """What a leaf's dtype must be, where it is not the one under test."""
    second_opinion: bool = True
    """Whether to hold the oracle against a float64 evaluation of the twin."""
    cotangent_axis: bool = False
    """Whether the first axis of each `_bar` leaf counts cotangents."""


class Outcome(NamedTuple):
    """The rows of a check, and the figures that go with them."""

    rows: list[Row]
    gates: int
    kinks: int
    kink_at: tuple[tuple[int, ...], ...]
    """As in Bounds: comparisons, those in the kink band, and where the first of these are."""
    oracle_budget: float | None
    """How far the oracle and a float64 evaluation of the twin differ, over what float64 rounding allows."""
    bounds: Leaves
    fallbacks: tuple[str, ...]
    """Primitives without a rounding rule, whose part of the bound is an estimate."""


def run_check(check: Check, dtype: Any, product_u: float = 0.0) -> Outcome:
    """Runs it. An implementation that raises fails every leaf, and the others are still compared.

    product_u: what jax's device rounds off the operands of float32 products (precision.py). Torch is on the CPU, and
    far inside.
    """
    got, raised = {}, {}
    compiled = {who: jax.jit(function) for who, function in check.jax.items()}
    for who, implementation in (compiled | check.torch).items():
        try:
            got[who] = check.leaves(implementation(*check.args))
        except Exception as error:
            raised[who] = first_line(error)
    oracle = check.leaves(check.oracle(*check.args))
    bounds = rounding_bounds(check.twin, *check.args, dtype=dtype, product_u=product_u)
    errors = check.leaves(bounds.errors)
    # The oracle is rounded too, in float64. (A half-precision bound has float32 sums in it, hence the promotion.)
    share = unit_roundoff(np.float64) / unit_roundoff(np.promote_types(dtype, np.float32))
    dtypes = {name: check.dtypes.get(name, dtype) for name in oracle}
    bound = {name: _in_range(np.asarray(error * (1 + share)), oracle, name, dtypes) for name, error in errors.items()}
    oracle_budget = None
    if check.second_opinion:
        # Both in float64, on the CPU: no operand is rounded there.
        plain = check.leaves(rounding_bounds(check.twin, *check.args, dtype=dtype).errors) if product_u else errors
        double = {name: np.asarray(error * (2 * share)) for name, error in plain.items()}
        rows = compare("oracle", {"twin": check.leaves(bounds.values)}, oracle, double, {})
        oracle_budget = max(row.worst[1].budget for row in rows)
    rows = compare(check.name, got, oracle, bound, dtypes, raised)
    sizes = {size for leaf in jax.tree.leaves(check.args) for size in np.shape(leaf)}
    for row in rows:
        for who, deviation in row.deviations.items():
            if deviation.problem and who in got and row.leaf in got[who] and row.leaf in oracle:
                stacked = check.cotangent_axis and row.leaf.endswith("_bar")
                pattern = diagnose(
                    got[who][row.leaf], oracle[row.leaf], bound[row.leaf], dtypes[row.leaf], sizes, stacked
                )
                row.diagnosis.update({who: pattern} if pattern else {})
    return Outcome(rows, bounds.gates, bounds.kinks, bounds.kink_at, oracle_budget, bound, bounds.fallbacks)


def _in_range(bound: np.ndarray, oracle: Leaves, name: str, dtypes: dict[str, Any]) -> np.ndarray:
    """No bound where the value may lie beyond the dtype's largest number: infinity is then right too."""
    if name not in oracle or not jnp.issubdtype(dtypes[name], jnp.floating) or oracle[name].shape != bound.shape:
        return bound
    with np.errstate(all="ignore"):
        beyond = np.abs(oracle[name]) + bound >= float(jnp.finfo(dtypes[name]).max)
    return np.where(beyond & np.isfinite(oracle[name]), np.inf, bound) if beyond.any() else bound
