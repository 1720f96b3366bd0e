"""Weights to torch and back: parameters `[(w, b), ...]` and the state dict of `nn.Sequential(nn.Linear, ...)`.

torch keeps a linear layer's weight as `[fan_out, fan_in]`, `pullback` as `[fan_in, fan_out]`. Of a square weight no
shape check sees a transpose that was forgotten, so it is made here, once.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.functional._check import DTYPES, advice, check_concrete, describe, dtype_of

from .weights.parameters import in_the_ports_layout

if TYPE_CHECKING:
    from .case.torch_arrays import torch

    StateDict = dict[str, torch.Tensor]


def from_state_dict(state_dict: "Mapping[str, torch.Tensor]") -> list[tuple[jax.Array, jax.Array | None]]:
    """Parameters `[(w[fan_in, fan_out], b[fan_out]), ...]` of a state dict of linear layers, in its order.

    state_dict: entries `NAME.weight` of `[fan_out, fan_in]` and `NAME.bias` (b is None where there is none), as
    `module.state_dict()` gives them; on any device. Values and dtypes are kept bit for bit, in memory of their own.
    Raises ValueError, naming the entry, for what is no weight or bias of a linear layer, or for layers that do not
    follow one on the other; TypeError for what is no state dict of floating-point tensors, or for float64 without jax's
    x64, which would round it.
    """
    from .case.torch_arrays import to_numpy, torch

    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict must be what module.state_dict() gives; got {type(state_dict).__name__}")
    for key, tensor in state_dict.items():
        is_tensor = isinstance(tensor, torch.Tensor)
        if not is_tensor or (key.endswith(("weight", "bias")) and not tensor.is_floating_point()):
            got = str(tensor.dtype) if is_tensor else type(tensor).__name__
            raise TypeError(f"state_dict: {key} must be a floating-point tensor; got {got}")
    params, width, before = [], None, ""
    biases = {key for key in state_dict if key.rpartition(".")[2] == "bias"}
    for key, tensor in state_dict.items():
        prefix, _, kind = key.rpartition(".")
        if kind == "bias":
            continue
        weight = to_numpy(tensor)
        if kind != "weight" or weight.ndim != 2:
            entries = "whose entries are a weight [fan_out, fan_in] and a bias [fan_out]"
            raise ValueError(f"state_dict: {key} of shape {weight.shape} belongs to no nn.Linear, {entries}")
        if width is not None and weight.shape[1] != width:
            raise ValueError(f"state_dict: {key} has fan_in {weight.shape[1]}, and {before} before it fan_out {width}")
        width, before = weight.shape[0], key
        bias_key = f"{prefix}.bias" if prefix else "bias"
        b = None
        if bias_key in biases:
            biases.remove(bias_key)
            bias = to_numpy(state_dict[bias_key])
            if bias.shape != (width,):
                raise ValueError(f"state_dict: {bias_key} must have shape {(width,)}; got {bias.shape}")
            if bias.dtype != weight.dtype:
                raise ValueError(f"state_dict: {bias_key} is {bias.dtype}, and {key} {weight.dtype}: one dtype a layer")
            b = _to_jax(bias_key, bias)
        params.append((_to_jax(key, _turned(weight)), b))
    if biases:
        raise ValueError(f"state_dict: {min(biases)} has no weight beside it")
    if not params:
        raise ValueError("state_dict: it is empty")
    return params


def to_state_dict(params: Any, like: Iterable[str] | None = None) -> "StateDict":
    """The state dict, of torch tensors, that `from_state_dict` makes these parameters of; for `load_state_dict`.

    params: `[(w[fan_in, fan_out], b[fan_out] or None), ...]`; gradients too, to hold against `.grad`.
    like: the state dict, or its keys, whose names to use, in its order: `to_state_dict(params, module.state_dict())`.
    Without it the names are those of `nn.Sequential(Linear, ReLU, Linear, ...)`: 0, 2, 4, ...
    Raises ValueError if params is no list of (w, b) whose shapes follow one on the other, or `like` has another number
    of layers or other biases; TypeError if a w or b is no array of float16, bfloat16, float32 or float64.
    """
    from .case.torch_arrays import to_torch

    check_concrete("to_state_dict", params)
    if not isinstance(params, (list, tuple)):
        raise ValueError(f"to_state_dict: params must be a list of (w, b); got {type(params).__name__}")
    state_dict: StateDict = {}
    names = None if like is None else list(dict.fromkeys(key.rpartition(".")[0] for key in like))
    if names is not None and len(names) != len(params):
        raise ValueError(f"to_state_dict: like has {len(names)} layers ({', '.join(names)}), params {len(params)}")
    width = None
    for layer, wb in enumerate(params):
        pair = isinstance(wb, (list, tuple)) and len(wb) == 2
        for name, leaf in zip("wb", wb, strict=True) if pair else ():
            _check_float(f"params[{layer}]'s {name}", leaf)
        shapes: list[Any] = [None if leaf is None else np.shape(leaf) for leaf in wb] if pair else []
        fits = pair and len(shapes[0] or ()) == 2 and shapes[1] in (None, shapes[0][1:])
        if not fits or (width is not None and shapes[0][0] != width):
            got = " and ".join(map(str, shapes)) if pair else type(wb).__name__
            fan_in = "fan_in" if width is None else f"{width}"
            raise ValueError(
                f"to_state_dict: params[{layer}] must be a pair (w[{fan_in}, fan_out], b[fan_out] or None); got {got}"
            )
        width = shapes[0][1]
        name = str(2 * layer) if names is None else names[layer]
        for kind, leaf in (("weight", wb[0]), ("bias", wb[1])):
            if leaf is not None:
                array = np.asarray(leaf)
                state_dict[f"{name}.{kind}" if name else kind] = to_torch(_turned(array) if kind == "weight" else array)
    if like is not None and set(like) != set(state_dict):
        (key, *_) = sorted(set(like) ^ set(state_dict))
        raise ValueError(f"to_state_dict: like and params must have the same biases; only one of them has {key}")
    return state_dict


def _turned(weight: np.ndarray) -> np.ndarray:
    """A linear layer's weight in the other layout: the same axes in the other order, there and back."""
    kernel = in_the_ports_layout("linear", {"weight": weight}, "kernel", weight.shape[::-1], None)
    assert kernel is not None, "a transposed matrix has its own size"
    return kernel


def _check_float(name: str, leaf: Any) -> None:
    """Raises TypeError unless leaf is None or a floating-point array."""
    if leaf is not None and (dtype_of(leaf) is None or leaf.dtype.name not in DTYPES):
        got = f"{describe(leaf)}{advice(name, leaf)}"
        raise TypeError(f"to_state_dict: {name} must be an array of {', '.join(DTYPES)}; got {got}")


def _to_jax(key: str, array: np.ndarray) -> jax.Array:
    rounded = jnp.result_type(array)
    if rounded != array.dtype:
        advice = "switch on jax_enable_x64, or give it .float()"
        raise TypeError(f"state_dict: {key} is {array.dtype}, which jax would round to {rounded}: {advice}")
    return jnp.asarray(array)
