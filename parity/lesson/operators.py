"""Each op alone, with a random cotangent: a rule that ignores its cotangent, or a wrong convention at a kink, passes
every end-to-end comparison.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from pullback.functional import lin, lin_bwd, lin_fwd, mse, mse_bwd, mse_fwd, relu, relu_bwd, relu_fwd

from ..case.leaves import Leaves
from ..verdict.comparison import Comparison
from . import in_jax


def operator_comparisons(
    inputs: dict[str, dict[str, np.ndarray]],
    draw: Callable[[tuple[int, ...]], np.ndarray],
    dtype: Any,
    product_u: float = 0.0,
) -> Iterator[Comparison]:
    """lin, relu and mse on the given inputs, and relu at exactly 0 and -0, each made when it is asked for.

    inputs: op -> its arguments by name, in order. draw: shape -> a random cotangent.
    """
    from . import in_torch as torch

    # Ours and its rules, the twin; and in torch: for autograd, by hand, as a module.
    ops = {
        "lin": (lin, lin_fwd, lin_bwd, in_jax.twin_lin, torch.lin, torch.lin_by_hand, torch.lin_module),
        "relu": (relu, relu_fwd, relu_bwd, in_jax.twin_relu, torch.relu, torch.relu_by_hand, torch.relu_module),
        "mse": (mse, mse_fwd, mse_bwd, in_jax.twin_mse, torch.mse, torch.mse_by_hand, torch.mse_module),
    }
    zeros = {"x": np.where(np.arange(8) % 2, 0.0, -0.0).astype(inputs["relu"]["x"].dtype)}
    on = {"lin": inputs["lin"], "relu": inputs["relu"], "relu at 0": zeros, "mse": inputs["mse"]}
    for name, arguments in on.items():
        op, fwd, bwd, twin_op, torch_op, by_hand, module = ops[name.split()[0]]
        twin, autograd = in_jax.op_by_vjp(twin_op), torch.op_autograd(torch_op)
        ours = {"by hand": in_jax.op_by_hand(fwd, bwd), "custom_vjp": in_jax.op_by_vjp(op), "jax.grad": twin}
        ours = {who: jax.jit(run) for who, run in ours.items()}
        args = tuple(arguments.values())
        yield Comparison(
            name,
            (args, draw(jax.eval_shape(twin_op, *args).shape)),
            ours | {"torch": autograd, "torch by hand": by_hand, "nn.Module": module},
            twin,
            torch.in_double(autograd),
            dtype,
            functools.partial(_named, ["y", *(f"{argument}_bar" for argument in arguments)]),
            product_u=product_u,
        )


def _named(names: list[str], outputs: tuple) -> Leaves:
    # A rule may return too many or too few, or None: `compare` says so.
    labels = names + [f"extra {i}" for i in range(len(outputs) - len(names))]
    return {label: np.asarray(leaf) for label, leaf in zip(labels, outputs, strict=False) if leaf is not None}
