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
    other = {"scale": "weight", "embedding": "weight", "kernel": "weight", "mean": "running_mean", "var": "running_var"}
    array = torch.get(other.get(name, name))
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
    """Gates: torch's, and equinox's, are r, z, n in one array; flax has ir, iz, in, hr, hz and hn."""
    return _cell(torch, name, shape, "rzn", {"bias": "rz"}, summed)


def _lstm(torch: Arrays, name: str, shape: tuple[int, ...], layer: Any, summed: bool) -> np.ndarray | None:
    """Gates: torch's, and equinox's, are i, f, g, o in one array; flax has ii, if, ig, io, hi, hf, hg and ho."""
    return _cell(torch, name, shape, "ifgo", {"bias": "ifgo"}, summed)


def _cell(torch: Arrays, name: str, shape: Any, gates: str, both: Any, summed: bool) -> np.ndarray | None:
    def gate(array: str, which: str) -> np.ndarray:
        return np.split(torch[array], len(gates))[gates.index(which)]

    if name in ("weight_ih", "weight_hh"):
        return _fitted(torch[name], shape)
    if name == "bias_n":
        return _fitted(gate("bias_hh", "n"), shape)
    if name == "bias":
        hidden = torch["bias_hh"] if len(gates) == 4 else np.concatenate(
            [gate("bias_hh", "r"), gate("bias_hh", "z"), np.zeros_like(gate("bias_hh", "n"))])  # fmt: skip
        return _fitted(torch["bias_ih"] + summed * hidden, shape)
    part, _, kind = name.rpartition(".")
    if len(part) != 2 or part[0] not in "ih" or part[1] not in gates:
        return None
    side = "ih" if part[0] == "i" else "hh"
    if kind == "kernel":
        return _fitted(gate(f"weight_{side}", part[1]).T, shape)
    if part in ("in", "hn") and len(gates) == 3:  # the one gate whose two biases are apart
        return _fitted(gate(f"bias_{side}", part[1]), shape)
    return _fitted(gate("bias_ih", part[1]) + summed * gate("bias_hh", part[1]), shape)


def _fitted(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    return array.reshape(shape) if array.size == int(np.prod(shape)) else None


LAYOUTS: dict[str, Layout] = {
    "linear": _linear,
    "convolution": _convolution,
    "transposed convolution": _transposed,
    "attention": _attention,
    "gru cell": _gru,
    "lstm cell": _lstm,
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
    """An array of the original that a parameter of the port has the numbers of."""

    name: str
    source: Source


def same_numbers(value: np.ndarray, left: Arrays) -> Fit | None:
    """Which of the arrays that are left this one is, with its axes in another order or not."""
    for name, array in left.items():
        if array.size != value.size or array.ndim != value.ndim:
            continue
        for axes in itertools.permutations(range(array.ndim)):
            if np.array_equal(array.transpose(axes).astype(value.dtype), value):
                return Fit(name, _transposing(name, axes))
    return None


def same_shape(name: str, shape: tuple[int, ...], left: Arrays) -> Fit | None:
    """The one array of that shape that is left, or the one among several that has this name; else None."""
    alike = [key for key, array in left.items() if array.shape == shape]
    if len(alike) > 1:
        alike = [key for key in alike if key.rpartition(".")[2] == name.rpartition(".")[2]]
    return Fit(alike[0], _transposing(alike[0], tuple(range(len(shape))))) if len(alike) == 1 else None


def _transposing(name: str, axes: tuple[int, ...]) -> Source:
    return lambda arrays, summed: arrays[name].transpose(axes) if name in arrays else None
