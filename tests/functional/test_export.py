"""A GPU without a GPU: each public function as one artefact for cpu, cuda and tpu, and the same bits from it here.

It is lowered for all three (what compiles that for a GPU or a TPU is not at hand), written to bytes, read back, called.
On a CPU it must return what `jax.jit` returns, to the last bit, because it is the same program.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import functional as F
from pullback.data import load_mnist
from pullback.functional.experimental import fused_pallas

PLATFORMS = ("cpu", "cuda", "tpu")
ROWS, KEY = 32, jax.random.key(7)
SIZES = {"lesson": (784, 50, 1), "odd": (7, 3, 1)}
RAW = {"mean": np.float32(33), "std": np.float32(78)}

# jax.export writes a named tuple only under a name, which whoever exports it chooses.
for kind in (F.Stats, F.LayerStats):
    jax.export.register_namedtuple_serialization(kind, serialized_name=f"pullback.functional.{kind.__name__}")


def random(*shape, dtype: Any = np.float32):
    return np.asarray(np.random.default_rng(1).standard_normal(shape)).astype(dtype)


@functools.cache
def arguments(which: str) -> dict[str, tuple[Any, ...]]:
    """lesson: digits and the lesson's net; of all axes only the batch's is ROWS long.

    odd: seven pixels without a batch axis (one row where an axis is required), and one number for a target.
    """
    digits, sizes = load_mnist("sample").train, SIZES[which]
    pixels, targ = digits.images[:ROWS], digits.labels[:ROWS].astype(np.float32)
    image, order = pixels.reshape(ROWS, 28, 28, 1), np.arange(ROWS, dtype=np.int32)[::-1].reshape(4, 8)
    if which == "odd":
        pixels, targ, image, order = pixels[0, 150:157], targ[0], image[:1, 5:10, 10:17], order[3:, 7:]
    x, image = ((a.astype(np.float32) - RAW["mean"]) / RAW["std"] for a in (pixels, image))
    params = [(w, random(*b.shape)) for w, b in F.init_mlp(KEY, sizes)]
    half, half_x, half_targ = jax.tree.map(lambda a: np.asarray(a).astype(jnp.bfloat16), (params, x, targ))
    rows, goals = np.atleast_2d(x), np.atleast_1d(targ)
    groups = {
        "key": (KEY,),
        "x": (x,),
        "slope": (x, np.float32(0.1)),
        "lin": (x, *params[0]),
        "lin in half": (half_x, *half[0]),
        "mse": (random(*targ.shape), targ),
        "image": (image,),
        "logits": (random(len(rows), 10), np.arange(len(rows), dtype=np.int32) % 10),
        "linear": (x, random(sizes[0], 10), random(10), np.asarray(targ, np.int32) % 10),
        "conv": (image, random(3, 2, 1, 4), random(4)),
        "rows": (rows, random(len(rows), 3)),
        "mlp": (params, x),
        "net": (params, x, targ),
        "net in half": (half, half_x, half_targ),
        "net of uint8": (params, pixels, targ),
        "epoch": (params, rows, goals, order, np.float32(0.01)),
        "epoch of uint8": (params, np.atleast_2d(pixels), goals, order, np.float32(0.01)),
        "layer": (params[0], x),
    }
    return jax.tree.map(jnp.asarray, groups)


class Case(NamedTuple):
    """`of` makes what is exported, of the public function and the net's sizes; `first` its arguments, of `args`."""

    args: str
    of: Callable[[Any, tuple[int, ...]], Callable[..., Any]] = lambda f, sizes: f
    first: Callable[..., tuple[Any, ...]] = lambda *args: args


def given(*args, **options):
    return lambda f, sizes: functools.partial(f, *args, **options)


def backward(fwd, args, *statics):
    """A rule's backward, of its residuals and a random cotangent."""

    def first(*args):
        y, residuals = fwd(*args, *statics)
        return residuals, random(*y.shape, dtype=y.dtype)

    return Case(args, given(*statics), first)


def rule(name, args, *statics):
    """An op, its forward and its backward."""
    case = Case(args, lambda f, sizes: lambda *args: f(*args, *statics))
    return {name: case, f"{name}_fwd": case, f"{name}_bwd": backward(getattr(F, f"{name}_fwd"), args, *statics)}


def grads(f, sizes):  # of the sum of f's elements, for every argument
    return lambda *args: jax.value_and_grad(lambda *args: jnp.sum(f(*args)), tuple(range(len(args))))(*args)


def loss(name):
    grad = Case("net", lambda f, sizes: jax.grad(f))
    return {name: Case("net"), f"{name}: grad": grad, f"{name}: value_and_grad": Case("net", grads)}


def drawn(*kernel, **options):
    return Case("key", lambda f, sizes: lambda key: f(key, (*kernel, *sizes[:2]), **options))


def there_and_back(layer, *args):
    y, residuals = layer.forward(*args)
    return y, layer.backward(residuals, jnp.ones_like(y))


def net(serial, sizes):
    return serial(F.Lin(*sizes[:2]), F.Relu(), F.Lin(*sizes[1:]), F.Mse())


FUSED = ("fused_mlp_loss", "fused_mlp_loss_fwd", "fused_value_and_grad", "fused_forward_and_backward")
LINEAR_LOSS = ("linear_cross_entropy", "linear_cross_entropy_fwd", "linear_cross_entropy_bwd")
FORMS = ("outer", "einsum", "matmul", "transposed")

# By the public function's name; after a colon, what is special.
CASES = {
    **rule("lin", "lin"),
    "lin_bwd: bfloat16": backward(F.lin_fwd, "lin in half"),
    **rule("relu", "x"),
    **rule("leaky_relu", "x"),
    **rule("shifted_relu", "x"),
    **{f"{name}: learned": Case("slope", grads) for name in ("leaky_relu", "shifted_relu")},
    **rule("mse", "mse"),
    **rule("conv2d", "conv", (2, 1), ((1, 2), (0, 1)), (1, 2)),
    "conv2d: plain": Case("conv", grads),
    **rule("max_pool2d", "image", (2, 3), 2, ((1, 0), (2, 1))),
    **rule("avg_pool2d", "image", (2, 3), 2, ((1, 0), (2, 1)), False),
    **rule("log_softmax", "x"),
    **rule("softmax_cross_entropy", "logits", -100, 0.1, "mean"),
    "softmax_cross_entropy: each row": Case("logits", given(reduction="none")),
    **rule("linear_cross_entropy", "linear", -100, 0.1, "mean", 512),
    "linear_cross_entropy: each row": Case("linear", given(reduction="none")),
    **{f"weight_grad_{form}": Case("rows") for form in FORMS},
    **rule("mlp", "mlp"),
    **loss("mlp_loss"),
    **rule("fused_mlp_loss", "net", 5),
    **loss("fused_mlp_loss"),
    "forward_and_backward": Case("net"),
    "forward_and_backward: bfloat16": Case("net in half"),
    "fused_value_and_grad": Case("net"),
    "fused_value_and_grad: uint8": Case("net of uint8", given(tile_rows=8, **RAW)),
    "fused_forward_and_backward": Case("net"),
    "fused_forward_and_backward: tiles": Case("net", given(tile_rows=5)),
    "fused_forward_and_backward: bfloat16": Case("net in half", given(tile_rows=5, reduction="sum")),
    "sgd_epoch": Case("epoch"),
    "sgd_epoch: uint8": Case("epoch of uint8", given(**RAW)),
    "activation_stats": Case("mlp"),
    "activation_stats: leaky": Case("mlp", given(activation=F.leaky_relu)),
    "init_mlp": Case("key", lambda f, sizes: lambda key: f(key, sizes)),
    **{f"{name}_{how}": drawn() for name in ("kaiming", "xavier") for how in ("normal", "uniform")},
    "kaiming_normal: bfloat16": drawn(dtype=jnp.bfloat16),
    "torch_linear": drawn(),
    "torch_conv": drawn(3, 3),
    "Lin": Case("layer", lambda f, sizes: functools.partial(there_and_back, f(*sizes[:2]))),
    "Lin: init": Case("key", lambda f, sizes: f(*sizes[:2]).init),
    "Relu": Case("x", lambda f, sizes: functools.partial(there_and_back, f(), None)),
    "Mse": Case("mse", lambda f, sizes: functools.partial(there_and_back, f(), None)),
    "serial": Case("net", lambda f, sizes: functools.partial(there_and_back, net(f, sizes))),
    "serial: init": Case("key", lambda f, sizes: net(f, sizes).init),
    "as_op": Case("net", lambda f, sizes: grads(f(net(F.serial, sizes)), sizes)),
}  # fmt: skip

NOT_EXPORTED = {
    "fans": "arithmetic on Python integers",
    "no_params": "returns nothing",
    **dict.fromkeys(("Params", "Layer", "LayerStats", "Stats"), "a type, or a class of plain data"),
}

# What takes rows takes any number of them in one artefact, except where Python must know that number.
NOT_SYMBOLIC = {
    **dict.fromkeys((*FUSED, *LINEAR_LOSS), "the number of tiles"),
    **dict.fromkeys(("sgd_epoch", *(f"weight_grad_{form}" for form in FORMS)), "len(x)"),
}


def made(name, which):
    """The case's function, jitted, and arguments. The function fails if the public one was not called in it."""
    case, function, called = CASES[name], getattr(F, public(name)), []

    noted = lambda *args, **options: called.append(name) or function(*args, **options)  # noqa: E731

    def run(*args):
        result = case.of(noted, SIZES[which])(*args)
        assert called
        return result

    return jax.jit(run), jax.tree.map(jnp.asarray, case.first(*arguments(which)[case.args]))


def exported(f, *args):
    """f, which is jitted, lowered for all platforms, written and read back."""
    artefact = jax.export.deserialize(jax.export.export(f, platforms=PLATFORMS)(*args).serialize())
    assert artefact.platforms == PLATFORMS
    return artefact


def assert_same_bits(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(want)]
    for a, b in zip(jax.tree.map(np.asarray, jax.tree.leaves(got)), leaves, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        assert a.tobytes() == b.tobytes(), "0 for -0, or another NaN"
    assert any(leaf.any() for leaf in leaves), "zeros prove nothing: choose other arguments"


def public(name):
    return name.split(":")[0]


# Each case is exported once, with the lesson's net: for any number of rows, where that can be. And each public function
# once more with odd sizes, where its first case is; an op's forward and backward go with the op.
ANY_ROWS = [name for name, case in CASES.items() if case.args != "key" and public(name) not in NOT_SYMBOLIC]
SOME_ROWS = [(name, "lesson") for name in CASES if name not in ANY_ROWS]
SOME_ROWS += [
    (name, "odd")
    for name in {public(name): name for name in reversed(CASES)}.values()
    if CASES[name].args != "key" and not name.endswith(("_fwd", "_bwd"))
]


@pytest.mark.parametrize(("name", "which"), SOME_ROWS)
def test_one_artefact_for_every_platform_and_its_bits_here(name, which):
    f, args = made(name, which)
    assert_same_bits(exported(f, *args).call(*args), f(*args))


def of_any_rows(name):
    """The case's function and arguments of five rows, and the arguments' shapes for any number of rows."""
    f, args = made(name, "lesson")
    (n,) = jax.export.symbolic_shape("n")
    few = jax.tree.map(lambda a: a[:5] if ROWS in a.shape else a, args)
    any_rows = jax.tree.map(lambda a: jax.ShapeDtypeStruct([n if k == ROWS else k for k in a.shape], a.dtype), args)
    assert jax.tree.map(jnp.shape, few) != jax.tree.map(jnp.shape, args)
    return f, few, any_rows


@pytest.mark.parametrize("name", ANY_ROWS)
def test_one_artefact_for_every_platform_and_batch_size_and_its_bits_here(name, as_a_user):
    f, few, any_rows = of_any_rows(name)
    assert_same_bits(exported(f, *any_rows).call(*few), f(*few))


@pytest.mark.parametrize("name", [name for name in CASES if public(name) in NOT_SYMBOLIC])
def test_a_number_of_rows_that_python_must_know(name, as_a_user):
    f, _, any_rows = of_any_rows(name)
    with pytest.raises(TypeError, match="_DimExpr"):
        exported(f, *any_rows)


def test_every_public_function_has_a_case():
    there = {name for name, value in vars(F).items() if callable(value) and not name.startswith("_")}
    assert sorted(there) == sorted([*{public(name) for name in CASES}, *NOT_EXPORTED])


def test_what_only_a_tpu_has_is_refused():
    kernel = jax.jit(functools.partial(fused_pallas.kernel_call, tile_rows=128, interpret=False))
    with pytest.raises(ValueError, match="Only interpret mode is supported on CPU backend"):
        exported(kernel, *made("mlp_loss", "lesson")[1])


def test_other_bits_are_caught():
    f, (params, x, targ) = made("forward_and_backward", "odd")
    artefact = exported(jax.jit(lambda x, targ: f(params, x, targ * 1.0000001)), x, targ)
    loss, grads, x_bar = want = f(params, x, targ)
    for got, right in [
        (artefact.call(x, targ), want),
        ((jnp.nextafter(loss, jnp.inf), grads, x_bar), want),
        ((loss, tuple(grads), x_bar), want),
        ((loss, grads, x_bar.astype(jnp.bfloat16)), want),
        (jnp.asarray([-0.0, 1]), jnp.asarray([0.0, 1])),
    ]:
        with pytest.raises(AssertionError):
            assert_same_bits(got, right)
