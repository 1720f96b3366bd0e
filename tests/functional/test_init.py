import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import torch

from pullback.functional import (
    fans,
    init_mlp,
    kaiming_normal,
    kaiming_uniform,
    torch_conv,
    torch_linear,
    xavier_normal,
    xavier_uniform,
)

KEY = jax.random.key(0)
DENSE, CONV = (1000, 800), (5, 5, 40, 300)
TINY = (3, 2)
ALPHA = 1e-3
"""Of the Kolmogorov-Smirnov tests. The seeds are fixed: a right distribution fails one in a thousand *choices* of them,
and never one in a thousand runs. A std that is 2% off is found (test_the_test_finds_2_percent)."""

A = 0.3
normal = torch.nn.init.kaiming_normal_, torch.nn.init.xavier_normal_
uniform = torch.nn.init.kaiming_uniform_, torch.nn.init.xavier_uniform_
# name -> (ours, torch's on a tensor [out, in, kernel...], the std by its formula from fan_in and fan_out)
CASES = {
    "xavier_normal": (xavier_normal, normal[1], lambda i, o: math.sqrt(2 / (i + o))),
    "xavier_uniform": (xavier_uniform, uniform[1], lambda i, o: math.sqrt(2 / (i + o))),
    "xavier_uniform, gain": (
        lambda k, s: xavier_uniform(k, s, gain=1.5),
        lambda t: uniform[1](t, gain=1.5),
        lambda i, o: 1.5 * math.sqrt(2 / (i + o)),
    ),
    "kaiming_normal": (kaiming_normal, normal[0], lambda i, o: math.sqrt(2 / i)),
    "kaiming_normal, fan_out": (
        lambda k, s: kaiming_normal(k, s, mode="fan_out"),
        lambda t: normal[0](t, mode="fan_out"),
        lambda i, o: math.sqrt(2 / o),
    ),
    "kaiming_normal, slope": (
        lambda k, s: kaiming_normal(k, s, negative_slope=A),
        lambda t: normal[0](t, a=A),
        lambda i, o: math.sqrt(2 / ((1 + A**2) * i)),
    ),
    "kaiming_uniform": (kaiming_uniform, uniform[0], lambda i, o: math.sqrt(2 / i)),
    "kaiming_uniform, both": (
        lambda k, s: kaiming_uniform(k, s, "fan_out", A),
        lambda t: uniform[0](t, a=A, mode="fan_out"),
        lambda i, o: math.sqrt(2 / ((1 + A**2) * o)),
    ),
}


def to_torch_shape(shape):
    """[out, in, kernel...]."""
    return (shape[-1], shape[-2], *shape[:-2])


def five_sigma(draws):
    """Five standard deviations of a sample's std, relative: missed once in two million seeds."""
    kurtosis = 3 if scipy.stats.kurtosis(draws[:10_000]) > -0.6 else 1.8  # normal's, uniform's
    return 5 * math.sqrt((kurtosis - 1) / (4 * draws.size))


def has_moments(draws, std):
    draws = np.asarray(draws, np.float64).ravel()
    assert abs(draws.std() / std - 1) < five_sigma(draws)
    assert abs(draws.mean()) < 5 * std / math.sqrt(draws.size)


def p_value(ours, theirs):
    result: Any = scipy.stats.ks_2samp(np.ravel(ours), np.ravel(theirs))
    return result.pvalue


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("case", CASES)
def test_the_formula_and_torchs_distribution(case, shape):
    ours, in_torch, std = CASES[case]
    w = ours(KEY, shape)
    assert w.shape == shape and w.dtype == jnp.float32
    has_moments(w, std(*fans(shape)))
    torch.manual_seed(0)
    theirs = in_torch(torch.empty(to_torch_shape(shape))).numpy()
    has_moments(theirs, std(*fans(shape)))
    assert p_value(w, theirs) > ALPHA


# Ours, and the scale, mode and distribution that jax.nn.initializers has for it.
OF_JAX = {
    "kaiming_normal": (kaiming_normal, (2, "fan_in", "normal")),
    "kaiming_normal, fan_out": (lambda key, shape: kaiming_normal(key, shape, "fan_out"), (2, "fan_out", "normal")),
    "kaiming_uniform, a = 2": (
        lambda key, shape: kaiming_uniform(key, shape, negative_slope=2.0),
        (2 / 5, "fan_in", "uniform"),
    ),
    "xavier_normal": (xavier_normal, (1, "fan_avg", "normal")),
    "xavier_uniform, gain 3": (lambda key, shape: xavier_uniform(key, shape, 3.0), (9, "fan_avg", "uniform")),
}


@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("case", OF_JAX)
def test_jaxs_own_initializers_draw_the_same_numbers(case, shape):
    ours, (scale, mode, distribution) = OF_JAX[case]
    theirs = jax.nn.initializers.variance_scaling(scale, mode, distribution)
    np.testing.assert_allclose(ours(KEY, shape), theirs(KEY, shape), rtol=1e-6)


def test_the_test_finds_2_percent():
    torch.manual_seed(0)
    for ours, in_torch, _ in CASES.values():
        assert p_value(1.02 * ours(KEY, DENSE), in_torch(torch.empty(to_torch_shape(DENSE))).numpy()) < ALPHA


MODULES = {
    "Linear": (torch_linear, (20_000, 15), lambda: torch.nn.Linear(20_000, 15)),
    "Linear, many biases": (torch_linear, (2, 100_000), lambda: torch.nn.Linear(2, 100_000)),
    "Conv2d": (torch_conv, (5, 3, 20, 1000), lambda: torch.nn.Conv2d(20, 1000, (5, 3))),
    "Conv2d, many biases": (torch_conv, (2, 1, 1, 100_000), lambda: torch.nn.Conv2d(1, 100_000, (2, 1))),
    "Conv1d": (torch_conv, (7, 20, 2000), lambda: torch.nn.Conv1d(20, 2000, 7)),
}


@pytest.mark.parametrize("module", MODULES)
def test_what_torchs_modules_really_do(module):
    ours, shape, make = MODULES[module]
    torch.manual_seed(0)
    theirs = make()
    w, b = ours(KEY, shape)
    assert w.shape == shape and b.shape == shape[-1:]
    assert tuple(theirs.weight.shape) == to_torch_shape(shape)
    bound = 1 / math.sqrt(fans(shape)[0])
    for got, leaf in ((w, theirs.weight), (b, theirs.bias)):
        assert p_value(got, leaf.detach().numpy()) > ALPHA
        # Against the formula too: one sample, uniform on -bound .. bound.
        assert scipy.stats.kstest(np.ravel(got), "uniform", (-bound, 2 * bound)).pvalue > ALPHA
        assert np.abs(got).max() <= bound
    if b.size > 10_000:
        has_moments(b, bound / math.sqrt(3))
        assert abs(np.corrcoef(np.ravel(w)[: b.size], b)[0, 1]) < 5 / math.sqrt(b.size), "drawn independently"


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 2), (3, 2)), ((7, 3, 2), (21, 14)), ((5, 5, 1, 32), (25, 800)), ([4, 1, 1], (4, 4))]
)
def test_fans(shape, expected):
    assert fans(shape) == expected
    in_torch = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(to_torch_shape(shape)))
    assert fans(shape) == in_torch


EVERY = [
    xavier_normal,
    xavier_uniform,
    kaiming_normal,
    kaiming_uniform,
    lambda *args, **options: torch_linear(*args, **options)[0],
]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_dtype(dtype):
    for init in EVERY:
        w = init(KEY, DENSE, dtype=dtype)
        assert w.dtype == dtype
        # Drawn in float32, then rounded; and the same draw, whatever the dtype.
        np.testing.assert_array_equal(w, init(KEY, DENSE).astype(dtype))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(init_mlp(KEY, (3, 2, 1), dtype=dtype)))


def test_default_dtype_is_jax_default():
    for init in EVERY:
        assert init(KEY, TINY).dtype == jnp.float32
        with jax.enable_x64(True):
            assert init(KEY, TINY).dtype == jnp.float64


def test_under_jit():
    for init in EVERY:
        np.testing.assert_allclose(jax.jit(lambda key, init=init: init(key, TINY))(KEY), init(KEY, TINY), rtol=1e-6)


def test_same_key_same_weights_and_layers_differ():
    first, second = init_mlp(KEY, (5, 5, 5)), init_mlp(KEY, (5, 5, 5))
    np.testing.assert_array_equal(first[0][0], second[0][0])
    assert not np.array_equal(first[0][0], first[1][0])


def test_init_mlp():
    params = init_mlp(KEY, [300, 400, 300])
    assert [(w.shape, b.shape) for w, b in params] == [((300, 400), (400,)), ((400, 300), (300,))]
    assert not any(np.any(b) for _, b in params)
    has_moments(params[0][0], math.sqrt(2 / 300))  # a relu follows
    has_moments(params[1][0], math.sqrt(1 / 400))  # none follows


@pytest.mark.parametrize("shape", [(), (3,), (3, 0), (3, -1), (3.0, 2), (2, 0, 4), (True, 2)])
def test_bad_shape(as_a_user, shape):
    expected = r"shape must be \(fan_in, fan_out\) or \(kernel..., in, out\), all positive integers; got \("
    for init in (xavier_normal, xavier_uniform, kaiming_normal, kaiming_uniform):
        with pytest.raises(ValueError, match=f"{init.__name__}: {expected}"):
            init(KEY, shape)
    with pytest.raises(ValueError, match=f"fans: {expected}"):
        fans(shape)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 3, 1, 8)])
def test_bad_shape_for_torch_linear(as_a_user, shape):
    with pytest.raises(ValueError, match=r"torch_linear: shape must be .*positive integers; got \(3"):
        torch_linear(KEY, shape)


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 1)])
def test_bad_shape_for_torch_conv(as_a_user, shape):
    with pytest.raises(ValueError, match=r"torch_conv: shape must be .*\(kernel..., in, out\).*; got \(3"):
        torch_conv(KEY, shape)


def test_numpy_integers_are_integers(as_a_user):
    numpy_shape: Any = np.asarray([3, 2])
    assert fans(numpy_shape) == (3, 2)
    assert kaiming_normal(KEY, numpy_shape).shape == (3, 2)
    with pytest.raises(ValueError, match="fans: shape must be .*; got 3"):
        fans(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64])
def test_bad_dtype(as_a_user, dtype):
    for init in (xavier_normal, kaiming_uniform, torch_linear):
        with pytest.raises(TypeError, match=f"dtype must be a floating-point dtype; got {jnp.dtype(dtype)}"):
            init(KEY, TINY, dtype=dtype)


def test_bad_slope(as_a_user):
    with pytest.raises(ValueError, match="kaiming_normal: negative_slope must be finite; got nan"):
        kaiming_normal(KEY, TINY, negative_slope=math.nan)


def test_bad_mode(as_a_user):
    for init in (kaiming_normal, kaiming_uniform):
        with pytest.raises(ValueError, match=f"{init.__name__}: mode must be 'fan_in' or 'fan_out'; got 'fan_avg'"):
            init(KEY, (3, 2), mode="fan_avg")  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 1), (3, 2.5)])
def test_bad_sizes(as_a_user, sizes):
    with pytest.raises(ValueError, match="init_mlp: sizes must be at least two positive integers; got"):
        init_mlp(KEY, sizes)
