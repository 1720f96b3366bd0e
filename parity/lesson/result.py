"""What every implementation of the lesson's net gives back."""

from typing import Any, NamedTuple

from ..case.leaves import Leaves, as_numpy


class Result(NamedTuple):
    """One forward and backward pass: `output`, `loss`, `grads` (structured like params), `x_bar`."""

    output: Any
    """`[n, 1]`, what the net says of each row."""
    loss: Any
    """A scalar."""
    grads: Any
    """The gradient of the loss in each parameter: a pair `(w_bar, b_bar)` for each layer."""
    x_bar: Any
    """`[n, 784]`, the gradient of the loss in the input."""


def result_leaves(result: Result) -> Leaves:
    """A Result as named arrays: output, loss, the gradients as w1, b1, w2, ..., and x_bar."""
    named = {"output": result.output, "loss": result.loss} | grad_leaves(result.grads)
    return as_numpy(named | {"x_bar": result.x_bar})


def grad_leaves(grads: Any) -> Leaves:
    """Gradients structured like params, as w1, b1, w2, ..."""
    layers = enumerate(grads, start=1)
    return {f"{name}{k}": bar for k, layer in layers for name, bar in zip("wb", layer, strict=True)}
