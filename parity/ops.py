"""Each op alone, with a random cotangent: a rule that ignores its cotangent, or a wrong convention at a kink, passes
every end-to-end comparison.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.functional import lin, lin_bwd, lin_fwd, mse, mse_bwd, mse_fwd, relu, relu_bwd, relu_fwd

from . import in_jax
from .check import Check
from .result import Leaves


def op_checks(inputs: dict[str, dict[str, np.ndarray]], draw: Callable[[tuple[int, ...]], np.ndarray]) -> list[Check]:
    """lin, relu and mse on the given inputs, and relu at exactly 0 and -0.

    inputs: op -> its arguments by name, in order. draw: shape -> a random cotangent.
    """
    from . import in_torch

    lin_in, relu_in, mse_in = inputs["lin"], inputs["relu"], inputs["mse"]
    x, w = lin_in["x"], lin_in["w"]
    zeros = {"x": np.where(np.arange(8) % 2, 0.0, -0.0).astype(x.dtype)}

    def relu_check(name: str, arguments: dict[str, np.ndarray]) -> Check:
        torch_relu = in_torch.op_autograd(in_torch.torch.relu)
        return _check(
            name,
            arguments,
            draw(arguments["x"].shape),
            (relu, relu_fwd, relu_bwd, in_jax.twin_relu),
            {"torch": torch_relu, "torch by hand": in_torch.relu_by_hand, "nn.Module": in_torch.relu_module},
        )

    return [
        _check(
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
        relu_check("relu", relu_in),
        relu_check("relu at 0", zeros),
        _check(
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


def _check(
    name: str,
    arguments: dict[str, np.ndarray],
    cotangent: np.ndarray,
    rule: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]],
    torch: dict[str, Callable[..., Any]],
) -> Check:
    op, fwd, bwd, twin_op = rule
    names = ["y", *(f"{argument}_bar" for argument in arguments)]

    def leaves(outputs: tuple) -> Leaves:
        # A rule may return too many or too few, or None: `compare` says so.
        labels = names + [f"extra {i}" for i in range(len(outputs) - len(names))]
        return {label: np.asarray(leaf) for label, leaf in zip(labels, outputs, strict=False) if leaf is not None}

    twin = in_jax.op_by_vjp(twin_op)
    from .in_torch import in_double

    return Check(
        name,
        (tuple(arguments.values()), cotangent),
        {"by hand": in_jax.op_by_hand(fwd, bwd), "custom_vjp": in_jax.op_by_vjp(op), "jax.grad": twin},
        torch,
        twin,
        in_double(torch["torch"]),
        leaves,
    )
