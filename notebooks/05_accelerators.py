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
# # 5. The same functions on an accelerator
#
# An accelerator is a device made for many equal operations at once: a GPU or a TPU. JAX runs
# the functions of this library on it as they are. What changes is where arrays lie, when work
# is done, and how a product is rounded. After this notebook you can
#
# - say where an array is, and put it where the work is;
# - tell the time to compile from the time to run, and measure both fairly;
# - say what a "float32" product is on your device, and what that does to a comparison of
#   gradients;
# - divide a step over several devices, and see what travels between them.
#
# All of it runs on a CPU too; where an accelerator behaves otherwise, the page says so. You
# need Python and a little NumPy. Notebooks 1 and 2 (the forward and the backward pass) help,
# but are not needed. Outputs with times, sizes of rounding errors and device names are those
# of one machine: run the page, and they are yours.
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
import re
import time

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from pullback import parity
from pullback.data import normalize
from pullback.functional import forward_and_backward, init_mlp, lin, lin_bwd, lin_fwd

plt.rcParams |= {
    "figure.dpi": 80,
    "figure.figsize": (7, 3),
    "axes.grid": True,
    "grid.alpha": 0.3,
}

# %% [markdown]
# ## What is there
#
# `jax.devices()` lists the devices of the platform that JAX chose: an accelerator where it
# found one, else the CPU. The first is the default: arrays go there, and so does the work.

# %% tags=["varies"]
for device in jax.devices():
    print(f"{device}: platform {device.platform}, {device.device_kind}")
    memory = device.memory_stats()  # None where a device does not tell, as a CPU does not
    if memory is None:
        print("  does not say how much memory it has")
    else:
        used, limit = memory.get("bytes_in_use", 0), memory.get("bytes_limit", 0)
        print(f"  {used / 1e9:.2f} of {limit / 1e9:.2f} GB in use")

# %% [markdown]
# Two settings, both in the environment and before Python starts. `JAX_PLATFORMS=cpu` makes JAX
# use the CPU although there is an accelerator. And of a GPU, JAX takes 75% of the memory for
# itself at its first operation, whatever the program needs;
# `XLA_PYTHON_CLIENT_PREALLOCATE=false` makes it take memory as it goes ("GPU memory
# allocation" in JAX's documentation).
#
# The job on this page is one forward and backward pass of the lesson's net, 784 → 50 → 1, on
# MNIST's training set: the loss, the gradients of the weights, and `x_bar`, the gradient of
# the input. `forward_and_backward` does it by hand, with no autodiff in it. Neither it nor any
# other function of `pullback.functional` names a device: one program, and JAX compiles it for
# what is there.

# %%
x_train, y_train, _, _ = get_data()
x = normalize(x_train, x_train.mean(), x_train.std())
targ = y_train.astype("float32")
n, m, nh = *x.shape, 50
params = init_mlp(jax.random.key(0), (m, nh, 1))
for name, array in {"x": x, "targ": targ, "w1": params[0][0], "w2": params[1][0]}.items():
    library = "JAX  " if isinstance(array, jax.Array) else "NumPy"
    print(f"{name:<5} {library} {array.dtype}{list(array.shape)}, {array.nbytes:,} bytes")

# %% [markdown]
# ## Where an array lies
#
# `params` are JAX arrays: they lie on a device, and say on which. `x` is still a NumPy array.
# It lies in the memory of the machine, which is no device's, and knows nothing of devices.
# `jax.device_put` makes a JAX array of it.

# %% tags=["varies"]
x_there, targ_there = jax.device_put((x, targ))
w1, b1 = params[0]
print(f"w1       on {w1.devices()}")
print(f"x_there  on {x_there.devices()}")
print(f"x        has .devices(): {hasattr(x, 'devices')}")

# %% [markdown]
# On a CPU, machine and device have the same memory, so this looks like a formality. On a GPU
# or TPU it is a copy into the device's own memory, and the names above are others.
#
# (`device_put` may share a NumPy array's memory in place of copying it, as it can on a CPU. So
# do not write to an array that you have put, or ask for a copy with `may_alias=False`.)
#
# What if you pass the NumPy array itself? It works: JAX puts it on the default device, at
# *each* call. Here is what that costs. `jax.jit` compiles the function, `milliseconds` is the
# clock; the next two sections are about these.


# %%
@jax.jit
def loss_and_grads(params, x, targ):
    loss, grads, _x_bar = forward_and_backward(params, x, targ)
    return loss, grads


def milliseconds(f, *args, repeats=10):
    jax.block_until_ready(f(*args))  # compile
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - start)
        del result  # give its memory back now, while the clock stands
    return 1e3 * float(np.median(times))


# %% tags=["varies"]
resident = milliseconds(loss_and_grads, params, x_there, targ_there)
numpy_in = milliseconds(loss_and_grads, params, x, targ)
megabytes = (x.nbytes + targ.nbytes) / 1e6
print(f"forward and backward on {n:,} rows, median of 10")
print(f"x on the device       {resident:8.2f} ms")
print(f"x a NumPy array       {numpy_in:8.2f} ms")
print(f"the difference        {numpy_in - resident:8.2f} ms, for {megabytes:.0f} MB")

# %% [markdown]
# On a CPU the difference is a copy within one memory (or nothing, where JAX can share it). On
# an accelerator the work itself is faster, so the copy is a larger share. Put the training set
# on the device once, before the loop.
#
# The way back is a copy too: `np.asarray(array)`, `float(loss)`, `print(loss)`. Each waits
# until the value is there.
#
# To have something done elsewhere, there is `jax.default_device`. The CPU is a device too,
# though `jax.devices()` does not list it where there is an accelerator:

# %% tags=["varies"]
cpu = jax.devices("cpu")[0]
with jax.default_device(cpu):
    inside = jnp.zeros(3)
outside = jnp.zeros(3)
placed = jax.device_put(outside, cpu)
print(f"made inside   on {inside.devices()}")
print(f"made outside  on {outside.devices()}")
print(f"put on a CPU  on {placed.devices()}")

# %% [markdown]
# With an accelerator the second line names it; with none, all three say the CPU. An array that
# was put on a *named* device is committed to it: work on it is done there, and JAX raises an
# error for two arrays that are committed to different devices. An array that was put with no
# device named goes where the others are ("Data placement" in JAX's documentation). Functions
# that name no device run anywhere.
#
# ## Trace, compile, run
#
# `jax.jit(f)` does nothing yet. At the first call JAX
#
# 1. **traces**: runs `f` once with stand-ins that have a shape and a dtype but no values, and
#    notes each operation;
# 2. **lowers**: writes the notes down as a program for the compiler, XLA;
# 3. **compiles** it for the device;
# 4. **runs** it.
#
# Later calls only run. The steps can be taken one by one:

# %% tags=["varies"]
args = (params, x_there, targ_there)


def timed(f, *args):
    start = time.perf_counter()
    result = jax.block_until_ready(f(*args))
    return result, 1e3 * (time.perf_counter() - start)


traced, trace_ms = timed(jax.jit(forward_and_backward).trace, *args)
lowered, lower_ms = timed(traced.lower)
compiled, compile_ms = timed(lowered.compile)
_, first_run_ms = timed(compiled, *args)
steps = {"trace": trace_ms, "lower": lower_ms, "compile": compile_ms}
for step, ms in (steps | {"run, first": first_run_ms}).items():
    print(f"{step:<12} {ms:8.2f} ms")
print(f"{'run, later':<12} {milliseconds(compiled, *args):8.2f} ms (median of 10)")

# Another function to jit, so nothing is compiled yet.
jitted = jax.jit(lambda *args: forward_and_backward(*args))
_, first_call_ms = timed(jitted, *args)
later_ms = milliseconds(jitted, *args)
print(
    f"\njit: first call {first_call_ms:.2f} ms, later calls {later_ms:.2f} ms (median of 10)"
)

# %% [markdown]
# The first call has everything in it. Who compares two functions by their first calls compares
# compilers.
#
# What was compiled holds for these shapes and dtypes only. With others, JAX traces and
# compiles again. A `print` in the function shows it, for Python's own statements run while JAX
# traces, and at no other time:


# %%
@jax.jit
def counted(params, x, targ):
    print(f"    tracing for {x.dtype}{list(x.shape)}")
    return forward_and_backward(params, x, targ)


for rows in (64, 64, 32, 64):
    print(f"call with {rows} rows")
    counted(params, x_there[:rows], targ_there[:rows])
print("call with 64 rows, other matmul precision")
with jax.default_matmul_precision("highest"):
    counted(params, x_there[:64], targ_there[:64])

# %% [markdown]
# Two shapes, two compilations, and both are kept: going back to 64 rows traces nothing. So
# keep the batch size the same; a last batch that is smaller costs a compilation of its own.
# (The last call: the precision is part of what is compiled. We come to it.)
#
# ### What the compiler says of its program
#
# Memory first. Arguments and results can be added up by hand, 4 bytes for each float32.
# Temporaries are what the program holds besides, on its way.

# %% tags=["varies"]
MB = 1e6
weights = sum(leaf.size for leaf in jax.tree.leaves(params))
memory = compiled.memory_analysis()
if memory is None:
    print("this backend does not say")
else:
    print(f"arguments   {memory.argument_size_in_bytes / MB:9.3f} MB", end="")
    print(f"   by hand: x, targ, weights      {4 * (n * m + n + weights) / MB:9.3f} MB")
    print(f"results     {memory.output_size_in_bytes / MB:9.3f} MB", end="")
    print(f"   by hand: loss, gradients, x_bar{4 * (1 + weights + n * m) / MB:9.3f} MB")
    print(f"temporary   {memory.temp_size_in_bytes / MB:9.3f} MB", end="")
    print(f"   by hand: the {nh} hidden units, 2× {2 * 4 * n * nh / MB:7.3f} MB")

# %% [markdown]
# On a CPU the temporaries are two arrays with a number for each row and hidden unit: the
# hidden layer's output, which forward keeps for backward, and its gradient. (`x` is kept too,
# but it is an argument and lies there anyway.)
#
# Then the work. A product of `[n, m]` and `[m, h]` has `n h` entries, each a sum of `m`
# products: `m` multiplications and `m` additions, so `2 n m h` operations (FLOP). The chain
# has three products a layer: forward, and in backward one for the weight and one for the
# input. All three of a layer have the same count:
#
# | | layer 1 | layer 2 |
# |---|---|---|
# | output | `x @ w1`: `[n, 784] [784, 50]` | `h @ w2`: `[n, 50] [50, 1]` |
# | `w_bar` | `x^T @ z_bar`: `[784, n] [n, 50]` | `h^T @ output_bar`: `[50, n] [n, 1]` |
# | `x_bar` | `z_bar @ w1^T`: `[n, 50] [50, 784]` | `output_bar @ w2^T`: `[n, 1] [1, 50]` |
#
# Biases, relu and loss have a few operations for each of the `n × 50` hidden values, against 3
# × 2 × 784 in the products. We leave them out.


# %%
def flop(n, products_of_layer_1=3):
    return products_of_layer_1 * 2 * n * m * nh + 3 * 2 * n * nh * 1


print(f"by hand: {flop(n) / 1e9:.4f} GFLOP for {n:,} rows")

# %% tags=["varies"]
cost = compiled.cost_analysis() or {}
if "flops" in cost:
    print(f"XLA:     {cost['flops'] / 1e9:.4f} GFLOP, {cost['flops'] / flop(n) - 1:+.2%}")
else:
    print("XLA:     this backend does not say")
if "bytes accessed" in cost:
    print(f"XLA:     {cost['bytes accessed'] / MB:.1f} MB read and written")

# %% [markdown]
# Both analyses are for people: JAX's documentation promises neither their form nor that a
# backend has them. They are counts made from the program, not measurements.
#
# ## A fair clock
#
# A call into JAX returns when the work is queued, not when it is done. What you get is an
# array whose values are still to come; Python runs on. That keeps a device busy, and fools a
# clock. `jax.block_until_ready` waits.

# %% tags=["varies"]
returned, done = [], []
for _ in range(10):
    start = time.perf_counter()
    result = compiled(*args)
    returned.append(time.perf_counter() - start)
    jax.block_until_ready(result)
    done.append(time.perf_counter() - start)
    del result

clocks = {"call returned": np.median(returned), "values there": np.median(done)}
for clock, seconds in clocks.items():
    speed = flop(n) / seconds / 1e9
    print(f"{clock:<14} after {1e3 * seconds:8.3f} ms   {speed:12,.0f} GFLOP/s")

# %% [markdown]
# The first line is no speed of anything. Is the second a good one? Compare it with what the
# same device reaches in a large square product, which is nearly all arithmetic. And one more
# line: the pass without `x_bar`, which training does not need. `loss_and_grads` does not
# return it, so the compiler drops its product, and layer 1 has two in place of three.

# %% tags=["varies"]
side = 2048
square = jax.random.normal(jax.random.key(1), (side, side))


def rate(name, gflop, f, *args):
    ms = milliseconds(f, *args)
    print(f"{name:<30} {gflop:7.2f} GFLOP {ms:9.2f} ms {gflop / ms * 1e3:9,.0f} GFLOP/s")


rate(f"product of {side} × {side}", 2 * side**3 / 1e9, jax.jit(jnp.matmul), square, square)
rate("forward and backward", flop(n) / 1e9, compiled, *args)
rate("the same without x_bar", flop(n, 2) / 1e9, loss_and_grads, *args)

# %% [markdown]
# One reason why the rates differ: in the square product each number is used 2,048 times. The
# net has 50 hidden units, so a product uses each number of `x` 50 times, and `x_bar`, as large
# as `x`, has to be written. The less arithmetic there is for a number, the more it matters how
# fast numbers come and go. (Another is how well the compiler handles a shape.)
#
# The rules of this clock:
#
# - wait with `block_until_ready` before it stops;
# - leave out the first call: it compiles;
# - repeat, and take the median. A mean is moved by one call during which the machine did
#   something else;
# - pass arrays that lie on the device, or say that the copy is part of it;
# - say which device, which dtype, which shapes, and which matmul precision. The last is the
#   next section.
#
# ## What float32 means in a product
#
# The arrays are float32 on every device. The *product* of two of them is not always computed
# in float32. JAX has three levels, `"default"`, `"high"` and `"highest"`, and their meaning
# depends on the device (from the documentation of `jax.lax.Precision`):
#
# | | `"default"` | `"high"` | `"highest"` |
# |---|---|---|---|
# | CPU | float32 | float32 | float32 |
# | GPU with TF32 (A100, H100, ...) | TF32 | TF32 | float32 |
# | GPU without | float32 | float32 | float32 |
# | TPU | bfloat16 | bfloat16, 3 passes | bfloat16, 6 passes |
#
# TF32 and bfloat16 have float32's range and fewer digits: of float32's 23 mantissa bits TF32
# has 10 and bfloat16 has 7 (torch's documentation of `set_float32_matmul_precision` lists
# them). The factors are rounded to that, and the products summed in float32. More passes take
# more of each number: what the first rounding left over is rounded in its turn, and multiplied
# too.
#
# `jax.default_matmul_precision` sets the level. It is written into the program when a function
# is traced. Let us read the program:


# %%
def asked_for(precision):
    with jax.default_matmul_precision(precision):
        program = jax.jit(forward_and_backward).lower(params, x_there, targ_there).as_text()
    products = re.findall(r"dot_general.*?precision = \[(\w+), (\w+)\]", program)
    return len(products), sorted({level for pair in products for level in pair})


for precision in ("highest", "high", "default"):
    print(precision.ljust(8), *asked_for(precision))

# %% [markdown]
# Six products, as counted above, those of the hand-written backward among them, and all ask
# for the same level. What does your device make of it? The cell computes `lin` (`x @ w + b`)
# at each level, and once in float64 with NumPy.

# %% tags=["varies"]
b = jnp.asarray(0.1 * np.random.default_rng(0).standard_normal(nh), jnp.float32)
exact = x[:1000].astype(np.float64) @ np.asarray(w1, np.float64) + np.asarray(b, np.float64)
product = jax.jit(lin)
ys = {}
print("level      time   largest |error| / |value|   same bits as highest")
for precision in ("highest", "high", "default"):
    with jax.default_matmul_precision(precision):
        ys[precision] = np.asarray(product(x_there, w1, b))
        ms = milliseconds(product, x_there, w1, b, repeats=20)
    error = np.abs(ys[precision][:1000] - exact).max() / np.abs(exact).max()
    same = np.array_equal(ys[precision], ys["highest"])
    print(f"{precision:<8} {ms:6.2f} ms {error:22.0e} {'yes' if same else 'no':>20}")

# %% [markdown]
# On a CPU the three are the same numbers, bit for bit, so what differs between their times is
# chance: so much a time is worth. On a GPU with TF32, or on a TPU, expect the last line to be
# faster and its error larger.
#
# ### What it does to parity
#
# `parity.check` compares a rule with the same maths in plain jax and in torch. All three are
# held against float64, each element within a bound on what rounding may do: a bound of
# *float32* arithmetic here, since the arguments are float32. (torch runs on the CPU.) We check
# `lin` on 64 rows; `checks=("values",)` leaves out transformations, other dtypes and the rest,
# for the question is one call's arithmetic.


# %%
def plain(x, w, b):
    return x @ w + b  # the same text in jax and in torch


def check(rule, precision):
    with jax.default_matmul_precision(precision):
        arguments = x[:64], w1, b
        return parity.check(rule, *arguments, reference=plain, torch=plain, checks=["values"])


report = check(lin, "highest")
print(f"ok: {report.ok}")

# %% tags=["varies"]
for precision in ("highest", "default"):
    report = check(lin, precision)
    share = max(row.worst[1].budget for row in report.rows)
    wrong = ", ".join(report.culprits) or "nobody"
    print(f"{precision:<8} ok: {report.ok}, wrong: {wrong}, at most {share:.2g} of the bound")

# %% [markdown]
# On a CPU both lines say the same. On a device whose default is TF32 or bfloat16, expect the
# second to say that rule and reference are wrong, and torch, on its CPU, is not: the maths is
# right, and the arithmetic is not float32.
#
# ### TF32 and bfloat16 on any device
#
# We can have such products without such a device: round the factors, then multiply in float32.
# `reduce_precision` rounds to a number of mantissa bits:

# %%
for name, bits in (("float32", 23), ("TF32", 10), ("bfloat16", 7)):
    rounded = jax.lax.reduce_precision(jnp.float32(0.1), exponent_bits=8, mantissa_bits=bits)
    tenth = float(rounded)
    most = 2.0 ** -(bits + 1)
    print(f"0.1 in {name:<8} {tenth:.10f}   a rounding is off by at most {most:.1e} of it")

# %% [markdown]
# And this is `lin` with rounded factors, in forward and in backward. `lin_fwd` and `lin_bwd`
# are the library's rule. The bias's gradient is a sum and no product, so its terms are not
# rounded.


# %%
def lin_of_rounded(mantissa_bits):
    def rounded(a):
        return jax.lax.reduce_precision(a, exponent_bits=8, mantissa_bits=mantissa_bits)

    @jax.custom_vjp
    def rounded_lin(x, w, b):
        return lin(rounded(x), rounded(w), b)

    def fwd(x, w, b):
        return lin_fwd(rounded(x), rounded(w), b)

    def bwd(residuals, y_bar):
        x_bar, w_bar, _ = lin_bwd(residuals, rounded(y_bar))
        return x_bar, w_bar, y_bar.sum(0)

    rounded_lin.defvjp(fwd, bwd)
    return rounded_lin


# %% [markdown]
# (It is an emulation. A device may round a factor otherwise, to zero say, and sums in an order
# of its own.)

# %% tags=["varies"]
check(lin_of_rounded(10), "highest")

# %% [markdown]
# "Wrong: rule". Reference and torch compute the same maths and are within the bound. The
# column "bound used" says how far outside the rule is: 9e2× would be 900 times what float32
# rounding may do. `w_bar` and `x_bar` are not even linear in the cotangent any more, for a sum
# is rounded otherwise than its parts. And the diagnosis asks the right question: "lower
# precision used?"
#
# float32, TF32 and bfloat16 side by side:

# %%
reports = {
    "float32": check(lin, "highest"),
    "TF32": check(lin_of_rounded(10), "highest"),
    "bfloat16": check(lin_of_rounded(7), "highest"),
}
for name, report in reports.items():
    wrong = ", ".join(report.culprits) or "nobody"
    print(f"{name:<8} {'PASS' if report.ok else 'FAIL'}, wrong: {wrong}")

# %% tags=["varies"]
LEAVES = ("y", "x_bar", "w_bar", "b_bar")
deviations = {
    name: {row.leaf: row.deviations["rule"] for row in report.rows if row.leaf in LEAVES}
    for name, report in reports.items()
}
print("factors    leaf    largest |error| / bound   largest |error| / largest |value|")
for name, by_leaf in deviations.items():
    for leaf in LEAVES:
        of_bound, relative = by_leaf[leaf].budget, by_leaf[leaf].relative
        print(f"{name:<10} {leaf:<7} {of_bound:23.2f} {relative:33.0e}")

worst = reports["bfloat16"].rows[0]
print(f"\nof bfloat16's {worst.leaf} the report says:")
print(worst.diagnosis.get("rule", "nothing"))

# %%
figure, axis = plt.subplots()
for (name, by_leaf), marker in zip(deviations.items(), "osD", strict=True):
    of_bound = [by_leaf[leaf].budget for leaf in LEAVES]
    axis.plot(of_bound, LEAVES, marker, label=f"factors in {name}")
axis.axvline(1, color="black", linestyle="--", label="the bound")
axis.set(
    xscale="log",
    xlabel="largest |error| / float32 rounding bound (ratio, no unit)",
    ylabel="leaf of lin",
)
axis.set_ylim(3.5, -0.5)
axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.tight_layout()
plt.show()

# %% [markdown]
# (`b_bar` is the same three times: there is no product in it.)
#
# In relative terms the errors look harmless: a tolerance of 1% of a leaf's largest value
# accepts them all. It would also accept a gradient that is everywhere 0.9% too small. The
# float32 bound notices a leaf that is off by a few millionths of itself (the column "would
# notice" above), and that is worth keeping.
#
# From TF32 to bfloat16 it is 3 bits, a factor of 8, and the errors grow by about that. From
# float32 to TF32 it is 13 bits, so the bound of TF32 is $2^{13} = 8192$ times that of float32.
# What is below that is "off as rounding to TF32 would have it" for the report. Here bfloat16
# is below it too, since a bound leaves room that errors of random sign do not use. So read the
# diagnosis as "not float32", not as the name of a format.
#
# So: **prove at `"highest"`, then choose speed knowingly.**
#
# 1. While you ask whether a gradient is right, pin the precision:
#    `with jax.default_matmul_precision("highest"):` around the check, or
#    `jax.config.update("jax_default_matmul_precision", "highest")` for a whole program.
#    `parity.check` takes what is set, and its report says what that was, in the line "device".
#    `parity.check_mnist`, the main job of `pullback parity`, sets "highest" itself.
# 2. When it passes, the maths is right on that device. What you see at another level is
#    arithmetic, not a wrong rule.
# 3. Then measure what a lower level brings (the clock above) and costs (the table above), on
#    your shapes, and choose.
#
# ## Half precision as the dtype
#
# The arrays themselves may have fewer bits: bfloat16 takes half of float32's memory. Then it
# matters what the *sum* is kept in. From 256 on, the numbers that bfloat16 has are 2 apart.
# 257 is none of them, 256 + 1 is rounded to 256, and a sum of ones stops there:

# %%
count = 5000
total = jnp.bfloat16(0)
for one in np.ones(count, jnp.bfloat16):
    total = total + one
print(f"{count:,} ones, added one by one   {float(total):>5,.0f}")

ones = jnp.ones((count, 1), jnp.bfloat16)
w_one, b_zero = jnp.ones((1, 1), jnp.bfloat16), jnp.zeros(1, jnp.bfloat16)
y = lin(ones.T, ones, b_zero)
_, w_bar, _ = lin_bwd((ones, w_one, b_zero), ones)
print(f"lin forward, y                {float(y[0, 0]):>5,.0f}   {y.dtype}")
print(f"lin backward, w_bar           {float(w_bar[0, 0]):>5,.0f}   {w_bar.dtype}")
print(f"{count:,} rounded to bfloat16     {float(jnp.bfloat16(count)):>5,.0f}")

# %% [markdown]
# The rules of this library keep sums of half-precision numbers in float32 and round once, at
# the end, in backward too. (The matmul precision has no part in this: it is for products of
# float32 arrays only.)
#
# ## One step on eight devices
#
# The loss is a mean over rows, and each weight's gradient a sum over rows. So the rows may lie
# on several devices. Each device takes its rows forward and backward, and then the sums of all
# devices are added up. That last step is called an *all-reduce*: each device gives an array,
# and each gets the sum.
#
# Where JAX finds one CPU and nothing else, it can pretend that it is eight. Normally you ask
# for them before Python starts, with `JAX_NUM_CPU_DEVICES=8` in the environment, because JAX
# counts its devices once, when it is first used. This notebook has used it all along, on one
# device, so that the times above are those of one. The next cell makes JAX forget its devices
# and count again. (Arrays made before lie on the device of that time, so we make the weights
# anew.)

# %% tags=["varies"]
from jax.extend.backend import clear_backends

if jax.default_backend() == "cpu" and jax.device_count() == 1:
    clear_backends()
    jax.config.update("jax_num_cpu_devices", 8)

devices = jax.device_count()
names = ", ".join(str(device) for device in jax.devices())
print(f"{devices} device{'s' if devices > 1 else ''}: {names}")
if devices == 1:
    print("One accelerator: the cells below run on a mesh of one device, with nothing to add.")

# %% [markdown]
# On a machine with several GPUs, or on a TPU, these are the real ones, and the cells below use
# them. The eight of a CPU share its cores. They are there to learn and to test with. They are
# not faster.
#
# ### Rows on a mesh
#
# A *mesh* is an array of devices whose axes have names. Ours are "data" and "model"; for now
# all devices stand along "data". `shard_batch` divides the rows along it. 3,001 rows do not
# divide by eight, so it fills up with rows of zeros, and returns a mask that says which rows
# are real. `shard_params` puts the same weights on each device.

# %% tags=["varies"]
from pullback.parallel import make_mesh, param_specs, shard_batch, shard_params

mesh = make_mesh()
rows = 3001
x_rows, targ_rows, mask = shard_batch(mesh, x[:rows], targ[:rows])
start = init_mlp(jax.random.key(0), (m, nh, 1))
params_there = shard_params(mesh, start)

print(f"mesh: {mesh.shape['data']} along data × {mesh.shape['model']} along model")
print(f"{rows:,} rows are {x_rows.shape[0]:,} places, {int(mask.sum()):,} of them real")
for piece, real in zip(x_rows.addressable_shards, mask.addressable_shards, strict=True):
    first = piece.index[0].start or 0
    held = f"places {first:>5,} to {first + len(piece.data) - 1:>5,}"
    count = np.asarray(real.data).sum()
    print(f"  {str(piece.device):<12} {held}, {count:>5,} of {len(piece.data):,} real")

# %% [markdown]
# The batch is one array still: `x_rows.shape` is that of all places, and `x_rows.sum()` sums
# all of them. Where its pieces lie is its *sharding*. Let us draw it, from what the arrays say
# themselves. The numbers are devices; where a piece has several, each of them has a copy of
# it; gray is on all. (`jax.debug.visualize_array_sharding(x_rows)` prints such a picture for
# any array of one or two axes.)


# %%
from matplotlib.patches import Rectangle


def draw(axis, name, array):
    owners = {}
    for shard in array.addressable_shards:
        where = tuple(
            (i.start or 0, i.stop or size)
            for i, size in zip(shard.index, array.shape, strict=True)
        )
        owners.setdefault(where, []).append(shard.device.id)
    height, width = array.shape
    for ((top, bottom), (left, right)), ids in owners.items():
        corner = left / width, top / height
        size = (right - left) / width, (bottom - top) / height
        color = "lightgray" if len(ids) == devices else plt.cm.Set3(min(ids) % 12)
        axis.add_patch(Rectangle(corner, *size, facecolor=color, edgecolor="white", lw=2))
        middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
        numbers = " ".join(map(str, sorted(ids)))
        axis.text(*middle, numbers, ha="center", va="center", fontsize=9)
    axis.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
    axis.set_title(f"{name} {height:,} × {width:,}", fontsize=9)


def draw_all(x, params):
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.6))
    arrays = {"x": x, "w1": params[0][0], "w2": params[1][0]}
    for axis, (name, array) in zip(axes, arrays.items(), strict=True):
        draw(axis, name, array)
    figure.suptitle("which device holds which part (rows go down, columns across)", fontsize=9)
    plt.tight_layout()
    plt.show()


draw_all(x_rows, params_there)

# %% [markdown]
# ### The step
#
# `sharded_value_and_grad` does on each device what `forward_and_backward` does (in tiles of
# rows, and without `x_bar`), and then adds up. It gets the mesh first, and the rest as you
# would expect. We hold what it returns against the whole batch on one device, with no mesh and
# no mask:

# %%
import functools

from pullback.parallel import sharded_value_and_grad

step = jax.jit(functools.partial(sharded_value_and_grad, mesh))
loss, grads = step(params_there, x_rows, targ_rows, mask)
loss_of_one, grads_of_one = loss_and_grads(start, x[:rows], targ[:rows])
print(f"loss  sharded {loss:.4f}   on one device {loss_of_one:.4f}")

# %% tags=["varies"]
pairs = {"loss": (loss, loss_of_one)}
for layer, (sharded, of_one) in enumerate(zip(grads, grads_of_one, strict=True), start=1):
    pairs |= {f"w{layer}": (sharded[0], of_one[0]), f"b{layer}": (sharded[1], of_one[1])}
for name, (ours, want) in pairs.items():
    ours, want = np.asarray(ours), np.asarray(want)
    off = np.abs(ours - want).max() / np.abs(want).max()
    print(f"{name:<5} largest |difference| / largest |value|  {off:.0e}")
loss_of_places, _ = step(params_there, x_rows, targ_rows)
print(f"\nwithout the mask: loss {loss_of_places:.4f}, {loss_of_places / loss:.4f} of it")
print(f"by hand: {rows:,} / {len(x_rows):,} is {rows / len(x_rows):.4f}")

# %% [markdown]
# They are equal but for rounding: the terms of each sum are the same, and they are added up in
# another order. The last lines show what the mask is for. Without it the mean is that of all
# places, and too small. (A row of zeros adds nothing to the sum here, because the first biases
# are 0. Later it would.)
#
# "But for rounding" is a claim that can be checked. Where JAX finds several devices,
# `pullback parity` has one column more, `sharded`, and holds it against float64 within the
# derived bound, like the others:

# %% tags=["varies"]
report = parity.check_mnist(rows, nh)
in_all = {
    row.leaf: row.deviations["sharded"] for row in report.rows if "sharded" in row.deviations
}
for leaf, deviation in in_all.items():
    print(f"{leaf:<7} sharded uses {deviation.budget:.1%} of its bound")
of_net = next(row for row in report.rows if row.check == "net")
print(f"ok: {report.ok}; the implementations of the net are")
print(", ".join(of_net.deviations))

# %% [markdown]
# ### What travels
#
# The compiled program says which data goes from device to device. We look for *collectives*,
# the operations in which devices exchange data, and count the numbers in each:


# %%
def collectives(program, *args):
    kinds = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
    found = []
    for line in program.lower(*args).compile().as_text().splitlines():
        if match := re.search(rf" = (.*?) ({kinds})(-start)?\(", line):
            shapes = [
                [int(size) for size in dims.split(",") if size]
                for dims in re.findall(r"\w\[([\d,]*)\]", match[1])
            ]
            count = sum(int(np.prod(shape)) for shape in shapes)
            found.append(f"{match[2]} of {count:,} numbers")
    return found or ["none: there is one device"]


# %% tags=["varies"]
small_tiles = jax.jit(functools.partial(sharded_value_and_grad, mesh, tile_rows=100))
for name, program in (("one tile a device", step), ("tiles of 100 rows", small_tiles)):
    print(f"{name}   {', '.join(collectives(program, params_there, x_rows, targ_rows, mask))}")
weights = sum(leaf.size for leaf in jax.tree.leaves(start))
total = f"{weights:,} gradients, the loss, the number of real rows: {weights + 2:,}"
print(f"by hand            {total}")

# %% [markdown]
# One all-reduce a step. No row of `x` travels, and it does not matter how many rows there are:
# 157 kB go round for 64 rows or for 64 million. A device may take its rows in several tiles
# (*microbatches*) to save memory; it adds them up itself, and the all-reduce comes once, at
# the end.
#
# ### A wide layer, divided
#
# So far each device had all weights. A layer may become too wide for that. Then there is the
# other axis of the mesh, "model". The first layer of a pair is divided by its units, the
# columns of `w1`, and the second by its inputs, the rows of `w2`. A device then has some
# hidden units, and of the second layer exactly the weights that these units meet.

# %% tags=["varies"]
model = 2 if devices % 2 == 0 else 1
both = make_mesh(model=model)
wide = init_mlp(jax.random.key(0), (m, 1024, 1))
for name, (w, b) in zip(("layer 1", "layer 2"), param_specs(wide), strict=True):
    print(f"{name}   w {str(w):<30} b {b}")
wide_there = shard_params(both, wide)
x_wide, targ_wide, mask_wide = shard_batch(both, x[:rows], targ[:rows])
draw_all(x_wide, wide_there)

# %% [markdown]
# With eight devices the mesh is 4 × 2. Four pieces of the rows, each on two devices, and two
# halves of each layer, each on four. Devices 0 and 1 have the same rows and other units.
#
# What does it cost? The second layer's output is a sum over hidden units, and each device has
# half of them. So there is one more all-reduce, of one output for each row that the device
# has. In return each device has half of the weights and of the gradients, and its part of the
# other all-reduce is half as large:

# %% tags=["varies"]
wide_step = jax.jit(functools.partial(sharded_value_and_grad, both))
for collective in collectives(wide_step, wide_there, x_wide, targ_wide, mask_wide):
    print(collective)
places, own = x_wide.shape[0] // both.shape["data"], (m + 1 + 1) * 1024 // model + 1
print(f"by hand: {places:,} outputs (where model is more than 1);")
print(f"         {own:,} gradients, the loss, the number of rows")
loss, _ = wide_step(wide_there, x_wide, targ_wide, mask_wide)
loss_of_one, _ = loss_and_grads(wide, x[:rows], targ[:rows])
print(f"loss: {loss:.4f}, on one device {loss_of_one:.4f}")

# %% [markdown]
# Which division is better is a matter of numbers: gradients (as many as weights) against
# outputs (as many as rows). The same functions also run in many processes on many machines;
# `docs/accelerators.md` has the commands, and `docs/scaling.md` says how far it goes.
#
# ## What you have now
#
# - Functions name no device. `.devices()` says where an array lies; `jax.device_put` puts it
#   on the device once, in place of a copy at each call.
# - The first call traces, lowers, compiles and runs; later calls run. A new shape, dtype or
#   precision is a new compilation.
# - A fair clock waits with `block_until_ready`, leaves out the first call and takes a median.
#   GFLOP/s come from the shapes: `2 n m h` for a product.
# - float32 arrays do not mean float32 products. On a CPU they do; on a GPU with TF32, or on a
#   TPU, ask for `"highest"`.
# - A parity check that fails on an accelerator and passes on a CPU: first pin the precision,
#   then ask again.
# - Rows may lie on several devices. A mesh says on which, a mask which rows are real, and one
#   all-reduce a step adds up what the devices have.
