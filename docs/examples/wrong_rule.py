"""A wrong rule: layer norm, with two mistakes in its backward."""

from typing import Any

import jax
import numpy as np
import torch

from pullback import parity

EPS = 1e-5


def plain(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return scale * centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPS) + shift


@jax.custom_vjp
def layer_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    return plain(x, scale, shift)


def layer_norm_fwd(x: jax.Array, scale: jax.Array, shift: jax.Array) -> tuple[jax.Array, Any]:
    centred = x - x.mean(-1, keepdims=True)
    inverse = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPS)
    normal = centred * inverse
    return scale * normal + shift, (normal, inverse, scale)


def layer_norm_bwd(residuals: Any, y_bar: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    normal, inverse, scale = residuals
    normal_bar = y_bar * scale
    along = (normal_bar * normal).mean(-1, keepdims=True) * normal
    x_bar = inverse * (normal_bar - along)  # first mistake: the row's mean of normal_bar is not taken off
    scale_bar = (y_bar * normal).mean(0)  # second mistake: a mean over the rows, it should be a sum
    return x_bar, scale_bar, y_bar.sum(0)


layer_norm.defvjp(layer_norm_fwd, layer_norm_bwd)


def in_torch(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, EPS)


def example_args() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in ((32, 10), (10,), (10,))]


if __name__ == "__main__":
    print(parity.check(layer_norm, *example_args(), reference=plain, torch=in_torch, dtypes=["float64"]))
