"""Checks of a dense net's arguments, the same for each function that takes a net: what it is called is all it adds.

params     a list of (w[fan_in, fan_out], b[fan_out] or None), each layer's fan_in the fan_out of the one before
x          [..., fan_in]
targ       the output's shape, or the output's without a last axis of 1
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ._check import describe, dtype_of, float_dtype


def check_params(op: str, params: Any) -> jnp.dtype:
    """Returns the one dtype of params. Raises ValueError or TypeError, naming the layer, where they are no net."""
    dtype = float_dtype(op, **_named(op, params))
    _check_widths(op, params)
    return dtype


def check_net(op: str, params: Any, x: Any, *, raw: bool = False) -> jnp.dtype:
    """Returns the one dtype of params and x. raw: whether x may be uint8 too, which then has no say in it.

    Raises ValueError or TypeError, naming the argument, where they do not fit.
    """
    arrays = _named(op, params)
    if not (raw and dtype_of(x) == jnp.uint8):
        arrays = {"x": x} | arrays
    dtype = float_dtype(op, **arrays)
    w = params[0][0]
    if w.ndim == 2 and x.shape[-1:] != w.shape[:1]:
        raise ValueError(
            f"{op}: the first axis of params[0]'s w must match the last axis of x {describe(x)}; got w {describe(w)}"
        )
    _check_widths(op, params)
    return dtype


def check_loss(op: str, params: Any, x: Any, targ: Any, *, raw: bool = False) -> jnp.dtype:
    """Returns the one dtype of params, x and targ: `check_net`, and targ too."""
    dtype = check_net(op, params, x, raw=raw)
    name, of_net = ("params[0]'s w", params[0][0]) if dtype_of(x) == jnp.uint8 else ("x", x)
    float_dtype(op, **{name: of_net, "targ": targ})
    shape = (*x.shape[:-1], params[-1][0].shape[1])
    check_targ(op, f"{dtype}[{','.join(map(str, shape))}]", shape, targ)
    return dtype


def check_targ(op: str, output: str, shape: Sequence[int], targ: Any) -> None:
    """Raises ValueError unless an output of that shape has targ's shape, or targ's and a last axis of 1.

    output: its description.
    """
    if tuple(shape) not in (targ.shape, (*targ.shape, 1)):
        raise ValueError(
            f"{op}: output must have targ's shape {targ.shape} or {(*targ.shape, 1)}; "
            f"got output {output} and targ {describe(targ)}"
        )


def _named(op: str, params: Any) -> dict[str, Any]:
    """Returns the arrays in params, by the names that they have in errors."""
    if not isinstance(params, (list, tuple)) or not params:
        got = repr(params) if isinstance(params, (list, tuple)) else describe(params)
        raise ValueError(f"{op}: params must be a list of at least one (w, b); got {got}")
    arrays = {}
    for layer, wb in enumerate(params):
        if not isinstance(wb, (list, tuple)) or len(wb) != 2:
            raise ValueError(f"{op}: params[{layer}] must be a pair (w, b); got {type(wb).__name__}")
        arrays[f"params[{layer}]'s w"] = wb[0]
        if wb[1] is not None:
            arrays[f"params[{layer}]'s b"] = wb[1]
    return arrays


def _check_widths(op: str, params: Any) -> None:
    for layer, (w, b) in enumerate(params):
        if w.ndim != 2:
            raise ValueError(f"{op}: params[{layer}]'s w must have shape (fan_in, fan_out); got w {describe(w)}")
        if b is not None and b.shape != w.shape[1:]:
            raise ValueError(
                f"{op}: params[{layer}]'s b must have shape (fan_out,) = ({w.shape[1]},), the last axis of its w; "
                f"got b {describe(b)} and w {describe(w)}"
            )
        before = params[layer - 1][0] if layer else w
        if layer and before.shape[1] != w.shape[0]:
            raise ValueError(
                f"{op}: the first axis of params[{layer}]'s w must match the last axis of params[{layer - 1}]'s w "
                f"{describe(before)}; got w {describe(w)}"
            )
