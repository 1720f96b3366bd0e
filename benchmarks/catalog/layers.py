"""equinox.nn: layers as functions of their parameters and of what they are called with."""

from typing import Any

import jax
import torch
from equinox import nn
from torch.nn import functional as F

from .cells import KEY, layer, without_numbers
from .entry import Draw, Entry, cancelling, entry, near, near_ties, normal, sized, whole


def rows(layer: Any, x: Any) -> Any:
    return jax.vmap(layer)(x)


def kinds(*parameters: Draw, x: tuple[int, ...], small: bool = True) -> dict[str, tuple[Draw, ...]]:
    """The same parameters with x of several kinds."""
    found = {"ordinary": normal(*x), "badly_conditioned": normal(*x, shift=30), "large": sized(1e2, 1e3, *x)}
    found |= {"small": sized(1e-4, 1e-2, *x)} if small else {}
    return {kind: (*parameters, draw) for kind, draw in found.items()}


def group_norm(w: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.group_norm(x[None], 2, w, b)[0]


def mlp(w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.linear(torch.tanh(F.linear(x, w1, b1)), w2, b2)


def relu_mlp(w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.linear(torch.relu(F.linear(x, w1, b1)), w2, b2)


def weight_norm(v: torch.Tensor, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, v * g / v.norm(dim=1, keepdim=True))


def convolutions() -> list[Entry]:
    w, b, x = normal(3, 4, 3, 2, scale=0.5), normal(3, 1, 1), (4, 7, 6)
    plain = without_numbers(nn.Conv2d, 4, 3, (3, 2), key=KEY)
    strided = without_numbers(nn.Conv2d, 4, 3, (3, 2), stride=2, padding=1, key=KEY)
    transposed = without_numbers(nn.ConvTranspose2d, 4, 3, (3, 2), stride=2, key=KEY)
    return [
        entry(
            "equinox.nn.Conv1d",
            layer(without_numbers(nn.Conv1d, 4, 3, 3, key=KEY), ("weight", "bias")),
            lambda w, b, x: F.conv1d(x[None], w, b[:, 0])[0],
            **kinds(normal(3, 4, 3), normal(3, 1), x=(4, 9)),
        ),
        entry(
            "equinox.nn.Conv2d",
            layer(plain, ("weight", "bias")),
            lambda w, b, x: F.conv2d(x[None], w, b[:, 0, 0])[0],
            **kinds(w, b, x=x),
        ),
        entry(
            "equinox.nn.Conv2d, strided",
            layer(strided, ("weight", "bias")),
            lambda w, b, x: F.conv2d(x[None], w, b[:, 0, 0], 2, 1)[0],
            **kinds(w, b, x=x),
        ),
        entry(
            "equinox.nn.ConvTranspose2d",
            layer(transposed, ("weight", "bias")),
            lambda w, b, x: F.conv_transpose2d(x[None], w.transpose(0, 1).flip(2, 3), b[:, 0, 0], 2)[0],
            **kinds(w, b, x=x),
        ),
    ]


def norms() -> list[Entry]:
    w, b = normal(7), normal(7)
    return [
        entry(
            "equinox.nn.LayerNorm",
            layer(without_numbers(nn.LayerNorm, 7), ("weight", "bias"), rows),
            lambda w, b, x: F.layer_norm(x, (7,), w, b),
            **kinds(w, b, x=(5, 7)),
        ),
        entry(
            "equinox.nn.RMSNorm",
            layer(without_numbers(nn.RMSNorm, 7), ("weight", "bias"), rows),
            lambda w, b, x: F.rms_norm(x, (7,), w, 1e-5) + b,
            **kinds(w, b, x=(5, 7)),
        ),
        entry(
            "equinox.nn.GroupNorm",
            layer(without_numbers(nn.GroupNorm, 2, 4), ("weight", "bias")),
            group_norm,
            **kinds(normal(4), normal(4), x=(4, 5, 3)),
        ),
        entry(
            "equinox.nn.WeightNorm",
            layer(
                without_numbers(lambda: nn.WeightNorm(nn.Linear(7, 4, use_bias=False, key=KEY))),
                ("layer.weight", "g"),
                rows,
            ),
            weight_norm,
            **kinds(normal(4, 7), normal(4, 1), x=(5, 7)),
        ),
    ]


def entries() -> list[Entry]:
    names = tuple(f"layers.{n}.{part}" for n in (0, 1) for part in ("weight", "bias"))
    net = (normal(6, 7, scale=0.4), normal(6), normal(3, 6, scale=0.4), normal(3))
    return (
        convolutions()
        + norms()
        + [
            entry(
                "equinox.nn.Linear",
                layer(without_numbers(nn.Linear, 7, 4, key=KEY), ("weight", "bias"), rows),
                lambda w, b, x: F.linear(x, w, b),
                **kinds(normal(4, 7), normal(4), x=(5, 7)),
            ),
            entry(
                "equinox.nn.MLP, tanh",
                layer(without_numbers(nn.MLP, 7, 3, 6, 1, jax.numpy.tanh, key=KEY), names, rows),
                mlp,
                ordinary=(*net, normal()),
                badly_conditioned=(*net, cancelling()),
                small=(*net, sized(1e-4, 1e-2)),
            ),
            entry(
                "equinox.nn.MLP, relu",
                layer(without_numbers(nn.MLP, 7, 3, 6, 1, key=KEY), names, rows),
                relu_mlp,
                ordinary=(*net, normal()),
                large=(*net, sized(1e2, 1e3)),
            ),
            entry(
                "equinox.nn.PReLU",
                layer(without_numbers(nn.PReLU), ("negative_slope",)),
                lambda slope, x: torch.where(x >= 0, x, slope * x),
                ordinary=(normal(), normal()),
                near_kinks=(normal(), near(0)),
            ),
            entry(
                "equinox.nn.Embedding",
                layer(without_numbers(nn.Embedding, 6, 4, key=KEY), ("weight",), rows),
                lambda w, i: F.embedding(i.long(), w),
                ordinary=(normal(6, 4), whole(0, 6, 9)),
                large=(sized(1e3, 1e4, 6, 4), whole(0, 6, 9)),
            ),
            entry(
                "equinox.nn.AvgPool1d",
                nn.AvgPool1d(3, 2),
                lambda x: F.avg_pool1d(x, 3, 2),
                ordinary=normal(4, 9),
                badly_conditioned=cancelling(4, 9),
            ),
            entry(
                "equinox.nn.MaxPool2d",
                nn.MaxPool2d((3, 2), 2),
                lambda x: F.max_pool2d(x, (3, 2), 2),
                ordinary=normal(4, 7, 6),
                near_kinks=near_ties(4, 7, 6),
            ),
            entry(
                "equinox.nn.AdaptiveAvgPool1d",
                nn.AdaptiveAvgPool1d(3),
                lambda x: F.adaptive_avg_pool1d(x, 3),
                ordinary=normal(4, 9),
                badly_conditioned=cancelling(4, 9),
            ),
        ]
    )
