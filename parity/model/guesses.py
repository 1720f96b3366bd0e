"""What a wrong step looks like: the original's layer runs again in known variants, to see which gives the port's."""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..case.torch_arrays import to_numpy, to_torch, torch
from .alignment import Alignment
from .counterparts import Counterparts
from .layout import permutations
from .marks import Place

CLOSE = 1e-6
"""A variant is named if it is this near to the port's values, relative to the largest."""
EPS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 0.0)
Variant = tuple[str, Callable[..., Any]]
"""What it is called, and the function of the layer's inputs."""

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": torch.nn.functional.gelu,
    "gelu(approximate=True)": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "leaky_relu(0.01)": torch.nn.functional.leaky_relu,
    "leaky_relu(0.2)": lambda x: torch.nn.functional.leaky_relu(x, 0.2),
    "elu": torch.nn.functional.elu,
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "hardswish": torch.nn.functional.hardswish,
    "softplus": torch.nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "nothing": lambda x: x,
}


def hints_of(
    order: Sequence[Place], wrong: Mapping[Place, np.ndarray], both: Counterparts, align: Alignment
) -> dict[Place, str]:
    """What each wrong step of the way forward looks like, where that is known.

    order: the marks on the way forward. wrong: what the port computed at those that differ.
    """
    found: dict[Place, str] = {}
    last: np.ndarray | None = None  # what a step begins with: the original's value at the mark before
    for place in order:
        theirs = align.known(place)
        if theirs is None:
            continue
        if place in wrong and wrong[place].shape == theirs.shape:
            port, hint = wrong[place], ""
            if place.role == "in" and last is not None:
                hint = between(last, port, theirs)
            other = both.pairs[place.path]
            if place.role == "out" and other in both.original.parts:
                inputs = [both.recording.values[p] for p in both.recording.leaves(other, "in", place.call)]
                hint = variant_of(both.original.parts[other], inputs, port)
            found[place] = hint or looks_like(port, theirs)
        last = theirs
    return found


def looks_like(port: np.ndarray, original: np.ndarray) -> str:
    """What the port's array is of the original's: a multiple, the same numbers in another order, or ""."""
    size = float(np.max(np.abs(original), initial=0))
    if port.shape != original.shape or not size or original.dtype.kind != "f" or not np.isfinite(port).all():
        return ""
    factor = float(np.vdot(original, port) / np.vdot(original, original))
    if factor and abs(factor - 1) > CLOSE and _close(port, factor * original):
        return f"{factor:.6g} times the original's{_as_a_root(abs(factor))}"
    if _close(np.sort(port, axis=None), np.sort(original, axis=None)):
        return "the original's numbers in another order: an array that is reshaped or transposed otherwise"
    return ""


def _as_a_root(factor: float) -> str:
    """` (the root of 8)`, ` (1 / the root of 8)`, or "" where a factor is neither."""
    for under, square in (("", factor**2), ("1 / ", factor**-2)):
        if abs(square - round(square)) < 1e-5 and abs(square**0.5 - round(square**0.5)) > 1e-5:
            return f" ({under}the root of {round(square)})"
    return ""


def between(x: np.ndarray, port: np.ndarray, original: np.ndarray) -> str:
    """Which functions of the array before it, if any, the two are that should be one."""
    if x.shape != port.shape or x.dtype.kind != "f":
        return ""
    found = {name: to_numpy(fun(to_torch(x))) for name, fun in FUNCTIONS.items()}
    ours = next((name for name, y in found.items() if _close(y, port)), None)
    theirs = next((name for name, y in found.items() if _close(y, original)), None)
    if ours is None:
        return ""
    return ours + (f", where the original has {theirs}" if theirs else "")


def variant_of(layer: Any, inputs: list[np.ndarray], port: np.ndarray) -> str:
    """The variant of a torch layer that gives the port's output for these inputs; "" if none does."""
    tensors = [to_torch(x) for x in inputs]
    for name, call in variants(layer):
        try:
            with torch.no_grad():
                y = call(*tensors)
        except Exception:
            continue  # it does not fit these inputs
        y = to_numpy(y[0] if isinstance(y, tuple) else y)
        if any(y.transpose(p).shape == port.shape and _close(y.transpose(p), port) for p in permutations(y.ndim)):
            return name
    return ""


def variants(layer: Any) -> Iterator[Variant]:
    """Known variants of a torch layer."""
    if (eps := getattr(layer, "eps", None)) is not None:
        for other in EPS:
            if other != eps:
                yield f"eps={other:g}, where the original has {eps:g}", _with(layer, eps=other)
    if getattr(layer, "bias", None) is not None and isinstance(layer.bias, torch.Tensor):
        yield "no bias", _with(layer, bias=None)
    weight: Any = getattr(layer, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.ndim >= 2:
        if weight.shape[0] == weight.shape[1]:
            yield "a transposed weight", _with(layer, weight=weight.transpose(0, 1))
        if weight.ndim > 2:
            spatial = list(range(2, weight.ndim))
            yield "a kernel that is not flipped", _with(layer, weight=weight.flip(spatial))
            if weight.shape[0] == weight.shape[1]:
                both = weight.flip(spatial).transpose(0, 1)
                yield "a transposed kernel that is not flipped", _with(layer, weight=both)
            if weight.shape[-1] == weight.shape[-2]:
                yield "a kernel with height and width swapped", _with(layer, weight=weight.transpose(-1, -2))
    yield from _paddings(layer)
    for name, values in _SETTINGS.items():
        if hasattr(layer, name):
            for value in values:
                if value != getattr(layer, name):
                    has = f"where the original has {getattr(layer, name)}"
                    yield f"{name}={value}, {has}", _with(layer, **{name: value})
    if isinstance(layer, torch.nn.MultiheadAttention) and layer.in_proj_weight is not None:
        yield "attention that is not scaled by 1 / sqrt(the width of a head)", _unscaled(layer)
    hidden: Any = getattr(layer, "weight_hh", None)
    if hidden is not None and (gates := hidden.shape[0] // hidden.shape[1]) in (3, 4):
        for order in itertools.permutations(range(gates)):
            if list(order) != sorted(order):
                names = ("r z n" if gates == 3 else "i f g o").split()
                yield f"gates in the order {', '.join(names[i] for i in order)}", _with(layer, **_gates(layer, order))


_SETTINGS: dict[str, tuple[Any, ...]] = {
    "approximate": ("none", "tanh"),
    "negative_slope": (0.01, 0.1, 0.2, 0.3),
    "count_include_pad": (True, False),
    "ceil_mode": (True, False),
    "align_corners": (True, False),
    "antialias": (True, False),
    "dim": (-1, 0, 1),
}


def _paddings(layer: Any) -> Iterator[Variant]:
    """A convolution with stride pads on one side more by SAME, and explicit padding on both alike."""
    strided = (
        any(stride > 1 for stride in getattr(layer, "stride", ()) or ()) if hasattr(layer, "in_channels") else False
    )
    if not strided or type(layer).__name__.startswith("ConvTranspose") or isinstance(layer.padding, str):
        return

    def same(x: Any) -> Any:
        pads: list[int] = []
        for size, k, s, d in zip(x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return _with(layer, padding=tuple(0 for _ in layer.padding))(torch.nn.functional.pad(x, pads))

    yield 'padding "SAME", which pads more on the far side', same


def _with(layer: Any, **changes: Any) -> Any:
    """A copy of the layer with other settings or weights."""
    changed = copy.deepcopy(layer)
    for name, value in changes.items():
        if isinstance(value, torch.Tensor):
            value = torch.nn.Parameter(value.detach().clone())
        setattr(changed, name, value)
    return changed


def _unscaled(layer: Any) -> Callable[..., Any]:
    root = (layer.embed_dim // layer.num_heads) ** 0.5
    grown = torch.ones(3 * layer.embed_dim, dtype=layer.in_proj_weight.dtype)
    grown[: layer.embed_dim] = root
    changed = _with(
        layer, in_proj_weight=layer.in_proj_weight * grown[:, None], in_proj_bias=layer.in_proj_bias * grown
    )
    return lambda q, k=None, v=None: changed(q, q if k is None else k, (q if k is None else k) if v is None else v)


def _gates(layer: Any, order: tuple[int, ...]) -> dict[str, Any]:
    names = [name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if getattr(layer, name) is not None]
    return {name: torch.cat([getattr(layer, name).chunk(len(order))[i] for i in order]) for name in names}


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.max(np.abs(a - b), initial=0) <= CLOSE * max(float(np.max(np.abs(b), initial=0)), 1e-300))
