"""The jax implementations: ours by hand, ours through `jax.grad`, and a twin that knows none of our rules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.functional import forward_and_backward, mlp, mse

from .result import Result

# The twin: the same maths in plain jax, with the same promise that half precision accumulates in float32.


def twin_lin(x, w, b):
    wide = np.promote_types(x.dtype, np.float32)
    y = jnp.dot(x, w, preferred_element_type=wide)
    return (y + jnp.broadcast_to(b.astype(wide), y.shape)).astype(x.dtype)


twin_relu = jax.nn.relu


def twin_shifted_relu(x, shift):
    # Widened, then broadcast: the other way round, autodiff sums the shift's gradient in half precision.
    wide = np.promote_types(x.dtype, np.float32)
    return (jax.nn.relu(x).astype(wide) - jnp.broadcast_to(shift.astype(wide), x.shape)).astype(x.dtype)


def twin_leaky_relu(x, negative_slope):
    # Not jax.nn.leaky_relu: at 0 its slope is 1, and torch's and ours negative_slope.
    wide = np.promote_types(x.dtype, np.float32)
    leak = jnp.broadcast_to(negative_slope.astype(wide), x.shape) * x.astype(wide)
    return jnp.where(x > 0, x, leak.astype(x.dtype))


def twin_conv2d(x, w, b, stride=1, padding="VALID", dilation=1):
    wide = np.promote_types(x.dtype, np.float32)
    pads = padding if isinstance(padding, str) else [_pair(pad) for pad in _pair(padding)]
    axes = {"rhs_dilation": _pair(dilation), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    y = jax.lax.conv_general_dilated(x.astype(wide), w.astype(wide), _pair(stride), pads, **axes)
    return (y + jnp.broadcast_to(b.astype(wide), y.shape)).astype(x.dtype)


def twin_max_pool2d(x, window=2, stride=None, padding="VALID"):
    return jax.lax.reduce_window(x, -np.inf, jax.lax.max, *_pooling(window, stride, padding))


def twin_avg_pool2d(x, window=2, stride=None, padding="VALID", count_include_pad=True):
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    ones = jnp.ones_like(wide)
    total, count = (
        jax.lax.reduce_window(a, 0.0, jax.lax.add, *_pooling(window, stride, padding)) for a in (wide, ones)
    )
    return (total / (float(np.prod(_pair(window))) if count_include_pad else count)).astype(x.dtype)


def _pooling(window, stride, padding):
    pads = padding if isinstance(padding, str) else [(0, 0), *(_pair(pad) for pad in _pair(padding)), (0, 0)]
    return (1, *_pair(window), 1), (1, *_pair(window if stride is None else stride), 1), pads


def _pair(value):
    return (value, value) if isinstance(value, int) else value


def twin_log_softmax(x):
    return jax.nn.log_softmax(x.astype(np.promote_types(x.dtype, np.float32))).astype(x.dtype)


def twin_softmax_cross_entropy(logits, labels, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    log_p = jax.nn.log_softmax(logits.astype(np.promote_types(logits.dtype, np.float32)))
    counts = labels != ignore_index
    at_label = jnp.take_along_axis(log_p, jnp.where(counts, labels, 0)[..., None], axis=-1)[..., 0]
    loss = -(1 - label_smoothing) * at_label
    if label_smoothing:
        loss -= label_smoothing * jnp.mean(log_p, axis=-1)
    loss = jnp.where(counts, loss, 0)
    if reduction != "none":
        loss = jnp.sum(loss) / (jnp.sum(counts, dtype=loss.dtype) if reduction == "mean" else 1)
    return loss.astype(logits.dtype)


def twin_linear_cross_entropy(x, w, b, labels, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    # All logits at once, not rounded to half precision between the layer and its loss.
    wide = np.promote_types(x.dtype, np.float32)
    logits = jnp.matmul(x, w, preferred_element_type=wide)
    logits = logits if b is None else logits + jnp.broadcast_to(b.astype(wide), logits.shape)
    return twin_softmax_cross_entropy(logits, labels, ignore_index, label_smoothing, reduction).astype(x.dtype)


def twin_mse(output, targ):
    wide = np.promote_types(output.dtype, np.float32)
    diff = output.reshape(targ.shape).astype(wide) - targ.astype(wide)
    return jnp.mean(diff**2).astype(output.dtype)


def twin_mlp(params, x):
    *hidden, (w, b) = params
    for w_hidden, b_hidden in hidden:
        x = twin_relu(twin_lin(x, w_hidden, b_hidden))
    return twin_lin(x, w, b)


def twin_loss(params, x, targ):
    return twin_mse(twin_mlp(params, x), targ)


# The whole net: (params, x, targ) -> Result.


def net_by_hand(params, x, targ) -> Result:
    """`forward_and_backward`: the explicit chain, no autodiff."""
    loss, grads, x_bar = forward_and_backward(params, x, targ)
    return Result(mlp(params, x), loss, grads, x_bar)


def _net_by_grad(net: Callable[..., Any], loss_of: Callable[..., Any]) -> Callable[..., Result]:
    def run(params, x, targ) -> Result:
        def loss_and_output(params, x):
            output = net(params, x)
            return loss_of(output, targ), output

        (loss, output), (grads, x_bar) = jax.value_and_grad(loss_and_output, (0, 1), has_aux=True)(params, x)
        return Result(output, loss, grads, x_bar)

    return run


net_custom_vjp = _net_by_grad(mlp, mse)  # jax.grad of our loss: jax calls our rules
net_twin = _net_by_grad(twin_mlp, twin_mse)


# One op alone: (inputs, cotangent) -> (y, *input cotangents).


def op_by_hand(fwd: Callable[..., Any], bwd: Callable[..., Any]) -> Callable[..., tuple]:
    def run(inputs, cotangent):
        y, residuals = fwd(*inputs)
        return (y, *bwd(residuals, cotangent))

    return run


def op_by_vjp(op: Callable[..., Any]) -> Callable[..., tuple]:
    def run(inputs, cotangent):
        y, pullback = jax.vjp(op, *inputs)
        return (y, *pullback(cotangent))

    return run
