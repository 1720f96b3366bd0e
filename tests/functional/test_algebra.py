"""What must hold of every rule whatever its arguments: hypothesis chooses shapes and numbers, the same ones each time.

Primals are small whole numbers, so that forward is exact and no rectifier switches by rounding. Where cotangents are
whole too, and only powers of two divide, backward is exact and nothing needs a tolerance. Else a sum of products is
off by at most γ_k times the same sum of absolute values (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 3.1), k the most roundings that a term goes through: so the tolerance is computed, by backward itself, of
absolute values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullback import functional as F

EXAMPLES = 15
checked = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
U = 2.0**-24  # the unit roundoff of float32


def gamma(k: int) -> float:
    return k * U / (1 - k * U)


class Rule(NamedTuple):
    fwd: Callable[..., Any]
    bwd: Callable[..., Any]
    plain: Callable[..., Any]
    """The same maths, with no rule of ours."""
    primals: Callable[[int, int], list[tuple[int, ...]]]
    """Their shapes, of n rows and fan_in inputs. A batch's rows come first."""
    by_rows: tuple[bool, ...]
    """Which primals have the batch's rows."""
    roundings: Callable[[int, int], int]
    """The most that a term of a cotangent goes through, of n rows and fan_in inputs."""
    mean: bool = False
    """Whether the result is a mean over rows, and not one of each row."""
    chooses: bool = False
    """Whether backward compares elements of the residuals: of absolute values it would choose others."""


def plain_relu(x):
    return jnp.where(x > 0, x, jnp.zeros_like(x))


def plain_lin(x, w, b):
    return jnp.matmul(x, w) + jnp.broadcast_to(b, (*x.shape[:-1], w.shape[1]))


def plain_mse(output, targ):
    return jnp.mean((output - targ) ** 2)


def plain_conv(x, w, b):
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + jnp.broadcast_to(b, y.shape)


def plain_mlp(w1, b1, w2, b2, x):
    return plain_lin(plain_relu(plain_lin(x, w1, b1)), w2, b2)


def net(w1, b1, w2, b2, *more):
    return [(w1, b1), (w2, b2)], *more


def flat(bars):
    return tuple(jax.tree.leaves(bars))


NET = lambda n, m: [(m, 4), (4,), (4, 2), (2,), (n, m)]  # noqa: E731
WINDOW = (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
IN_NET = (False, False, False, False, True)

RULES = {
    "lin": Rule(
        F.lin_fwd,
        F.lin_bwd,
        plain_lin,
        lambda n, m: [(n, m), (m, 2), (2,)],
        (True, False, False),
        lambda n, m: max(n, 2),
    ),
    "relu": Rule(F.relu_fwd, F.relu_bwd, plain_relu, lambda n, m: [(n, m)], (True,), lambda n, m: 0),
    "leaky_relu": Rule(
        F.leaky_relu_fwd,
        F.leaky_relu_bwd,
        lambda x, slope: jnp.where(x > 0, x, slope * x),
        lambda n, m: [(n, m), ()],
        (True, False),
        lambda n, m: n * m,
    ),
    "shifted_relu": Rule(
        F.shifted_relu_fwd,
        F.shifted_relu_bwd,
        lambda x, shift: plain_relu(x) - shift,
        lambda n, m: [(n, m), ()],
        (True, False),
        lambda n, m: n * m,
    ),
    "mse": Rule(F.mse_fwd, F.mse_bwd, plain_mse, lambda n, m: [(n, 2)] * 2, (True, True), lambda n, m: 1, mean=True),
    "conv2d": Rule(
        F.conv2d_fwd,
        lambda residuals, y_bar: F.conv2d_bwd(1, "VALID", 1, residuals, y_bar),
        plain_conv,
        lambda n, m: [(n, 4, 3, m), (2, 2, m, 2), (2,)],
        (True, False, False),
        lambda n, m: max(6 * n, 8),
    ),
    "max_pool2d": Rule(
        F.max_pool2d_fwd,
        lambda residuals, y_bar: F.max_pool2d_bwd(2, None, "VALID", residuals, y_bar),
        lambda x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, *WINDOW),
        lambda n, m: [(n, 4, 5, m)],
        (True,),
        lambda n, m: 0,
        chooses=True,
    ),
    "avg_pool2d": Rule(
        F.avg_pool2d_fwd,
        lambda residuals, y_bar: F.avg_pool2d_bwd(2, None, "VALID", True, residuals, y_bar),
        lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, *WINDOW) / 4,
        lambda n, m: [(n, 4, 5, m)],
        (True,),
        lambda n, m: 0,
    ),
    "mlp": Rule(
        lambda *args: F.mlp_fwd(*net(*args)),
        lambda residuals, bar: flat(F.mlp_bwd(residuals, bar)),
        plain_mlp,
        NET,
        IN_NET,
        lambda n, m: 2 + max(n, 4),
    ),
    "fused_mlp_loss": Rule(
        lambda *args: F.fused_mlp_loss_fwd(*net(*args)),
        lambda residuals, bar: flat(F.fused_mlp_loss_bwd(None, residuals, bar)),
        lambda w1, b1, w2, b2, x, targ: plain_mse(plain_mlp(w1, b1, w2, b2, x), targ),
        lambda n, m: [*NET(n, m), (n, 2)],
        (*IN_NET, True),
        lambda n, m: 1,  # forward made the gradients, exactly, and backward scales them
        mean=True,
    ),
}
SHAPES = st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 3]))
SEEDS = st.integers(0, 2**32 - 1)
every_rule = pytest.mark.parametrize("name", RULES)


def whole(rng, shape, least=-3, most=3) -> Any:
    return np.asarray(rng.integers(least, most + 1, shape), np.float32)


def real(rng, shape) -> Any:
    return np.asarray(rng.standard_normal(shape), np.float32)


def forward(rule: Rule, shape: tuple[int, int], rng: Any) -> tuple[list[Any], Any, Any]:
    primals = [whole(rng, s) for s in rule.primals(*shape)]
    return primals, *rule.fwd(*map(jnp.asarray, primals))


def in_double(tree: Any) -> Any:
    """Absolute values, in float64; a mask stays what it is."""
    return jax.tree.map(lambda a: a if a.dtype == bool else jnp.abs(a).astype(np.float64), tree)


def sizes(rule: Rule, residuals: Any, y_bar: Any, primals: list[Any]) -> list[np.ndarray]:
    """What bounds each cotangent's sums: backward, of absolute values. (A rectifier keeps what it kept.)"""
    with jax.enable_x64(True):
        if (
            rule.bwd is F.mse_bwd
        ):  # the difference is exact, and its absolute value is no function of those of its terms
            residuals = residuals[0] - residuals[1], jnp.zeros_like(residuals[1])
        if rule.chooses:
            residuals = residuals.astype(np.float64)
            return [np.abs(np.asarray(bar)) for bar in flat(rule.bwd(residuals, in_double(y_bar)))]
        if rule.bwd is F.leaky_relu_bwd:  # what is negative must stay so
            x, slope = residuals
            bars = rule.bwd((x.astype(np.float64), in_double(slope)), in_double(y_bar))
            return [np.abs(np.asarray(bar)) for bar in bars]
        return [np.abs(np.asarray(bar)) for bar in flat(rule.bwd(in_double(residuals), in_double(y_bar)))]


@every_rule
@checked
@given(SHAPES, SEEDS, st.integers(-4, 4), st.integers(-4, 4))
def test_linear_in_the_cotangent(name, shape, seed, a, b):
    rule, rng = RULES[name], np.random.default_rng(seed)
    primals, y, residuals = forward(rule, shape, rng)
    first, second = whole(rng, y.shape), whole(rng, y.shape)
    pull = lambda y_bar: flat(rule.bwd(residuals, jnp.asarray(y_bar)))  # noqa: E731
    for got, one, other in zip(pull(a * first + b * second), pull(first), pull(second), strict=True):
        np.testing.assert_array_equal(got, a * one + b * other)


@every_rule
@checked
@given(SHAPES, SEEDS)
def test_backward_is_the_adjoint_of_forwards_derivative(name, shape, seed):
    """<J v, u> = <v, J^T u>: J v by jax.jvp of the plain maths in float64, J^T u by our backward in float32."""
    rule, rng = RULES[name], np.random.default_rng(seed)
    primals, y, residuals = forward(rule, shape, rng)
    tangents, u = [real(rng, p.shape) for p in primals], real(rng, y.shape)
    bars = flat(rule.bwd(residuals, jnp.asarray(u)))
    with jax.enable_x64(True):
        at, along = (tuple(jnp.asarray(a, np.float64) for a in arrays) for arrays in (primals, tangents))
        _, y_dot = jax.jvp(rule.plain, at, along)
        left = float(jnp.vdot(y_dot, jnp.asarray(u, np.float64)))
    pairs = [(v.astype(np.float64), np.asarray(bar, np.float64)) for v, bar in zip(tangents, bars, strict=True)]
    right = sum(float(np.sum(v * bar)) for v, bar in pairs)
    absolute = sum(
        np.sum(np.abs(v) * size) for (v, _), size in zip(pairs, sizes(rule, residuals, u, primals), strict=True)
    )
    # Beside float32's roundings, those of float64 on both sides, which are 2^29 times finer.
    assert abs(left - right) <= (gamma(rule.roundings(*shape)) + 200 * 2.0**-53) * absolute


@every_rule
@checked
@given(SHAPES, SEEDS)
def test_rows_in_another_order(name, shape, seed):
    rule, rng = RULES[name], np.random.default_rng(seed)
    primals, y, residuals = forward(rule, shape, rng)
    y_bar, order = whole(rng, y.shape), rng.permutation(shape[0])
    other = [p[order] if rows else p for p, rows in zip(primals, rule.by_rows, strict=True)]
    y_other, residuals_other = rule.fwd(*map(jnp.asarray, other))
    np.testing.assert_array_equal(y_other, y if rule.mean else y[order])
    bars = flat(rule.bwd(residuals, jnp.asarray(y_bar)))
    bars_other = flat(rule.bwd(residuals_other, jnp.asarray(y_bar if rule.mean else y_bar[order])))
    for bar, bar_other, rows in zip(bars, bars_other, rule.by_rows, strict=True):
        np.testing.assert_array_equal(bar_other, bar[order] if rows else bar)


@every_rule
@checked
@given(SHAPES, SEEDS)
def test_two_batches_in_one(name, shape, seed):
    """What belongs to rows is put together, and what all rows share is added up; a mean counts each batch for half."""
    rule, rng = RULES[name], np.random.default_rng(seed)
    primals, y, residuals = forward(rule, shape, rng)
    more = [whole(rng, p.shape) if rows else p for p, rows in zip(primals, rule.by_rows, strict=True)]
    both = [
        np.concatenate(p) if rows else p[0]
        for p, rows in zip(zip(primals, more, strict=True), rule.by_rows, strict=True)
    ]
    y_more, residuals_more = rule.fwd(*map(jnp.asarray, more))
    y_both, residuals_both = rule.fwd(*map(jnp.asarray, both))
    y_bar, y_bar_more = whole(rng, y.shape), whole(rng, y.shape)
    if rule.mean:
        np.testing.assert_array_equal(y_both, (y + y_more) / 2)
        y_bar_more = y_bar_both = y_bar
    else:
        np.testing.assert_array_equal(y_both, np.concatenate([y, y_more]))
        y_bar_both = np.concatenate([y_bar, y_bar_more])
    pulled = [flat(rule.bwd(r, jnp.asarray(bar))) for r, bar in ((residuals, y_bar), (residuals_more, y_bar_more))]
    share = 2 if rule.mean else 1
    for got, one, other, rows in zip(
        flat(rule.bwd(residuals_both, jnp.asarray(y_bar_both))), *pulled, rule.by_rows, strict=True
    ):
        np.testing.assert_array_equal(got, (np.concatenate([one, other]) if rows else one + other) / share)


def step(params, x, targ, mask):
    order = np.arange(len(x), dtype=np.int32)[None]
    return F.sgd_epoch(params, x, targ, order, 0.5, mask=mask[None])


FORMS = {
    "fused_value_and_grad": lambda params, x, targ, mask: F.fused_value_and_grad(params, x, targ, mask=mask),
    "fused_forward_and_backward": lambda params, x, targ, mask: F.fused_forward_and_backward(
        params, x, targ, mask=mask
    ),
    "in tiles": lambda params, x, targ, mask: F.fused_value_and_grad(params, x, targ, mask=mask, tile_rows=2),
    "a sum": lambda params, x, targ, mask: F.fused_value_and_grad(params, x, targ, mask=mask, reduction="sum"),
    "sgd_epoch": step,
}


@pytest.mark.parametrize("form", FORMS)
@checked
@given(SHAPES, SEEDS, st.sampled_from([1, 3]))
def test_padding_rows_add_nothing(form, shape, seed, padding):
    """Whatever finite numbers they hold: nothing of it is in the loss or in a gradient, to the last bit."""
    rng, (n, m) = np.random.default_rng(seed), shape
    (params, x, targ) = net(*(whole(rng, s) for s in [*NET(n, m), (n, 2)]))
    places = rng.permutation(n + padding)
    padded = [jnp.concatenate([a, 1e3 * real(rng, (padding, a.shape[1]))])[places] for a in (x, targ)]
    mask = (np.arange(n + padding) < n)[places]
    params, x, targ = jax.tree.map(jnp.asarray, (params, x, targ))
    got, want = FORMS[form](params, *padded, mask), FORMS[form](params, x, targ, np.ones(n, bool))
    if form == "fused_forward_and_backward":
        assert not np.any(np.asarray(got[2])[~mask])
        got = (*got[:2], np.asarray(got[2])[mask][np.argsort(places[mask])])
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["outer", "einsum", "matmul", "transposed"])
@checked
@given(SHAPES, SEEDS)
def test_a_weights_gradient_is_bilinear_and_adds_up_over_rows(form, shape, seed):
    grad, rng, (n, m) = getattr(F, f"weight_grad_{form}"), np.random.default_rng(seed), shape
    x, other, y_bar = (jnp.asarray(whole(rng, s)) for s in ((n, m), (n, m), (n, 2)))
    np.testing.assert_array_equal(grad(x + 2 * other, y_bar), grad(x, y_bar) + 2 * grad(other, y_bar))
    np.testing.assert_array_equal(grad(x, -3 * y_bar), -3 * grad(x, y_bar))
    order = rng.permutation(n)
    np.testing.assert_array_equal(grad(x[order], y_bar[order]), grad(x, y_bar))
    both = grad(jnp.concatenate([x, other]), jnp.concatenate([y_bar, y_bar]))
    np.testing.assert_array_equal(both, grad(x, y_bar) + grad(other, y_bar))
