"""A layer's parameters from torch's layout into the port's: transposed, flipped, split into heads and gates.

Each function takes the torch layer's arrays by their name (`weight`, `bias`, ...), the name and shape of a parameter of
the port (`kernel`, `query.bias`, ...) and the port's layer, and returns the array in the port's layout, or None where
it knows of none. Gradients go through the same functions. Only the axes are moved, so what is the sum of two of torch's
biases is asked for as such: `summed` says whether to add them (values), or to take one (gradients, which are equal).
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Arrays: TypeAlias = Mapping[str, np.ndarray]
Source: TypeAlias = Callable[[Arrays, bool], "np.ndarray | None"]
"""(the original's arrays by name, whether biases are summed) -> a parameter of the port, in its layout."""
Layout: TypeAlias = Callable[[Arrays, str, tuple[int, ...], Any, bool], "np.ndarray | None"]


OTHERWISE_CALLED = {
    **dict.fromkeys(("scale", "embedding", "kernel", "negative_slope"), "weight"),
    "mean": "running_mean",
    "var": "running_var",
}


def _linear(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    if name == "kernel":  # [..., fan_in, ..., fan_out], several axes each
        return _fitted(torch["weight"].T, shape)
    return _same(torch, name, shape, layer, summed)


def _convolution(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    if name == "kernel":  # [..., in / groups, out]; torch [out, in / groups, ...]
        return _fitted(np.moveaxis(torch["weight"], (1, 0), (-2, -1)), shape)
    return _same(torch, name, shape, layer, summed)


def _transposed(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    weight = torch["weight"]  # [in, out / groups, ...]
    spatial = tuple(range(2, weight.ndim))
    if name == "kernel":  # flax: as the gradient of a convolution (transpose_kernel), or itself one
        if getattr(layer, "transpose_kernel", False):
            return _fitted(np.moveaxis(weight, (1, 0), (-2, -1)), shape)
        return _fitted(np.moveaxis(np.flip(weight, spatial), (0, 1), (-2, -1)), shape)
    if name == "weight":  # equinox: [out, in / groups, ...]
        return _fitted(np.swapaxes(np.flip(weight, spatial), 0, 1), shape)
    return _same(torch, name, shape, layer, summed)


def _same(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    """What is called otherwise, and is the same."""
    array = torch.get(OTHERWISE_CALLED.get(name, name))
    return None if array is None else _fitted(array, shape)


def _attention(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    part, _, kind = name.rpartition(".")
    part = part.removesuffix("_proj")
    kind = {"kernel": "weight"}.get(kind, kind)
    if part in ("out", "output"):
        own = torch.get(f"out_proj.{kind}")
    elif part in (names := ("query", "key", "value")):
        k = names.index(part)
        fused = torch.get("in_proj_weight" if kind == "weight" else "in_proj_bias")
        own = torch.get(f"{part[0]}_proj_weight") if fused is None else np.split(fused, 3)[k]
    else:
        return None
    if own is None:
        return None
    return _fitted(own.T if name.endswith("kernel") else own, shape)


def _gru(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    """Gates: torch's, and equinox's, are r, z, n in one array; linen has ir, iz, in, hr, hz and hn."""
    return _cell(torch, name, shape, "rzn", summed)


def _lstm(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    """Gates: torch's, and equinox's, are i, f, g, o in one array; flax has ii, if, ig, io, hi, hf, hg and ho."""
    return _cell(torch, name, shape, "ifgo", summed)


def _rnn(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    """No gates: flax has i and h, or dense_i and dense_h."""
    return _cell(torch, name, shape, "", summed)


def _cell(torch: Arrays, name: str, shape: tuple[int, ...], gates: str, summed: bool) -> np.ndarray | None:
    part, _, kind = name.rpartition(".")
    part = part.rstrip("_")  # nnx: `if_`
    if name in ("weight_ih", "weight_hh"):
        return _fitted(torch[name], shape)
    if part in ("i", "dense_i", "h", "dense_h") and kind == "kernel":
        return _fitted(torch["weight_ih" if part.endswith("i") else "weight_hh"].T, shape)
    if name == "bias_n":
        return _fitted(_gate(torch["bias_hh"], "n", gates), shape)
    if name == "bias" or (part in ("i", "dense_i", "h", "dense_h") and kind == "bias"):
        return _fitted(torch["bias_ih"] + summed * _added(torch["bias_hh"], gates), shape)
    if len(part) != 2 or part[0] not in "ih" or part[1] not in gates:
        return None
    side = "ih" if part[0] == "i" else "hh"
    if kind == "kernel":
        return _fitted(_gate(torch[f"weight_{side}"], part[1], gates).T, shape)
    if part in ("in", "hn") and gates == "rzn":  # the one gate whose two biases are apart
        return _fitted(_gate(torch[f"bias_{side}"], part[1], gates), shape)
    return _fitted(_gate(torch["bias_ih"] + summed * torch["bias_hh"], part[1], gates), shape)


def _gate(array: np.ndarray, which: str, gates: str) -> np.ndarray:
    return np.split(array, len(gates))[gates.index(which)]


def _added(hidden: np.ndarray, gates: str) -> np.ndarray:
    """What of the hidden bias may be added to the other: all, but for the n gate of a GRU, where r lies between."""
    if gates != "rzn":
        return hidden
    return np.concatenate([*np.split(hidden, 3)[:2], np.zeros(len(hidden) // 3, hidden.dtype)])


def _fitted(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    return array.reshape(shape) if array.size == int(np.prod(shape)) else None


LAYOUTS: dict[str, Layout] = {
    "linear": _linear,
    "convolution": _convolution,
    "transposed convolution": _transposed,
    "attention": _attention,
    "gru cell": _gru,
    "lstm cell": _lstm,
    "rnn cell": _rnn,
}


def in_the_ports_layout(
    kind: str, torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool = True
) -> np.ndarray | None:
    """The parameter of the port that these arrays of a torch layer make; None if it is not known how.

    kind: what the layer is (`pairing.KINDS`). torch: its arrays by name. name, shape: the port's parameter. layer: the
    port's layer, asked for settings that decide (`transpose_kernel`). summed: two biases that torch keeps apart are
    added; False for gradients, where each of them has the gradient of the sum.
    """
    try:
        return LAYOUTS.get(kind, _same)(torch, name, shape, layer, summed)
    except KeyError:  # a bias that only one side has
        return None


class Fit(NamedTuple):
    """The arrays of the original that a parameter of the port has the numbers of: one, or two biases that it adds."""

    names: tuple[str, ...]
    source: Source


def same_numbers(value: np.ndarray, left: Arrays) -> Fit | None:
    """Which of the arrays that are left this one is, with its axes in another order or not."""
    for name, array in left.items():
        if array.size == value.size and array.ndim == value.ndim and _extremes(array, value.dtype) == _extremes(value):
            for axes in itertools.permutations(range(array.ndim)):
                if np.array_equal(array.transpose(axes).astype(value.dtype), value):
                    return Fit((name,), _transposing(name, axes))
        other = name.replace("bias_ih", "bias_hh")
        if other != name and other in left and array.shape == value.shape:
            for gates in ("", "rzn") if len(array) % 3 == 0 else ("",):
                if np.array_equal((array + _added(left[other], gates)).astype(value.dtype), value):
                    return Fit((name, other) if not gates else (name,), _adding(name, other, gates))
    return None


def same_lengths(shape: tuple[int, ...], name: str, array: np.ndarray) -> Fit | None:
    """The array for a parameter of that shape, if it has its lengths.

    Axes of length 1 do not count: a table of positions may be [1, tokens, width] or [tokens, width].
    """
    return Fit((name,), _reshaping(name, shape)) if _lengths(array.shape) == _lengths(shape) else None


def _extremes(array: np.ndarray, dtype: Any = None) -> tuple[float, float]:
    """The least and the largest, by which most arrays are told apart at once."""
    if not array.size:
        return 0.0, 0.0
    least, largest = np.array([array.min(), array.max()]).astype(dtype or array.dtype)
    return float(least), float(largest)


def _lengths(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _reshaping(name: str, shape: tuple[int, ...]) -> Source:
    return lambda arrays, summed: arrays[name].reshape(shape) if name in arrays else None


def _transposing(name: str, axes: tuple[int, ...]) -> Source:
    return lambda arrays, summed: arrays[name].transpose(axes) if name in arrays else None


def _adding(name: str, other: str, gates: str) -> Source:
    return lambda arrays, summed: arrays[name] + summed * _added(arrays[other], gates) if name in arrays else None
