"""A Pallas kernel with a hand-written VJP, in interpret mode: the softmax of each row."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from pullback import parity

ROWS = 8


def row_blocks(kernel: Callable[..., None], *arrays: jax.Array) -> jax.Array:
    """Runs the kernel on ROWS rows at a time."""
    rows, columns = arrays[0].shape
    block = pl.BlockSpec((ROWS, columns), lambda i: (i, 0))
    out = jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)
    grid = (rows // ROWS,)
    return pl.pallas_call(
        kernel, out_shape=out, grid=grid, in_specs=[block] * len(arrays), out_specs=block, interpret=True
    )(*arrays)


def forward_kernel(x_ref, y_ref):
    x = x_ref[...].astype(jnp.promote_types(x_ref.dtype, jnp.float32))
    e = jnp.exp(x - x.max(-1, keepdims=True))
    y_ref[...] = (e / e.sum(-1, keepdims=True)).astype(y_ref.dtype)


def backward_kernel(y_ref, y_bar_ref, x_bar_ref):
    wide = jnp.promote_types(y_ref.dtype, jnp.float32)
    y, y_bar = y_ref[...].astype(wide), y_bar_ref[...].astype(wide)
    x_bar_ref[...] = (y * (y_bar - (y * y_bar).sum(-1, keepdims=True))).astype(x_bar_ref.dtype)


@jax.custom_vjp
def softmax(x: jax.Array) -> jax.Array:
    return row_blocks(forward_kernel, x)


def softmax_fwd(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = row_blocks(forward_kernel, x)
    return y, y


def softmax_bwd(y: jax.Array, y_bar: jax.Array) -> tuple[jax.Array]:
    return (row_blocks(backward_kernel, y, y_bar),)


softmax.defvjp(softmax_fwd, softmax_bwd)
plain = functools.partial(jax.nn.softmax, axis=-1)


def example_args() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal((32, 16), np.float32)]


if __name__ == "__main__":
    print(parity.check(softmax, *example_args(), reference=plain))
