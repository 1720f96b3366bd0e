import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import forward_and_backward, init_mlp, mlp, mlp_bwd, mlp_fwd, mlp_loss
from pullback.parity.case.stripping import custom_rules

DEPTHS = [(6, 1), (6, 4, 1), (6, 4, 5, 1), (6, 4, 5, 3, 2, 1)]


def whole_params(sizes, dtype=jnp.float32, seed=9):
    """Weights of -1, 0, 1 and small biases: with 8 rows, every value of forward and backward is exact."""
    rng = np.random.default_rng(seed)
    return [
        (jnp.asarray(rng.integers(-1, 2, (m, n)), dtype), jnp.asarray(rng.integers(-2, 3, n), dtype))
        for m, n in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def batch(n=8, dtype=jnp.float32):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(-2, 3, (n, 6)), dtype), jnp.asarray(rng.integers(0, 10, n), dtype)


def plain_loss(params, x, targ):
    for w, b in params[:-1]:
        z = x @ w + jnp.broadcast_to(b, (x.shape[0], b.shape[0]))
        x = jnp.where(z > 0, z, jnp.zeros_like(z))
    w, b = params[-1]
    return jnp.mean(((x @ w)[:, 0] + jnp.broadcast_to(b, x.shape[:1]) - targ) ** 2)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("sizes", DEPTHS)
def test_by_hand_is_autodiff_exactly(sizes, x64):
    with jax.enable_x64(x64):
        dtype = jnp.float64 if x64 else jnp.float32
        params, (x, targ) = whole_params(sizes, dtype), batch(dtype=dtype)
        want_loss, (want_grads, want_x_bar) = jax.value_and_grad(plain_loss, (0, 1))(params, x, targ)
        loss, grads, x_bar = forward_and_backward(params, x, targ)
        by_rules = jax.value_and_grad(mlp_loss, (0, 1))(params, x, targ)
    np.testing.assert_array_equal(loss, want_loss)
    assert np.any(want_x_bar), "a dead net proves nothing: choose another seed"
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    chex.assert_trees_all_equal(grads, want_grads)
    chex.assert_trees_all_equal(x_bar, want_x_bar)
    chex.assert_trees_all_equal(by_rules, (want_loss, (want_grads, want_x_bar)))


def test_no_autodiff_in_it():
    params, (x, targ) = whole_params((6, 4, 1)), batch()
    assert custom_rules(jax.make_jaxpr(forward_and_backward)(params, x, targ)) == []
    assert "mse (custom_vjp)" in custom_rules(jax.make_jaxpr(mlp_loss)(params, x, targ))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_keeps_its_dtype(dtype):
    params, (x, targ) = whole_params((6, 4, 1), dtype), batch(dtype=dtype)
    result = forward_and_backward(params, x, targ)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(result))


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(n):
    params, (x, targ) = whole_params((6, 4, 1)), batch(n)
    loss, grads, x_bar = forward_and_backward(params, x, targ)
    assert x_bar.shape == (n, 6) and np.isnan(loss) == (n == 0)
    chex.assert_trees_all_equal(grads, jax.grad(mlp_loss)(params, x, targ))
    assert n > 0 or not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_transformations():
    params, (x, targ) = whole_params((6, 4, 1)), batch()
    eager = forward_and_backward(params, x, targ)
    chex.assert_trees_all_equal(jax.jit(forward_and_backward)(params, x, targ), eager)
    stacked = jax.vmap(forward_and_backward, (None, 0, 0))(params, x.reshape(2, 4, 6), targ.reshape(2, 4))
    chex.assert_trees_all_equal(jax.tree.map(lambda g: g.sum(0) / 2, stacked[1]), eager[1])
    scanned = jax.lax.scan(
        lambda c, xt: (c, forward_and_backward(params, *xt)), 0, (x.reshape(2, 4, 6), targ.reshape(2, 4))
    )[1]
    chex.assert_trees_all_equal(scanned, stacked)
    chex.assert_trees_all_equal(jax.grad(jax.checkpoint(mlp_loss))(params, x, targ), eager[1])


def test_hessian():
    params, (x, targ) = whole_params((6, 2, 1)), batch()
    chex.assert_trees_all_equal(jax.hessian(mlp_loss)(params, x, targ), jax.hessian(plain_loss)(params, x, targ))


def test_grad_of_grad():
    params, (x, targ) = whole_params((6, 4, 1)), batch()
    twice = lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(params, x, targ)[0][0] ** 2))(x)  # noqa: E731
    np.testing.assert_array_equal(twice(mlp_loss), twice(plain_loss), strict=True)
    # and through the explicit chain itself
    by_hand = jax.grad(lambda x: jnp.sum(forward_and_backward(params, x, targ)[1][0][0] ** 2))(x)
    np.testing.assert_array_equal(by_hand, twice(plain_loss), strict=True)


def test_without_biases():
    params, (x, targ) = [(w, None) for w, _ in whole_params((6, 4, 1))], batch()
    _, grads, _ = forward_and_backward(params, x, targ)
    zeros = [(w, jnp.zeros(w.shape[1])) for w, _ in params]
    for (w_bar, b_bar), (want, _) in zip(grads, forward_and_backward(zeros, x, targ)[1], strict=True):
        assert b_bar is None
        np.testing.assert_array_equal(w_bar, want, strict=True)


def test_pullback_is_linear_in_its_cotangent():
    params, (x, _) = whole_params((6, 4, 1)), batch()
    output, residuals = mlp_fwd(params, x)
    np.testing.assert_array_equal(output, mlp(params, x), strict=True)
    once, thrice = (mlp_bwd(residuals, c * jnp.ones_like(output)) for c in (1.0, 3.0))
    chex.assert_trees_all_equal(jax.tree.map(lambda g: 3 * g, once), thrice)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], r"params must be a list of at least one \(w, b\); got \[\]"),
        ([(jnp.ones((6, 4)),)], r"params\[0\] must be a pair \(w, b\); got tuple"),
        ([jnp.ones((6, 4))], r"params\[0\] must be a pair \(w, b\)"),
        (
            [(jnp.ones((5, 1)), jnp.ones(1))],
            r"first axis of params\[0\]'s w must match the last axis of x float32\[8,6\]",
        ),
        (
            [(jnp.ones((6, 4)), jnp.ones(4)), (jnp.ones((3, 1)), jnp.ones(1))],
            r"params\[1\]'s w must match the last axis of params\[0\]'s w float32\[6,4\]; got w float32\[3,1\]",
        ),
    ],
)
def test_a_chain_that_does_not_fit(as_a_user, params, message):
    x, targ = batch()
    for call in (forward_and_backward, mlp_loss):
        with pytest.raises(ValueError, match=message):
            call(params, x, targ)


def test_dtypes_that_do_not_fit_are_named(as_a_user):
    x, targ = batch()
    with pytest.raises(TypeError, match=r"forward_and_backward: x and targ must have the same dtype"):
        forward_and_backward(init_mlp(jax.random.key(0), (6, 1)), x, targ.astype(jnp.bfloat16))
