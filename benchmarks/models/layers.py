"""Layers with weights in flax linen, flax nnx and equinox: right, and with each default that differs from torch's."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import numpy as np
import torch
from flax import nnx

from .case import Batched, BatchedWithState, Case, cases, normal

KEY = jax.random.key(0)


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def all_cases() -> Iterator[Case]:
    yield from linear()
    yield from convolutions()
    yield from transposed()
    yield from norms()


def linear() -> Iterator[Case]:
    yield from cases(
        "Linear", lambda: torch.nn.Linear(6, 5), normal(4, 6),
        linen=lambda: nn.Dense(5),
        nnx=lambda: nnx.Linear(6, 5, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.Linear(6, 5, key=KEY)),
        wrong=(
            ("linen", "no bias", lambda: nn.Dense(5, use_bias=False), "no bias"),
            ("nnx", "no bias", lambda: nnx.Linear(6, 5, use_bias=False, rngs=rngs()), "no bias"),
            ("equinox", "no bias", lambda: Batched(eqx.nn.Linear(6, 5, use_bias=False, key=KEY)), "no bias"),
        ),
    )  # fmt: skip
    square = np.asarray(torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3)
    yield from cases(
        "Linear, square", lambda: torch.nn.Linear(6, 6, bias=False), normal(4, 6),
        linen=lambda: (nn.Dense(6, use_bias=False), {"params": {"kernel": square.T}}),
        wrong=(("linen", "transposed weight", lambda: (nn.Dense(6, use_bias=False), {"params": {"kernel": square}}),
                "transposed weight"),),
    )  # fmt: skip
    yield from cases(
        "Linear, two axes", lambda: torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Unflatten(1, (2, 3))),
        normal(4, 6),
        linen=lambda: nn.DenseGeneral((2, 3)),
        nnx=lambda: nnx.LinearGeneral(6, (2, 3), rngs=rngs()),
    )  # fmt: skip
    ids = np.array([[1, 3, 0], [7, 2, 2]], np.int32)
    yield from cases(
        "Embedding", lambda: torch.nn.Embedding(9, 4), ids,
        linen=lambda: nn.Embed(9, 4),
        nnx=lambda: nnx.Embed(9, 4, rngs=rngs()),
        equinox=lambda: Batched(Batched(eqx.nn.Embedding(9, 4, key=KEY))),
    )  # fmt: skip
    yield from cases(
        "Embedding, padding_idx", lambda: torch.nn.Embedding(9, 4, padding_idx=0), ids,
        wrong=(("linen", "row 0 learns", lambda: nn.Embed(9, 4), "padding_idx"),
               ("nnx", "row 0 learns", lambda: nnx.Embed(9, 4, rngs=rngs()), "padding_idx")),
    )  # fmt: skip


def convolutions() -> Iterator[Case]:
    yield from cases(
        "Conv1d", lambda: torch.nn.Conv1d(3, 4, 3, dilation=2), normal(2, 9, 3), picture=True,
        linen=lambda: nn.Conv(4, (3,), padding="VALID", kernel_dilation=2),
        nnx=lambda: nnx.Conv(3, 4, (3,), padding="VALID", kernel_dilation=2, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.Conv1d(3, 4, 3, dilation=2, key=KEY)),
    )  # fmt: skip
    yield from cases(
        "Conv2d, stride 2", lambda: torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), normal(2, 8, 8, 3), picture=True,
        linen=lambda: nn.Conv(4, (3, 3), strides=2, padding=1),
        nnx=lambda: nnx.Conv(3, 4, (3, 3), strides=2, padding=1, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.Conv2d(3, 4, 3, stride=2, padding=1, key=KEY)),
        wrong=(
            ("linen", "padding SAME", lambda: nn.Conv(4, (3, 3), strides=2), "SAME"),
            ("nnx", "padding SAME", lambda: nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs()), "SAME"),
            ("equinox", "padding SAME",
             lambda: Batched(eqx.nn.Conv2d(3, 4, 3, stride=2, padding="SAME", key=KEY)), "SAME"),
            ("linen", "no bias", lambda: nn.Conv(4, (3, 3), strides=2, padding=1, use_bias=False), "no bias"),
        ),
    )  # fmt: skip
    yield from cases(
        "Conv2d, groups", lambda: torch.nn.Conv2d(4, 6, 3, groups=2, padding=1), normal(2, 5, 5, 4), picture=True,
        linen=lambda: nn.Conv(6, (3, 3), feature_group_count=2),
        nnx=lambda: nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.Conv2d(4, 6, 3, groups=2, padding=1, key=KEY)),
    )  # fmt: skip
    kernel = np.asarray(torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3)
    yield from cases(
        "Conv2d, given weights", lambda: torch.nn.Conv2d(3, 4, 3, bias=False), normal(2, 6, 6, 3), picture=True,
        linen=lambda: given_conv(kernel.transpose(2, 3, 1, 0)),
        wrong=(
            ("linen", "flipped kernel", lambda: given_conv(kernel[:, :, ::-1, ::-1].transpose(2, 3, 1, 0)), "flipped"),
            ("linen", "height and width swapped", lambda: given_conv(kernel.transpose(3, 2, 1, 0)), "swapped"),
        ),
    )  # fmt: skip
    yield from cases(
        "Conv3d", lambda: torch.nn.Conv3d(2, 3, 2), normal(2, 4, 4, 4, 2), picture=True,
        linen=lambda: nn.Conv(3, (2, 2, 2), padding="VALID"),
        nnx=lambda: nnx.Conv(2, 3, (2, 2, 2), padding="VALID", rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.Conv3d(2, 3, 2, key=KEY)),
    )  # fmt: skip


def given_conv(kernel: np.ndarray) -> Any:
    return nn.Conv(4, (3, 3), padding="VALID", use_bias=False), {"params": {"kernel": kernel}}


def transposed() -> Iterator[Case]:
    yield from cases(
        "ConvTranspose1d", lambda: torch.nn.ConvTranspose1d(3, 4, 3, stride=2), normal(2, 5, 3), picture=True,
        linen=lambda: nn.ConvTranspose(4, (3,), strides=(2,), padding="VALID", transpose_kernel=True),
        nnx=lambda: nnx.ConvTranspose(3, 4, (3,), strides=2, padding="VALID", transpose_kernel=True, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.ConvTranspose1d(3, 4, 3, stride=2, key=KEY)),
    )  # fmt: skip
    weight = np.asarray(torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3)
    kernel = weight.transpose(2, 3, 1, 0)

    def given(flip: bool) -> Any:
        module = nn.ConvTranspose(3, (4, 4), (2, 2), "VALID", use_bias=False, transpose_kernel=flip)
        return module, {"params": {"kernel": kernel}}

    yield from cases(
        "ConvTranspose2d", lambda: torch.nn.ConvTranspose2d(3, 3, 4, stride=2, bias=False), normal(2, 4, 4, 3),
        picture=True,
        linen=lambda: given(True),
        nnx=lambda: nnx.ConvTranspose(3, 3, (4, 4), strides=2, padding="VALID", use_bias=False, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.ConvTranspose2d(3, 3, 4, stride=2, use_bias=False, key=KEY)),
        wrong=(("linen", "kernel not flipped", lambda: given(False), "not flipped"),),
    )  # fmt: skip
    yield from cases(
        "ConvTranspose2d, padding", lambda: torch.nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), normal(2, 4, 4, 3),
        picture=True,
        linen=lambda: nn.ConvTranspose(4, (4, 4), (2, 2), "SAME"),
        nnx=lambda: nnx.ConvTranspose(3, 4, (4, 4), strides=2, padding="SAME", rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1, key=KEY)),
    )  # fmt: skip


def stateful(**settings: Any) -> Any:
    """A batch norm of equinox, and its state."""
    return eqx.nn.make_with_state(lambda: BatchedWithState(eqx.nn.BatchNorm(4, "batch", mode="batch", **settings)))()


class Own(nn.BatchNorm):
    """A layer of one's own, whose mistakes are its own too."""


def small(*shape: int) -> np.ndarray:
    """Numbers so small that eps shows."""
    return normal(*shape) * np.float32(0.02)


def norms() -> Iterator[Case]:
    yield from cases(
        "LayerNorm", lambda: torch.nn.LayerNorm(6), small(4, 6),
        linen=lambda: nn.LayerNorm(epsilon=1e-5),
        nnx=lambda: nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.LayerNorm(6)),
        wrong=(
            ("linen", "eps 1e-6", nn.LayerNorm, "eps=1e-06"),
            ("nnx", "eps 1e-6", lambda: nnx.LayerNorm(6, rngs=rngs()), "eps=1e-06"),
            ("equinox", "eps 1e-3", lambda: Batched(eqx.nn.LayerNorm(6, eps=1e-3)), "eps=0.001"),
            ("linen", "no bias", lambda: nn.LayerNorm(epsilon=1e-5, use_bias=False), "no bias"),
        ),
    )  # fmt: skip
    yield from cases(
        "RMSNorm", lambda: torch.nn.RMSNorm(6, eps=1e-5), small(4, 6),
        linen=lambda: nn.RMSNorm(epsilon=1e-5),
        nnx=lambda: nnx.RMSNorm(6, epsilon=1e-5, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.RMSNorm(6, eps=1e-5, use_bias=False)),
        wrong=(("linen", "eps 1e-6", nn.RMSNorm, "eps=1e-06"),
               ("nnx", "eps 1e-6", lambda: nnx.RMSNorm(6, rngs=rngs()), "eps=1e-06"),
               ("linen", "the mean is subtracted",
                lambda: nn.LayerNorm(epsilon=1e-5, use_bias=False), "the mean subtracted")),
    )  # fmt: skip
    yield from cases(
        "RMSNorm, eps by dtype", lambda: torch.nn.RMSNorm(6), small(4, 6),
        linen=lambda: nn.RMSNorm(epsilon=float(np.finfo(np.float32).eps)),
        wrong=(("linen", "eps 1e-6", nn.RMSNorm, "eps=1e-06"),),
    )  # fmt: skip
    yield from cases(
        "GroupNorm", lambda: torch.nn.GroupNorm(2, 4), small(2, 3, 3, 4), picture=True,
        linen=lambda: nn.GroupNorm(2, epsilon=1e-5),
        nnx=lambda: nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=rngs()),
        equinox=lambda: Batched(eqx.nn.GroupNorm(2, 4)),
        wrong=(("linen", "eps 1e-6", lambda: nn.GroupNorm(2), "eps=1e-06"),
               ("nnx", "eps 1e-6", lambda: nnx.GroupNorm(4, 2, rngs=rngs()), "eps=1e-06")),
    )  # fmt: skip
    yield from cases(
        "InstanceNorm2d", lambda: torch.nn.InstanceNorm2d(4, affine=True), small(2, 3, 3, 4), picture=True,
        linen=lambda: nn.InstanceNorm(epsilon=1e-5),
        nnx=lambda: nnx.InstanceNorm(4, epsilon=1e-5, rngs=rngs()),
        wrong=(("linen", "eps 1e-6", nn.InstanceNorm, "eps=1e-06"),),
    )  # fmt: skip
    for name, made, x, picture in (
        ("BatchNorm1d", lambda: torch.nn.BatchNorm1d(4), normal(5, 4), False),
        ("BatchNorm2d", lambda: torch.nn.BatchNorm2d(4), normal(2, 3, 3, 4), True),
    ):
        yield from cases(
            f"{name}, eval", made, x, picture=picture,
            linen=lambda: nn.BatchNorm(use_running_average=True),
            nnx=lambda: nnx.BatchNorm(4, use_running_average=True, rngs=rngs()),
            equinox=lambda: stateful(inference=True),
            wrong=(
                ("linen", "train mode", lambda: nn.BatchNorm(use_running_average=False), "train mode"),
                ("linen", "eps 1e-3", lambda: nn.BatchNorm(True, epsilon=1e-3), "eps=0.001"),
                ("nnx", "train mode", lambda: nnx.BatchNorm(4, use_running_average=False, rngs=rngs()), "train mode"),
            ),
        )  # fmt: skip
        yield from cases(
            f"{name}, train", made, x, picture=picture, mode=lambda net: net.train(),
            linen=lambda: nn.BatchNorm(False, momentum=0.9),
            nnx=lambda: nnx.BatchNorm(4, use_running_average=False, momentum=0.9, rngs=rngs()),
            equinox=lambda: stateful(momentum=0.9),
            wrong=(
                ("linen", "biased variance kept by a layer of one's own", lambda: Own(False, momentum=0.9),
                 "biased variance"),
                ("equinox", "momentum 0.99", stateful, "momentum"),
                ("linen", "momentum 0.1", lambda: nn.BatchNorm(False, momentum=0.1), "momentum"),
                ("linen", "momentum 0.99", lambda: nn.BatchNorm(False), "momentum"),
                ("linen", "eval mode", lambda: nn.BatchNorm(True), "eval mode"),
            ),
        )  # fmt: skip
