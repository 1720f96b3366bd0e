"""Where jax computes, and what a product of float32 matrices is there.

On accelerators jax's matmul precision decides (https://docs.jax.dev, jax.lax.Precision); it concerns float32 alone:

             default             high                  highest
    CPU      float32             float32               float32
    GPU      TF32                TF32                  float32
    TPU      bfloat16            bfloat16, 3 passes    bfloat16, 6 passes

The operands are rounded to the format named, and the products summed in float32. u says how far one operand may be off,
relative to itself; the bound carries that through (`Rounding.factor`). Where each u comes from: docs/how-it-decides.md.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

DEVICES = ("cpu", "gpu", "tpu")
PRECISIONS = ("default", "high", "highest")


class Products(NamedTuple):
    """What products of float32 matrices are."""

    name: str
    u: float  # how far an operand may be off, relative to itself, when it is multiplied


FLOAT32 = Products("float32 products", 0.0)
TF32 = Products("TF32 products", 2.0**-10)
BFLOAT16 = Products("bfloat16 products", 2.0**-8)
BFLOAT16_3 = Products("3-pass bfloat16 products", 1.5 * 2.0**-16)
BFLOAT16_6 = Products("float32 products", 2.0**-24)

LOWER = {
    ("gpu", "default"): TF32,
    ("gpu", "high"): TF32,
    ("tpu", "default"): BFLOAT16,
    ("tpu", "high"): BFLOAT16_3,
    ("tpu", "highest"): BFLOAT16_6,
}
"""Where they are not plain float32."""


def products_of(platform: str, precision: str) -> Products:
    """What products of float32 matrices are on that platform, at that matmul precision of jax's."""
    return LOWER.get((platform, precision), FLOAT32)


def platform_of(device: Any) -> str:
    """`cpu`, `gpu`, `tpu`, or what else jax calls it."""
    return "gpu" if device.platform in ("cuda", "rocm") else device.platform


def local_device(asked: str | None = None) -> Any:
    """This process's first device on the platform that is asked for; None: where jax computes by default.

    Raises ValueError if jax finds no such platform here.
    """
    if asked is None:
        (device,) = jax.device_put(np.float32(0)).devices()
        return device
    device = _first(asked) if asked in DEVICES else None
    if device is None:
        here = ", ".join(platform for platform in DEVICES if _first(platform) is not None)
        raise ValueError(f"device must be one that jax finds here: {here}; got {asked!r}")
    return device


def cpu() -> Any:
    """Where float64 is what it says: a TPU has none. Raises ValueError where JAX_PLATFORMS leaves the CPU out."""
    device = _first("cpu")
    if device is None:
        asked = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        add = f"which JAX_PLATFORMS={asked} leaves out: add it ({asked},cpu)"
        raise ValueError(f"float64 is computed on the CPU, {add}")
    return device


def _first(platform: str) -> Any:
    try:
        return next(iter(jax.local_devices(backend=platform)), None)
    except RuntimeError:
        return None
