"""What the machine can do at best, measured in the same run: the rate of a product, and of reading memory."""

import jax
import jax.numpy as jnp

from . import peers
from .clock import Call, in_turn


def measure(rounds: int, quick: bool) -> dict[str, float]:
    """`gflops`, the best rate of a jitted float32 product [n, n] @ [n, n], and `read_gb_s`, that of a jitted sum."""
    n, elements = (256, 10**6) if quick else (8192, 10**9) if peers.on_gpu() else (2048, 50_000 * 784)
    a, b = (jax.random.normal(jax.random.key(seed), (n, n)) for seed in (0, 1))
    long = jax.random.normal(jax.random.key(2), (elements,))
    product, total = jax.jit(jnp.dot), jax.jit(jnp.sum)
    calls = [Call(lambda: product(a, b).block_until_ready()), Call(lambda: total(long).block_until_ready())]
    multiply, read = in_turn(calls, rounds)
    # The best round, not the median: a floor is what nothing is below.
    return {
        "gflops": 2 * n**3 / multiply.least / 1e6,
        "product_size": n,
        "read_gb_s": 4 * elements / read.least / 1e6,
        "read_mb": 4 * elements / 1e6,
    }


def operations(sizes: tuple[int, ...], n: int, x_bar: bool) -> float:
    """Operations of the products of one forward and backward pass of the net over n rows, in 10**9."""
    pairs = list(zip(sizes, sizes[1:], strict=False))
    # Forward, w_bar, and the cotangent of what comes in, which the first layer needs for x_bar alone.
    products = sum(3 * fan_in * fan_out for fan_in, fan_out in pairs) - (0 if x_bar else sizes[0] * sizes[1])
    return 2 * n * products / 1e9
