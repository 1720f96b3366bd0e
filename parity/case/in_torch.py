"""A user's torch function: `(leaves, cotangents) -> named leaves`, from NumPy to NumPy, as InJax is in jax."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .arguments import Arguments, output_names
from .leaves import Leaves
from .torch_arrays import to_numpy, to_torch, torch


class InTorch:
    """The function's value and cotangents.

    Of complex numbers torch gives the conjugate of jax's cotangents, for the conjugate of its incoming ones (for a
    real loss of z = x + iy, torch's gradient is dL/dx + i dL/dy and jax's dL/dx - i dL/dy): they are given as jax's.

    Calling it raises TypeError if the function returns something else than tensors, ValueError if an output is cut off
    from the inputs (detached) or has another shape than the rule's, all naming the output.
    """

    def __init__(self, arguments: Arguments, fun: Callable[..., Any], kwargs: dict[str, Any]):
        self._arguments, self._fun, self._kwargs = arguments, fun, kwargs

    def __call__(self, leaves: Sequence[np.ndarray], cotangents: Sequence[np.ndarray]) -> Leaves:
        inputs = [to_torch(leaf) for leaf in leaves]
        diff = [inputs[i].requires_grad_() for i in self._arguments.wrt]
        y = self._call(inputs)
        outputs = dict(zip(output_names(y), jax.tree.leaves(y), strict=True))
        for name, output in outputs.items():
            if not isinstance(output, torch.Tensor):
                kind = type(output).__name__
                raise TypeError(f"the torch function must return tensors; its output {name} is a {kind}")
            if _is_float(output) and not output.requires_grad:
                never = "no .detach(), .numpy(), .item() or torch.no_grad() between them"
                raise ValueError(f"the torch function's output {name} is detached from its inputs: {never}")
        floats = {name: output for name, output in outputs.items() if _is_float(output)}
        if len(floats) != len(cotangents):
            raise ValueError(f"the torch function has {len(floats)} floating-point outputs, the rule {len(cotangents)}")
        for (name, output), cotangent in zip(floats.items(), cotangents, strict=True):
            shape, wanted = tuple(output.shape), cotangent.shape[1:]
            if shape != wanted:
                raise ValueError(f"the torch function's output {name} has shape {shape}, the rule's {wanted}")
        bars = []
        for k in range(len(cotangents[0])):
            y_bars = [to_torch(np.conj(c[k])) for c in cotangents]
            # An input that the function does not use has no gradient in torch; jax gives it zeros.
            grads = torch.autograd.grad(list(floats.values()), diff, y_bars, retain_graph=True, materialize_grads=True)
            bars.append([to_numpy(grad.conj()) for grad in grads])
        named = {name: to_numpy(output) for name, output in outputs.items()}
        named |= {f"{name} (primal)": leaf for name, leaf in named.items()}
        stacked = [np.stack(each) for each in zip(*bars, strict=True)]
        return named | {f"{name}_bar": bar for name, bar in zip(self._arguments.diff_names, stacked, strict=True)}

    def _call(self, inputs: Sequence[torch.Tensor]) -> Any:
        args = jax.tree.map(_passed_on, self._arguments.rebuild(inputs))
        return self._fun(*args, **self._kwargs)


def _is_float(output: torch.Tensor) -> bool:
    return output.is_floating_point() or output.is_complex()


def _passed_on(leaf: Any) -> Any:
    """What is no floating-point leaf: integers as torch's own int64, which it indexes by."""
    if not isinstance(leaf, np.ndarray):
        return leaf
    return to_torch(leaf.astype(np.int64) if leaf.dtype.kind == "i" else leaf)
