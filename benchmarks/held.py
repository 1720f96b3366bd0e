"""Right first: nothing is timed that is not within the derived bound of float64."""

from typing import Any

import jax
import numpy as np

from pullback.parity.case.leaves import as_numpy
from pullback.parity.lesson import in_jax, in_torch
from pullback.parity.lesson.result import grad_leaves
from pullback.parity.roundoff.products import Products, products_of
from pullback.parity.verdict.comparison import Comparison

from . import peers
from .inputs import Inputs


class NotTheSame(Exception):
    """An implementation does not compute the gradients: there is nothing to compare."""


def hold(inputs: Inputs, jax_nets: dict[str, Any], other_nets: dict[str, Any], x_bar: bool) -> None:
    """All of them on `inputs.x`. jax_nets are in jax; other_nets map NumPy arrays to NumPy arrays."""
    twin = peers.grad_of(in_jax.twin_loss, x_bar)
    args = (inputs.params, inputs.x, inputs.targ)
    nets = {who: jax.jit(net) for who, net in jax_nets.items()} | other_nets
    _refuse_wrong(_compared(args, nets, twin, _oracle(x_bar), inputs.x.dtype))


def hold_raw(inputs: Inputs) -> None:
    """Ours on uint8, against normalizing first."""
    wide = (inputs.raw.astype(np.float64) - inputs.mean) / inputs.std
    oracle = _oracle(False)
    twin = peers.normalizing_first(inputs.mean, inputs.std)
    nets = {peers.RAW: jax.jit(peers.on_raw(inputs.mean, inputs.std))}
    args = (inputs.params, inputs.raw, inputs.targ)
    in_double = lambda params, _raw, targ: oracle(params, wide, targ)  # noqa: E731
    _refuse_wrong(_compared(args, nets, twin, in_double, np.float32))


def _compared(args: tuple, nets: dict[str, Any], twin: Any, oracle: Any, dtype: Any) -> Comparison:
    return Comparison("benchmark", args, nets, twin, oracle, dtype, _leaves, product_u=products().u)


def products() -> Products:
    """What products of float32 matrices are where jax computes now."""
    precision: str | None = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return products_of(jax.default_backend(), precision or "default")


def _refuse_wrong(compared: Comparison) -> None:
    wrong = {}
    for row in compared.rows:
        for who, deviation in row.deviations.items():
            if deviation.problem:
                wrong.setdefault(who, f"{row.leaf}: {deviation.problem}")
    if wrong:
        said = "; ".join(f"{who}, {problem}" for who, problem in wrong.items())
        raise NotTheSame(f"not timed, for it is not the same gradient: {said}")


def _oracle(x_bar: bool) -> Any:
    """torch autograd in float64."""

    def run(params, x, targ):
        result = in_torch.in_double(in_torch.net_autograd)(params, x, targ)
        return (result.loss, result.grads, result.x_bar) if x_bar else (result.loss, result.grads)

    return run


def _leaves(result: tuple) -> dict[str, np.ndarray]:
    loss, grads, *x_bar = result
    return as_numpy({"loss": loss} | grad_leaves(grads) | dict(zip(["x_bar"], x_bar, strict=False)))


def hold_params(who: str, got: Any, want: Any) -> float:
    """For many steps, where no bound is derived: the largest error, over the leaf's largest value. `want` is float64.

    Raises NotTheSame beyond 1e-4, or beyond four times what a product's operands are rounded by.
    """
    worst, at_most = 0.0, max(1e-4, 4 * products().u)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        error = float(np.abs(np.asarray(g, np.float64) - w).max() / np.abs(w).max())
        if not error <= at_most:  # nor is NaN
            raise NotTheSame(f"not timed, for {who} ends at other weights: off by {error:.1e}, over {at_most:.0e}")
        worst = max(worst, error)
    return worst
