import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import functional as F
from pullback import parity
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_linear_cross_entropy

# As Any: the results' types (one array, or a cotangent that may be None) would be asked for in each test.
linear_cross_entropy: Any = F.linear_cross_entropy
linear_cross_entropy_fwd: Any = F.linear_cross_entropy_fwd
linear_cross_entropy_bwd: Any = F.linear_cross_entropy_bwd
softmax_cross_entropy: Any = F.softmax_cross_entropy

LABELS = jnp.asarray([3, -100, 0, 10, 10, 5, 4], jnp.int32)
SMALL = 48  # bytes of a tile: of 7 rows and 11 classes in float32, three and four at a time, so that neither is divided


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def arguments():
    return normal(0, 7, 5), normal(1, 5, 11), normal(2, 11), LABELS


def check(
    rule=linear_cross_entropy, args=None, *, checks=("values",), dtypes=("float32",), tile_bytes=SMALL, **options
):
    return parity.check(
        functools.partial(rule, **options, tile_bytes=tile_bytes),
        *(args or arguments()),
        reference=functools.partial(twin_linear_cross_entropy, **options),
        torch=functools.partial(in_torch.linear_cross_entropy, **options),
        checks=checks,
        dtypes=dtypes,
    )


def test_parity_in_every_respect():
    every = ("values", "structure", "rule ran", "transformations", "dtypes", "kinks", "numerical")
    report = check(checks=every, dtypes=None, label_smoothing=0.1, reduction="none")
    report.raise_if_failed()
    assert ["pass"] == [f.status for f in report.findings if f.check == "rule ran"]


@pytest.mark.parametrize(("reduction", "tile_bytes"), [("mean", SMALL), ("sum", 4), ("none", None)])
def test_parity_of_values(reduction, tile_bytes):
    check(reduction=reduction, tile_bytes=tile_bytes).raise_if_failed()


def test_parity_with_two_leading_axes_and_no_bias():
    labels = np.random.default_rng(1).integers(0, 11, (2, 3), np.int32)
    args = normal(0, 2, 3, 5), normal(1, 5, 11), None, labels
    check(args=args, reduction="none", label_smoothing=0.25, ignore_index=int(labels[0, 1])).raise_if_failed()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_parity_in_other_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        args = [a.astype(dtype) if a.dtype == np.float32 else a for a in map(np.asarray, arguments())]
        check(args=args, dtypes=(dtype,), reduction="none").raise_if_failed()


def test_planted_errors_are_caught():
    x, w, _, _ = arguments()
    labels = jnp.asarray([0, 3, -100, 4])
    rule, twin = (
        lambda x, w: linear_cross_entropy(x, w, None, labels, reduction="none", tile_bytes=16),
        lambda x, w: twin_linear_cross_entropy(x, w, None, labels, reduction="none"),
    )
    score = parity.mutants(rule, x[:4, :3], w[:3, :5], reference=twin)
    assert score.ok and len(score.caught) > 20, str(score)


def by_first_row(*args):
    """A known fault of fused kernels: every row is scaled by the first one's cotangent."""
    *statics, residuals, loss_bar = args
    return linear_cross_entropy_bwd(*statics, residuals, jnp.full_like(loss_bar, loss_bar[0]))


def cotangent_ignored(*args):
    return linear_cross_entropy_bwd(*args[:-1], jnp.ones_like(args[-1]))


def last_classes_forgotten(*args):
    """The classes that the tiles leave over."""
    x_bar, w_bar, b_bar, _ = linear_cross_entropy_bwd(*args)
    return x_bar, w_bar.at[:, 8:].set(0), b_bar, None


def last_classes_twice(*args):
    """The last tile overlaps the one before, and what is in both is added twice."""
    x_bar, w_bar, b_bar, _ = linear_cross_entropy_bwd(*args)
    x, w, b, labels, logsumexp = args[-2]
    share = jnp.exp(x @ w[:, 7:8] + b[7] - logsumexp[:, None]) * args[-1][:, None] * (labels != -100)[:, None]
    return x_bar + share @ w[:, 7:8].T, w_bar, b_bar, None


@pytest.mark.parametrize("bwd", [by_first_row, cotangent_ignored, last_classes_forgotten, last_classes_twice])
def test_wrong_rules_are_caught(bwd):
    wrong: Any = jax.custom_vjp(lambda *args: linear_cross_entropy(*args), nondiff_argnums=(4, 5, 6, 7))
    wrong.defvjp(linear_cross_entropy_fwd, bwd)
    rule = lambda x, w, b, labels, reduction, tile_bytes: wrong(  # noqa: E731
        x, w, b, labels, -100, 0.0, reduction, tile_bytes
    )
    report = check(rule, reduction="none")
    assert not report.ok and report.culprits == ["rule"]


def test_per_row_cotangents_are_each_rows_own():
    """The gradient for a cotangent that is 1 in one row is the gradient of that row's loss."""
    x, w, b, labels = arguments()
    losses, pullback = jax.vjp(
        lambda x, w, b: linear_cross_entropy(x, w, b, labels, reduction="none", tile_bytes=SMALL), x, w, b
    )
    for row in range(7):
        got = pullback(jnp.zeros(7).at[row].set(2))
        alone = lambda x, w, b: 2 * linear_cross_entropy(x, w, b, labels[row], reduction="sum")  # noqa: B023, E731
        want = jax.grad(alone, (0, 1, 2))(x[row], w, b)
        np.testing.assert_allclose(got[0][row], want[0], rtol=1e-5, atol=1e-6)
        assert not np.delete(got[0], row, 0).any()
        for a, c in zip(got[1:], want[1:], strict=True):
            np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_is_the_loss_of_the_layer(reduction):
    x, w, b, labels = arguments()
    options = {"ignore_index": 10, "label_smoothing": 0.1, "reduction": reduction}
    labels = jnp.where(labels == -100, 7, labels)
    for bias in (b, None):
        want = softmax_cross_entropy(F.lin(x, w, bias), labels, **options)
        got = linear_cross_entropy(x, w, bias, labels, **options, tile_bytes=SMALL)
        np.testing.assert_allclose(got, want, rtol=1e-6, strict=True)


@pytest.mark.parametrize("half", [False, True])
def test_all_logits_are_never_held(half):
    """8,192 rows of 512 and 32,000 classes: the logits alone would be 1,049 MB. It is compiled, and not run."""
    shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16 if half else jnp.float32)
    args = shape((8192, 512)), shape((512, 32_000)), shape((32_000,)), jax.ShapeDtypeStruct((8192,), jnp.int32)
    losses = functools.partial(linear_cross_entropy, reduction="none")
    for loss in (linear_cross_entropy, losses):
        grad = lambda *args: jax.vjp(loss, *args)[1](jnp.ones_like(loss(*args)))[:3]  # noqa: B023, E731
        for call in (loss, grad):
            memory: Any = jax.jit(call).lower(*args).compile().memory_analysis()
            # In half precision XLA widens all of w for a CPU, and x_bar is added up in float32.
            assert memory.temp_size_in_bytes <= (64e6 if not half else 64e6 + 4 * 512 * (32_000 + 8192))


def test_a_hessian_times_a_vector_holds_no_logits():
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4096, 32), (32, 8192), (8192,))]
    labels = jax.ShapeDtypeStruct((4096,), jnp.int32)

    def product(x, w, b, labels):
        gradient = jax.grad(lambda *args: linear_cross_entropy(*args, labels), (0, 1, 2))
        return jax.jvp(gradient, (x, w, b), (x, w, b))[1]

    memory: Any = jax.jit(product).lower(*args, labels).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * 4096 * 8192 / 4


@pytest.mark.parametrize("tile_bytes", [8, None])
def test_equal_logits(tile_bytes):
    # Four classes: each probability is 1/4, the loss log 4, and all else exact.
    x, w, labels = jnp.full((2, 3), 2.0), jnp.ones((3, 4)), jnp.asarray([1, 3])
    loss, residuals = linear_cross_entropy_fwd(x, w, jnp.ones(4), labels, tile_bytes=tile_bytes)
    x_bar, w_bar, b_bar, nothing = linear_cross_entropy_bwd(
        -100, 0.0, "mean", tile_bytes, residuals, jnp.asarray(4, jnp.float32)
    )
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)
    np.testing.assert_allclose(b_bar, [1, -1, 1, -1], rtol=1e-6)
    np.testing.assert_allclose(w_bar, np.tile([2, -2, 2, -2], (3, 1)), rtol=1e-6)
    np.testing.assert_allclose(x_bar, np.zeros((2, 3)), atol=1e-6)
    assert nothing is None and [a.shape for a in residuals] == [(2, 3), (3, 4), (4,), (2,), (2,)]


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "b",
    [
        [1e4, 0, -1e4],
        [1e37, -1e37, 0],
        [-np.inf, 1, 2],
        [1, -np.inf, 2],
        [-np.inf] * 3,
        [np.inf, 1, 2],
        [1, 2, np.inf],
        [np.nan, 1, 2],
    ],
    ids=str,
)
def test_kinks_are_torchs(b, label_smoothing, reduction):
    x, w, b, labels = normal(0, 2, 2), normal(1, 2, 3), jnp.asarray(b, jnp.float32), jnp.asarray([1, 2])
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    loss, pullback = jax.vjp(lambda *a: linear_cross_entropy(*a, labels, **options, tile_bytes=4), x, w, b)
    tensors = [torch.tensor(np.asarray(a), requires_grad=True) for a in (x, w, b)]
    theirs: Any = in_torch.linear_cross_entropy
    theirs = theirs(*tensors, torch.tensor(np.asarray(labels)), **options)
    loss_bar = jnp.asarray([3, 2] if reduction == "none" else 3, jnp.float32)
    bars = torch.autograd.grad(theirs, tensors, torch.tensor(np.asarray(loss_bar)))
    np.testing.assert_allclose(loss, theirs.detach(), rtol=1e-6, atol=1e-6)
    for got, want in zip(pullback(loss_bar), bars, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_an_ignored_row_may_hold_anything(value):
    x, w, b, labels = arguments()
    call = jax.value_and_grad(lambda x, w, b: linear_cross_entropy(x, w, b, labels, tile_bytes=SMALL), (0, 1, 2))
    for clean, got in zip(jax.tree.leaves(call(x, w, b)), jax.tree.leaves(call(x.at[1].set(value), w, b)), strict=True):
        np.testing.assert_array_equal(got, clean)
    assert not call(x, w, b)[1][0][1].any()


def test_all_rows_ignored():
    x, w, b, _ = arguments()
    for reduction, want in (("mean", np.nan), ("sum", 0), ("none", [0] * 7)):
        ignored = functools.partial(linear_cross_entropy, labels=jnp.full(7, -100), reduction=reduction)
        loss, pullback = jax.vjp(lambda x, w, b: ignored(x, w, b), x, w, b)  # noqa: B023
        np.testing.assert_array_equal(loss, np.asarray(want, np.float32))
        assert not any(bar.any() for bar in pullback(jnp.ones_like(loss)))


def test_no_rows_and_no_inputs():
    _, w, b, _ = arguments()
    none = jnp.ones((0, 5)), w, b, jnp.ones(0, int)
    loss, pullback = jax.vjp(lambda x, w, b: linear_cross_entropy(x, w, b, none[3], reduction="sum"), *none[:3])
    assert loss == 0 and [bar.shape for bar in pullback(loss)] == [(0, 5), (5, 11), (11,)]
    assert linear_cross_entropy(*none, reduction="none").shape == (0,)
    with pytest.raises(ValueError, match=r"a mean needs at least one row; got x float32\[0,5\]. The reduction 'sum'"):
        linear_cross_entropy(*none)
    only_b = linear_cross_entropy(jnp.ones((1, 0)), w[:0], b, jnp.asarray([3]))
    np.testing.assert_allclose(only_b, jax.nn.logsumexp(b) - b[3], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    # 5,000 classes, of which each has 1/5,000, in 4,096 rows: no class's share of the mean is a number of float16, and
    # the sum over rows is. And 5,000 is no sum of ones in half precision.
    x, w, labels = jnp.ones((4096, 1), dtype), jnp.zeros((1, 5000), dtype), jnp.zeros(4096, int)
    loss, w_bar = jax.value_and_grad(linear_cross_entropy, 1)(x, w, None, labels)
    assert loss.dtype == w_bar.dtype == dtype and loss == jnp.asarray(np.log(5000), dtype)
    np.testing.assert_array_equal(w_bar[0, 1:], jnp.full(4999, 1 / 5000, dtype))


def test_a_traced_label_out_of_range_is_nan():
    x, w, b, _ = arguments()
    for label in (11, -1, 2**31 - 1, -(2**31)):
        labels = jnp.asarray(np.asarray([0, 1, label, -100, 2, 3, 10], np.int32))
        call = jax.jit(lambda x, w, b, y: linear_cross_entropy(x, w, b, y, reduction="none", tile_bytes=SMALL))
        losses, pullback = jax.vjp(lambda x: call(x, w, b, labels), x)  # noqa: B023
        assert np.isnan(losses).tolist() == [False, False, True, False, False, False, False]
        assert np.isnan(pullback(jnp.ones(7))[0]).all(1).tolist() == [False, False, True, False, False, False, False]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_labels_of_every_width(dtype):
    x, w, labels = normal(0, 3, 2), normal(1, 2, 300), np.asarray([1, 100, 7], dtype)
    call = jax.jit(jax.value_and_grad(lambda x, labels: linear_cross_entropy(x, w, None, labels, tile_bytes=256)))
    for got, want in zip(call(x, labels), call(x, labels.astype(np.int32)), strict=True):
        np.testing.assert_array_equal(got, want)


def test_transformations():
    x, w, b = normal(0, 4, 3, 5), normal(1, 5, 11), normal(2, 11)
    labels = np.random.default_rng(1).integers(0, 11, (4, 3), np.int32)
    loss = functools.partial(linear_cross_entropy, reduction="sum", tile_bytes=SMALL)
    total = lambda w: loss(x, w, b, labels)  # noqa: E731
    want = jax.grad(total)(w)
    by_vmap = lambda w: jax.vmap(loss, (0, None, None, 0))(x, w, b, labels).sum()  # noqa: E731
    step = lambda sofar, row: (sofar + loss(row[0], w, b, row[1]), None)  # noqa: E731
    scanned = lambda w: jax.lax.scan(lambda s, r: (s + loss(r[0], w, b, r[1]), None), 0.0, (x, labels))[0]  # noqa: E731
    np.testing.assert_allclose(jax.lax.scan(step, 0.0, (x, labels))[0], total(w), rtol=1e-6)
    for other in (jax.jit(total), by_vmap, scanned, jax.checkpoint(total)):
        np.testing.assert_allclose(jax.grad(other)(w), want, rtol=1e-5, atol=1e-6)


def test_second_derivatives():
    """All of them; the checks above look at products with a vector."""
    x, w, b, labels = normal(0, 3, 2), normal(1, 2, 5), normal(2, 5), jnp.asarray([0, -100, 3])
    ours, theirs = (
        lambda w: linear_cross_entropy(x, w, b, labels, label_smoothing=0.1, tile_bytes=16) ** 2,
        lambda w: twin_linear_cross_entropy(x, w, b, labels, label_smoothing=0.1) ** 2,
    )
    np.testing.assert_allclose(jax.hessian(ours)(w), jax.hessian(theirs)(w), rtol=1e-4, atol=1e-6)


X, W, B, Y = jnp.ones((3, 2)), jnp.ones((2, 4)), jnp.ones(4), np.asarray([0, 1, 2])


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((X, W, B, [0, 4, 2]), {}, r"labels must be classes from 0 to 3, or ignore_index -100; got 4 at \[1\]$"),
        (
            (X, W, B, Y[:2]),
            {},
            r"labels must have one class for each row, the shape \(3,\) of x float32\[3,2\]",
        ),
        ((X, W[0], B, Y), {}, r"w must have shape \(fan_in, fan_out\); got w float32\[4\]"),
        ((X[:, :1], W, B, Y), {}, r"the last axis of x must be fan_in = 2, .*; got x float32\[3,1\]"),
        ((X, W, B[:3], Y), {}, r"b must have shape \(fan_out,\) = \(4,\), .*; got b float32\[3\]"),
        ((X, W[:, :0], B[:0], Y), {}, r"w must have at least one class, its last axis; got w float32\[2,0\]"),
        ((X, W, B, Y), {"reduction": "average"}, "reduction must be 'mean', 'sum' or 'none'; got 'average'"),
        ((X, W, B, Y), {"label_smoothing": 1.5}, "label_smoothing must be from 0 to 1; got 1.5"),
        ((X, W, B, Y), {"tile_bytes": 0}, "tile_bytes must be a positive integer, or None; got 0"),
        ((X, W, B, Y), {"tile_bytes": 2.5}, "tile_bytes must be a positive integer, or None; got 2.5"),
        ((X, W, B, Y), {"tile_bytes": True}, "tile_bytes must be a positive integer, or None; got True"),
    ],
)
@pytest.mark.parametrize("call", [linear_cross_entropy, linear_cross_entropy_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call, args, options, message):
    with pytest.raises(ValueError, match="linear_cross_entropy: " + message):
        call(*args[:3], np.asarray(args[3]), **options)


def test_what_has_the_wrong_type(as_a_user):
    for args, message in (
        ((X, W, B, Y.astype(np.float32)), r"labels must be an array of integers; got float32\[3\]. Cast them"),
        ((X, W, B, [0, 1, 2]), r"labels must be an array of integers; got list"),
        ((X, W, Y, B), r"b must be an array of .*; got int64\[3\]"),
        ((X, W.astype(jnp.bfloat16), B, Y), r"x and w must have the same dtype; got x float32\[3,2\] and w bfloat16"),
    ):
        with pytest.raises(TypeError, match="linear_cross_entropy: " + message):
            linear_cross_entropy(*args)
    with pytest.raises(ValueError, match=r"linear_cross_entropy_bwd: loss_bar must have the result's shape, \(\);"):
        linear_cross_entropy_bwd(-100, 0.0, "mean", None, linear_cross_entropy_fwd(X, W, B, Y)[1], jnp.ones(3))
