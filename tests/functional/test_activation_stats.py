import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.data import get_data, normalize
from pullback.functional import (
    activation_stats,
    init_mlp,
    kaiming_normal,
    leaky_relu,
    relu,
    shifted_relu,
    torch_linear,
    xavier_normal,
)

KEY = jax.random.key(0)


def params_of(init, sizes, key=KEY):
    """Weights by `init`, biases 0."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(sizes[:-1], sizes[1:], strict=True)
    return [(init(k, shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes, strict=True)]


def test_against_numpy():
    rng = np.random.default_rng(0)
    params, x = init_mlp(KEY, (6, 4, 3, 2)), np.asarray(rng.standard_normal((5, 7, 6))).astype(np.float32)
    layers = jax.jit(activation_stats)(params, x)
    assert len(layers) == 3
    h = x
    for number, ((w, b), layer) in enumerate(zip(params, layers, strict=True)):
        z = np.asarray(h @ np.asarray(w) + np.asarray(b), np.float64)
        np.testing.assert_allclose(layer.z, (z.mean(), z.std()), rtol=1e-5)
        if number == 2:  # no activation follows the last
            assert layer.h == layer.z and layer.off == layer.dead == 0
        else:
            h = np.maximum(z, 0).astype(np.float32)
            np.testing.assert_allclose(layer.h, (h.mean(), h.std()), rtol=1e-5)
            assert layer.off == np.float32(np.mean(h == 0))
            assert layer.dead == np.float32(np.mean((h == 0).all((0, 1))))


def test_dead_units_are_counted():
    # Unit 0 is off for every row by its bias, unit 1 on for one row, unit 2 on for all.
    w, b = jnp.zeros((1, 3)).at[0, 1].set(1.0), jnp.asarray([-1.0, -1.0, 1.0])
    x = jnp.asarray([[0.0], [0.5], [2.0]])
    params = [(w, b), (jnp.ones((3, 1)), jnp.zeros(1))]
    layer, _ = activation_stats(params, x)
    assert layer.dead == np.float32(1 / 3) and layer.off == np.float32(5 / 9)
    shifted, _ = activation_stats(params, x, shifted_relu)
    assert (shifted.dead, shifted.off) == (layer.dead, layer.off), "it returns -0.5 there, and is as dead"
    leaky, _ = activation_stats(params, x, leaky_relu)
    assert (leaky.dead, leaky.off) == (0, 0), "a leak lets gradients through"


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e25])
def test_tiny_and_huge_are_told_from_zero_and_infinity(size):
    x = np.asarray(np.random.default_rng(0).standard_normal((50, 4))).astype(np.float32)
    (layer,) = activation_stats([(jnp.eye(4), None)], jnp.asarray(x) * jnp.float32(size))
    np.testing.assert_allclose(layer.z.std, x.std(dtype=np.float64) * size, rtol=1e-5)


def test_what_cannot_be_measured_says_so():
    assert activation_stats([(jnp.eye(2), None)], jnp.zeros((3, 2)))[0].z == (0, 0)
    assert np.isnan(activation_stats([(jnp.eye(2), None)], jnp.asarray([[np.inf, 1.0]]))[0].z.std)
    assert np.isnan(activation_stats([(jnp.eye(2), None)], jnp.asarray([[np.nan, 1.0]]))[0].z.mean)
    assert all(
        np.isnan(figure) for figure in jax.tree.leaves(activation_stats([(jnp.eye(2), None)], jnp.zeros((0, 2))))
    )


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    x = jnp.ones((5000, 1), dtype)
    layer, _ = activation_stats([(jnp.ones((1, 1), dtype), None)] * 2, x)
    assert layer.z.mean.dtype == jnp.float32
    assert (layer.z.mean, layer.h.mean, layer.off) == (1, 1, 0)


def test_a_layer_that_does_not_fit_is_named(as_a_user):
    params = [(jnp.ones((6, 4)), jnp.ones(4)), (jnp.ones((3, 1)), jnp.ones(1))]
    with pytest.raises(ValueError, match=r"activation_stats: the first axis of params\[1\]'s w must match"):
        activation_stats(params, jnp.ones((2, 6)))


# The lesson's story, on real digits. Each figure with where it comes from; what chance may add is measured over draws.

DEPTH, WIDTH = 50, 784


@pytest.fixture(scope="module")
def digits():
    x_train, _, x_valid, _ = get_data("sample")
    return jnp.asarray(normalize(x_valid, x_train.mean(), x_train.std()))


def shrinkage(init, activation, digits):
    """The geometric mean of the factor by which each of 50 layers changes the root mean square."""
    layers = activation_stats(params_of(init, [WIDTH] * (DEPTH + 1)), digits[:500], activation)
    sizes = [math.hypot(layer.h.mean, layer.h.std) for layer in layers[:-1]]
    return (sizes[-1] / sizes[0]) ** (1 / (len(sizes) - 1)), layers


# A relu halves the mean square of what is symmetric, and each layer multiplies it by fan_in times the weights'
# variance. Over 48 layers of 784 units the factor wanders by about 1% (by sqrt(5 / 784) = 8% each, over sqrt(48)).
@pytest.mark.parametrize(
    ("init", "factor"),
    [
        (kaiming_normal, 1.0),
        (xavier_normal, math.sqrt(1 / 2)),
        (lambda key, shape: torch_linear(key, shape)[0], math.sqrt(1 / 6)),
        (lambda key, shape: 2 * kaiming_normal(key, shape), 2.0),
    ],
    ids=["kaiming keeps it", "xavier halves the mean square", "nn.Linear's default", "twice kaiming explodes"],
)
def test_fifty_layers(digits, init, factor):
    got, layers = shrinkage(init, relu, digits)
    assert abs(got / factor - 1) < 0.03
    deepest = float(layers[-2].h.std)
    assert np.isfinite(deepest) and deepest > 0
    if factor != 1:
        assert abs(math.log10(deepest / layers[0].h.std) / (DEPTH - 2) / math.log10(factor) - 1) < 0.1


def test_the_shift_centres_the_mean(digits):
    params = init_mlp(KEY, (784, 50, 1))
    plain, shifted = (activation_stats(params, digits, f)[0].h for f in (relu, shifted_relu))
    assert plain.mean > 0.4
    assert abs(shifted.mean) < plain.mean / 3
    np.testing.assert_allclose(shifted.std, plain.std, rtol=1e-5)
