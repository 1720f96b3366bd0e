import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import init_mlp, kaiming_normal, xavier_normal

KEY = jax.random.key(0)
N = 400 * 300
# The std of N normal draws has a relative standard deviation of 1/sqrt(2N): 5 sigma, missed once in two million.
FIVE_SIGMA = 5 / math.sqrt(2 * N)


@pytest.mark.parametrize(
    ("weights", "std"),
    [
        (lambda s: xavier_normal(KEY, s), math.sqrt(2 / 700)),
        (lambda s: kaiming_normal(KEY, s), math.sqrt(2 / 400)),
        (lambda s: kaiming_normal(KEY, s, mode="fan_out"), math.sqrt(2 / 300)),
        (lambda s: kaiming_normal(KEY, s, negative_slope=0.5), math.sqrt(2 / (1.25 * 400))),
        (lambda s: kaiming_normal(KEY, s, "fan_in", 1.0), 1 / math.sqrt(400)),
    ],
)
def test_moments(weights, std):
    w = np.asarray(weights((400, 300)), np.float64)
    assert w.shape == (400, 300)
    assert abs(w.std() / std - 1) < FIVE_SIGMA
    assert abs(w.mean()) < 5 * std / math.sqrt(N)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtype(dtype):
    assert kaiming_normal(KEY, (3, 2), dtype=dtype).dtype == dtype
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(init_mlp(KEY, (3, 2, 1), dtype=dtype)))


def test_default_dtype_is_jax_default():
    assert xavier_normal(KEY, (3, 2)).dtype == jnp.float32
    with jax.enable_x64(True):
        assert xavier_normal(KEY, (3, 2)).dtype == jnp.float64


def test_same_key_same_weights_and_layers_differ():
    first, second = init_mlp(KEY, (5, 5, 5)), init_mlp(KEY, (5, 5, 5))
    np.testing.assert_array_equal(first[0][0], second[0][0])
    assert not np.array_equal(first[0][0], first[1][0])


def test_init_mlp():
    params = init_mlp(KEY, [300, 400, 300])
    assert [(w.shape, b.shape) for w, b in params] == [((300, 400), (400,)), ((400, 300), (300,))]
    assert not any(np.any(b) for _, b in params)
    assert abs(params[0][0].std() * math.sqrt(300 / 2) - 1) < FIVE_SIGMA  # a relu follows
    assert abs(params[1][0].std() * math.sqrt(400) - 1) < FIVE_SIGMA  # none follows


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, -1), (3.0, 2), (2, 3, 4)])
def test_bad_shape(as_a_user, shape):
    for init in (xavier_normal, kaiming_normal):
        with pytest.raises(ValueError, match=r"shape must be \(fan_in, fan_out\), two positive integers; got \("):
            init(KEY, shape)


def test_bad_mode(as_a_user):
    with pytest.raises(ValueError, match="kaiming_normal: mode must be 'fan_in' or 'fan_out'; got 'fan_avg'"):
        kaiming_normal(KEY, (3, 2), mode="fan_avg")  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 1), (3, 2.5)])
def test_bad_sizes(as_a_user, sizes):
    with pytest.raises(ValueError, match="init_mlp: sizes must be at least two positive integers; got"):
        init_mlp(KEY, sizes)
