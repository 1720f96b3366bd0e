"""layers: a net as composable layers, each with its forward and its backward by hand.

    forward     x -> layer 1 -> layer 2 -> ... -> y       each keeps its residuals
    backward    y_bar -> ... -> layer 2 -> layer 1 -> x_bar       the same list, read from the end

A layer is three functions and no state: parameters go in and their cotangents come out. Source: the lesson's `Module`,
whose layers keep input, output and gradient in themselves; here they are arguments and results.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from ._check import check_known, describe
from ._typing import Array
from .init import kaiming_normal
from .lin import lin_bwd, lin_fwd
from .mse import mse_bwd, mse_fwd
from .relu import relu_bwd, relu_fwd

Tree: TypeAlias = Any
"""A layer's parameters: `(w, b)`, a list of such, or None for a layer that has none."""


class Layer(NamedTuple):
    """A step of a net, as plain data. Write your own from a rule's `_fwd` and `_bwd`."""

    init: Callable[[Array], Tree]
    """`key -> params`. A layer whose init returns None has no parameters."""
    forward: Callable[..., tuple[Array, Any]]
    """`(params, *inputs) -> (y, residuals)`."""
    backward: Callable[[Any, Array], tuple[Any, ...]]
    """`(residuals, y_bar) -> (params_bar, *input_bars)`."""

    @property
    def has_params(self) -> bool:
        """Whether init returns parameters. It is traced for that, and draws nothing."""
        try:
            return jax.eval_shape(self.init, jax.random.key(0)) is not None
        except jax.errors.JAXTypeError:  # an init that looks into the key, to draw with NumPy, cannot be traced
            return True


def no_params(key: Array) -> None:
    """An `init` for a layer without parameters: it returns None, whatever the key."""


def Lin(fan_in: int, fan_out: int, init: Callable[[Array, tuple[int, int]], Any] = kaiming_normal) -> Layer:
    """Affine layer `x @ w + b`, of parameters `(w[fan_in, fan_out], b[fan_out])`.

    init: `(key, shape) -> w`, with a bias of 0 (kaiming_normal, xavier_uniform, ...), or `-> (w, b)` (torch_linear).
    """

    def init_lin(key: Array) -> tuple[Array, Array]:
        drawn = init(key, (fan_in, fan_out))
        return drawn if isinstance(drawn, tuple) else (drawn, jnp.zeros(fan_out, drawn.dtype))

    return Layer(init_lin, _lin_forward, _lin_backward)


def _lin_forward(params, x):
    if not isinstance(params, (list, tuple)) or len(params) not in (1, 2):
        raise ValueError(f"Lin: params must be a pair (w, b); got {describe(params)}")
    return lin_fwd(x, *params)


def _lin_backward(residuals, y_bar):
    x_bar, w_bar, b_bar = lin_bwd(residuals, y_bar)
    return (w_bar, b_bar), x_bar


def Relu() -> Layer:
    """Rectifier. It has no parameters."""
    return Layer(no_params, _relu_forward, _relu_backward)


def _relu_forward(params, x):
    return relu_fwd(x)


def _relu_backward(residuals, y_bar):
    return None, *relu_bwd(residuals, y_bar)


def Mse() -> Layer:
    """Mean squared error. It has no parameters and two inputs, output and targ. In `serial` it must be last."""
    return Layer(no_params, _mse_forward, _mse_backward)


def _mse_forward(params, output, targ):
    return mse_fwd(output, targ)


def _mse_backward(residuals, loss_bar):
    return None, *mse_bwd(residuals, loss_bar)


def serial(*layers: Layer) -> Layer:
    """Chains the layers into one layer, so serials can be nested.

    Its parameters are a list with one entry for each layer that has any (None if no layer has), so those of
    `serial(Lin(784, 50), Relu(), Lin(50, 1))` are `mlp`'s. The first input goes to the first layer, and all further
    inputs go to the last: `forward(params, x, targ)` where that is `Mse()`. With `loss, residuals = forward(params, x,
    targ)`, the gradients are `grads, x_bar, targ_bar = backward(residuals, jnp.ones_like(loss))`.

    Raises:
        ValueError: there are no layers, or (in forward) params do not have one entry for each layer that has any.
        TypeError: an argument is no Layer.
    """
    if not layers:
        raise ValueError("serial: needs at least one layer")
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = ": call it" if callable(layer) else ""
            raise TypeError(f"serial: layers[{position}] must be a Layer; got {_name(layer)}{hint}")
    with_params = [layer.has_params for layer in layers]
    count = sum(with_params)

    def init_serial(key: Array) -> list[Tree]:
        drawing = [layer for layer, has in zip(layers, with_params, strict=True) if has]
        return [layer.init(key) for layer, key in zip(drawing, jax.random.split(key, count), strict=True)]

    def forward(params: Sequence[Tree] | None, x: Array, *more: Array) -> tuple[Array, list[Any]]:
        params = [] if params is None and not count else params
        if not isinstance(params, (list, tuple)) or len(params) != count:
            got = f"{len(params)}" if isinstance(params, (list, tuple)) else type(params).__name__
            raise ValueError(
                f"serial: params must be a list with one entry for each of the {count} layers that have any; got {got}"
            )
        own, residuals = iter(params), []
        for position, (layer, has) in enumerate(zip(layers, with_params, strict=True), start=1):
            inputs = (x, *more) if position == len(layers) else (x,)
            x, kept = layer.forward(next(own) if has else None, *inputs)
            residuals.append(kept)
        return x, residuals

    def backward(residuals: list[Any], y_bar: Array) -> tuple[Any, ...]:
        bar, more_bars, params_bar = y_bar, None, []
        for layer, has, kept in reversed(list(zip(layers, with_params, residuals, strict=True))):
            own_bar, bar, *others = layer.backward(kept, bar)
            more_bars = others if more_bars is None else more_bars  # the last layer's, which comes first here
            if has:
                params_bar.insert(0, own_bar)
        return (params_bar if count else None), bar, *(more_bars or [])

    return Layer(init_serial if count else no_params, forward, backward)


def as_op(layer: Layer) -> Callable[..., Any]:
    """Returns a function `(params, *inputs) -> y` that `jax.grad` differentiates by the layer's own backward.

    So `jax.grad(as_op(model))(params, x, targ)` works, and `parity.check(as_op(layer), params, x)` tells whether the
    layer that you wrote is right. Where params or an input holds what is neither a number nor an array of jax's or
    NumPy's, a call raises TypeError.
    """

    @jax.custom_vjp
    def op(params: Tree, *inputs: Array) -> Array:
        return layer.forward(params, *inputs)[0]

    def op_fwd(params: Tree, *inputs: Array) -> tuple[Array, Any]:
        y, residuals = layer.forward(params, *inputs)
        return y, (params, residuals)

    def op_bwd(kept: Any, y_bar: Array) -> tuple[Any, ...]:
        params, residuals = kept
        params_bar, *bars = layer.backward(residuals, y_bar)
        # Their cotangents go into the containers that params came in: jax takes no list of cotangents for a tuple.
        return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(params_bar)), *bars

    op.defvjp(op_fwd, op_bwd)

    @functools.wraps(op)
    def call(params: Tree, *inputs: Array) -> Array:
        check_known("as_op", "params", params)
        for k, value in enumerate(inputs):
            check_known("as_op", f"inputs[{k}]", value)
        return op(params, *inputs)

    return call


def _name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)
