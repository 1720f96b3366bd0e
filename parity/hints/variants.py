"""Known variants of torch's layers: other settings, other weights, another mode."""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ..case.torch_arrays import torch

EPS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 0.0)
SETTINGS: dict[str, tuple[Any, ...]] = {
    "approximate": ("none", "tanh"),
    "negative_slope": (0.01, 0.1, 0.2, 0.3),
    "count_include_pad": (True, False),
    "ceil_mode": (True, False),
    "align_corners": (True, False),
    "dim": (-1, 0, 1),
    "nonlinearity": ("tanh", "relu"),
}
GATES = {torch.nn.GRUCell: "rzn", torch.nn.LSTMCell: "ifgo"}
Variant = tuple[str, Callable[..., Any]]
"""What it is called, and the function of the layer's inputs."""


def variants_of(layer: Any) -> Iterator[Variant]:
    """Known variants of a torch layer."""
    if isinstance(layer, torch.nn.MultiheadAttention):
        yield from _of_attention(layer)
        return
    if (eps := getattr(layer, "eps", None)) is not None:
        for other in EPS:
            if other != eps:
                yield f"eps={other:g}, where the original has {eps:g}", _with(layer, eps=other)
    yield from _of_norms(layer)
    yield from _of_weights(layer)
    yield from _of_windows(layer)
    for name, values in SETTINGS.items():
        if hasattr(layer, name):
            has = f"where the original has {getattr(layer, name)}"
            for value in values:
                if value != getattr(layer, name):
                    yield f"{name}={value}, {has}", _with(layer, **{name: value})
    if isinstance(layer, torch.nn.Upsample):
        yield from _of_resizing(layer)
    yield from _of_gates(layer)


def _of_weights(layer: Any) -> Iterator[Variant]:
    if isinstance(getattr(layer, "bias", None), torch.Tensor):
        yield "no bias", _with(layer, bias=None)
    weight: Any = getattr(layer, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim < 2:
        return
    square = weight.shape[0] == weight.shape[1]
    if square:
        yield "a transposed weight", _with(layer, weight=weight.transpose(0, 1))
    if weight.ndim > 2:
        flipped = weight.flip(list(range(2, weight.ndim)))
        yield "a kernel that is not flipped", _with(layer, weight=flipped)
        if square:
            yield "a transposed kernel that is not flipped", _with(layer, weight=flipped.transpose(0, 1))
        if weight.shape[-1] == weight.shape[-2]:
            yield "a kernel with height and width swapped", _with(layer, weight=weight.transpose(-1, -2))


def _of_norms(layer: Any) -> Iterator[Variant]:
    if getattr(layer, "running_mean", None) is not None:
        modes = "eval mode (the running statistics)", "train mode (the batch's own statistics)"
        had, other = modes[::1] if not layer.training else modes[::-1]
        yield f"{other}, where the original is in {had}", _with(layer, training=not layer.training)
    if isinstance(layer, torch.nn.GroupNorm):
        for groups in (each for each in range(1, layer.num_channels + 1) if layer.num_channels % each == 0):
            if groups != layer.num_groups:
                said = f"num_groups={groups}, where the original has {layer.num_groups}"
                yield said, _with(layer, num_groups=groups)
    if not isinstance(layer, (torch.nn.LayerNorm, torch.nn.RMSNorm)):
        return
    axes = tuple(range(-len(layer.normalized_shape), 0))
    weight, bias, eps = layer.weight, getattr(layer, "bias", None), layer.eps or 0.0

    def normed(x: Any, centred: bool, unbiased: bool, outside: bool) -> Any:
        x = x - x.mean(axes, keepdim=True) if centred else x
        count = layer.weight.numel() if weight is not None else 0
        square = (x * x).mean(axes, keepdim=True) * (count / (count - 1) if unbiased else 1)
        y = x / (square.sqrt() + eps if outside else (square + eps).sqrt())
        return y * (1 if weight is None else weight) + (0 if bias is None else bias)

    centred = isinstance(layer, torch.nn.LayerNorm)
    if weight is not None and weight.numel() > 1:
        yield "the unbiased variance, where the original has the biased one", lambda x: normed(x, centred, True, False)
    yield "eps added outside of the root", lambda x: normed(x, centred, False, True)
    text = "the mean not subtracted" if centred else "the mean subtracted"
    yield f"{text}, where the original is {type(layer).__name__}", lambda x: normed(x, not centred, False, False)


def _of_windows(layer: Any) -> Iterator[Variant]:
    """Convolutions and pools: with stride, SAME pads more on one side, and explicit padding on both alike."""
    name = type(layer).__name__
    largest, average = name.startswith("MaxPool"), name.startswith("AvgPool")
    if largest or average:
        rank = int(name[-2])
        kind = getattr(torch.nn, f"{'Avg' if largest else 'Max'}Pool{rank}d")
        other = kind(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        words = "the average", "the largest"
        yield f"{words[average]} of each window, where the original takes {words[largest]}", other
    elif not hasattr(layer, "in_channels") or name.startswith("ConvTranspose") or isinstance(layer.padding, str):
        return

    def same(x: Any) -> Any:
        pads: list[int] = []
        windows = (_per_axis(getattr(layer, each, 1), x.ndim - 2) for each in ("kernel_size", "stride", "dilation"))
        for size, k, s, d in zip(x.shape[2:], *windows, strict=True):
            total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        padded = torch.nn.functional.pad(x, pads, value=-float("inf") if largest else 0.0)
        return _with(layer, padding=(0,) * (x.ndim - 2))(padded)

    if any(step > 1 for step in _per_axis(layer.stride, 1)):
        yield 'padding "SAME", which pads more on the far side', same


def _of_resizing(layer: Any) -> Iterator[Variant]:
    """jax.image.resize smooths before it makes a picture smaller (`antialias=True`), and aligns no corners."""
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        for smooth in (False, True) if mode.startswith("bi") else (False,):
            other = [f"mode={mode}, where the original has {layer.mode}"] * (mode != layer.mode)
            if smooth:
                other.append("antialias=True, where the original has False")
            if other:
                settings = {"size": layer.size, "scale_factor": layer.scale_factor, "mode": mode, "antialias": smooth}
                yield " and ".join(other), functools.partial(torch.nn.functional.interpolate, **settings)


def _per_axis(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def _of_attention(layer: Any) -> Iterator[Variant]:
    """The inputs are query, key and value, those that are one array once, and then a mask."""

    def called(changed: Any, masked: bool = True, inverted: bool = False) -> Callable[..., Any]:
        def call(*leaves: Any) -> Any:
            arrays = [x for x in leaves if x.is_floating_point()]
            masks = [~x if inverted else x for x in leaves if x.dtype == torch.bool] if masked else []
            query, key, value = {1: arrays * 3, 2: [*arrays, *arrays[1:]]}.get(len(arrays), arrays)
            return changed(query, key, value, attn_mask=masks[0] if masks else None, need_weights=False)

        return call

    root = (layer.embed_dim // layer.num_heads) ** 0.5
    if layer.in_proj_weight is not None:
        grown = torch.ones(3 * layer.embed_dim, dtype=layer.in_proj_weight.dtype)
        grown[: layer.embed_dim] = root
        bias = None if layer.in_proj_bias is None else layer.in_proj_bias * grown
        unscaled = _with(layer, in_proj_weight=layer.in_proj_weight * grown[:, None], in_proj_bias=bias)
        yield "attention that is not scaled by 1 / sqrt(the width of a head)", called(unscaled)
    if layer.in_proj_bias is not None:
        without = _with(layer, in_proj_bias=None)
        without.out_proj.bias = None
        yield "no biases", called(without)
        yield "no biases of query, key and value", called(_with(layer, in_proj_bias=None))
    yield "attention without the mask", called(layer, masked=False)
    yield "a mask whose True means the contrary (torch hides there, flax shows)", called(layer, inverted=True)


def _of_gates(layer: Any) -> Iterator[Variant]:
    """Of a cell, and of what holds cells: another order of the gates in all of them."""
    cells = [part for part in layer.modules() if type(part) in GATES]
    if not cells:
        return
    names = GATES[type(cells[0])]
    for order in itertools.permutations(range(len(names))):
        if list(order) != sorted(order):
            said = f"gates in the order {', '.join(names[i] for i in order)}"
            yield said, _stated(_cells_with(layer, _reordered, order))
    if len(names) == 3 and cells[0].bias:
        without = _cells_with(layer, _without_hidden_n, None)
        yield "no hidden bias of the gate n (the last third of bias_hh)", _stated(without)


def _stated(layer: Any) -> Callable[..., Any]:
    """A call with one array after the other, where an LSTM wants h and c in a tuple."""
    return lambda x, *state: layer(x, *([state] if len(state) > 1 else state))


def _cells_with(layer: Any, changes: Callable[[Any, Any], dict[str, Any]], how: Any) -> Any:
    changed = copy.deepcopy(layer)
    for cell in [part for part in changed.modules() if type(part) in GATES]:
        for name, value in changes(cell, how).items():
            setattr(cell, name, torch.nn.Parameter(value.detach().clone()))
    return changed


def _reordered(cell: Any, order: tuple[int, ...]) -> dict[str, Any]:
    names = [name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if getattr(cell, name) is not None]
    return {name: torch.cat([getattr(cell, name).chunk(len(order))[i] for i in order]) for name in names}


def _without_hidden_n(cell: Any, _: Any) -> dict[str, Any]:
    kept = 2 * cell.hidden_size
    return {"bias_hh": torch.cat([cell.bias_hh[:kept], torch.zeros_like(cell.bias_hh[kept:])])}


def _with(layer: Any, **changes: Any) -> Any:
    """A copy of the layer with other settings or weights."""
    changed = copy.deepcopy(layer)
    for name, value in changes.items():
        if isinstance(value, torch.Tensor):
            value = torch.nn.Parameter(value.detach().clone())
        setattr(changed, name, value)
    return changed
