"""Initial weights: which standard deviation each initialization chooses, and why.

    Xavier    std = gain sqrt(2 / (fan_in + fan_out))     keeps the variance through a linear layer, a
                                                          compromise between forward and backward
    Kaiming   std = sqrt(2 / ((1 + a^2) fan))             keeps it through a layer and the rectifier after it,
                                                          a its slope below zero (0: relu, 1: no rectifier)
    uniform   on -bound .. bound has the std bound / sqrt(3), so bound = sqrt(3) std

A dense weight is `[fan_in, fan_out]`. A convolution's is `[kernel..., in, out]`: each output sees `kernel... x in`
inputs, and each input goes to `kernel... x out` outputs. (torch has both the other way round: `[out, in, kernel...]`.)

Sources: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
2010, eq. 12 and 16; He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2, eq. 10, 14 and 15.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ._check import accumulator, check_scalar, describe, dtype_of
from ._typing import Array, Float

Mode: TypeAlias = Literal["fan_in", "fan_out"]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight `[fan_in, fan_out]` or `[kernel..., in, out]`.

    Raises ValueError if `shape` is not two or more positive integers.
    """
    return _fans("fans", shape)


def _sizes(op: str, shape: Any, least: int, expected: str, name: str = "shape") -> tuple[int, ...]:
    """Returns `shape` as Python integers. Raises ValueError unless it is `least` or more positive integers."""
    try:
        sizes = tuple(operator.index(size) for size in shape if not isinstance(size, bool))
    except TypeError:
        sizes = ()
    if len(sizes) < least or len(sizes) != len(shape) or min(sizes) < 1:
        raise ValueError(f"{op}: {name} must be {expected}; got {shape!r}")
    return sizes


def _fans(op: str, shape: Any) -> tuple[int, int]:
    expected = "(fan_in, fan_out) or (kernel..., in, out), all positive integers"
    *kernel, c_in, c_out = _sizes(op, shape, 2, expected)
    return math.prod(kernel) * c_in, math.prod(kernel) * c_out


def _check_key(op: str, key: Any) -> None:
    """Raises TypeError unless key is one random key, of `jax.random.key` or (uint32) of `jax.random.PRNGKey`."""
    dtype = dtype_of(key)
    new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and key.ndim == 0
    if not new and not (dtype == np.uint32 and key.shape in ((2,), (4,))):
        raise TypeError(f"{op}: key must be one random key, as jax.random.key(0) makes it; got {describe(key)}")


def _xavier_std(op: str, shape: Sequence[int], gain: float) -> float:
    check_scalar(op, "gain", gain)
    return gain * math.sqrt(2 / sum(_fans(op, shape)))


def _kaiming_std(op: str, shape: Sequence[int], mode: Mode, negative_slope: float) -> float:
    fan_in, fan_out = _fans(op, shape)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    check_scalar(op, "negative_slope", negative_slope)
    if not math.isfinite(negative_slope):
        raise ValueError(f"{op}: negative_slope must be finite; got {negative_slope!r}")
    return math.sqrt(2 / ((1 + negative_slope**2) * (fan_in if mode == "fan_in" else fan_out)))


def _float(dtype: jax.typing.DTypeLike | None) -> np.dtype:
    """Returns the dtype of weights. Raises TypeError unless it is a real floating-point dtype."""
    chosen = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    if not jnp.issubdtype(chosen, jnp.floating):
        raise TypeError(f"dtype must be a floating-point dtype; got {chosen}")
    return chosen


def _normal(op: str, key: Array, shape: Sequence[int], std: float, dtype: jax.typing.DTypeLike | None) -> Array:
    _check_key(op, key)
    dtype = _float(dtype)
    # It is drawn in float32 at least: a normal that is drawn in half precision has no tails.
    drawn = jax.random.normal(key, tuple(shape), accumulator(dtype))
    return (drawn * std).astype(dtype)


def _uniform(op: str, key: Array, shape: Sequence[int], std: float, dtype: jax.typing.DTypeLike | None) -> Array:
    _check_key(op, key)
    dtype = _float(dtype)
    drawn = jax.random.uniform(key, tuple(shape), accumulator(dtype), minval=-1, maxval=1)
    return (drawn * (math.sqrt(3) * std)).astype(dtype)


def xavier_normal(
    key: Array, shape: Sequence[int], gain: float = 1.0, *, dtype: jax.typing.DTypeLike | None = None
) -> Float[Array, "*shape"]:
    """Normal weights of mean 0 and std `gain sqrt(2 / (fan_in + fan_out))`.

    shape: `(fan_in, fan_out)` or `(kernel..., in, out)`. gain: what `torch.nn.init.calculate_gain` returns; 1 where no
    activation follows. key: one of `jax.random.key`. dtype: jax's default float if None.
    Raises ValueError if `shape` is neither of the two, TypeError if `dtype` is no floating-point dtype.
    Source: Glorot & Bengio 2010, eq. 12.
    """
    return _normal("xavier_normal", key, shape, _xavier_std("xavier_normal", shape, gain), dtype)


def xavier_uniform(
    key: Array, shape: Sequence[int], gain: float = 1.0, *, dtype: jax.typing.DTypeLike | None = None
) -> Float[Array, "*shape"]:
    """Uniform weights on ±`gain sqrt(6 / (fan_in + fan_out))`: the std of `xavier_normal`. Arguments as there.

    Source: Glorot & Bengio 2010, eq. 16.
    """
    return _uniform("xavier_uniform", key, shape, _xavier_std("xavier_uniform", shape, gain), dtype)


def kaiming_normal(
    key: Array,
    shape: Sequence[int],
    mode: Mode = "fan_in",
    negative_slope: float = 0.0,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """Normal weights of mean 0 and std `sqrt(2 / ((1 + negative_slope^2) fan))`.

    shape: `(fan_in, fan_out)` or `(kernel..., in, out)`. mode: "fan_in" keeps the variance of activations, "fan_out"
    that of gradients. negative_slope: of the rectifier that follows; 0 for relu, 1 where none follows. dtype: jax's
    default float if None. key: one of `jax.random.key`.
    Raises ValueError if `shape` or `mode` is none of these, TypeError if `dtype` is no floating-point dtype.
    Source: He et al. 2015, eq. 10, 14 and 15.
    """
    return _normal("kaiming_normal", key, shape, _kaiming_std("kaiming_normal", shape, mode, negative_slope), dtype)


def kaiming_uniform(
    key: Array,
    shape: Sequence[int],
    mode: Mode = "fan_in",
    negative_slope: float = 0.0,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """Uniform weights on ±`sqrt(6 / ((1 + negative_slope^2) fan))`: the std of `kaiming_normal`. Arguments as there.

    Source: He et al. 2015, eq. 10, 14 and 15, for the variance; on ±a it is a^2 / 3.
    """
    return _uniform("kaiming_uniform", key, shape, _kaiming_std("kaiming_uniform", shape, mode, negative_slope), dtype)


def torch_linear(
    key: Array, shape: Sequence[int], *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Float[Array, "fan_in fan_out"], Float[Array, " fan_out"]]:
    """`(w, b)` as `torch.nn.Linear` draws them by default: both uniform on ±`1 / sqrt(fan_in)`.

    shape: `(fan_in, fan_out)`. torch writes this as kaiming_uniform with a = sqrt(5), which makes
    sqrt(6 / (6 fan_in)) of the bound: a std of `1 / sqrt(3 fan_in)`, sqrt(1/6) of what a relu needs.
    key: one of `jax.random.key`. dtype: jax's default float if None.
    Raises ValueError if `shape` is not two positive integers, TypeError if `dtype` is no floating-point dtype.
    Source: `reset_parameters` in torch/nn/modules/linear.py.
    """
    if len(_sizes("torch_linear", shape, 2, "(fan_in, fan_out), two positive integers")) != 2:
        raise ValueError(f"torch_linear: shape must be (fan_in, fan_out), two positive integers; got {shape!r}")
    return _torch_default("torch_linear", key, shape, dtype)


def torch_conv(
    key: Array, shape: Sequence[int], *, dtype: jax.typing.DTypeLike | None = None
) -> tuple[Float[Array, "*kernel c_in c_out"], Float[Array, " c_out"]]:
    """`(w, b)` as `torch.nn.Conv2d` (or 1d, 3d) draws them by default: both uniform on ±`1 / sqrt(fan_in)`.

    shape: `(kernel..., in, out)`, so fan_in is the kernel's size times `in`. Everything else as for `torch_linear`.
    Source: `_ConvNd.reset_parameters` in torch/nn/modules/conv.py.
    """
    _sizes("torch_conv", shape, 3, "(kernel..., in, out), all positive integers")
    return _torch_default("torch_conv", key, shape, dtype)


def _torch_default(op: str, key: Array, shape: Sequence[int], dtype: jax.typing.DTypeLike | None):
    std = _kaiming_std(op, shape, "fan_in", math.sqrt(5))
    _check_key(op, key)
    w_key, b_key = jax.random.split(key)
    return _uniform(op, w_key, shape, std, dtype), _uniform(op, b_key, shape[-1:], std, dtype)


def init_mlp(
    key: Array, sizes: Sequence[int], *, dtype: jax.typing.DTypeLike | None = None
) -> list[tuple[Array, Array]]:
    """Parameters `[(w1, b1), (w2, b2), ...]` of a dense net with relu between its layers.

    key: one of `jax.random.key`. sizes: width of the input, of each hidden layer, and of the output: `(784, 50, 1)` for
    the lesson's net. Each `w[fan_in, fan_out]` and `b[fan_out]` has two of them.
    Weights are Kaiming normal for the layer that follows them: slope 0 before a relu, slope 1 in the last
    layer, which none follows. Biases are 0. dtype: jax's default float if None.
    Raises ValueError if `sizes` is not at least two positive integers, TypeError if `dtype` is no floating-point dtype.
    Source: He et al. 2015, section 2.2.
    """
    sizes = _sizes("init_mlp", sizes, 2, "at least two positive integers", name="sizes")
    _check_key("init_mlp", key)
    params = []
    last = len(sizes) - 2
    for layer, layer_key in enumerate(jax.random.split(key, len(sizes) - 1)):
        shape = sizes[layer : layer + 2]
        w = kaiming_normal(layer_key, shape, negative_slope=1.0 if layer == last else 0.0, dtype=dtype)
        params.append((w, jnp.zeros(shape[1], w.dtype)))
    return params
