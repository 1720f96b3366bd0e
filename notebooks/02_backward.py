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
# # 2. The backward pass
#
# The network of the last notebook makes numbers; how wrong they are is one more number, the
# loss. Here we find out how the loss changes with each of the 39,301 weights and biases, and
# with each pixel that went in: by hand, one step at a time. Then we ask `jax.grad` and torch
# whether we are right.
#
# It follows the middle of the lesson (fast.ai, "Deep Learning from the Foundations", 2019,
# lesson 8). You need Python, a little NumPy, and that the derivative of $x^2$ is $2x$.
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
#| default_exp backward
#| export
import jax
import jax.numpy as jnp

# %%
import matplotlib.pyplot as plt
import numpy as np

from pullback.data import normalize

plt.rcParams |= {
    "figure.dpi": 80,
    "figure.figsize": (7, 3),
    "axes.grid": True,
    "grid.alpha": 0.3,
}

x_train, y_train, x_valid, y_valid = get_data()
x_all = jnp.asarray(normalize(x_train, x_train.mean(), x_train.std()))
targ_all = jnp.asarray(y_train.astype(np.float32))
x, targ = x_all[:1000], targ_all[:1000]  # a thousand digits will do, until the end
n, m = x.shape
nh = 50
print(f"x {x.shape}, targ {targ.shape}, the first targets {targ[:8]}")

# %% [markdown]
# From the last notebook: a linear layer, the rectifier, and Kaiming's initial weights.


# %%
#| export
def lin(x, w, b):
    return x @ w + b


# %%
#| export
def relu(x):
    return jnp.where(x <= 0, 0, x)


# %%
def draw_params(key):
    w1_key, w2_key = jax.random.split(key)
    w1 = jax.random.normal(w1_key, (m, nh)) * np.sqrt(2 / m)
    w2 = jax.random.normal(w2_key, (nh, 1)) / np.sqrt(nh)
    return [(w1, jnp.zeros(nh)), (w2, jnp.zeros(1))]


params = (w1, b1), (w2, b2) = draw_params(jax.random.key(0))
output = lin(relu(lin(x, w1, b1)), w2, b2)
print(output.shape)

# %% [markdown]
# ## The loss
#
# The mean squared error: the mean of `(output - targ)²`. There is a trap in it. `output` is
# `[1000, 1]`, `targ` is `[1000]`, and NumPy's rules make a *table* of all differences out of
# the two:

# %%
print((output - targ).shape)

# %% [markdown]
# No error, and a mean that looks plausible. So we drop the last axis ourselves:


# %%
#| export
def mse(output, targ):
    return jnp.mean((output.reshape(targ.shape) - targ) ** 2)


# %%
print(f"right {mse(output, targ):.4f}, and by the table {jnp.mean((output - targ) ** 2):.4f}")

# %% [markdown]
# (`pullback.functional.mse` refuses shapes that do not fit, rather than guess.)
#
# The lesson's loss on the training set, before any training and with its shifted rectifier,
# was 33.4708. Ours, over fifty draws of the weights (sd is the standard deviation over draws):


# %%
@jax.jit
def first_loss(key):
    (w1, b1), (w2, b2) = draw_params(key)
    return mse(lin(relu(lin(x_all, w1, b1)) - 0.5, w2, b2), targ_all)


losses = np.asarray(jax.lax.map(first_loss, jax.random.split(jax.random.key(0), 50)))
off = (33.4708 - losses.mean()) / losses.std()
ours = f"{losses.mean():.2f} ± {losses.std():.2f}"
print(f"loss {ours}; the lesson's 33.4708 is {off:.1f} sd off")

# %% [markdown]
# ## The chain rule, backwards
#
# The loss is made in steps:
#
# $$x \xrightarrow{\text{lin}} z_1 \xrightarrow{\text{relu}} h_1
#   \xrightarrow{\text{lin}} \text{output} \xrightarrow{\text{mse}} \text{loss}$$
#
# For anything along the way, say $z_1$, write $\bar z_1$ (in code `z1_bar`) for the derivative
# of the *loss* by it: how much the loss rises when that number rises a little. It has one
# entry for each entry of $z_1$, so the same shape. It is called the *cotangent* of $z_1$.
#
# At the end stands the loss itself, and $\overline{\text{loss}} = 1$. Each step then has to
# answer one question: given the cotangent of what came out, what is the cotangent of what went
# in? For a step $y = f(x)$ the chain rule says
#
# $$\bar x_i = \sum_j \frac{\partial y_j}{\partial x_i}\, \bar y_j$$
#
# That sum, as a function of $\bar y$, is the step's *pullback*, or vector-Jacobian product
# (VJP). Three short ones make the whole backward pass.
#
# ## mse
#
# $$\text{loss} = \frac 1 n \sum_i (o_i - t_i)^2 \qquad\Rightarrow\qquad
#   \bar o_i = \overline{\text{loss}} \cdot \frac{2\,(o_i - t_i)}{n}$$


# %%
#| export
def mse_grad(output, targ, loss_bar):
    diff = output.reshape(targ.shape) - targ
    return (loss_bar * (2 / targ.size) * diff).reshape(output.shape)


# %%
output_bar = mse_grad(output, targ, jnp.float32(1))
print(output_bar.shape)

# %% [markdown]
# Is it right? Nudge one output up and down a little, and see what the loss does. In float64,
# because the difference of two nearly equal float32 numbers has few digits left.

# %%
o, t, nudge = np.asarray(output, np.float64), np.asarray(targ, np.float64), 1e-6
up, down = o.copy(), o.copy()
up[3] += nudge
down[3] -= nudge
measured = (np.mean((up[:, 0] - t) ** 2) - np.mean((down[:, 0] - t) ** 2)) / (2 * nudge)
print(f"measured {measured:.7f}, by hand {output_bar[3, 0]:.7f}")

# %% [markdown]
# ## relu
#
# The slope of the rectifier is 1 where something came through, else 0:
#
# $$\bar x_i = \bar y_i \text{ where } x_i > 0, \text{ else } 0$$
#
# At exactly 0 there is no slope; 0 is a convention. (Autodiff of `jnp.maximum(x, 0)` gives 1/2
# there, of the `where` above 0. The lesson has two: `clamp_min` forward, whose slope torch
# takes as 1, and `inp > 0` backward. Notebook 4 comes back to it.)


# %%
#| export
def relu_grad(x, y_bar):
    return jnp.where(x > 0, y_bar, 0)


# %% [markdown]
# ## lin
#
# $$y_{no} = \sum_i x_{ni}\, w_{io} + b_o$$
#
# Which outputs does $w_{io}$ have a part in? Output $o$ of every row $n$, each time with the
# factor $x_{ni}$. So sum over rows. $x_{ni}$ has a part in all outputs $o$ of its row, with
# the factor $w_{io}$: sum over outputs. $b_o$ is in output $o$ of every row, with the
# factor 1.
#
# $$\bar w_{io} = \sum_n x_{ni}\, \bar y_{no} \qquad \bar x_{ni} = \sum_o \bar y_{no}\, w_{io}
#   \qquad \bar b_o = \sum_n \bar y_{no}$$
#
# The first two are matrix products. If you forget which side is transposed, the shapes remind
# you: `w_bar` must be `[fan_in, fan_out]`, and there is only one way to get that from
# `x[n, fan_in]` and `y_bar[n, fan_out]`.


# %%
#| export
def lin_grad(x, w, y_bar):
    return y_bar @ w.T, x.T @ y_bar, y_bar.sum(0)


# %% [markdown]
# ## Forward and backward
#
# All steps in one picture. Blue is forward: each step takes what stands on its left and above
# it, and returns what stands on its right. Orange is backward: each step takes the cotangent
# of what it returned, and returns one cotangent for each thing that it took. In the box stands
# what forward keeps, because the formulas above need it in backward: the step's *residuals*.

# %%
from matplotlib.patches import Rectangle

BLUE, ORANGE = "C0", "C1"
steps = [  # name, what comes in from above, what it keeps
    ("lin", ["w1", "b1"], "x, w1"),
    ("relu", [], "z1"),
    ("lin", ["w2", "b2"], "h1, w2"),
    ("mse", ["targ"], "output, targ"),
]
between = ["x", "z1", "h1", "output", "loss"]
GAP, HALF = 2.7, 0.75  # from box to box, and half of a box's width


def arrow(axis, start, end, color):
    look = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=look)


def label(axis, x, y, text, color="black", size=9):
    axis.text(x, y, text, ha="center", va="center", color=color, fontsize=size)


figure, axis = plt.subplots(figsize=(9.2, 3.4))
for k, (name, above, kept) in enumerate(steps):
    x_box = k * GAP
    corner, size = (x_box - HALF, -0.6), (2 * HALF, 1.2)
    axis.add_patch(Rectangle(corner, *size, facecolor="whitesmoke", edgecolor="black"))
    label(axis, x_box, 0.3, name, size=13)
    label(axis, x_box, -0.2, f"keeps\n{kept}")
    for place, text in zip((-0.4, 0.4) if len(above) == 2 else (0,), above, strict=False):
        arrow(axis, (x_box + place, 1.15), (x_box + place, 0.6), BLUE)
        label(axis, x_box + place, 1.35, text, BLUE)
        arrow(axis, (x_box + place, -0.6), (x_box + place, -1.15), ORANGE)
        label(axis, x_box + place, -1.35, f"{text}_bar", ORANGE)
for k, name in enumerate(between):
    left, right = (k - 1) * GAP + HALF, k * GAP - HALF
    arrow(axis, (left, 0.25), (right, 0.25), BLUE)
    label(axis, (left + right) / 2, 0.45, name, BLUE)
    arrow(axis, (right, -0.25), (left, -0.25), ORANGE)
    bar = "loss_bar = 1" if name == "loss" else f"{name}_bar"
    label(axis, (left + right) / 2, -0.45, bar, ORANGE)
axis.set(xlim=(HALF - GAP - 0.1, 4 * GAP - HALF + 0.1), ylim=(-1.6, 1.6))
axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# The `targ_bar` is there because a step owes one cotangent to each of its inputs. Nothing is
# trained with it, and the function below leaves it out. Its first half is the blue path,
# keeping what backward will need; its second half is the orange path, from the end.


# %%
#| export
def forward_and_backward(params, x, targ):
    (w1, b1), (w2, b2) = params
    z1 = lin(x, w1, b1)
    h1 = relu(z1)
    output = lin(h1, w2, b2)
    loss = mse(output, targ)

    output_bar = mse_grad(output, targ, jnp.ones_like(loss))
    h1_bar, w2_bar, b2_bar = lin_grad(h1, w2, output_bar)
    z1_bar = relu_grad(z1, h1_bar)
    x_bar, w1_bar, b1_bar = lin_grad(x, w1, z1_bar)
    return loss, [(w1_bar, b1_bar), (w2_bar, b2_bar)], x_bar


# %%
loss, grads, x_bar = jax.jit(forward_and_backward)(params, x, targ)
names = ("w1", "b1", "w2", "b2", "x")
for name, leaf in zip(names, [*jax.tree.leaves(grads), x_bar], strict=True):
    print(f"{name:>2}_bar {str(leaf.shape):<12} largest {jnp.abs(leaf).max():.4f}")

# %% [markdown]
# `x_bar` says how the loss changes with each *pixel*. Nothing is trained with it; but if there
# were one more layer before this one, it would be that layer's cotangent.
#
# Worth noticing: the loss itself is used nowhere in the backward pass. Only where it came from
# is.
#
# ## The check against autograd
#
# `jax.grad` works out the backward pass by itself, from the forward pass alone. To be of use
# as a check, that forward must contain nothing of ours: plain `jax.nn.relu`, not our rule.
# `argnums` says by which arguments: the first (`params`) and the second (`x`).

# %%
from pullback.parity import assert_near


def plain_loss(params, x, targ):
    (w1, b1), (w2, b2) = params
    return jnp.mean(((jax.nn.relu(x @ w1 + b1) @ w2 + b2).reshape(targ.shape) - targ) ** 2)


jax_grads, jax_x_bar = jax.jit(jax.grad(plain_loss, argnums=(0, 1)))(params, x_all, targ_all)
loss, grads, x_bar = jax.jit(forward_and_backward)(params, x_all, targ_all)
assert_near(grads, jax_grads)
assert_near(x_bar, jax_x_bar)
print(f"jax.grad agrees, on {len(x_all):,} rows")

# %% [markdown]
# And torch, on the same numbers:

# %%
import torch


def tensor(a):
    return torch.tensor(np.asarray(a), requires_grad=True)


torch_params = [(tensor(w), tensor(b)) for w, b in params]
torch_x, torch_targ = tensor(x_all), torch.tensor(np.asarray(targ_all))
(tw1, tb1), (tw2, tb2) = torch_params
torch_output = torch.relu(torch_x @ tw1 + tb1) @ tw2 + tb2
((torch_output.squeeze(-1) - torch_targ) ** 2).mean().backward()

assert_near(grads, [(w.grad, b.grad) for w, b in torch_params])
assert_near(x_bar, torch_x.grad)
print(f"torch agrees, on {len(x_all):,} rows")

# %% [markdown]
# They agree to a few parts in a million, and not exactly: float32 rounds every result to 24
# bits, and torch adds in another order. (Ours and `jax.grad`'s are often the same program in
# the end.)


# %% tags=["varies"]
def furthest(a, b):
    """The largest difference, over the largest value."""
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    return np.abs(a - b).max() / np.abs(b).max()


ours = [*jax.tree.leaves(grads), x_bar]
theirs = [*jax.tree.leaves(jax_grads), jax_x_bar]
torchs = [leaf.grad for leaf in (*jax.tree.leaves(torch_params), torch_x)]
print("       ours - jax.grad   ours - torch   jax.grad - torch")
for name, a, b, c in zip(names, ours, theirs, torchs, strict=True):
    beside_torch = f"{furthest(a, c):>14.0e} {furthest(b, c):>18.0e}"
    print(f"{name:>2}_bar {furthest(a, b):>14.0e} {beside_torch}")

# %% [markdown]
# ## What such a check cannot see
#
# How near is near enough? `assert_near` allows one part in a thousand, as the lesson's
# `test_near` did. So a gradient that is wrong by a twentieth of a percent passes:

# %%
assert_near([(1.0005 * w_bar, b_bar) for w_bar, b_bar in grads], jax_grads)
print("1.0005 times the right gradient passes")

# %% [markdown]
# And there is a mistake that no comparison of a whole net can find, however strict. The
# lesson's `mse_grad` leaves out the incoming cotangent, `loss_bar`. At the end of a net that
# is 1, so nothing changes. Put anything after the loss, a factor or a second loss, and all
# gradients are wrong:


# %%
def lessons_mse_grad(output, targ):
    return (2 / targ.size) * (output.reshape(targ.shape) - targ).reshape(output.shape)


def three_times(output):
    return 3 * jnp.mean((output.reshape(targ.shape) - targ) ** 2)


right = jax.grad(three_times)(output)
with_cotangent = mse_grad(output, targ, jnp.float32(3))
without = lessons_mse_grad(output, targ)
print(f"of 3 × loss: right              {right[0, 0]:.5f}")
print(f"             with the cotangent {with_cotangent[0, 0]:.5f}")
print(f"             without            {without[0, 0]:.5f}")

# %% [markdown]
# So `pullback.parity` checks each rule alone, with a random cotangent, against a bound that
# follows from the rounding itself. Notebook 4 is about that.
#
# ## From two functions to a rule
#
# `jax.custom_vjp` ties a backward function to a forward one. `forward` returns the result and
# what backward needs, the *residuals*; `backward` takes the residuals and the incoming
# cotangent, and returns one cotangent for each argument.


# %%
@jax.custom_vjp
def my_mse(output, targ):
    return mse(output, targ)


def my_mse_fwd(output, targ):
    return mse(output, targ), (output, targ)


def my_mse_bwd(residuals, loss_bar):
    output, targ = residuals
    output_bar = mse_grad(output, targ, loss_bar)
    return output_bar, -output_bar.reshape(targ.shape)


my_mse.defvjp(my_mse_fwd, my_mse_bwd)
by_ours = jax.grad(lambda output: 3 * my_mse(output, targ))(output)
np.testing.assert_array_equal(by_ours, with_cotangent)
print("jax.grad calls our backward")

# %% [markdown]
# The library's files are that and a docstring: `functional/lin.py`, `relu.py` and `mse.py`, a
# page each, and `functional/mlp.py` chains them. Ours on this page and theirs:

# %%
from pullback import functional

library = jax.jit(functional.forward_and_backward)(params, x_all, targ_all)
assert_near((loss, grads, x_bar), library, rtol=1e-5)
print("the library's forward_and_backward agrees")

# %% [markdown]
# ## Downhill
#
# The gradient says which way the loss rises. So go the other way, a small step at a time, and
# it falls:


# %%
@jax.jit
def step(params, x, targ):
    loss, grads, _ = forward_and_backward(params, x, targ)
    return loss, jax.tree.map(lambda leaf, bar: leaf - 0.005 * bar, params, grads)


trained, losses = list(params), []
for _ in range(200):
    loss, trained = step(trained, x_all, targ_all)
    losses.append(float(loss))
plt.plot(range(1, len(losses) + 1), losses)
plt.yscale("log")
plt.yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
plt.minorticks_off()
plt.xlabel("step")
plt.ylabel("loss (mean squared error)")
plt.title("gradient descent with gradients by hand", fontsize=10)
plt.tight_layout()
plt.show()
print(f"loss before {losses[0]:.1f}, after {len(losses)} steps {losses[-1]:.1f}")

# %% [markdown]
# The root of the loss is how far the digit is missed by, typically: 1.5. A net with ten
# outputs and another loss does far better. The gradients would be made in just this way. (The
# lesson promised that loss: it is `softmax_cross_entropy` in the library, by hand as well.)
#
# ## What you have now
#
# - the gradients of `mse`, `relu` and `lin`, derived and in code;
# - one forward and one backward pass, equal to `jax.grad`'s and torch's, `x_bar` included;
# - two things that the comparison cannot see.
#
# The next notebook makes layers of the functions, and takes a closer look at `x.T @ y_bar`.
# The cells that begin with `#| export` become `notebooks/exported/backward.py` by
# `make export`.
