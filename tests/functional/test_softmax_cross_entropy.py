import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from pullback import parity
from pullback.functional import softmax_cross_entropy, softmax_cross_entropy_bwd, softmax_cross_entropy_fwd
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_softmax_cross_entropy

DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]
LABELS = jnp.asarray([0, 6, -100, 2, 2], jnp.int32)
OPTIONS = [
    (-100, 0.0, "mean"),
    (-100, 0.1, "mean"),
    (2, 0.1, "sum"),
    (-100, 0.0, "none"),
    (-100, 0.25, "none"),
]


def logits(*shape, scale=3.0):
    return jnp.asarray(scale * np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parity(options):
    labels = jnp.where(LABELS == -100, options[0], LABELS)
    report = parity.check(
        softmax_cross_entropy,
        logits(5, 7),
        labels,
        *options,
        static_argnums=(2, 3, 4),
        reference=twin_softmax_cross_entropy,
        torch=in_torch.softmax_cross_entropy,
    )
    report.raise_if_failed()
    assert [f.about for f in report.findings if f.check == "rule ran" and f.status == "pass"] == [
        "softmax_cross_entropy"
    ]


def test_parity_with_two_leading_axes():
    labels = np.random.default_rng(1).integers(0, 4, (2, 3), jnp.int32)
    parity.check(
        softmax_cross_entropy,
        *(logits(2, 3, 4), labels, -100, 0.1, "none"),
        static_argnums=(2, 3, 4),
        reference=twin_softmax_cross_entropy,
        torch=in_torch.softmax_cross_entropy,
    ).raise_if_failed()


def test_planted_errors_are_caught():
    labels = jnp.asarray([0, 3, -100, 2])
    score = parity.mutants(
        softmax_cross_entropy,
        *(logits(4, 4), labels, -100, 0.25, "none"),
        static_argnums=(2, 3, 4),
        reference=twin_softmax_cross_entropy,
    )
    assert score.ok, str(score)


def by_first_row(ignore_index, label_smoothing, reduction, residuals, loss_bar):
    """A known fault of fused kernels: every row is scaled by the first one's cotangent."""
    first = jnp.broadcast_to(loss_bar.ravel()[:1].reshape(()), loss_bar.shape)
    return softmax_cross_entropy_bwd(ignore_index, label_smoothing, reduction, residuals, first)


def by_all_rows(ignore_index, label_smoothing, reduction, residuals, loss_bar):
    """The mean over all rows, and not over those that count."""
    (logits_bar, _) = softmax_cross_entropy_bwd(ignore_index, label_smoothing, "sum", residuals, loss_bar)
    return logits_bar / residuals[1].size, None


def cotangent_ignored(ignore_index, label_smoothing, reduction, residuals, loss_bar):
    return softmax_cross_entropy_bwd(ignore_index, label_smoothing, reduction, residuals, jnp.ones_like(loss_bar))


@pytest.mark.parametrize(
    ("bwd", "reduction"),
    [(by_first_row, "none"), (by_all_rows, "mean"), (cotangent_ignored, "mean"), (cotangent_ignored, "none")],
)
def test_wrong_rules_are_caught(bwd, reduction):
    wrong = jax.custom_vjp(lambda *args: softmax_cross_entropy(*args), nondiff_argnums=(2, 3, 4))
    wrong.defvjp(softmax_cross_entropy_fwd, bwd)
    report = parity.check(
        wrong,
        *(logits(5, 7), LABELS, -100, 0.1, reduction),
        static_argnums=(2, 3, 4),
        reference=twin_softmax_cross_entropy,
        dtypes=("float32",),
    )
    assert not report.ok and report.culprits == ["rule"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_logits(dtype):
    # Four classes: each probability is 1/4, and the loss log 4.
    labels = jnp.asarray([1, 3])
    with jax.enable_x64(dtype == jnp.float64):
        x = jnp.full((2, 4), 7, dtype)
        loss, pullback = jax.vjp(lambda x: softmax_cross_entropy(x, labels), x)
        (bar,) = pullback(jnp.asarray(4, dtype))
        by_hand, nothing = softmax_cross_entropy_bwd(
            -100, 0.0, "mean", softmax_cross_entropy_fwd(x, labels)[1], jnp.asarray(4, dtype)
        )
        want = jnp.asarray(np.log(4), dtype)
    assert loss.dtype == dtype and loss == want and nothing is None
    np.testing.assert_array_equal(bar, np.asarray([[0.5, -1.5, 0.5, 0.5], [0.5, 0.5, 0.5, -1.5]], dtype), strict=True)
    np.testing.assert_array_equal(by_hand, bar, strict=True)


def test_optaxs_loss_is_the_unreduced_one():
    x, labels = logits(5, 7), jnp.abs(LABELS) % 7
    ours = softmax_cross_entropy(x, labels, reduction="none")
    np.testing.assert_allclose(
        ours, optax.losses.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(labels)), 1e-6
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int32])
def test_labels_of_every_width(dtype):
    x = logits(3, 300)
    labels = jnp.asarray([1, 100, 7], dtype)
    want, want_bar = jax.value_and_grad(softmax_cross_entropy)(x, labels.astype(jnp.int32))
    got, bar = jax.jit(jax.value_and_grad(softmax_cross_entropy))(x, labels)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(bar, want_bar)
    np.testing.assert_array_equal(
        softmax_cross_entropy(x, labels, 100, reduction="none"),
        softmax_cross_entropy(x, labels.astype(jnp.int32), 100, reduction="none"),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "row",
    [[1e4, 0, -1e4], [3e38, -3e38, 0], [-np.inf, 1, 2], [1, -np.inf, 2], [-np.inf] * 3, [np.inf, 1, 2], [np.nan, 1, 2]],
    ids=str,
)
def test_kinks_are_torchs(row, label_smoothing, reduction):
    x, labels = jnp.asarray([row, [0, 1, 2]], jnp.float32), jnp.asarray([1, 2])
    loss, pullback = jax.vjp(lambda x: softmax_cross_entropy(x, labels, -100, label_smoothing, reduction), x)
    tensor = torch.tensor(np.asarray(x), requires_grad=True)
    theirs = in_torch.softmax_cross_entropy(
        tensor, torch.tensor(np.asarray(labels)), label_smoothing=label_smoothing, reduction=reduction
    )
    loss_bar = jnp.asarray([3, 2] if reduction == "none" else 3, jnp.float32)
    (bar,) = torch.autograd.grad(theirs, tensor, torch.tensor(np.asarray(loss_bar)))
    np.testing.assert_allclose(loss, theirs.detach(), rtol=1e-6)
    np.testing.assert_allclose(pullback(loss_bar)[0], bar, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_an_ignored_row_may_hold_anything(value):
    x = logits(5, 7)
    dirty = x.at[2].set(value)
    for options in OPTIONS[:2]:
        clean, got = (jax.value_and_grad(softmax_cross_entropy)(a, LABELS, *options) for a in (x, dirty))
        np.testing.assert_array_equal(got[0], clean[0])
        np.testing.assert_array_equal(got[1], clean[1])
        assert not got[1][2].any()


def test_all_rows_ignored():
    x, labels = logits(3, 4), jnp.full(3, -100)
    for reduction, want in (("mean", np.nan), ("sum", 0), ("none", [0, 0, 0])):
        loss, pullback = jax.vjp(lambda x: softmax_cross_entropy(x, labels, reduction=reduction), x)  # noqa: B023
        np.testing.assert_array_equal(loss, np.asarray(want, np.float32))
        assert not pullback(jnp.ones_like(loss))[0].any()


def test_no_rows():
    x, labels = jnp.ones((0, 4)), jnp.ones(0, int)
    assert softmax_cross_entropy(x, labels, reduction="sum") == 0
    assert softmax_cross_entropy(x, labels, reduction="none").shape == (0,)
    with pytest.raises(ValueError, match=r"a mean needs at least one row; got logits float32\[0,4\]. The reduction"):
        softmax_cross_entropy(x, labels)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    # 5,000 classes, and 5,000 rows: neither sum is right in half precision.
    wide = softmax_cross_entropy(jnp.zeros((2, 5000), dtype), jnp.zeros(2, int))
    assert wide.dtype == dtype and wide == jnp.asarray(np.log(5000), dtype)
    long, bar = jax.value_and_grad(softmax_cross_entropy)(jnp.zeros((5000, 2), dtype), jnp.zeros(5000, int))
    assert long == jnp.asarray(np.log(2), dtype)
    assert (bar == jnp.asarray([[-0.5 / 5000, 0.5 / 5000]], dtype)).all()


def test_a_traced_label_out_of_range_is_nan():
    x = logits(5, 7)
    for label in (7, -1, 2**31 - 1, -(2**31)):
        labels = jnp.asarray(np.asarray([0, 1, label, -100, 2], np.int32))
        losses, pullback = jax.vjp(jax.jit(lambda x, y: softmax_cross_entropy(x, y, reduction="none")), x, labels)
        assert np.isnan(losses).tolist() == [False, False, True, False, False]
        assert np.isnan(pullback(jnp.ones(5))[0]).all(1).tolist() == [False, False, True, False, False]


def test_transformations():
    x, labels = logits(4, 3, 7), np.random.default_rng(1).integers(0, 7, (4, 3), jnp.int32)
    losses = lambda x, y: softmax_cross_entropy(x, y, -100, 0.1, "none")  # noqa: E731
    want = losses(x, labels)
    np.testing.assert_array_equal(jax.vmap(losses)(x, labels), want)
    np.testing.assert_allclose(jax.vmap(softmax_cross_entropy)(x, labels), want_means(x, labels), rtol=1e-6)
    bars = jax.grad(softmax_cross_entropy)(x, labels)
    for grad in (jax.jit(jax.grad(softmax_cross_entropy)), jax.grad(jax.checkpoint(softmax_cross_entropy))):
        np.testing.assert_allclose(grad(x, labels), bars, rtol=1e-6, atol=1e-8)
    step = lambda total, row: (total + softmax_cross_entropy(*row, reduction="sum"), None)  # noqa: E731
    scanned = jax.grad(lambda x: jax.lax.scan(step, 0.0, (x, labels))[0])(x)
    np.testing.assert_allclose(scanned, 12 * bars, rtol=1e-5, atol=1e-6)


def want_means(x, labels):
    return twin_softmax_cross_entropy(x, jnp.asarray(labels), reduction="none").mean(1)


def test_second_derivatives():
    x, labels = logits(3, 4, scale=1.0), jnp.asarray([0, -100, 3])
    for second in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        for options in OPTIONS[:2]:
            got, want = (
                second(lambda x: f(x, labels, *options) ** 2)(x)  # noqa: B023
                for f in (softmax_cross_entropy, twin_softmax_cross_entropy)
            )
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


X, Y = jnp.ones((3, 4)), np.asarray([0, 1, 2])
BAD = [
    ((X, np.asarray([0, 4, 2])), {}, r"labels must be classes from 0 to 3, or ignore_index -100; got 4 at \[1\]$"),
    ((X, np.asarray([-1, 4, -2])), {}, r"labels must be classes from 0 to 3, .*; got -1 at \[0\], and 2 more"),
    ((X, jnp.asarray([0, -100, 2])), {"ignore_index": 0}, r".* or ignore_index 0; got -100 at \[1\]"),
    ((X, Y[:2]), {}, r"labels must have one class for each row, the shape \(3,\) of logits float32\[3,4\] without"),
    ((X, Y[:, None]), {}, r"labels must have one class for each row, .*; got labels int64\[3,1\]"),
    ((X[0], Y), {}, r"labels must have one class for each row, the shape \(\) of logits float32\[4\]"),
    ((X[0, 0], Y), {}, r"logits must have a last axis, of classes; got logits float32\[\]"),
    ((X[:, :0], Y), {}, r"there must be at least one class; got logits float32\[3,0\]"),
    ((X, Y), {"reduction": "average"}, "reduction must be 'mean', 'sum' or 'none'; got 'average'"),
    ((X, Y), {"reduction": ["mean"]}, "reduction must be 'mean', 'sum' or 'none'; got \\['mean'\\]"),
    ((X, Y), {"label_smoothing": 1.5}, "label_smoothing must be from 0 to 1; got 1.5"),
    ((X, Y), {"label_smoothing": float("nan")}, "label_smoothing must be from 0 to 1; got nan"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "options", "message"), BAD)
@pytest.mark.parametrize("call", [softmax_cross_entropy, softmax_cross_entropy_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call, args, options, message):
    with pytest.raises(ValueError, match="softmax_cross_entropy: " + message):
        call(*args, **options)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (Y.astype(np.float32), {}, r"labels must be an array of integers; got float32\[3\]. Cast them: labels.astype"),
        (np.eye(4, dtype=np.float32)[:3], {}, r"labels must be .*; got float32\[3,4\]. They look like probabilities"),
        (Y > 0, {}, r"labels must be an array of integers; got bool\[3\]"),
        ([0, 1, 2], {}, r"labels must be an array of integers; got list"),
        (Y, {"ignore_index": 0.5}, r"ignore_index must be an integer; got float"),
        (Y, {"label_smoothing": "0.1"}, r"label_smoothing must be a Python number; got str"),
        (Y, {"label_smoothing": jnp.float32(0.1)}, r"label_smoothing must be a Python number; got float32\[\]"),
    ],
)
def test_what_has_the_wrong_type(as_a_user, labels, options, message):
    with pytest.raises(TypeError, match="softmax_cross_entropy: " + message):
        softmax_cross_entropy(X, labels, **options)
