# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 3. Layers, and three forms of one gradient
#
# The last notebook's `forward_and_backward` names every step twice, once in each direction. Another layer means more
# lines in two places, in opposite order. Here we make a layer one thing that knows both directions, so that a net is a
# list. Then we look at one line in it, the weight's gradient, which can be written in three ways that cost very
# different amounts. Last, the same net in torch's `nn.Module`, with the same weights.
#
# It follows the end of the lesson (fast.ai, "Deep Learning from the Foundations", 2019, lesson 8).

# %% tags=["varies"]
import importlib
import pathlib
import subprocess
import sys

try:
    for name in ("pullback.parity", "matplotlib", "torch"):
        importlib.import_module(name)
except ImportError as missing:  # a hosted notebook, say: install the clone that this file lies in
    here = pathlib.Path.cwd().resolve()
    clone = next((folder for folder in (here, *here.parents) if (folder / "functional" / "lin.py").exists()), None)
    if clone is None:
        hint = "clone pullback's repository, and %pip install 'CLONE[parity]' (with its path for CLONE)"
        raise ImportError(f"{missing}: {hint}, or open this notebook in the clone") from None
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"{clone}[parity]"], check=True)
    importlib.invalidate_caches()

import jax

from pullback.data import get_data, load_mnist

device = jax.devices()[0]
print(f"device  {device.platform} ({device.device_kind})")
print(f"data    {load_mnist().source.split(' (')[0].split(', ')[0]}")
print(f"jax     {jax.__version__}")

# %%
#| default_exp layers
#| export
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from pullback import functional, parity
from pullback.data import normalize
from pullback.functional import forward_and_backward, init_mlp

plt.rcParams |= {"figure.dpi": 80, "figure.figsize": (7, 3), "axes.grid": True, "grid.alpha": 0.3}

x_train, y_train, x_valid, y_valid = get_data()
x_all = normalize(x_train, x_train.mean(), x_train.std())
x, targ = jnp.asarray(x_all[:1000]), jnp.asarray(y_train[:1000].astype(np.float32))
n, m = x.shape
nh = 50
print(f"x {x.shape}, targ {targ.shape}")

# %% [markdown]
# ## What every step has in common
#
# - Forward: it takes its parameters and its input, and returns its output. It also keeps what backward will need, the
#   *residuals*.
# - Backward: it takes the residuals and the cotangent of its output, and returns the cotangents of its parameters and
#   of its input.
# - Before all that: it draws its first parameters.
#
# The lesson's classes keep input, output and gradients in `self`. JAX compiles functions of their arguments, so here
# everything goes in as an argument and comes out as a result. What is left of a layer is three functions:


# %%
#| export
class Layer(NamedTuple):
    init: Callable[..., Any]  # key -> params
    forward: Callable[..., Any]  # params, x -> y, residuals
    backward: Callable[..., Any]  # residuals, y_bar -> params_bar, x_bar


# %% [markdown]
# The linear layer. Its residuals are `x` and `w`: each is in the other's gradient.


# %%
#| export
def Lin(fan_in, fan_out, a=0.0):
    def init(key):
        std = (2 / ((1 + a**2) * fan_in)) ** 0.5  # Kaiming, for a rectifier of slope a after it
        return jax.random.normal(key, (fan_in, fan_out)) * std, jnp.zeros(fan_out)

    def forward(params, x):
        w, b = params
        return x @ w + b, (x, w)

    def backward(residuals, y_bar):
        x, w = residuals
        return (x.T @ y_bar, y_bar.sum(0)), y_bar @ w.T

    return Layer(init, forward, backward)


# %% [markdown]
# The rectifier has no parameters: `None`. It keeps its output, which is positive just where its input was.


# %%
#| export
def Relu():
    def forward(params, x):
        y = jnp.where(x <= 0, 0, x)
        return y, y

    def backward(residuals, y_bar):
        return None, jnp.where(residuals > 0, y_bar, 0)

    return Layer(lambda key: None, forward, backward)


# %% [markdown]
# The loss takes two inputs, so the targets travel with the output, as a pair.


# %%
#| export
def Mse():
    def forward(params, pair):
        output, targ = pair
        diff = output.reshape(targ.shape) - targ
        return jnp.mean(diff**2), pair

    def backward(residuals, loss_bar):
        output, targ = residuals
        bar = loss_bar * (2 / targ.size) * (output.reshape(targ.shape) - targ)
        return None, (bar.reshape(output.shape), -bar)

    return Layer(lambda key: None, forward, backward)


# %% [markdown]
# ## A net is a list of layers
#
# Forward through the list; backward through the list from its end. That is all.


# %%
#| export
def init(layers, key):
    return [layer.init(k) for layer, k in zip(layers, jax.random.split(key, len(layers)), strict=True)]


# %%
#| export
def forward_and_backward_through(layers, loss, params, x, targ):
    kept = []
    for layer, layer_params in zip(layers, params, strict=True):
        x, residuals = layer.forward(layer_params, x)
        kept.append(residuals)
    value, residuals = loss.forward(None, (x, targ))

    _, (bar, _targ_bar) = loss.backward(residuals, jnp.ones_like(value))
    grads = []
    for layer, residuals in zip(reversed(layers), reversed(kept), strict=True):
        layer_bar, bar = layer.backward(residuals, bar)
        grads.insert(0, layer_bar)
    return value, grads, bar


# %% [markdown]
# Does it give what the library's `forward_and_backward` gives, which names its steps?

# %%
layers = [Lin(m, nh), Relu(), Lin(nh, 1, a=1.0)]
params = init(layers, jax.random.key(0))
run = jax.jit(lambda params, x, targ: forward_and_backward_through(layers, Mse(), params, x, targ))
loss, grads, x_bar = run(params, x, targ)

with_parameters = [p for p in params if p is not None]
want_loss, want_grads, want_x_bar = jax.jit(forward_and_backward)(with_parameters, x, targ)
parity.assert_near([g for g in grads if g is not None], want_grads, rtol=1e-5)
parity.assert_near((loss, x_bar), (want_loss, want_x_bar), rtol=1e-5)
print(f"the same loss, {loss:.4f}, and the same gradients")

# %% [markdown]
# A deeper net is a longer list. Nothing else changes:

# %%
deep = [Lin(m, 100), Relu(), Lin(100, nh), Relu(), Lin(nh, nh), Relu(), Lin(nh, 1, a=1.0)]
deep_params = init(deep, jax.random.key(1))
loss, grads, x_bar = jax.jit(lambda *args: forward_and_backward_through(deep, Mse(), *args))(deep_params, x, targ)
want = jax.jit(forward_and_backward)([p for p in deep_params if p is not None], x, targ)
parity.assert_near([g for g in grads if g is not None], want[1], rtol=1e-4)
print([None if g is None else g[0].shape for g in grads])

# %% [markdown]
# The library's `serial` is the same idea, with three refinements: it is itself a layer (so nets nest), layers without
# parameters (whose `init` returns None, as `no_params` does) take no place in the list of parameters, and what
# `forward` gets beyond `x` goes to the last layer, so the loss can be in the list. It is, bit for bit, the explicit
# chain:

# %%
model = functional.serial(functional.Lin(m, nh), functional.Relu(), functional.Lin(nh, 1), functional.Mse())


@jax.jit
def by_layers(params, x, targ):
    loss, residuals = model.forward(params, x, targ)
    grads, x_bar, _targ_bar = model.backward(residuals, jnp.ones_like(loss))
    return loss, grads, x_bar


params = init_mlp(jax.random.key(0), (m, nh, 1))
ours = jax.tree.leaves(by_layers(params, x, targ))
theirs = jax.tree.leaves(jax.jit(forward_and_backward)(params, x, targ))
print("bit for bit:", all(jnp.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)))

# %% [markdown]
# ## A layer of your own
#
# Any pair of a forward and a backward makes a layer. Here one with the shifted rectifier of notebook 1, from the
# library's rule for it:

# %%
from pullback.functional import no_params, shifted_relu_bwd, shifted_relu_fwd


def ShiftedRelu():
    def forward(params, x):
        return shifted_relu_fwd(x)

    def backward(residuals, y_bar):
        x_bar, _shift_bar = shifted_relu_bwd(residuals, y_bar)
        return None, x_bar

    return functional.Layer(no_params, forward, backward)


# %% [markdown]
# Is it right? `as_op` makes a function of a layer, one that `jax.grad` differentiates by the layer's own backward, and
# `parity.check` holds that against the same maths in plain jax and in torch.

# %%
rows = np.asarray(np.random.default_rng(0).standard_normal((8, 5)), np.float32)
report = parity.check(
    functional.as_op(ShiftedRelu()),
    None,
    rows,
    reference=lambda params, x: jax.nn.relu(x) - 0.5,
    torch=lambda params, x: torch.relu(x) - 0.5,
)
print("right" if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# ## Three forms of the weight's gradient
#
# $$\bar w_{io} = \sum_n x_{ni}\, \bar y_{no}$$
#
# One row of the batch contributes a matrix: $x_{ni}\, \bar y_{no}$ for all $i$ and $o$, an *outer product*. The sum of
# these matrices over rows is the gradient. The lesson first writes just that: make the outer products of all rows, an
# array of `n × 784 × 50` numbers, and sum. Then as `einsum`, which is the formula above in letters. Then as a matrix
# product.


# %%
#| export
def weight_grad_outer(x, y_bar):
    return (x[:, :, None] * y_bar[:, None, :]).sum(0)


def weight_grad_einsum(x, y_bar):
    return jnp.einsum("ni,no->io", x, y_bar)


def weight_grad_matmul(x, y_bar):
    return x.T @ y_bar


# %% [markdown]
# Are they the same? By the formula, one number after the other, on a small piece:

# %%
small_x, small_bar = np.asarray(x[:6, 300:304]), np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
looped = [
    [sum(float(small_x[row, i]) * float(small_bar[row, o]) for row in range(6)) for o in range(3)] for i in range(4)
]
looped = np.array(looped)
for form in (weight_grad_outer, weight_grad_einsum, weight_grad_matmul):
    parity.assert_near(form(small_x, small_bar), looped, rtol=1e-5, atol=1e-6)
print("outer, einsum and matmul are that sum")

# %% [markdown]
# On the whole: each is a sum of a thousand products, added in an order of its own, so they differ by rounding. By more
# than rounding explains? `parity.check` derives, element by element, how much that may be, and asks for the gradients
# of these functions too:

# %%
y_bar = np.random.default_rng(2).standard_normal((n, nh)).astype(np.float32)
in_torch = {
    "outer": lambda x, y_bar: (x.unsqueeze(-1) * y_bar.unsqueeze(1)).sum(0),
    "einsum": lambda x, y_bar: torch.einsum("ni,no->io", x, y_bar),
    "matmul": lambda x, y_bar: x.t() @ y_bar,
}
in_jax = {"outer": weight_grad_outer, "einsum": weight_grad_einsum, "matmul": weight_grad_matmul}
for name, form in in_jax.items():
    report = parity.check(
        form, np.asarray(x), y_bar, reference=weight_grad_matmul, torch=in_torch[name], checks=["values"]
    )
    print(f"{name:<7}", "within the bound, in jax and in torch" if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# ## What they cost
#
# torch does what it is told, one operation after the other: the outer form makes the whole array first. For a thousand
# rows:

# %%
torch_x, torch_bar = torch.tensor(np.asarray(x)), torch.tensor(y_bar)
made = torch_x.unsqueeze(-1) * torch_bar.unsqueeze(1)
print(f"{tuple(made.shape)}: {made.nbytes / 1e6:.0f} MB; the gradient itself is {made.sum(0).nbytes / 1e6:.2f} MB")
print(f"for all {len(x_all):,} rows it would be {made.nbytes / n * len(x_all) / 1e9:.1f} GB")

# %% [markdown]
# JAX hands the whole function to a compiler, XLA. It can see that each product is added up at once and never needed
# again, and make one loop of the two steps. (Version 0.10.2, which made this page, does. On a CPU, 0.10.0 did not.) The
# compiled program says how much memory it takes besides its arguments and its result:

# %%
for name, form in in_jax.items():
    compiled = jax.jit(form).lower(x, y_bar).compile()
    analysis = compiled.memory_analysis()
    known = "?" if analysis is None else f"{analysis.temp_size_in_bytes / 1e6:.1f} MB"
    is_product = any(word in (compiled.as_text() or "") for word in (" dot(", "gemm", "convolution("))  # CPU, GPU, TPU
    print(f"{name:<7} temporary memory {known}; {'one' if is_product else 'no'} matrix product in the program")

# %% [markdown]
# So the compiler may save the memory of the outer form, but it does not find out that the loop is a matrix product.
# With `einsum` and `matmul` it is told so. Matrix products are what processors do best.
#
# Time, for growing numbers of rows (both axes logarithmic):


# %% tags=["varies"]
def milliseconds(f, *args, repeats=7):
    f(*args)  # compile, and warm up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f(*args)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def waited(form):
    compiled = jax.jit(form)
    return lambda *args: jax.block_until_ready(compiled(*args))


torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
sizes = [64, 250, 1000, 4000]
for name, style in (("outer", "-o"), ("einsum", "-s"), ("matmul", "-^")):
    times = {"XLA": [], "torch": []}
    for size in sizes:
        some_x, some_bar = x_all[:size], np.resize(y_bar, (size, nh))
        times["XLA"].append(milliseconds(waited(in_jax[name]), *jax.device_put((some_x, some_bar))))
        times["torch"].append(milliseconds(in_torch[name], torch.tensor(some_x), torch.tensor(some_bar)))
    for framework, colour in (("XLA", "C0"), ("torch", "C1")):
        plt.plot(sizes, times[framework], style, color=colour, label=f"{framework}, {name}", alpha=0.8)
    print(f"{name:<7}" + "".join(f"   {f} {t[-1]:7.2f} ms" for f, t in times.items()) + f" for {sizes[-1]:,} rows")
plt.xscale("log")
plt.yscale("log")
plt.xlabel("rows")
plt.ylabel("time (ms)")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.tight_layout()
plt.show()

# %% [markdown]
# `lin_bwd` in the library uses the product. (`benchmarks/weight_grad.py` measures all six with more care.)
#
# ## The same net as an `nn.Module`
#
# torch's `nn.Linear` keeps its weight as `[fan_out, fan_in]`, the transpose of ours. `to_state_dict` turns the
# parameters round and gives them torch's names:

# %%
net = torch.nn.Sequential(torch.nn.Linear(m, nh), torch.nn.ReLU(), torch.nn.Linear(nh, 1))
net.load_state_dict(parity.to_state_dict(params))
for name, value in net.state_dict().items():
    print(f"{name:<9} {tuple(value.shape)}")

# %%
tx = torch.tensor(np.asarray(x), requires_grad=True)
torch_loss = torch.nn.MSELoss()(net(tx).squeeze(-1), torch.tensor(np.asarray(targ)))
torch_loss.backward()
loss, grads, x_bar = by_layers(params, x, targ)
parity.assert_near(loss, torch_loss, rtol=1e-5)
for name, value in parity.to_state_dict(grads).items():
    parity.assert_near(value, net.get_parameter(name).grad, rtol=1e-4, atol=1e-4)
parity.assert_near(x_bar, tx.grad, rtol=1e-4)
print("loss and every gradient agree, the input's too")

# %% [markdown]
# And back: weights that were trained in torch, say, as parameters for `mlp`.

# %%
back = parity.from_state_dict(net.state_dict())
parity.assert_near(functional.mlp(back, x), net(tx), rtol=1e-4, atol=1e-5)
print([tuple(leaf.shape for leaf in layer if leaf is not None) for layer in back])

# %% [markdown]
# One thing does not carry over: where a new net starts. `nn.Linear` draws its weights by a rule of its own (notebook 1:
# the $\sqrt 5$), and its biases at random as well. To start as torch does, give `Lin` that rule:

# %%
like_torch = functional.Lin(m, nh, init=functional.torch_linear).init(jax.random.key(0))
theirs = torch.nn.Linear(m, nh)
print(f"ours:  w within ±{jnp.abs(like_torch[0]).max():.4f}, b within ±{jnp.abs(like_torch[1]).max():.4f}")
print(f"torch: w within ±{theirs.weight.abs().max():.4f}; both ±1 / sqrt(784) = {1 / 28:.4f}")

# %% [markdown]
# ## What you have now
#
# - a layer as three functions, a net as a list of layers, backward as the list read from its end;
# - the weight's gradient as a sum, an einsum and a product; which of them make what, in XLA and in torch;
# - the same weights in torch and here.
#
# Everything so far was compared with `jax.grad` or torch by a tolerance that somebody typed in. The next notebook asks
# how far two right answers may be apart, and catches wrong ones. The cells that begin with `#| export` become
# `notebooks/exported/layers.py` by `make export`.
