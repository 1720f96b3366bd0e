"""Products and sums of products: dot, einsum, convolutions, windows, Fourier transforms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch.nn import functional as F

from .entry import EXACT, Draw, Entry, cancelling, entry, fixed, near_ties, normal, sized

IMAGE, KERNEL = (2, 4, 7, 6), (3, 4, 3, 2)


def factors(left: tuple[int, ...], right: tuple[int, ...]) -> dict[str, tuple[Draw, ...]]:
    return {
        "ordinary": (normal(*left), normal(*right)),
        "badly_conditioned": (cancelling(*left), normal(*right, scale=1e-2, shift=1)),
        "large": (sized(1e3, 1e4, *left), normal(*right)),
        "small": (sized(1e-6, 1e-4, *left), normal(*right)),
    }


def einsum(pattern: str, *shapes: tuple[int, ...]) -> Entry:
    return entry(
        f"jnp.einsum, {pattern}",
        lambda *args: jnp.einsum(pattern, *args),
        lambda *args: torch.einsum(pattern, *args),
        ordinary=tuple(normal(*shape) for shape in shapes),
        badly_conditioned=tuple(cancelling(*shape) for shape in shapes),
    )


def conv(
    stride: int = 1, pad: int = 0, dilation: int = 1, groups: int = 1
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def ours(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(
            x, w, (stride, stride), [(pad, pad)] * 2, rhs_dilation=(dilation, dilation), feature_group_count=groups
        )

    return ours, lambda x, w: F.conv2d(x, w, None, stride, pad, dilation, groups)


def conv_transpose(x: Any, w: Any) -> Any:
    """The adjoint of a convolution, as torch's is; jax's own leaves the kernel as it is."""
    return lax.conv_transpose(x, w, (2, 2), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW"), transpose_kernel=True)


def parts(z: Any) -> tuple[Any, Any]:
    return z.real, z.imag


def window(kind: str, x: Any) -> Any:
    start, reducer = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add)}[kind]
    return lax.reduce_window(x, np.asarray(start, x.dtype), reducer, (1, 3, 2), (1, 2, 2), "VALID")


def convolutions() -> list[Entry]:
    shapes = factors(IMAGE, KERNEL)
    return [
        entry("jax.lax.conv", lambda x, w: lax.conv(x, w, (1, 1), "VALID"), F.conv2d, **shapes),
        entry("jax.lax.conv_general_dilated, stride 2, padded", *conv(stride=2, pad=1), **shapes),
        entry("jax.lax.conv_general_dilated, dilated", *conv(dilation=2), **shapes),
        entry("jax.lax.conv_general_dilated, groups", *conv(groups=2), **factors(IMAGE, (4, 2, 3, 2))),
        entry(
            "jax.lax.conv_transpose",
            conv_transpose,
            lambda x, w: F.conv_transpose2d(x, w, stride=2),
            **factors(IMAGE, (4, 3, 3, 2)),
        ),
        entry(
            "jnp.convolve",
            jnp.convolve,
            lambda x, k: F.conv1d(x[None, None], k.flip(0)[None, None], padding=len(k) - 1)[0, 0],
            **factors((9,), (4,)),
        ),
        entry(
            "jnp.correlate",
            jnp.correlate,
            lambda x, k: F.conv1d(x[None, None], k[None, None])[0, 0],
            **factors((9,), (4,)),
        ),
        entry("jax.scipy.signal.fftconvolve", jax.scipy.signal.fftconvolve, None, EXACT, **factors((9,), (4,))),
        entry(
            "jax.lax.conv_general_dilated_patches",
            lambda x: lax.conv_general_dilated_patches(x, (3, 2), (1, 1), "VALID"),
            lambda x: F.unfold(x, (3, 2)).reshape(2, 24, 5, 5),
            ordinary=normal(*IMAGE),
            large=sized(1e3, 1e4, *IMAGE),
        ),
    ]


def windows() -> list[Entry]:
    ties = {"ordinary": normal(4, 7, 6), "near_kinks": near_ties(4, 7, 6), "large": sized(1e3, 1e4, 4, 7, 6)}
    return [
        entry("jax.lax.reduce_window, max", lambda x: window("max", x), lambda x: F.max_pool2d(x, (3, 2), 2), **ties),
        entry("jax.lax.reduce_window, min", lambda x: window("min", x), lambda x: -F.max_pool2d(-x, (3, 2), 2), **ties),
        entry(
            "jax.lax.reduce_window, sum",
            lambda x: window("sum", x),
            lambda x: 6 * F.avg_pool2d(x, (3, 2), 2),
            ordinary=normal(4, 7, 6),
            badly_conditioned=cancelling(4, 7, 6),
        ),
    ]


def transforms() -> list[Entry]:
    kinds = {
        "ordinary": normal(),
        "badly_conditioned": normal(shift=100),
        "large": sized(1e3, 1e4),
        "small": sized(1e-6, 1e-4),
    }
    return [
        entry("jnp.fft.fft", lambda x: parts(jnp.fft.fft(x)), lambda x: parts(torch.fft.fft(x)), EXACT, **kinds),
        entry("jnp.fft.rfft", lambda x: parts(jnp.fft.rfft(x)), lambda x: parts(torch.fft.rfft(x)), EXACT, **kinds),
        entry("jnp.fft.fft2", lambda x: parts(jnp.fft.fft2(x)), lambda x: parts(torch.fft.fft2(x)), EXACT, **kinds),
        entry(
            "jnp.fft.ifft",
            lambda x: parts(jnp.fft.ifft(x)),
            lambda x: parts(torch.fft.ifft(x).resolve_conj()),
            EXACT,
            **kinds,
        ),
        entry(
            "jnp.fft.irfft",
            lambda x, y: jnp.fft.irfft(lax.complex(x, y)),
            lambda x, y: torch.fft.irfft(torch.complex(x, y)),
            EXACT,
            ordinary=(normal(), normal()),
            large=(sized(1e3, 1e4), sized(1e3, 1e4)),
        ),
        entry(
            "jnp.abs of jnp.fft.rfft",
            lambda x: abs(jnp.fft.rfft(x)),
            lambda x: abs(torch.fft.rfft(x)),
            EXACT,
            ordinary=normal(),
            badly_conditioned=normal(shift=100),
        ),
        entry("jax.scipy.fft.dct", lambda x: jax.scipy.fft.dct(x, norm="ortho"), None, EXACT, **kinds),
    ]


def entries() -> list[Entry]:
    return (
        convolutions()
        + windows()
        + transforms()
        + [
            entry("jnp.dot", jnp.dot, torch.dot, **factors((7,), (7,))),
            entry("jnp.matmul", jnp.matmul, torch.matmul, **factors((5, 7), (7, 3))),
            entry("jnp.matmul, batched", jnp.matmul, torch.matmul, **factors((2, 5, 7), (2, 7, 3))),
            entry("jnp.matvec", jnp.matvec, lambda a, x: a @ x, **factors((5, 7), (7,))),
            entry("jnp.inner", jnp.inner, torch.inner, **factors((5, 7), (4, 7))),
            entry("jnp.outer", jnp.outer, torch.outer, **factors((5,), (7,))),
            entry("jnp.kron", jnp.kron, torch.kron, **factors((2, 3), (3, 2))),
            entry("jnp.vdot", jnp.vdot, torch.vdot, **factors((7,), (7,))),
            entry("jnp.vecdot", jnp.vecdot, torch.linalg.vecdot, **factors((5, 7), (5, 7))),
            entry(
                "jnp.tensordot",
                lambda a, b: jnp.tensordot(a, b, 2),
                lambda a, b: torch.tensordot(a, b, 2),
                **factors((3, 4, 5), (4, 5, 2)),
            ),
            einsum("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
            einsum("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)),
            einsum("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
            entry(
                "jax.lax.ragged_dot",
                lambda x, w: lax.ragged_dot(x, w, jnp.array([2, 0, 3], jnp.int32)),
                lambda x, w: torch.cat([x[:2] @ w[0], x[2:] @ w[2]]),
                ordinary=(normal(5, 7), normal(3, 7, 4)),
                badly_conditioned=(cancelling(5, 7), normal(3, 7, 4, scale=1e-2, shift=1)),
            ),
            entry(
                "jnp.vander",
                lambda x: jnp.vander(x, 4),
                lambda x: torch.linalg.vander(x, N=4).flip(-1),
                ordinary=fixed(-1.5, -0.4, 0.3, 0.9, 2.0),
                small=sized(1e-4, 1e-2, 5),
            ),
        ]
    )
