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
# # 1. The forward pass
#
# A neural network is a matrix product, something that is not linear, and another matrix
# product. In this notebook we build one for handwritten digits, and find out why it matters so
# much which random numbers it starts from.
#
# It follows the first half of a well-known lesson, *the forward and backward passes* (fast.ai,
# "Deep Learning from the Foundations", 2019, lesson 8). Where the lesson printed a figure, we
# compute the same figure and put it beside.
#
# You need Python and a little NumPy. `jnp` below is NumPy's interface on whatever device is
# there.
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
#| default_exp forward
#| export
import math

import jax
import jax.numpy as jnp

# %%
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams |= {
    "figure.dpi": 80,
    "figure.figsize": (7, 3),
    "axes.grid": True,
    "grid.alpha": 0.3,
}

# %% [markdown]
# ## The data
#
# MNIST is 28 × 28 pictures of handwritten digits. Each is stored as one row of 784 numbers
# between 0 and 1, and has a label, the digit.

# %%
x_train, y_train, x_valid, y_valid = get_data()
print(x_train.shape, x_train.dtype, y_train.shape, x_valid.shape)

# %%
figure, axes = plt.subplots(1, 10, figsize=(8, 1.2))
for axis, image, label in zip(axes, x_train, y_train, strict=False):
    axis.imshow(image.reshape(28, 28), cmap="gray_r")
    axis.set_title(label)
    axis.axis("off")
plt.show()

# %%
n, m = x_train.shape
c = int(y_train.max()) + 1
print(n, m, c)

# %% [markdown]
# ## Normalize
#
# Most pixels are white paper, so the mean is not 0 and the standard deviation (std) not 1:

# %%
train_mean, train_std = x_train.mean(), x_train.std()
print(f"mean {train_mean:.4f}, std {train_std:.4f}   (the lesson: 0.1304, 0.3073)")


# %% [markdown]
# We want inputs of mean 0 and std 1: then we can reason about what a layer makes of them. The
# validation set gets the *training* set's mean and std. With its own it would be on another
# scale than the one that the network was trained on.


# %%
#| export
def normalize(x, mean, std):
    return (x - mean) / std


# %%
x_train = jnp.asarray(normalize(x_train, train_mean, train_std))
x_valid = jnp.asarray(normalize(x_valid, train_mean, train_std))
print(f"train: mean {abs(x_train.mean()):.3f}, std {x_train.std():.3f}")
print(f"valid: mean {x_valid.mean():.4f}, std {x_valid.std():.4f}   (lesson: -0.0058, 0.9924)")

# %% [markdown]
# Near enough to 0 and 1? The lesson wrote a function for that question. Here it shows figures
# when the answer is no.

# %%
from pullback.parity import assert_near_zero

assert_near_zero(x_train.mean())
assert_near_zero(1 - x_train.std())
try:
    assert_near_zero(x_valid.mean())
except AssertionError as error:
    print(error)


# %% [markdown]
# ## Two layers
#
# A linear layer takes each row of `x` (`m` numbers) to `nh` numbers, by a matrix `w` and a
# shift `b`:
#
# $$y = x\,w + b$$
#
# Between two of them stands the rectifier, `relu`: what is negative becomes 0. Without it, two
# linear layers would be one linear layer.


# %%
#| export
def lin(x, w, b):
    return x @ w + b


# %%
#| export
def relu(x):
    return jnp.where(x <= 0, 0, x)


# %% [markdown]
# (Why `where` and not `maximum`? They give the same values. Their *gradients* at exactly 0
# differ: the next notebook says how.)
#
# `nh = 50` hidden units, and one output: the digit as a number. That is no good way to read
# digits. It keeps the arithmetic simple, and we are here for the arithmetic.

# %%
nh = 50
b1, b2 = jnp.zeros(nh), jnp.zeros(1)

# %% [markdown]
# ## How large should the random numbers be?
#
# Say `w` is random with mean 0 and std `s`, and the entries of `x` have mean 0 and std 1. An
# entry of `x @ w` is a sum of `m` products. Each has variance `s²`, so the sum has variance
# `m s²`: std 1 in, std 1 out asks for `s = 1 / sqrt(m)`.
#
# Random numbers in JAX come from a *key*, which is a seed that is passed along: the same key
# gives the same numbers, and `jax.random.split` makes new keys of one.

# %%
w1 = jax.random.normal(jax.random.key(0), (m, nh)) / math.sqrt(m)
w2 = jax.random.normal(jax.random.key(1), (nh, 1)) / math.sqrt(nh)
t = lin(x_valid, w1, b1)
print(f"w1:  mean {w1.mean():.4f}, std {w1.std():.4f}; 1 / sqrt(m) is {1 / math.sqrt(m):.4f}")
print(f"lin: mean {t.mean():.4f}, std {t.std():.4f}   (the lesson: 0.2035, 1.0095)")

# %% [markdown]
# The std is about right. Is the mean? It is not 0, and it is not the lesson's 0.2035 either,
# for `w1` is random. How far may a figure be from another run's? Draw `w1` fifty times, and
# see. (`jax.jit` compiles a function, so that it runs fast; `jax.lax.map` is a loop over keys.
# The second function only prints.) The lesson looked at the validation set; we look at the
# training set too. `docs/lesson.md` has these figures, of the same draws, in one table.

# %%
DRAWS = 50


def moments_over_draws(activations, x):
    """Mean and std of `activations(key, x)`, each for DRAWS keys."""

    @jax.jit
    def moments(key):
        a = activations(key, x)
        return a.mean(), a.std()

    keys = jax.random.split(jax.random.key(0), DRAWS)
    return [np.asarray(values) for values in jax.lax.map(moments, keys)]


def beside_the_lesson(activations, lesson, **data):
    """The lesson's (mean, std), and the mean ± standard deviation (sd) of ours over draws."""
    first, *_ = data
    names = "".join(f"{name:>17}" for name in data)
    print(f"{'':<6}{'lesson':>8}{names}   lesson is off by ({first})")
    over_draws = [moments_over_draws(activations, x) for x in data.values()]
    for k, (name, said) in enumerate(zip(("mean", "std"), lesson, strict=True)):
        ours = [moments[k] for moments in over_draws]
        cells = "".join(f"{values.mean():>9.3f} ± {values.std():.3f}" for values in ours)
        off = (said - ours[0].mean()) / ours[0].std()
        print(f"{name:<6}{said:>8.4f} {cells}{off:>10.1f} sd")


def normal_w1(std):
    """A first layer's output, for weights of mean 0 and this std."""
    return lambda key, x: lin(x, jax.random.normal(key, (m, nh)) * std, b1)


both = {"valid": x_valid, "train": x_train}
xavier_layer, kaiming_layer = normal_w1(1 / math.sqrt(m)), normal_w1(math.sqrt(2 / m))
beside_the_lesson(xavier_layer, (0.2035, 1.0095), **both)

# %% [markdown]
# `±` is the standard deviation over draws (sd). One run's figure lies within 2 of them in 19
# cases of 20, and within 3 in 369 of 370. The mean of the lesson's first draw, nearly 3 sd
# off, was a rare one; the next cell's figures, of the same draw, are off by as much.
#
# The std is near 1. The mean is 0 on average, and wanders: pixels depend on each other
# (strokes are made of neighbours, and most pictures share their white margins), so the 784
# terms do not average out as independent ones would.
#
# Now with the rectifier:

# %%
t = relu(lin(x_valid, w1, b1))
print(f"relu(lin): mean {t.mean():.4f}, std {t.std():.4f}   (the lesson: 0.5063, 0.6765)")


def then(activation, layer):
    return lambda key, x: activation(layer(key, x))


beside_the_lesson(then(relu, xavier_layer), (0.5063, 0.6765), **both)

# %% [markdown]
# Half of what came in is now 0. The mean went up, and the std is no longer 1 but, on average
# over draws, less than 0.6. In the next layer it shrinks again, and so on. That is Xavier's
# rule: right for a network without rectifiers (Glorot & Bengio 2010; in full it is sqrt(2 /
# (fan_in + fan_out)), a compromise between the forward and the backward pass).
#
# ## Kaiming
#
# What the next layer's variance depends on is the mean *square* of what enters it. A rectifier
# sets half of the values to 0, so it halves the mean square. Make up for it by twice the
# variance (He et al. 2015, "Delving deep into rectifiers", section 2.2):
#
# $$s = \sqrt{\frac{2}{(1 + a^2)\,\mathrm{fan}}}$$
#
# with `fan` the number of inputs, and `a` the slope that the rectifier leaves to negative
# values (0 for relu).


# %%
#| export
def kaiming(key, fan_in, fan_out, a=0.0):
    return jax.random.normal(key, (fan_in, fan_out)) * math.sqrt(2 / ((1 + a**2) * fan_in))


# %%
w1 = kaiming(jax.random.key(0), m, nh)
t = relu(lin(x_valid, w1, b1))
print(f"w1:        mean {w1.mean():.4f}, std {w1.std():.4f}   (the lesson: 0.0001, 0.0508)")
print(f"relu(lin): mean {t.mean():.4f}, std {t.std():.4f}   (the lesson: 0.5678, 0.8491)")
beside_the_lesson(then(relu, kaiming_layer), (0.5678, 0.8491), **both)

# %% [markdown]
# The lesson then took torch's own function, `init.kaiming_normal_(w1, mode='fan_out')`, and
# printed 0.5542 and 0.8006. Why `fan_out`, when the formula has the number of *inputs*?
# Because torch keeps a weight as `[fan_out, fan_in]`, and the lesson's `w1` is
# `[fan_in, fan_out]`: to torch its first axis, 784, is the outputs. In `pullback` a weight is
# `[fan_in, fan_out]` everywhere, and `mode="fan_in"` means what it says.

# %%
import torch

from pullback.functional import kaiming_normal

as_torch = torch.nn.init.kaiming_normal_(
    torch.zeros(m, nh), mode="fan_out", generator=torch.Generator().manual_seed(0)
)
ours = kaiming_normal(jax.random.key(0), (m, nh), mode="fan_in")
print(f"torch, mode='fan_out' of [784, 50]: std {as_torch.std():.3f}")
print(f"ours,  mode='fan_in'  of [784, 50]: std {ours.std():.3f}")
print(f"torch.nn.Linear(784, 50).weight is {list(torch.nn.Linear(m, nh).weight.shape)}")
beside_the_lesson(then(relu, kaiming_layer), (0.5542, 0.8006), **both)


# %% [markdown]
# ## A shifted rectifier
#
# The std is better now, but the mean is about 0.5: a rectifier returns nothing that is
# negative. What if we subtract the half?


# %%
#| export
def shifted_relu(x, shift=0.5):
    return relu(x) - shift


# %%
t = shifted_relu(lin(x_valid, w1, b1))
print(f"shifted relu: mean {t.mean():.4f}, std {t.std():.4f}   (the lesson: 0.1071, 0.8995)")
beside_the_lesson(then(shifted_relu, kaiming_layer), (0.1071, 0.8995), **both)

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), sharex=True, sharey=True)
z = {
    "Xavier, relu": relu(lin(x_valid, w1 / math.sqrt(2), b1)),
    "Kaiming, relu": relu(lin(x_valid, w1, b1)),
    "Kaiming, shifted relu": shifted_relu(lin(x_valid, w1, b1)),
}
for axis, (name, values) in zip(axes, z.items(), strict=True):
    axis.hist(np.asarray(values).ravel(), bins=np.linspace(-1, 6, 71), density=True)
    mean = float(values.mean())
    axis.axvline(mean, color="black", linestyle="--", label=f"mean {mean:.2f}")
    axis.set(xlabel="activation", yscale="log")
    axis.set_title(f"{name}: std {values.std():.2f}", fontsize=10)
    axis.legend()
axes[0].set_ylabel("density")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Fifty layers deep
#
# For one layer all of this hardly matters. For many layers it decides between numbers and no
# numbers: a factor of 0.7 a layer is a factor of fifty million after fifty. We send a thousand
# digits through 50 layers of 784 units, and let `activation_stats` of `pullback.functional`
# measure each: mean and std of what `lin` returned (`z`) and of what the activation made of it
# (`h`), the fraction of values that the activation switched off, and the fraction of units
# that are *dead*: off for every digit.

# %%
from pullback.functional import activation_stats, kaiming_normal, torch_linear, xavier_normal

DEPTH = 50


def deep(init, activation=relu, x=x_valid[:1000]):
    """Statistics of DEPTH layers with weights from `init(key, shape)` and no biases."""
    keys = jax.random.split(jax.random.key(3), DEPTH + 1)
    params = [(init(key, (m, m)), None) for key in keys]
    return activation_stats(params, x, activation)[:-1]


stories = {
    "twice Kaiming, relu": (deep(lambda key, shape: 2 * kaiming_normal(key, shape)), "C3-"),
    "Kaiming, relu": (deep(kaiming_normal), "C0-"),
    "Kaiming, shifted relu": (deep(kaiming_normal, shifted_relu), "C2--"),
    "Xavier, relu": (deep(xavier_normal), "C1-"),
    "nn.Linear's default, relu": (deep(lambda key, shape: torch_linear(key, shape)[0]), "C4:"),
}
print(f"{'':<26} std after 1 layer   after {DEPTH}   of the last: mean   dead units")
for name, (layers, style) in stories.items():
    stds, last = [float(layer.h.std) for layer in layers], layers[-1]
    plt.plot(range(1, DEPTH + 1), stds, style, label=name)
    stds_text = f"{stds[0]:17.2g} {stds[-1]:10.2g}"
    print(f"{name:<26} {stds_text} {float(last.h.mean):19.2g} {last.dead:12.0%}")
plt.yscale("log")
plt.xlabel("layer")
plt.ylabel("std of the activations")
plt.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.tight_layout()
plt.show()

# %% [markdown]
# With Xavier's rule each relu halves the mean square, so after 50 layers the std is down by
# about $2^{-25} = 3 \cdot 10^{-8}$. Twice Kaiming's std doubles it in every layer: $2^{50} =
# 10^{15}$. Only Kaiming's keeps its size. And torch's default, with the $\sqrt 5$ that the
# lesson wondered about, shrinks faster than Xavier's: by $\sqrt{1/6}$ a layer.
#
# What the rule keeps is the mean square, and even that wanders a little. There is more to see
# layer by layer:

# %%
layers = stories["Kaiming, relu"][0]
for number in (1, 2, 5, 10, 20, 50):
    h, off, dead = layers[number - 1].h, layers[number - 1].off, layers[number - 1].dead
    rms = math.hypot(h.mean, h.std)
    size = f"layer {number:>2}: root mean square {rms:.2f}"
    print(f"{size}, {off:.0%} of values off, {dead:.0%} of units dead")

# %% [markdown]
# Half of the values are off in every layer. In the first, each digit switches off units of its
# own. In the last, most of what is off is off for all thousand digits: the deeper, the more
# alike the digits have become. Initial weights cannot mend that; what came later
# (normalisation inside of the network, connections around layers) does.


# %% [markdown]
# ## The forward pass
#
# All of it, in one function. `params` is a list of `(w, b)`, one pair for each linear layer.


# %%
#| export
def model(params, x):
    *hidden, (w, b) = params
    for w_hidden, b_hidden in hidden:
        x = relu(lin(x, w_hidden, b_hidden))
    return lin(x, w, b)


# %%
params = [
    (kaiming(jax.random.key(0), m, nh), b1),
    (kaiming(jax.random.key(1), nh, 1, a=1.0), b2),
]
assert model(params, x_valid).shape == (len(x_valid), 1)
print(model(params, x_valid).shape)

# %% [markdown]
# Does it agree with the library's, which has hand-written gradients besides?

# %%
from pullback.functional import mlp

same = jnp.array_equal(jax.jit(model)(params, x_valid), jax.jit(mlp)(params, x_valid))
print(f"bit for bit: {same}")

# %% [markdown]
# And how long does it take? `jit` compiles the function the first time it is called. JAX
# returns before a device is done, so a fair clock waits with `block_until_ready`.

# %% tags=["varies"]
import time


def milliseconds(f, *args, repeats=20):
    jax.block_until_ready(f(*args))  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


took = milliseconds(jax.jit(model), params, x_valid)
print(f"forward on {len(x_valid):,} rows: {took:.2f} ms (median of 20)")

# %% [markdown]
# ## A convolution, for the curious
#
# The lesson goes on to read the source of `torch.nn.Conv2d`, and asks whether its initial
# weights are any good. A convolution is a linear layer that looks at a small window, here 5 ×
# 5 pixels, and slides it over the picture. Each output sees 25 numbers, so `fan_in` is 25,
# not 784. In `pullback` a picture is `[height, width, channels]`.

# %%
from pullback.functional import conv2d, fans, torch_conv

shape = (5, 5, 1, 32)
print(f"fan_in, fan_out: {fans(shape)}   (the lesson: 25, 800)")
images = x_valid[:100].reshape(-1, 28, 28, 1)
w, b = torch_conv(jax.random.key(0), shape)
print(f"{images.shape} -> {jnp.shape(conv2d(images, w, b))}")


# %% [markdown]
# torch's default first, then with a relu after it, then Kaiming's for the convolution alone
# (`a = 1`: no rectifier follows) and for a relu:


# %%
def conv_layer(draw):
    """A convolution: weights from `draw(key)`, and torch's default bias, as in the lesson."""

    def activations(key, x):
        w_key, b_key = jax.random.split(key)
        _, b = torch_conv(b_key, shape)
        return conv2d(x[:100].reshape(-1, 28, 28, 1), draw(w_key), b)

    return activations


def kaiming_conv(a):
    return conv_layer(lambda key: kaiming_normal(key, shape, negative_slope=a))


default_conv = conv_layer(lambda key: torch_conv(key, shape)[0])
for name, activations, lesson in [
    ("nn.Conv2d's default", default_conv, (0.0107, 0.5978)),
    ("nn.Conv2d's default, relu", then(relu, default_conv), (0.2219, 0.3653)),
    ("Kaiming, a = 1", kaiming_conv(1.0), (0.0267, 1.1067)),
    ("Kaiming, a = 0, relu", then(relu, kaiming_conv(0.0)), (0.5547, 1.0199)),
]:
    print(name)
    beside_the_lesson(activations, lesson, **both)

# %% [markdown]
# The default makes a std of 0.6 where 1 came in: `sqrt(5)` is a rule for no rectifier that is
# used here. Kaiming's rule is right for the one that is.

# %% [markdown]
# ## What you have now
#
# - data of mean 0 and std 1, the validation set on the training set's scale;
# - `lin`, `relu` and `model`, a few lines each;
# - initial weights that neither vanish nor explode, and the reason why;
# - `xavier_normal`, `kaiming_uniform`, `torch_linear`, `activation_stats`, ... in
#   `pullback.functional`, for your own.
#
# What is missing is how to make the output better: the next notebook takes the gradients, by
# hand. The cells above that begin with `#| export` become a script: `make export`, then
# `notebooks/exported/forward.py`.
