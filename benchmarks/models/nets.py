"""Whole nets: ResNet-18 in flax linen and in nnx against a torch one, right and with one error deep inside."""

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox
import flax.linen as nn
import jax
import numpy as np
import torch
from flax import nnx

AROUND: Any = ((1, 1), (1, 1))
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Of ResNet-18: the channels of two blocks each, and the stride of the first."""


class Block(torch.nn.Module):
    def __init__(self, inside: int, out: int, stride: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(out)
        self.conv2 = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(out)
        self.down = None
        if stride > 1:
            self.down = torch.nn.Sequential(
                torch.nn.Conv2d(inside, out, 1, stride, bias=False), torch.nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(h + (x if self.down is None else self.down(x)))


class ResNet(torch.nn.Module):
    """ResNet-18, of 11 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False), torch.nn.BatchNorm2d(64)
        self.pool = torch.nn.MaxPool2d(3, 2, 1)
        blocks, inside = [], 64
        for out, stride in STAGES:
            blocks += [Block(inside, out, stride), Block(out, out, 1)]
            inside = out
        self.blocks = torch.nn.Sequential(*blocks)
        self.fc = torch.nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(self.blocks(x).mean((2, 3)))


class LinenBlock(nn.Module):
    out: int
    stride: int
    train: bool
    same: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def norm(name: str) -> Any:
            return nn.BatchNorm(not self.train, momentum=0.9, name=name)

        padding = "SAME" if self.same else 1
        h = nn.Conv(self.out, (3, 3), self.stride, padding, use_bias=False, name="conv1")(x)
        h = nn.Conv(self.out, (3, 3), 1, 1, use_bias=False, name="conv2")(nn.relu(norm("bn1")(h)))
        h = norm("bn2")(h)
        if self.stride > 1:
            x = norm("down_bn")(nn.Conv(self.out, (1, 1), self.stride, use_bias=False, name="down_conv")(x))
        return nn.relu(h + x)


class LinenResNet(nn.Module):
    train: bool = False
    same: int = -1
    """The block whose first convolution pads with SAME, in error."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(64, (7, 7), 2, 3, use_bias=False, name="conv1")(x)
        x = nn.relu(nn.BatchNorm(not self.train, momentum=0.9, name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), AROUND)
        blocks = [block for width, step in STAGES for block in ((width, step), (width, 1))]
        for i, (out, stride) in enumerate(blocks):
            x = LinenBlock(out, stride, self.train, i == self.same, name=f"block{i}")(x)
        return nn.Dense(1000, name="fc")(x.mean((1, 2)))


class NnxBlock(nnx.Module):
    def __init__(self, inside: int, out: int, stride: int, train: bool, rngs: nnx.Rngs):
        def conv(inside: int, size: int, stride: int) -> Any:
            return nnx.Conv(inside, out, (size, size), strides=stride, padding=size // 2, use_bias=False, rngs=rngs)

        def norm() -> Any:
            return nnx.BatchNorm(out, use_running_average=not train, momentum=0.9, rngs=rngs)

        self.conv1, self.bn1, self.conv2, self.bn2 = conv(inside, 3, stride), norm(), conv(out, 3, 1), norm()
        self.down = nnx.List([conv(inside, 1, stride), norm()] if stride > 1 else [])

    def __call__(self, x: Any) -> Any:
        h = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        for part in self.down:
            x = part(x)
        return nnx.relu(h + x)


class NnxResNet(nnx.Module):
    def __init__(self, train: bool = False):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 64, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(64, use_running_average=not train, momentum=0.9, rngs=rngs)
        blocks, inside = [], 64
        for out, stride in STAGES:
            blocks += [NnxBlock(inside, out, stride, train, rngs), NnxBlock(out, out, 1, train, rngs)]
            inside = out
        self.blocks = nnx.List(blocks)
        self.fc = nnx.Linear(512, 1000, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.max_pool(nnx.relu(self.bn1(self.conv1(x))), (3, 3), (2, 2), AROUND)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((1, 2)))


class Net(NamedTuple):
    """A port of a whole net."""

    name: str
    framework: str
    port: Callable[[], Any]
    original: Callable[[], torch.nn.Module]
    inputs: tuple[Any, ...]
    where: str = ""
    """The layer that the report must name first; "" where the port is right."""
    hint: str = ""


def resnet(train: bool = False) -> torch.nn.Module:
    torch.manual_seed(0)
    net = ResNet()
    for name, leaf in [*net.named_parameters(), *net.named_buffers()]:
        if "bn" in name and leaf.is_floating_point():
            torch.nn.init.uniform_(leaf, 0.5, 1.5)
    return net.train(train)


def resnets(size: int = 64) -> Iterator[Net]:
    """The ports of ResNet-18, for pictures of that size."""
    x = np.random.default_rng(0).standard_normal((2, size, size, 3)).astype(np.float32)
    yield Net("ResNet-18, eval", "linen", LinenResNet, resnet, (x,))
    yield Net("ResNet-18, eval", "nnx", NnxResNet, resnet, (x,))
    yield Net("ResNet-18, eval, block4 pads SAME", "linen", lambda: LinenResNet(same=4), resnet, (x,), "block4.conv1",
              "SAME")  # fmt: skip
    # flax keeps the biased variance: outputs and gradients agree, and the running variance alone does not. It is noted.
    yield Net("ResNet-18, train", "linen", lambda: LinenResNet(True), lambda: resnet(True), (x,))
    yield Net("ResNet-18, train", "nnx", lambda: NnxResNet(True), lambda: resnet(True), (x,))


BLOCK = "net.blocks.0.blocks.0"
"""equimo's first block."""


class Seen(equinox.Module):
    """equimo's nets take one picture, and a key for dropout."""

    net: Any

    def __call__(self, x: Any) -> Any:
        return jax.vmap(lambda picture: self.net(picture, inference=True))(x)


def transformers(width: int = 192, depth: int = 12) -> Iterator[Net]:
    """equimo's ViT against timm's, where both are installed; raises ImportError where one is not."""
    with_torchvision()
    ported, theirs = (importlib.import_module(name) for name in ("equimo.models", "timm.models.vision_transformer"))

    heads = width // 64
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)

    def original() -> torch.nn.Module:
        torch.manual_seed(0)
        net = theirs.VisionTransformer(img_size=64, patch_size=16, embed_dim=width, depth=depth, num_heads=heads)
        for leaf in net.parameters():
            if leaf.ndim == 1:
                torch.nn.init.uniform_(leaf, 0.5, 1.5)
        return net.eval()

    def port(**settings: Any) -> Any:
        settings = {"key": jax.random.key(0), "reg_tokens": 0, "global_pool": "token", **settings}
        return Seen(ported.VisionTransformer(64, 3, width, 16, heads, [depth], **settings))

    # equimo's "gelu" is the tanh form, and timm's the exact one: a difference that nobody planted.
    name, tanh = f"ViT, {depth} blocks of {width}", "gelu(approximate=True)"
    yield Net(f"{name}, as it comes", "equimo", lambda: port(eps=1e-6), original, (x,), f"{BLOCK}.mlp.fc2", tanh)
    exact = functools.partial(jax.nn.gelu, approximate=False)
    yield Net(f"{name}, exact gelu", "equimo", lambda: port(eps=1e-6, act_layer=exact), original, (x,))
    yield Net(f"{name}, default eps", "equimo", lambda: port(act_layer=exact), original, (x,), f"{BLOCK}.prenorm",
              "eps=1e-05")  # fmt: skip


def with_torchvision() -> None:
    """timm imports torchvision, which asks for operators that a torch for the CPU alone does not have."""
    if KEPT:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.append(library)


KEPT: list[Any] = []
