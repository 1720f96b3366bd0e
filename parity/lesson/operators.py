"""Each op alone, with a random cotangent: a rule that ignores its cotangent, or a wrong convention at a kink, passes
every end-to-end comparison.
"""

import functools
from collections.abc import Callable
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
) -> list[Comparison]:
    """lin, relu and mse on the given inputs, and relu at exactly 0 and -0.

    inputs: op -> its arguments by name, in order. draw: shape -> a random cotangent.
    """
    from . import in_torch

    compared = functools.partial(_compared, dtype=dtype, product_u=product_u)
    lin_in, relu_in, mse_in = inputs["lin"], inputs["relu"], inputs["mse"]
    x, w = lin_in["x"], lin_in["w"]
    zeros = {"x": np.where(np.arange(8) % 2, 0.0, -0.0).astype(x.dtype)}

    def relu_compared(name: str, arguments: dict[str, np.ndarray]) -> Comparison:
        torch_relu = in_torch.op_autograd(in_torch.torch.relu)
        return compared(
            name,
            arguments,
            draw(arguments["x"].shape),
            (relu, relu_fwd, relu_bwd, in_jax.twin_relu),
            {"torch": torch_relu, "torch by hand": in_torch.relu_by_hand, "nn.Module": in_torch.relu_module},
        )

    return [
        compared(
            "lin",
            lin_in,
            draw((x.shape[0], w.shape[1])),
            (lin, lin_fwd, lin_bwd, in_jax.twin_lin),
            {
                "torch": in_torch.op_autograd(in_torch.lin),
                "torch by hand": in_torch.lin_by_hand,
                "nn.Module": in_torch.lin_module,
            },
        ),
        relu_compared("relu", relu_in),
        relu_compared("relu at 0", zeros),
        compared(
            "mse",
            mse_in,
            draw(()),
            (mse, mse_fwd, mse_bwd, in_jax.twin_mse),
            {
                "torch": in_torch.op_autograd(in_torch.mse),
                "torch by hand": in_torch.mse_by_hand,
                "nn.Module": in_torch.mse_module,
            },
        ),
    ]


def _compared(
    name: str,
    arguments: dict[str, np.ndarray],
    cotangent: np.ndarray,
    rule: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]],
    torch: dict[str, Callable[..., Any]],
    *,
    dtype: Any,
    product_u: float,
) -> Comparison:
    op, fwd, bwd, twin_op = rule
    names = ["y", *(f"{argument}_bar" for argument in arguments)]

    def leaves(outputs: tuple) -> Leaves:
        # A rule may return too many or too few, or None: `compare` says so.
        labels = names + [f"extra {i}" for i in range(len(outputs) - len(names))]
        return {label: np.asarray(leaf) for label, leaf in zip(labels, outputs, strict=False) if leaf is not None}

    twin = in_jax.op_by_vjp(twin_op)
    from .in_torch import in_double

    ours = {"by hand": in_jax.op_by_hand(fwd, bwd), "custom_vjp": in_jax.op_by_vjp(op), "jax.grad": twin}
    return Comparison(
        name,
        (tuple(arguments.values()), cotangent),
        {who: jax.jit(run) for who, run in ours.items()} | torch,
        twin,
        in_double(torch["torch"]),
        dtype,
        leaves,
        product_u=product_u,
    )
