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
# The last notebook's `forward_and_backward` names every step twice, once in each direction.
# Another layer means more lines in two places, in opposite order. Here we make a layer one
# thing that knows both directions, so that a net is a list: first as the lesson does, with
# objects that keep state, then without state. Then we look at one line in it,
# the weight's gradient, which can be written in three ways that cost very different amounts.
# Last, the same net in torch's `nn.Module`, with the same weights.
#
# It follows the end of the lesson (fast.ai, "Deep Learning from the Foundations", 2019, lesson
# 8).
#
# To run it you need `pullback` installed, as it is after `make install` in a clone. On a
# hosted machine with a fresh clone, run this first, in a cell of its own (`..` is the clone,
# as seen from this notebook's folder):
#
# ```
# %pip install -q '..[parity]'
# ```

# %% tags=["varies"]
import jax

from pullback.data import get_data

print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")

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

plt.rcParams |= {
    "figure.dpi": 80,
    "figure.figsize": (7, 3),
    "axes.grid": True,
    "grid.alpha": 0.3,
}

x_train, y_train, x_valid, y_valid = get_data()
x_all = normalize(x_train, x_train.mean(), x_train.std())
x, targ = jnp.asarray(x_all[:1000]), jnp.asarray(y_train[:1000].astype(np.float32))
n, m = x.shape
nh = 50
print(f"x {x.shape}, targ {targ.shape}")

# %% [markdown]
# ## Layers that keep state
#
# The lesson takes two steps to get from functions to layers. The first: each step of the net
# becomes an object. Called, it computes its output, and keeps input and output in `self`. Its
# `backward` reads the output's cotangent from the attribute `.g` of the output, and writes the
# cotangents of what went in to their `.g`. The net here is the lesson's: its rectifier is
# shifted, relu minus 0.5. (A JAX array takes no attributes, so these cells are in torch, with
# no autograd in them.)


# %%
class StatefulLin:
    def __init__(self, w, b):
        self.w, self.b = w, b

    def __call__(self, x):
        self.x, self.y = x, x @ self.w + self.b
        return self.y

    def backward(self):
        self.x.g = self.y.g @ self.w.T
        self.w.g = self.x.T @ self.y.g
        self.b.g = self.y.g.sum(0)


class StatefulShiftedRelu:
    def __call__(self, x):
        self.x, self.y = x, x.clamp(min=0) - 0.5
        return self.y

    def backward(self):
        self.x.g = self.y.g * (self.x > 0)


class StatefulMse:
    def __call__(self, output, targ):
        self.output, self.diff = output, output.squeeze(-1) - targ
        self.loss = (self.diff**2).mean()
        return self.loss

    def backward(self):
        self.output.g = (self.loss.g * 2 / len(self.diff) * self.diff).unsqueeze(-1)


class StatefulNet:
    def __init__(self, params):
        (w1, b1), (w2, b2) = params
        self.steps = [StatefulLin(w1, b1), StatefulShiftedRelu(), StatefulLin(w2, b2)]
        self.mse = StatefulMse()

    def __call__(self, x, targ):
        for step in self.steps:
            x = step(x)
        return self.mse(x, targ)

    def backward(self):
        for step in (self.mse, *reversed(self.steps)):
            step.backward()


# %% [markdown]
# The second step: keeping is the same in all of them, so a base class does it. What is left to
# write for a step is its maths: `forward`, and `pull_back`, which gets the output's cotangent
# and what went in.


# %%
class Module:
    forward: Callable[..., Any]  # *inputs -> y
    pull_back: Callable[..., Any]  # y_bar, *inputs -> nothing; it sets the .g of what went in

    def __call__(self, *inputs):
        self.inputs, self.y = inputs, self.forward(*inputs)
        return self.y

    def backward(self):
        self.pull_back(self.y.g, *self.inputs)


class LinModule(Module):
    def __init__(self, w, b):
        self.w, self.b = w, b

    def forward(self, x):
        return x @ self.w + self.b

    def pull_back(self, y_bar, x):
        x.g, self.w.g, self.b.g = y_bar @ self.w.T, x.T @ y_bar, y_bar.sum(0)


class ShiftedReluModule(Module):
    def forward(self, x):
        return x.clamp(min=0) - 0.5

    def pull_back(self, y_bar, x):
        x.g = y_bar * (x > 0)


class MseModule(Module):
    def forward(self, output, targ):
        return ((output.squeeze(-1) - targ) ** 2).mean()

    def pull_back(self, loss_bar, output, targ):
        diff = output.squeeze(-1) - targ
        output.g = (loss_bar * 2 / len(diff) * diff).unsqueeze(-1)


class NetModule(Module):
    def __init__(self, params):
        (w1, b1), (w2, b2) = params
        self.steps = [LinModule(w1, b1), ShiftedReluModule(), LinModule(w2, b2)]
        self.mse = MseModule()

    def forward(self, x, targ):
        for step in self.steps:
            x = step(x)
        return self.mse(x, targ)

    def pull_back(self, loss_bar, x, targ):
        for step in (self.mse, *reversed(self.steps)):
            step.backward()


# %% [markdown]
# Are the gradients right? We hold the whole chain, the input's gradient too, against
# `jax.grad` and against torch's autograd. Neither of them sees a line of the classes.


# %%
def by_classes(net_class, params, x, targ):
    """The gradients of w1, b1, w2, b2 and x, as the classes leave them in `.g`."""
    net = net_class(params)
    loss = net(x, targ)
    loss.g = torch.ones_like(loss)
    net.backward()
    return [leaf.g for layer in params for leaf in layer] + [x.g]


def by_autograd(params, x, targ):
    (w1, b1), (w2, b2) = params
    leaves = [leaf.requires_grad_() for leaf in (w1, b1, w2, b2, x)]
    output = (torch.relu(x @ w1 + b1) - 0.5) @ w2 + b2
    return torch.autograd.grad(((output.squeeze(-1) - targ) ** 2).mean(), leaves)


def plain_loss(params, x, targ):
    (w1, b1), (w2, b2) = params
    output = (jax.nn.relu(x @ w1 + b1) - 0.5) @ w2 + b2
    return jnp.mean((output.reshape(targ.shape) - targ) ** 2)


def tensors():
    """The same numbers for torch, as new tensors each time."""
    return jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), (start, x, targ))


start = init_mlp(jax.random.key(0), (m, nh, 1))
by_jax = jax.tree.leaves(jax.grad(plain_loss, argnums=(0, 1))(start, x, targ))
by_torch = by_autograd(*tensors())
ours = {"state": by_classes(StatefulNet, *tensors())}
ours["Module"] = by_classes(NetModule, *tensors())
for name, found in ours.items():
    parity.assert_near(found, by_jax, rtol=1e-4, atol=1e-5)
    parity.assert_near(found, list(by_torch), rtol=1e-4, atol=1e-5)
    print(f"{name}: all five gradients agree with jax.grad and with torch, on {n:,} rows")


# %% tags=["varies"]
def furthest(a, b):
    """The largest difference, over the largest value."""
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    return np.abs(a - b).max() / np.abs(b).max()


print("       state - jax   state - torch   Module - jax   Module - torch")
for k, name in enumerate(("w1", "b1", "w2", "b2", "x")):
    off = [furthest(a[k], b[k]) for a in ours.values() for b in (by_jax, by_torch)]
    print(f"{name:>2}_bar {off[0]:>11.0e} {off[1]:>15.0e} {off[2]:>14.0e} {off[3]:>16.0e}")

# %% [markdown]
# So this works. What is kept in `self` has a price: between forward and backward nobody may
# call the net with another batch, and a tensor that goes into two steps has only one `.g`, so
# the second step overwrites what the first one wrote.
#
# ## What every step has in common
#
# - Forward: it takes its parameters and its input, and returns its output. It also keeps what
#   backward will need, the *residuals*.
# - Backward: it takes the residuals and the cotangent of its output, and returns the
#   cotangents of its parameters and of its input.
# - Before all that: it draws its first parameters.
#
# JAX compiles functions of their arguments. What a function writes to `self` is written once,
# while JAX traces it, and not when the compiled function runs. So here everything goes in as
# an argument and comes out as a result. What is left of a layer is three functions:


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
        std = (2 / ((1 + a**2) * fan_in)) ** 0.5  # Kaiming, for a rectifier of slope a
        return jax.random.normal(key, (fan_in, fan_out)) * std, jnp.zeros(fan_out)

    def forward(params, x):
        w, b = params
        return x @ w + b, (x, w)

    def backward(residuals, y_bar):
        x, w = residuals
        return (x.T @ y_bar, y_bar.sum(0)), y_bar @ w.T

    return Layer(init, forward, backward)


# %% [markdown]
# The rectifier has no parameters: `None`. It keeps its output, which is positive just where
# its input was.


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
    keys = jax.random.split(key, len(layers))
    return [layer.init(key) for layer, key in zip(layers, keys, strict=True)]


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
run = jax.jit(lambda *args: forward_and_backward_through(layers, Mse(), *args))
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
run_deep = jax.jit(lambda *args: forward_and_backward_through(deep, Mse(), *args))
loss, grads, x_bar = run_deep(deep_params, x, targ)
want = jax.jit(forward_and_backward)([p for p in deep_params if p is not None], x, targ)
parity.assert_near([g for g in grads if g is not None], want[1], rtol=1e-4)
print([None if g is None else g[0].shape for g in grads])

# %% [markdown]
# The library's `serial` is the same idea, with three refinements: it is itself a layer (so
# nets nest), layers without parameters (whose `init` returns None, as `no_params` does) take
# no place in the list of parameters, and what `forward` gets beyond `x` goes to the last
# layer, so the loss can be in the list. It is, bit for bit, the explicit chain:

# %%
from pullback.functional import serial

lin1, lin2, mse = functional.Lin(m, nh), functional.Lin(nh, 1), functional.Mse()
model = serial(lin1, functional.Relu(), lin2, mse)


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
# Any pair of a forward and a backward makes a layer. Here one with the shifted rectifier of
# notebook 1, from the library's rule for it:

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
# Is it right? `as_op` makes a function of a layer, one that `jax.grad` differentiates by the
# layer's own backward, and `parity.check` holds that against the same maths in plain jax and
# in torch.

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
# And the whole chain with it, the one that the classes above have: on 64 rows, every gradient
# within what rounding explains.

# %%
chain = serial(lin1, ShiftedRelu(), lin2, mse)


def torch_loss_of_chain(params, x, targ):
    (w1, b1), (w2, b2) = params
    output = (torch.relu(x @ w1 + b1) - 0.5) @ w2 + b2
    return ((output.reshape(targ.shape) - targ) ** 2).mean()


report = parity.check(
    functional.as_op(chain),
    *(params, x[:64], targ[:64]),
    reference=plain_loss,
    torch=torch_loss_of_chain,
    checks=["values"],
)
print("right" if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# ## Three forms of the weight's gradient
#
# $$\bar w_{io} = \sum_n x_{ni}\, \bar y_{no}$$
#
# One row of the batch contributes a matrix: $x_{ni}\, \bar y_{no}$ for all $i$ and $o$, an
# *outer product*. The sum of these matrices over rows is the gradient. The lesson first writes
# just that: make the outer products of all rows, an array of `n × 784 × 50` numbers, and sum.
# Then as `einsum`, which is the formula above in letters. Then as a matrix product.


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
small_x = np.asarray(x[:6, 300:304], np.float64)
small_bar = np.random.default_rng(1).standard_normal((6, 3))
looped = np.zeros((4, 3))
for row in range(6):
    for i in range(4):
        for o in range(3):
            looped[i, o] += small_x[row, i] * small_bar[row, o]
small_x, small_bar = small_x.astype(np.float32), small_bar.astype(np.float32)
for form in (weight_grad_outer, weight_grad_einsum, weight_grad_matmul):
    parity.assert_near(form(small_x, small_bar), looped, rtol=1e-5, atol=1e-6)
print("outer, einsum and matmul are that sum")

# %% [markdown]
# On two hundred digits: each is a sum of two hundred products, added in an order of its own,
# so they differ by rounding. By more than rounding explains? `parity.check` derives, element
# by element, how much that may be, and asks for the gradients of these functions too:

# %%
y_bar = np.random.default_rng(2).standard_normal((n, nh)).astype(np.float32)
in_torch = {
    "outer": lambda x, y_bar: (x.unsqueeze(-1) * y_bar.unsqueeze(1)).sum(0),
    "einsum": lambda x, y_bar: torch.einsum("ni,no->io", x, y_bar),
    "matmul": lambda x, y_bar: x.t() @ y_bar,
}
in_jax = {
    "outer": weight_grad_outer,
    "einsum": weight_grad_einsum,
    "matmul": weight_grad_matmul,
}
for name, form in in_jax.items():
    report = parity.check(
        *(form, np.asarray(x[:200]), y_bar[:200]),
        reference=weight_grad_matmul,
        torch=in_torch[name],
        checks=["values"],
    )
    right = "within the bound, in jax and in torch"
    print(f"{name:<7}", right if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# ## What they cost
#
# torch does what it is told, one operation after the other: the outer form makes the whole
# array first. For a thousand rows:

# %%
torch_x, torch_bar = torch.tensor(np.asarray(x)), torch.tensor(y_bar)
made = torch_x.unsqueeze(-1) * torch_bar.unsqueeze(1)
print(f"{tuple(made.shape)}: {made.nbytes / 1e6:.0f} MB")
print(f"the gradient itself: {made.sum(0).nbytes / 1e6:.2f} MB")
print(f"for all {len(x_all):,} rows it would be {made.nbytes / n * len(x_all) / 1e9:.1f} GB")

# %% [markdown]
# JAX hands the whole function to a compiler, XLA. It can see that each product is added up at
# once and never needed again, and make one loop of the two steps. (Version 0.10.2, which made
# this page, does. On a CPU, 0.10.0 did not.) The compiled program says how much memory it
# takes besides its arguments and its result:

# %%
for name, form in in_jax.items():
    compiled = jax.jit(form).lower(x, y_bar).compile()
    analysis = compiled.memory_analysis()
    known = "?" if analysis is None else f"{analysis.temp_size_in_bytes / 1e6:.1f} MB"
    words = (" dot(", "gemm", "convolution(")  # on a CPU, a GPU, a TPU
    products = "one" if any(word in (compiled.as_text() or "") for word in words) else "no"
    print(f"{name:<7} temporary memory {known}; {products} matrix product in the program")

# %% [markdown]
# So the compiler may save the memory of the outer form, but it does not find out that the loop
# is a matrix product. With `einsum` and `matmul` it is told so. Matrix products are what
# processors do best.
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


try:
    cores = len(os.sched_getaffinity(0))
except AttributeError:  # a system that does not tell
    cores = os.cpu_count() or 1
torch.set_num_threads(cores)
sizes = [64, 250, 1000, 4000]
for name, style in (("outer", "-o"), ("einsum", "-s"), ("matmul", "-^")):
    times = {"XLA": [], "torch": []}
    for size in sizes:
        some_x, some_bar = x_all[:size], np.resize(y_bar, (size, nh))
        in_xla, there = waited(in_jax[name]), jax.device_put((some_x, some_bar))
        times["XLA"].append(milliseconds(in_xla, *there))
        as_tensors = torch.tensor(some_x), torch.tensor(some_bar)
        times["torch"].append(milliseconds(in_torch[name], *as_tensors))
    for framework, colour in (("XLA", "C0"), ("torch", "C1")):
        look = {"color": colour, "label": f"{framework}, {name}", "alpha": 0.8}
        plt.plot(sizes, times[framework], style, **look)
    for_most = "".join(f"   {framework} {ms[-1]:7.2f} ms" for framework, ms in times.items())
    print(f"{name:<7}{for_most} for {sizes[-1]:,} rows")
plt.xscale("log")
plt.yscale("log")
plt.xticks(sizes, [f"{size:,}" for size in sizes])
plt.minorticks_off()
plt.xlabel("rows")
plt.ylabel("time (ms)")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.tight_layout()
plt.show()

# %% [markdown]
# `lin_bwd` in the library uses the product. (`benchmarks/weight_grad.py` measures all six with
# more care.)
#
# ## The same net as an `nn.Module`
#
# The lesson ends with torch's own classes. A net is a class that inherits `nn.Module`: it has
# its layers, and a `forward`, from which autograd works out the backward.


# %%
class Model(torch.nn.Module):
    def __init__(self, fan_in, hidden, fan_out):
        super().__init__()
        first, last = torch.nn.Linear(fan_in, hidden), torch.nn.Linear(hidden, fan_out)
        self.layers = torch.nn.Sequential(first, torch.nn.ReLU(), last)

    def forward(self, x, targ):
        output = self.layers(x).squeeze(-1)
        return torch.nn.functional.mse_loss(output, targ)


# %% [markdown]
# torch's `nn.Linear` keeps its weight as `[fan_out, fan_in]`, the transpose of ours.
# `to_state_dict` turns the parameters round and gives them torch's names:

# %%
net = Model(m, nh, 1)
net.layers.load_state_dict(parity.to_state_dict(params))
for name, value in net.layers.state_dict().items():
    print(f"{name:<9} {tuple(value.shape)}")

# %%
tx = torch.tensor(np.asarray(x), requires_grad=True)
torch_loss = net(tx, torch.tensor(np.asarray(targ)))
torch_loss.backward()
loss, grads, x_bar = by_layers(params, x, targ)
parity.assert_near(loss, torch_loss, rtol=1e-5)
for name, value in parity.to_state_dict(grads).items():
    parity.assert_near(value, net.layers.get_parameter(name).grad, rtol=1e-4, atol=1e-4)
parity.assert_near(x_bar, tx.grad, rtol=1e-4)
print("loss and every gradient agree, the input's too")

# %% [markdown]
# And back: weights that were trained in torch, say, as parameters for `mlp`.

# %%
back = parity.from_state_dict(net.layers.state_dict())
parity.assert_near(functional.mlp(back, x), net.layers(tx), rtol=1e-4, atol=1e-5)
print([tuple(leaf.shape for leaf in layer if leaf is not None) for layer in back])

# %% [markdown]
# One thing does not carry over: where a new net starts. `nn.Linear` draws its weights by a
# rule of its own (notebook 1: the $\sqrt 5$), and its biases at random as well. To start as
# torch does, give `Lin` that rule:

# %%
w, b = functional.Lin(m, nh, init=functional.torch_linear).init(jax.random.key(0))
theirs = torch.nn.Linear(m, nh)
print(f"ours:  w within ±{jnp.abs(w).max():.4f}, b within ±{jnp.abs(b).max():.4f}")
print(f"torch: w within ±{theirs.weight.abs().max():.4f}")
print(f"both:  ±1 / sqrt(784) = {1 / 28:.4f}")

# %% [markdown]
# ## What you have now
#
# - the lesson's layers that keep state, and why ours keep none;
# - a layer as three functions, a net as a list of layers, backward as the list read from its
#   end;
# - the weight's gradient as a sum, an einsum and a product; which of them make what, in XLA
#   and in torch;
# - the same weights in torch and here.
#
# Everything so far was compared with `jax.grad` or torch by a tolerance that somebody typed
# in. The next notebook asks how far two right answers may be apart, and catches wrong ones.
# The cells that begin with `#| export` become `notebooks/exported/layers.py` by `make export`.
