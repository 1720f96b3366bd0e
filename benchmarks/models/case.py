"""One port of one layer against torch's, and whether the check says of it what it should."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox
import flax.linen as linen
import jax
import numpy as np
import torch
from flax import nnx

from pullback import parity


class Case(NamedTuple):
    """A port, right or with one error."""

    layer: str
    framework: str
    error: str
    """What is wrong with it; "" where nothing is."""
    port: Callable[[], Any]
    original: Callable[[], torch.nn.Module]
    inputs: tuple[np.ndarray, ...]
    original_inputs: tuple[np.ndarray, ...]
    hint: str = ""
    """What the report must say it looks like, or a part of that."""
    where: str = ""
    """The layer of the port that must be named."""
    options: tuple[tuple[str, Any], ...] = ()
    """More arguments of `check_model`."""


class Found(NamedTuple):
    """What the check said."""

    as_it_should: bool
    said: str


class Applied(linen.Module):
    """A function as a model: what it makes inside are its layers."""

    fun: Callable[..., Any]

    @linen.compact
    def __call__(self, *args: Any) -> Any:
        return self.fun(*args)


class Held(nnx.Module):
    """A function of an nnx layer as a model."""

    def __init__(self, fun: Callable[..., Any], *layers: Any):
        self.fun = fun
        self.layers = nnx.List(layers)

    def __call__(self, *args: Any) -> Any:
        return self.fun(*self.layers, *args)


class Batched(equinox.Module):
    """equinox's layers take one example: this one takes a batch."""

    layer: Any

    def __call__(self, *args: Any) -> Any:
        return jax.vmap(self.layer)(*args)


class BatchedWithState(equinox.Module):
    """The same for a layer that takes its state, and returns it."""

    layer: Any

    def __call__(self, x: Any, state: Any) -> Any:
        return jax.vmap(self.layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)


def randomized(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The net with other numbers than those it is born with: biases of 0 and variances of 1 hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for leaf in [*net.parameters(), *net.buffers()]:
            if leaf.is_floating_point():
                leaf.copy_(torch.rand(leaf.shape, generator=generator) * 0.6 + (0.5 if leaf.ndim == 1 else -0.3))
    return net.eval()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def channels_second(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def cases(
    layer: str,
    original: Callable[[], torch.nn.Module],
    *inputs: np.ndarray,
    linen: Callable[[], Any] | None = None,
    nnx: Callable[[], Any] | None = None,
    equinox: Callable[[], Any] | None = None,
    picture: bool = False,
    mode: Callable[[torch.nn.Module], torch.nn.Module] = lambda net: net,
    wrong: tuple[tuple[Any, ...], ...] = (),
    **options: Any,
) -> Iterator[Case]:
    """The right ports of a layer and the wrong ones.

    inputs: as flax takes them. picture: they have their channels last, and torch and equinox want them second. mode:
    what becomes of the torch net. wrong: (framework, error, port, hint), and the path of the layer if it is in a net.
    """
    first = tuple(channels_second(x) if picture else x for x in inputs)
    ports = [("linen", "", linen, ""), ("nnx", "", nnx, ""), ("equinox", "", equinox, ""), *wrong]
    for framework, error, port, hint, *path in ports:
        if port is None:
            continue
        ours = first if framework == "equinox" else inputs
        where = path[0] if path else "layer" if framework == "equinox" else ""
        made = functools.partial(_made, original, mode)
        extra = tuple(options.items())
        yield Case(layer, framework, error, port, made, ours, first, hint, where, extra)


def _made(original: Callable[[], torch.nn.Module], mode: Callable[[torch.nn.Module], torch.nn.Module]) -> Any:
    return mode(randomized(original()))


def judged(case: Case) -> Found:
    """What the check says of a case."""
    try:
        report = parity.check_model(
            case.port(), case.original(), case.inputs, original_inputs=case.original_inputs, **dict(case.options)
        )
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        return Found(bool(case.error) and isinstance(error, ValueError) and case.hint in said and bool(case.hint), said)
    first = report.first_divergence
    if not case.error:
        compared = any(step.place.role == "out" and not step.place.backward for step in report.steps)
        only = ", ".join([*report.unmapped["port"], *report.unmapped["original"]])
        said = str(first) if first else f"unmapped: {only}" if only else "" if compared else "nothing compared"
        return Found(report.ok and report.exit_code == 0 and compared, said)
    if first is None:
        return Found(False, "not seen")
    right = report.exit_code == 1 and first.path == case.where and case.hint in first.hint
    return Found(right, first.hint or str(first))
