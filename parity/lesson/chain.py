"""The chain of the net, step by step: when a gradient is wrong, which step went wrong first?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.functional import mlp_bwd, mlp_fwd, mse_bwd, mse_fwd

from ..case.leaves import Leaves, widened
from ..roundoff.products import cpu
from ..verdict.comparison import Comparison
from ..verdict.finding import Finding
from .in_jax import twin_lin, twin_loss, twin_mlp, twin_mse, twin_relu


def step_names(layers: int) -> list[str]:
    """Intermediates and cotangents in the order in which the chain computes them."""
    names = [*(f"h{k}" for k in range(1, layers)), "output", "loss", "output_bar"]
    for k in reversed(range(layers)):
        names += [f"w{k + 1}", f"b{k + 1}", f"h{k}_bar" if k else "x_bar"]
    return names


def trace_by_hand(params: Any, x: Any, targ: Any) -> list[Any]:
    """The steps of our explicit chain."""
    output, residuals = mlp_fwd(params, x)
    loss, mse_residuals = mse_fwd(output, targ)
    output_bar, _ = mse_bwd(mse_residuals, jnp.ones_like(loss))
    # A relu's residual is its output. And the chain cut off before a layer returns the cotangent of what enters there.
    steps = [*(relu_residuals for _, relu_residuals in residuals[:-1]), output, loss, output_bar]
    for k in reversed(range(len(params))):
        ((w_bar, b_bar), *_), h_bar = mlp_bwd(residuals[k:], output_bar)
        steps += [w_bar, b_bar, h_bar]
    return steps


def trace_twin(params: Any, x: Any, targ: Any) -> list[Any]:
    """The same steps with no rule of ours: each cotangent by jax.grad of the rest of the chain."""
    hidden = [x]
    for w, b in params[:-1]:
        hidden.append(twin_relu(twin_lin(hidden[-1], w, b)))
    output = twin_mlp(params, x)
    steps = [*hidden[1:], output, twin_mse(output, targ), jax.grad(twin_mse)(output, targ)]
    for k in reversed(range(len(params))):
        ((w_bar, b_bar), *_), h_bar = jax.grad(twin_loss, (0, 1))(params[k:], hidden[k], targ)
        steps += [w_bar, b_bar, h_bar]
    return steps


def chain_finding(params: Any, x: Any, targ: Any, dtype: Any, product_u: float = 0.0) -> Finding:
    """Whether every step of our chain agrees with float64, and if not, the first that does not."""
    names = step_names(len(params))

    def in_double(*args: Any) -> list[Any]:
        with jax.enable_x64(True), jax.default_device(cpu()):
            return jax.jit(trace_twin)(*widened(args))

    def leaves(steps: list[Any]) -> Leaves:
        return {name: np.asarray(step) for name, step in zip(names, steps, strict=True)}

    by_hand, args = {"by hand": jax.jit(trace_by_hand)}, (params, x, targ)
    compared = Comparison("chain", args, by_hand, trace_twin, in_double, dtype, leaves, product_u=product_u)
    rows = {row.leaf: row for row in compared.rows}
    first = next((rows[name] for name in names if not rows[name].ok), None)
    if first is None:
        return Finding("chain", "by hand", "pass", f"all {len(names)} steps agree, from {names[0]} to {names[-1]}")
    before = ", ".join(names[: names.index(first.leaf)]) or "nothing"
    text = f"the first step to go wrong is {first.leaf}; right before it: {before}"
    if diagnosis := first.diagnosis.get("by hand"):
        text += f". {first.leaf} is {diagnosis}"
    return Finding("chain", "by hand", "FAIL", text)
