"""Five rules of one's own, and a test for each: pytest test_my_rules.py"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


# 1. Parameters in a dict: root mean square norm, with a scale and a shift.


def rms_plain(params, x):
    inverse = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return params["scale"] * x * inverse + params["shift"]


@jax.custom_vjp
def rms_norm(params, x):
    return rms_plain(params, x)


def rms_fwd(params, x):
    inverse = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return params["scale"] * x * inverse + params["shift"], (params, x * inverse, inverse)


def rms_bwd(residuals, y_bar):
    params, unit, inverse = residuals
    unit_bar = y_bar * params["scale"]
    x_bar = inverse * (unit_bar - unit * jnp.mean(unit_bar * unit, axis=-1, keepdims=True))
    return {"scale": jnp.sum(y_bar * unit, axis=0), "shift": jnp.sum(y_bar, axis=0)}, x_bar


rms_norm.defvjp(rms_fwd, rms_bwd)


def test_parameters_in_a_dict(parity):
    params = {"scale": 1 + 0.1 * normal(16), "shift": 0.1 * normal(16)}
    parity.check(rms_norm, params, normal(8, 16), reference=rms_plain)


# 2. A static integer: the mean of each `width` neighbours.


def smooth_plain(x, width):
    return sum(x[i : len(x) - width + 1 + i] for i in range(width)) / width


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def smooth(x, width):
    return smooth_plain(x, width)


def smooth_fwd(x, width):
    return smooth_plain(x, width), None


def smooth_bwd(width, _, y_bar):
    return (smooth_plain(jnp.pad(y_bar, width - 1), width),)


smooth.defvjp(smooth_fwd, smooth_bwd)


def test_a_static_integer(parity):
    parity.check(smooth, normal(40), 5, reference=smooth_plain)


# 3. A random key: dropout, which draws its mask again going backward and keeps nothing but the key.


def dropout_plain(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)


@jax.custom_vjp
def dropout(x, key):
    return dropout_plain(x, key)


def dropout_fwd(x, key):
    return dropout_plain(x, key), key


def dropout_bwd(key, y_bar):
    return dropout_plain(y_bar, key), None  # a key has no cotangent


dropout.defvjp(dropout_fwd, dropout_bwd)


def test_a_random_key(parity):
    parity.check(dropout, normal(8, 16), jax.random.key(0), reference=dropout_plain)


# 4. bfloat16 in and out, with float32 between: a softmax.


def softmax_plain(x):
    return jax.nn.softmax(x.astype(jnp.float32)).astype(x.dtype)


@jax.custom_vjp
def softmax(x):
    return softmax_plain(x)


def softmax_fwd(x):
    y = jax.nn.softmax(x.astype(jnp.float32))
    return y.astype(x.dtype), y


def softmax_bwd(y, y_bar):
    wide = y_bar.astype(jnp.float32)
    return ((y * (wide - jnp.sum(wide * y, axis=-1, keepdims=True))).astype(y_bar.dtype),)


softmax.defvjp(softmax_fwd, softmax_bwd)


def test_bfloat16(parity):
    parity.check(softmax, jnp.asarray(normal(8, 32), jnp.bfloat16), reference=softmax_plain)


# 5. Two outputs: length and angle of a vector.


def polar_plain(x, y):
    return jnp.sqrt(x**2 + y**2), jnp.arctan2(y, x)


@jax.custom_vjp
def polar(x, y):
    return polar_plain(x, y)


def polar_fwd(x, y):
    length, angle = polar_plain(x, y)
    return (length, angle), (x, y, length)


def polar_bwd(residuals, bars):
    x, y, length = residuals
    length_bar, angle_bar = bars
    return (x * length_bar - y * angle_bar / length) / length, (y * length_bar + x * angle_bar / length) / length


polar.defvjp(polar_fwd, polar_bwd)


def test_two_outputs(parity):
    parity.check(polar, normal(20), normal(20), reference=polar_plain)
