"""The implementations: (params, x, targ) -> (loss, grads), or (loss, grads, x_bar), of the dense net with mean squares.

They take and give arrays of their own library. What a row of a table is, is said here and nowhere else.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from pullback.functional import (
    forward_and_backward,
    fused_forward_and_backward,
    fused_mlp_loss,
    fused_value_and_grad,
)
from pullback.parity.case.torch_arrays import to_numpy, to_torch
from pullback.parity.lesson import in_jax, in_torch

from .row import BASE

Net = Callable[..., tuple]
HAND, FUSED, GRAD, RAW = (
    "forward_and_backward",
    "fused_value_and_grad",
    "value_and_grad(fused_mlp_loss)",
    "fused, uint8",
)
OURS = (HAND, FUSED, GRAD, RAW)
EAGER, TORCH_HAND, COMPILED, NUMPY = "torch eager", "torch by hand", "torch.compile", "NumPy by hand"


def in_jax_(x_bar: bool) -> dict[str, Net]:
    """jax's own first, then ours; all to be jitted."""
    return {
        BASE: grad_of(in_jax.twin_loss, x_bar),
        HAND: forward_and_backward if x_bar else lambda *args: forward_and_backward(*args)[:2],
        FUSED: fused_forward_and_backward if x_bar else fused_value_and_grad,
        GRAD: grad_of(fused_mlp_loss, x_bar),
    }


def grad_of(loss: Callable[..., Any], x_bar: bool) -> Net:
    """jax's value and gradients of a loss, with respect to params, and to x if x_bar."""
    if not x_bar:
        return jax.value_and_grad(loss)

    def run(params, x, targ):
        value, bars = jax.value_and_grad(loss, (0, 1))(params, x, targ)
        return value, *bars

    return run


def on_raw(mean: np.float32, std: np.float32) -> Net:
    """Ours on uint8: the normalizing is folded into the first layer."""
    return functools.partial(fused_value_and_grad, mean=mean, std=std)


def normalizing_first(mean: np.float32, std: np.float32) -> Net:
    """The same in plain jax, to hold `on_raw` against."""
    twin = jax.value_and_grad(in_jax.twin_loss)
    return lambda params, raw, targ: twin(params, (raw.astype(np.float32) - mean) / std, targ)


def in_torch_(x_bar: bool) -> dict[str, Net]:
    """On tensors; torch.compile's is in `compiled`."""
    return {EAGER: _autograd_of(in_torch.mlp_loss, x_bar), TORCH_HAND: functools.partial(_by_hand, torch.relu, x_bar)}


def compiled(x_bar: bool) -> Net:
    """The loss through torch.compile, which then compiles its backward pass too."""
    torch.compiler.reset()
    return _autograd_of(torch.compile(in_torch.mlp_loss, dynamic=False), x_bar)


def in_numpy(x_bar: bool) -> dict[str, Net]:
    return {NUMPY: functools.partial(_by_hand, lambda z: np.maximum(z, 0), x_bar)}


def _autograd_of(loss_of: Callable[..., torch.Tensor], x_bar: bool) -> Net:
    def run(params, x, targ):
        leaves = [leaf for layer in params for leaf in layer] + ([x] if x_bar else [])
        for leaf in leaves:
            leaf.requires_grad_()
        loss = loss_of(params, x, targ)
        bars = torch.autograd.grad(loss, leaves)
        grads = list(zip(bars[: 2 * len(params) : 2], bars[1 : 2 * len(params) : 2], strict=True))
        return (loss.detach(), grads, bars[-1]) if x_bar else (loss.detach(), grads)

    return run


def _by_hand(relu: Callable[[Any], Any], x_bar: bool, params: Any, x: Any, targ: Any) -> tuple:
    """The lesson's gradients, in NumPy or in torch: the two spell everything but relu alike."""
    h, kept = x, []
    for w, b in params[:-1]:
        z = h @ w + b
        kept.append((h, z))
        h = relu(z)
    w, b = params[-1]
    kept.append((h, None))
    diff = (h @ w + b).reshape(targ.shape) - targ
    loss = (diff * diff).mean()
    bar = ((2 / math.prod(targ.shape)) * diff).reshape(len(h), w.shape[1])
    grads = []
    for layer in reversed(range(len(params))):
        h, z = kept[layer]
        if z is not None:
            bar = bar * (z > 0)
        grads.insert(0, (h.T @ bar, bar.sum(0)))
        if layer or x_bar:
            bar = bar @ params[layer][0].T
    return (loss, grads, bar) if x_bar else (loss, grads)


# Where torch computes.


@functools.cache
def torch_device() -> torch.device:
    """The GPU where jax computes on one and this torch can too, else the CPU."""
    return torch.device("cuda" if on_gpu() and torch.cuda.is_available() else "cpu")


def on_gpu() -> bool:
    """Whether jax computes on a GPU."""
    return jax.default_backend() == "gpu"


def finish_torch() -> None:
    """Waits until torch's GPU has done what was asked of it."""
    if torch_device().type == "cuda":
        torch.cuda.synchronize()


# From arrays to tensors and back, for the check.


def tensors(params: Any, x: Any, targ: Any) -> tuple:
    """The same arguments as tensors, where torch computes."""
    return torch_tree([tuple(layer) for layer in params]), torch_tree(x), torch_tree(targ)


def torch_tree(arrays: Any) -> Any:
    """Arrays as tensors, where torch computes."""
    return jax.tree.map(lambda a: to_torch(a).to(torch_device()), arrays)


def on_arrays(net: Net) -> Net:
    """A net on tensors as one on NumPy arrays."""

    def run(params, x, targ):
        return jax.tree.map(to_numpy, net(*tensors(params, x, targ)))

    return run
