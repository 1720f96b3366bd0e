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
# # 4. Is my gradient right?
#
# You wrote a backward pass by hand: a fused operation, a kernel, a model brought over from
# torch. It runs, and the loss goes down. Is it right? Networks also learn with gradients that
# are wrong, only worse, so training does not tell. Here we let `parity.check` tell: what is
# wrong, who, where, and how small a mistake it would have noticed.
#
# You need what notebook 2 is about: that a backward function takes a *cotangent* (how the loss
# changes with what came out) and returns one for each argument (how it changes with what went
# in).
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
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import torch

from pullback import functional, parity

plt.rcParams |= {
    "figure.dpi": 80,
    "figure.figsize": (7, 3),
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# %% [markdown]
# ## Two right answers differ
#
# A sum of a thousand products, in JAX, in torch and in NumPy, on the same float32 numbers:

# %% tags=["varies"]
x, w = normal(0, 64, 1000), normal(1, 1000, 50)
exact = x.astype(np.float64) @ w.astype(np.float64)
answers = {
    "jax": np.asarray(jnp.asarray(x) @ jnp.asarray(w)),
    "torch": (torch.from_numpy(x) @ torch.from_numpy(w)).numpy(),
    "numpy": x @ w,
}
print("       largest error   relative   beyond the defaults of torch.testing.assert_close")
for name, y in answers.items():
    error = np.abs(y - exact)
    relative = (error / np.abs(exact)).max()
    beyond = np.mean(error > 1e-5 + 1.3e-6 * np.abs(exact))
    print(f"{name:<6} {error.max():13.0e} {relative:10.0e} {beyond:8.0%} of the elements")

# %% [markdown]
# Nobody is wrong: each rounded its partial sums, in its own order. The relative error is large
# all the same where positive and negative products nearly cancel. A tolerance that is typed in
# calls such right answers wrong. So people type in a larger one, and that lets mistakes
# through:


# %%
def wrong_by_a_thousandth(x):
    return 1.0009 * x


parity.assert_near(wrong_by_a_thousandth(exact), exact, rtol=1e-3)
print("1.0009 times the right answer is near enough for a tolerance of 0.1%")

# %% [markdown]
# ## How far may they be apart?
#
# That can be worked out. Every float32 operation rounds its result to 24 binary digits: an
# error of at most $u = 2^{-24}$ of it. Follow these errors through the computation, for each
# element by itself, and you have a bound on how far from the exact answer a right one will be.
# `parity.check` does that, with the exact one computed in float64. (In a long sum not every
# rounding goes the same way; `docs/how-it-decides.md` says how that is counted.)
#
# ## A wrong rule
#
# The swish function (Ramachandran, Zoph & Le, "Searching for activation functions", 2017),
# with $\sigma$ the logistic function:
#
# $$y = x\,\sigma(x) \qquad\Rightarrow\qquad
#   \bar x = \bar y\,\bigl(\sigma(x) + x\,\sigma(x)(1 - \sigma(x))\bigr)$$
#
# Somebody wrote the first half of it and forgot the product rule's second half:


# %%
@jax.custom_vjp
def swish(x):
    return x * jax.nn.sigmoid(x)


def swish_fwd(x):
    return x * jax.nn.sigmoid(x), x


def swish_bwd(x, y_bar):
    return (y_bar * jax.nn.sigmoid(x),)


swish.defvjp(swish_fwd, swish_bwd)


# %% [markdown]
# It learns, too. So ask. `check` takes the rule, arguments to try it on, and the same maths in
# plain jax and in torch:


# %%
def plain_swish(x):
    return x * jax.nn.sigmoid(x)


x = normal(2, 8, 5)
report = parity.check(swish, x, reference=plain_swish, torch=torch.nn.functional.silu)
print("right" if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# The report says what is wrong (`rule` is ours, `reference` the plain one). Below that is a
# table, one row for each output and each cotangent, in every dtype:

# %% tags=["varies"]
report

# %% [markdown]
# The forward is right, the backward is not; the plain one and torch agree with the oracle, so
# it is the rule that is wrong; and the place is named.

# %% [markdown]
# Set right:


# %%
def right_swish_bwd(x, y_bar):
    s = jax.nn.sigmoid(x)
    return (y_bar * (s + x * s * (1 - s)),)


swish.defvjp(swish_fwd, right_swish_bwd)
report = parity.check(swish, x, reference=plain_swish, torch=torch.nn.functional.silu)
print("right" if report.ok else f"wrong: {report.culprits}")

# %% [markdown]
# ## How small a mistake would it notice?
#
# Scale the cotangent of a linear layer's weight by 1 + s, on 64 digits, for smaller and
# smaller s. What the rule gives in float32 shows it down to where rounding begins. (The column
# `would notice` of the report is the factor from which on a mistake is *sure* to fail.) Below
# that no float32 number can show it, but the maths is wrong all the same: `check` also
# interprets the rule's own trace in float64, and there it finds the last one too. A tolerance
# does as well as the bound only if it is as tight, and a tight one calls right answers wrong,
# as in the first cell.


# %%
def scaled_lin(s):
    """The library's lin with a wrong weight gradient."""

    @jax.custom_vjp
    def lin(x, w, b):
        return functional.lin(x, w, b)

    def bwd(residuals, y_bar):
        x_bar, w_bar, b_bar = functional.lin_bwd(residuals, y_bar)
        return x_bar, (1 + s) * w_bar, b_bar

    lin.defvjp(functional.lin_fwd, bwd)
    return lin


def plain_lin(x, w, b):
    return x @ w + b


pixels = get_data()[0][:64]
args = (pixels - pixels.mean()) / pixels.std(), normal(4, 784, 10) / 28, normal(5, 10)
found, used = {}, {}
print("off by  parity.check              tolerance 1e-2     1e-3   1.3e-6 (torch's default)")
for s in (2e-2, 2e-3, 1e-4, 1e-5, 1e-7):  # not at a tolerance itself, where rounding decides
    report = parity.check(scaled_lin(s), *args, reference=plain_lin, checks=["values"])
    row = next(row for row in report.rows if (row.check, row.leaf) == ("float32", "w_bar"))
    found[s] = "passes" if report.ok else "finds it in float64 only" if row.ok else "finds it"
    used[s] = row.deviations["rule"].budget
    bars = [
        jax.grad(lambda w, f=f: jnp.sum(jnp.sin(f(args[0], w, args[2]))))(args[1])
        for f in (scaled_lin(s), plain_lin)
    ]
    by_tolerance = []
    for rtol in (1e-2, 1e-3, 1.3e-6):
        try:
            parity.assert_near(*bars, rtol=rtol, atol=1e-5)
            by_tolerance.append("passes")
        except AssertionError:
            by_tolerance.append("found")
    print(f"{s:.0e}   {found[s]:<24} " + "".join(f"{what:>9}" for what in by_tolerance))

# %%
plt.plot(list(used), list(used.values()), "o-")
plt.axhline(1, color="black", linestyle="--", label="the bound")
plt.xscale("log")
plt.yscale("log")
plt.xlabel("w_bar is off by this factor")
plt.ylabel("error of the worst element\n(in bounds)")
plt.legend()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Mistakes that a whole net hides
#
# Two of the mistakes that people make pass every comparison of a whole net's gradients,
# because a whole net never asks the question. First, a loss that ignores its incoming
# cotangent. At the end of a net that is 1:


# %%
@jax.custom_vjp
def loss(output, targ):
    return functional.mse(output, targ)


def loss_bwd(residuals, loss_bar):
    one = jnp.ones_like(loss_bar)  # the lesson's mse_grad, ported to the letter
    return functional.mse_bwd(residuals, one)


loss.defvjp(functional.mse_fwd, loss_bwd)


def plain_mse(output, targ):
    return jnp.mean((output - targ) ** 2)


output, targ = normal(6, 64), normal(7, 64)
parity.assert_near(jax.grad(loss)(output, targ), jax.grad(plain_mse)(output, targ), rtol=1e-6)
report = parity.check(loss, output, targ, reference=plain_mse)
verdict = "right" if report.ok else f"wrong: {report.culprits}"
print("jax.grad of it is right, and yet:", verdict)
print(next(f"{f.check}, {f.about}: {f.text}" for f in report.findings if f.status == "FAIL"))

# %% [markdown]
# `check` gives every rule several cotangents. A backward function must be linear in them: zero
# for a zero cotangent (it was not), and for the sum of two the sum of their results.
#
# Second, the slope at a kink. Here a rectifier whose slope at exactly 0 is 1. Random numbers
# never hit 0, but a bias that starts at 0 under a black picture does. `check` sets an element
# to 0 and gives it a cotangent of 3:


# %%
@jax.custom_vjp
def relu(x):
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (jnp.maximum(x, 0), x), lambda x, y_bar: (jnp.where(x >= 0, y_bar, 0),))

report = parity.check(relu, normal(8, 6, 4), reference=jax.nn.relu, torch=torch.relu)
print("right" if report.ok else "wrong:")
for finding in report.findings:
    if finding.check == "kinks" and finding.status == "FAIL":
        print(f"  {finding.about}: {finding.text}")

# %% [markdown]
# ## When the others are wrong
#
# A check that always blames the newcomer is no check. Say that the port to torch forgot a
# transpose, of a square weight, where no shape complains:

# %%
square = normal(9, 6, 4), normal(10, 4, 4), normal(11, 4)
in_torch = torch.nn.functional.linear
report = parity.check(functional.lin, *square, reference=plain_lin, torch=in_torch)
print(f"wrong: {report.culprits}")

# %% [markdown]
# And a case that nobody made up. Here the rule is jax's own: its `digamma`, in jax 0.10.2.
# Between the poles at negative numbers its gradient is wrong, and torch's is right. Of torch's
# mistakes, and more of jax's, there is a list in `docs/findings.md`. (Another version of jax
# may say something else here.)

# %% tags=["varies"]
points = np.array([-8.478, -3.3, 1.5], np.float32)
digamma = jax.scipy.special.digamma
report = parity.check(digamma, points, torch=torch.special.digamma, checks=["values"])
report

# %% [markdown]
# ## Would my test have noticed?
#
# A check is as good as the arguments it is given. `parity.mutants` plants mistakes in a right
# rule, one at a time (wrong factors and signs, dropped rows, stale residuals, ignored
# cotangents, ...), and says which of them these arguments would have found:

# %%
tries = {"40 random numbers": x, "one number, 0": np.zeros(1, np.float32)}
for name, arguments in tries.items():
    score = parity.mutants(swish, arguments, reference=plain_swish)
    print(f"{name}: {len(score.caught)} planted mistakes caught, {len(score.survivors)} not")
    for survivor, why in list(score.survivors.items())[:3]:
        print(f"  not: {survivor}\n       {why}")

# %% [markdown]
# ## In your tests
#
# With the package comes a fixture for pytest. A failure shows the table:
#
# ```python
# def test_my_rule(parity):
#     parity.check(my_rule, x, w, reference=plain, torch=in_torch)
# ```
#
# In a terminal:
# `pullback parity --rule package.module:function --args package.module:example_args`. And
# `pullback parity` alone checks this library's own rules on a batch of MNIST.
#
# ## What you have now
#
# - a verdict that follows from the arithmetic, not from a tolerance;
# - who is wrong, where, and how small a mistake would show;
# - two mistakes that comparing whole gradients never finds.
#
# `docs/parity.md` has more: how it decides, and what it cannot see.
