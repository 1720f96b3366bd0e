"""A user's torch function: `(diff leaves, cotangents) -> named leaves`, from NumPy to NumPy."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .in_torch import to_numpy, to_torch, torch
from .result import Leaves
from .subject import Subject, output_names


def _passed_on(leaf: Any) -> Any:
    """What is not differentiated: integers as torch's own int64, which it indexes by."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    return to_torch(leaf.astype(np.int64) if leaf.dtype.kind == "i" else leaf)


def with_cotangents(subject: Subject, fun: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Leaves]:
    """In torch what `subject.with_cotangents` is in jax.

    Raises TypeError if the function returns something else than tensors, ValueError if an output is cut off from the
    inputs (detached), both naming the output.
    """

    def run(diff: Sequence[np.ndarray], cotangents: Sequence[np.ndarray]) -> Leaves:
        inputs = [to_torch(leaf).requires_grad_() for leaf in diff]
        args = jax.tree.map(_passed_on, subject.rebuild(inputs))
        y = fun(*args, **kwargs)
        outputs, names = jax.tree.leaves(y), output_names(y)
        for name, output in zip(names, outputs, strict=True):
            if not isinstance(output, torch.Tensor):
                raise TypeError(
                    f"the torch function must return tensors; its output {name} is a {type(output).__name__}"
                )
            if output.is_floating_point() and not output.requires_grad:
                raise ValueError(
                    f"the torch function's output {name} is detached from its inputs: no .detach(), .numpy(), .item() "
                    "or torch.no_grad() between them"
                )
        floats = [output for output in outputs if output.is_floating_point()]
        if len(floats) != len(cotangents):
            raise ValueError(f"the torch function has {len(floats)} floating-point outputs, the rule {len(cotangents)}")
        named = [(name, output) for name, output in zip(names, outputs, strict=True) if output.is_floating_point()]
        for (name, output), cotangent in zip(named, cotangents, strict=True):
            if tuple(output.shape) != cotangent.shape[1:]:
                raise ValueError(
                    f"the torch function's output {name} has shape {tuple(output.shape)}, "
                    f"the rule's {cotangent.shape[1:]}"
                )
        leaves = {name: to_numpy(output) for name, output in zip(names, outputs, strict=True)}
        leaves |= {f"{name} (primal)": leaf for name, leaf in leaves.items()}
        bars = []
        for k in range(len(cotangents[0])):
            grads = torch.autograd.grad(
                floats, inputs, [to_torch(c[k]) for c in cotangents], retain_graph=True, allow_unused=True
            )
            # An input that the function does not use has no gradient in torch; jax gives it zeros.
            bars.append([to_numpy(torch.zeros_like(x) if g is None else g) for x, g in zip(inputs, grads, strict=True)])
        for name, *each in zip(subject.names, *bars, strict=True):
            leaves[f"{name}_bar"] = np.stack(each)
        return leaves

    return run
