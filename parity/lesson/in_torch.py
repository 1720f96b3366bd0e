"""The torch implementations of the lesson's net: autograd, by hand, and `nn.Module`."""

from collections.abc import Callable
from typing import Any

import jax

from ..case.leaves import widened
from ..case.torch_arrays import to_numpy, to_torch, torch
from .result import Result

# The maths, as torch users write it.

relu = torch.relu


def lin(x, w, b):
    return x @ w + b


def shifted_relu(x, shift):
    return torch.relu(x) - shift


def leaky_relu(x, negative_slope):
    return torch.nn.functional.prelu(x, negative_slope.reshape(1))  # leaky_relu's slope cannot be differentiated


def conv2d(x, w, b, stride=1, padding=0, dilation=1):
    x, w = x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)
    return torch.nn.functional.conv2d(x, w, b, stride, padding, dilation).permute(0, 2, 3, 1)


def max_pool2d(x, window=2, stride=None, padding=0):
    return torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), window, stride, padding).permute(0, 2, 3, 1)


def avg_pool2d(x, window=2, stride=None, padding=0, count_include_pad=True):
    options = window, stride, padding, False, count_include_pad
    return torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), *options).permute(0, 2, 3, 1)


def log_softmax(x):
    return torch.log_softmax(x, -1)


def softmax_cross_entropy(logits, labels, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
    rows = logits.reshape(-1, logits.shape[-1])
    loss = torch.nn.functional.cross_entropy(rows, labels.reshape(-1).long(), **options)
    return loss.reshape(labels.shape) if reduction == "none" else loss


def linear_cross_entropy(x, w, b, labels, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    logits = x @ w if b is None else lin(x, w, b)
    return softmax_cross_entropy(logits, labels, ignore_index, label_smoothing, reduction)


def mse(output, targ):
    return (output.reshape(targ.shape) - targ).pow(2).mean()


def mlp(params, x):
    for w, b in params[:-1]:
        x = torch.relu(lin(x, w, b))
    return lin(x, *params[-1])


def mlp_loss(params, x, targ):
    return mse(mlp(params, x), targ)


# The lesson's gradients by hand, each multiplied by its incoming cotangent.


def lin_grad(x, w, y_bar):
    return y_bar @ w.T, x.T @ y_bar, y_bar.sum(0)


def relu_grad(x, y_bar):
    return (x > 0).to(x.dtype) * y_bar


def mse_grad(output, targ, loss_bar):
    output_bar = loss_bar * 2.0 * (output.reshape(targ.shape) - targ) / targ.numel()
    return output_bar.reshape(output.shape), -output_bar


def _on_tensors(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function from trees of tensors to a tree of tensors, as one of NumPy arrays."""
    return lambda *args: jax.tree.map(to_numpy, run(*jax.tree.map(to_torch, args)))


# The whole net: (params, x, targ), NumPy -> Result, NumPy. params is a list of (w, b).


@_on_tensors
def net_autograd(params, x, targ) -> Result:
    leaves = [leaf.requires_grad_() for leaf in (x, *(leaf for layer in params for leaf in layer))]
    output = mlp(params, x)
    loss = mse(output, targ)
    x_bar, *bars = torch.autograd.grad(loss, leaves)
    return Result(output, loss, list(zip(bars[::2], bars[1::2], strict=True)), x_bar)


@_on_tensors
def net_by_hand(params, x, targ) -> Result:
    hs, zs = [x], []
    for w, b in params:
        zs.append(lin(hs[-1], w, b))
        hs.append(torch.relu(zs[-1]))
    output = zs[-1]
    loss = mse(output, targ)
    bar, _targ_bar = mse_grad(output, targ, torch.ones_like(loss))
    grads = []
    for k in reversed(range(len(params))):
        bar, w_bar, b_bar = lin_grad(hs[k], params[k][0], bar)
        grads.insert(0, (w_bar, b_bar))
        if k:
            bar = relu_grad(zs[k - 1], bar)
    return Result(output, loss, grads, bar)


def _linear(w: torch.Tensor, b: torch.Tensor) -> torch.nn.Linear:
    """`nn.Linear` with these weights; it keeps its weight as [fan_out, fan_in]."""
    fan_in, fan_out = w.shape
    layer = torch.nn.Linear(fan_in, fan_out, dtype=w.dtype, device="meta")
    layer.weight = torch.nn.Parameter(w.T.contiguous())
    layer.bias = torch.nn.Parameter(b)
    return layer


@_on_tensors
def net_module(params, x, targ) -> Result:
    layers: list[torch.nn.Module] = []
    for w, b in params:
        layers += [_linear(w, b), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    x.requires_grad_()
    output = model(x)
    loss = torch.nn.MSELoss()(output.squeeze(-1), targ)
    x_bar, *bars = torch.autograd.grad(loss, [x, *model.parameters()])
    grads = [(weight_bar.T, b_bar) for weight_bar, b_bar in zip(bars[::2], bars[1::2], strict=True)]
    return Result(output, loss, grads, x_bar)


# One op alone: (inputs, cotangent), NumPy -> (y, *input cotangents), NumPy.


def op_autograd(op: Callable[..., torch.Tensor]) -> Callable[..., tuple]:
    @_on_tensors
    def run(inputs, cotangent):
        y = op(*(x.requires_grad_() for x in inputs))
        return (y, *torch.autograd.grad(y, inputs, cotangent))

    return run


def op_by_hand(op: Callable[..., torch.Tensor], grad: Callable[..., tuple]) -> Callable[..., tuple]:
    return _on_tensors(lambda inputs, y_bar: (op(*inputs), *grad(*inputs, y_bar)))


@_on_tensors
def lin_module(inputs, y_bar):
    x, w, b = inputs
    layer = _linear(w, b)
    y = layer(x.requires_grad_())
    x_bar, weight_bar, b_bar = torch.autograd.grad(y, [x, layer.weight, layer.bias], y_bar)
    return y, x_bar, weight_bar.T, b_bar


lin_by_hand = op_by_hand(lin, lambda x, w, b, y_bar: lin_grad(x, w, y_bar))
relu_by_hand = op_by_hand(relu, lambda x, y_bar: (relu_grad(x, y_bar),))
mse_by_hand = op_by_hand(mse, mse_grad)
relu_module = op_autograd(torch.nn.ReLU())
mse_module = op_autograd(lambda output, targ: torch.nn.MSELoss()(output.reshape(targ.shape), targ))


def in_double(run: Callable[..., Any]) -> Callable[..., Any]:
    """The oracle: the same implementation on the same numbers in float64."""
    return lambda *args: run(*widened(args))
