"""Every public function that takes arrays × every kind of input × every way of running: right, or an error of ours.

The tables are the data: what stands in for an argument (KINDS), what comes of it for an argument of each sort, the
public functions with their right arguments (FUNCTIONS), and the ways of running (WAYS). A row is right if the result is
that of `plain`, the same maths without a rule of ours, to the last bit: of small whole numbers all sums are exact.
`pytest -s` prints how many rows there are and what came of them.
"""

import collections
import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import torch

from pullback import functional as F
from pullback import parallel
from pullback.functional.experimental import fused_value_and_grad_pallas
from pullback.parity import to_state_dict
from pullback.parity.case.torch_arrays import to_numpy

RIGHT = "right"


def negative_strides(a: np.ndarray) -> np.ndarray:
    return np.flip(np.flip(a).copy())


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.setflags(write=False)
    return a


def at_one_place(a: np.ndarray, value: float) -> np.ndarray:
    a = a.copy()
    a[(..., *[0] * min(a.ndim, 1))] = value
    return a


# What stands in for an argument, made of the right one, and how an error describes it: {shape} is the shape's, as
# [4,3]; {do} is what the error says to do.
KINDS: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "NumPy": (lambda a: a, RIGHT),
    "negative strides": (negative_strides, RIGHT),
    "read-only": (read_only, RIGHT),
    "NaN": (lambda a: at_one_place(a, np.nan), RIGHT),
    "infinity": (lambda a: at_one_place(a, np.inf), RIGHT),
    "float64 of NumPy": (lambda a: a.astype(np.float64), RIGHT),
    "mixed dtypes": (lambda a: a.astype(jnp.bfloat16), "bfloat16{shape}"),
    "ints": (lambda a: a.astype(np.int32), "int32{shape}. Cast it: {name}.astype('float32')"),
    "bools": (lambda a: a.astype(bool), "bool{shape}. Cast it: {name}.astype('float32')"),
    "complex": (lambda a: a.astype(np.complex64), "complex64{shape}"),
    "float8": (lambda a: a.astype(jnp.float8_e4m3fn), "float8_e4m3fn{shape}. Cast it: {name}.astype('float32')"),
    "big-endian": (
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        ">{code}{shape}. Give its bytes this machine's order: {name}.astype({name}.dtype.newbyteorder('='))",
    ),
    "masked": (
        lambda a: np.ma.masked_array(a, a > 0),
        "a masked array of {dtype}{shape}. Its mask would be ignored: choose what stands in the masked places, "
        "{name}.filled(0)",
    ),
    "objects": (lambda a: a.astype(object), "object{shape}"),
    "array of text": (lambda a: np.full(a.shape, "text"), "<U4{shape}"),
    "text": (lambda a: "text", "str"),
    "None": (lambda a: None, "NoneType"),
    "Python number": (lambda a: 2.0, "float. Make an array of it: jnp.asarray({name}, 'float32')"),
    "list": (lambda a: [a, a], "list. Make an array of it: jnp.asarray({name}, 'float32')"),
    "nested lists": (lambda a: [[[2.0]]], "list. Make an array of it: jnp.asarray({name}, 'float32')"),
    "torch tensor": (lambda a: torch.from_numpy(a.copy()), "Tensor. Make a NumPy array of it: {name}.numpy()"),
    "wrong rank": (lambda a: a[..., None], "{dtype}{shape}"),
    "other size": (lambda a: np.concatenate([a, a[..., :1]], -1), "{dtype}{shape}"),
    "0-d": (lambda a: np.ones((), a.dtype), "{dtype}[]"),
}
# Of all floating-point arguments at once; and of the whole batch.
OF_ALL = ("float16", "bfloat16", "float64", "no rows", "one row")

# What an argument of each sort makes of a kind: the kinds that are right, those that do not apply, and the error of the
# others. {what} is the description without what to do; … stands for anything.
ARRAYS, SHAPES = ("NumPy", "negative strides", "read-only"), ("wrong rank", "other size", "0-d")
NOT_FINITE, FLOAT_ONLY = ("NaN", "infinity"), ("NaN", "infinity", "float64 of NumPy", "mixed dtypes")


class Sort(NamedTuple):
    error: str
    right: tuple[str, ...]
    skipped: tuple[str, ...] = ()


SORTS = {
    "float": Sort(
        "{op}: {name} must be an array of float16, bfloat16, float32, float64; got {got}",
        (*ARRAYS, *NOT_FINITE, "float64 of NumPy"),
    ),
    "layer's": Sort("… must be an array of …; got {what}…", (*ARRAYS, *NOT_FINITE, "float64 of NumPy")),
    "number": Sort(
        "{op}: {name} must be a real number or an array of one, without axes; got {what}",
        (*ARRAYS, *FLOAT_ONLY, "ints", "float8", "Python number", "0-d"),
        ("other size",),
    ),
    "bools": Sort(
        "{op}: {name} must be an array of bools; got {what}", (*ARRAYS, "bools", "big-endian", "None"), FLOAT_ONLY
    ),
    "integers": Sort("{op}: {name} must be an array of integers; got {what}", (*ARRAYS, "ints"), FLOAT_ONLY),
    "key": Sort("{op}: {name} must be one random key, as jax.random.key(0) makes it; got {what}", ARRAYS, FLOAT_ONLY),
    "numbers": Sort(
        "{op}: {name} must be an array of numbers; got {got}",
        (*ARRAYS, *FLOAT_ONLY, "ints", "bools", "complex", "float8"),
        ("list", "nested lists", "Python number", "0-d"),
    ),
}
MIXED = "{op}: …must have the … dtype…; got …{what}…"
BAR = "{op}: {name} must have the result's shape, …; got {what}"


def whole(*shape: int) -> np.ndarray:
    """-1, 0 and 1: through two layers and back, no rounding in any dtype."""
    return np.asarray(np.random.default_rng(len(shape)).integers(-1, 2, shape), np.float32)


def lin_args(n: int) -> dict[str, Any]:
    return {"x": whole(n, 3), "w": whole(3, 2), "b": whole(2)}


def conv_args(n: int) -> dict[str, Any]:
    return {"x": whole(n, 4, 4, 2), "w": whole(2, 2, 2, 3), "b": whole(3)}


def image_args(n: int) -> dict[str, Any]:
    return {"x": whole(n, 4, 4, 2)}


def logits_args(n: int) -> dict[str, Any]:
    return {"logits": whole(n, 3), "labels": np.arange(n, dtype=np.int32) % 3}


def linear_loss_args(n: int) -> dict[str, Any]:
    return lin_args(n) | {"labels": np.arange(n, dtype=np.int32) % 2}


def net_args(n: int) -> dict[str, Any]:
    layers = {"params[0]'s w": whole(3, 4), "params[0]'s b": whole(4), "params[1]'s w": whole(4, 2)}
    return {"x": whole(n, 3), **layers, "params[1]'s b": whole(2)}


def loss_args(n: int) -> dict[str, Any]:
    return net_args(n) | {"targ": whole(n, 2)}


def epoch_args(n: int) -> dict[str, Any]:
    order = np.arange(n, dtype=np.int32)[None]
    return loss_args(n) | {"order": order, "lr": np.asarray(2, np.float32), "mask": np.ones((1, n), bool)}


def net(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`function(params, x, ...)` of the flat arguments above."""

    def call(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, *more: Any) -> Any:
        return function([(w1, b1), (w2, b2)], x, *more, **options)

    return call


# The same maths with no rule of ours. relu's derivative is 0 at a NaN, which it passes on.
def plain_relu(x: Any) -> Any:
    return jnp.where(x > 0, x, jax.lax.stop_gradient(jnp.where(x <= 0, jnp.zeros_like(x), x)))


def plain_leaky(x: Any, slope: Any) -> Any:
    return jnp.where(x > 0, x, slope.astype(x.dtype) * jnp.where(x > 0, jnp.zeros_like(x), x))


def plain_shifted(x: Any, shift: Any) -> Any:
    return plain_relu(x) - shift.astype(x.dtype)


def plain_lin(x: Any, w: Any, b: Any) -> Any:
    y = jnp.matmul(x, w)
    return y if b is None else y + jnp.broadcast_to(b, y.shape)


def plain_mse(output: Any, targ: Any) -> Any:
    return jnp.mean((output.reshape(targ.shape) - targ) ** 2)


def plain_conv(x: Any, w: Any, b: Any) -> Any:
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y if b is None else y + jnp.broadcast_to(b, y.shape)


def windows(x: Any) -> Any:
    """The elements of each window of 2 by 2, on a last axis."""
    n, height, width, channels = x.shape
    apart = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return apart.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // 2, width // 2, channels, 4)


def plain_max(x: Any) -> Any:
    """Of equal elements the first; a NaN before all, and of several the last."""
    seen = windows(x)
    last_nan = 3 - jnp.argmax(jnp.isnan(seen)[..., ::-1], axis=-1, keepdims=True)
    largest = jnp.argmax(seen, axis=-1, keepdims=True)
    winner = jnp.where(jnp.isnan(seen).any(axis=-1, keepdims=True), last_nan, largest)
    return jnp.take_along_axis(seen, winner, axis=-1)[..., 0]


def plain_avg(x: Any) -> Any:
    return jnp.mean(windows(x), axis=-1)


def plain_net(params: Any, x: Any) -> Any:
    return plain_lin(plain_relu(plain_lin(x, *params[0])), *params[1])


def plain_loss(params: Any, x: Any, targ: Any) -> Any:
    return plain_mse(plain_net(params, x), targ)


def plain_step(params: Any, x: Any, targ: Any, order: Any, lr: Any, mask: Any) -> Any:
    loss, grads = jax.value_and_grad(plain_loss)(params, x[order[0]], targ[order[0]])
    return jax.tree.map(lambda p, g: p - lr.astype(p.dtype) * g, params, grads), loss[None]


def loss_and_grads(params: Any, x: Any, targ: Any) -> Any:
    return jax.value_and_grad(plain_loss)(params, x, targ)


def loss_and_all(params: Any, x: Any, targ: Any) -> Any:
    loss, (grads, x_bar) = jax.value_and_grad(plain_loss, (0, 1))(params, x, targ)
    return loss, grads, x_bar


def pulled_back(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The cotangents of plain's arguments, for the last argument as that of its result."""
    return lambda *args: jax.vjp(plain, *args[:-1])[1](args[-1])


WAYS = ("eager", "jit", "vmap", "grad", "x64", "JAX_DISABLE_JIT", "JAX_DEBUG_NANS")
NOT_GRAD = tuple(way for way in WAYS if way != "grad")


class Function(NamedTuple):
    call: Callable[..., Any]
    args: Callable[[int], dict[str, Any]]
    """Of so many rows: name -> right argument, in call's order."""
    plain: Callable[..., Any] | None
    """None: not all of its sums are exact, and what `call` makes of jax's own arrays is the right result."""
    shapes: dict[Any, str]
    """The error of another shape of an argument; or what comes of one kind of an argument (and one way of running)."""
    op: str = ""
    """Its name in errors, if it is not that of the table."""
    vary: tuple[str, ...] = ()
    """The arguments that are varied, if not all."""
    sorts: dict[str, str] = {}
    """Where it is not "float"."""
    ways: tuple[str, ...] = NOT_GRAD
    needs_values: bool = False
    """Whether it refuses what is traced."""


LIN = {
    "x": "lin: the last axis of x must be fan_in = 3, the first axis of w; got x {what} and w float32[3,2]",
    "w": "lin: w must have shape (fan_in, fan_out); got w {what}",
    ("w", "other size"): "lin: b must have shape (fan_out,) = (3,), the last axis of w; got b float32[2] and w {what}",
    "b": "lin: b must have shape (fan_out,) = (2,), the last axis of w; got b {what} and w float32[3,2]",
}
MSE = {
    "output": "mse: output must have targ's shape (4, 2) or (4, 2, 1); got output {what} and targ float32[4,2]",
    ("output", "wrong rank"): RIGHT,
    "targ": "mse: output must have targ's shape …; got output float32[4,2] and targ {what}",
}
CONV = {
    "x": "conv2d: x must be [n, height, width, c_in] and w [kernel height, …]; got x {what} and w float32[2,2,2,3]",
    "w": "conv2d: x must be [n, height, width, c_in] and w [kernel height, …]; got x float32[4,4,4,2] and w {what}",
    ("w", "other size"): "conv2d: b must have shape (c_out,) = (4,), the last axis of w; got b float32[3] and w {what}",
    "b": "conv2d: b must have shape (c_out,) = (3,), the last axis of w; got b {what} and w float32[2,2,2,3]",
}
IMAGE = {
    "x": "{op}: x must be [n, height, width, channels]; got x {what}",
    ("x", "other size"): RIGHT,
    ("x", "mixed dtypes"): RIGHT,
    ("x", "Python number", "grad"): "{op}: x must be [n, height, width, channels]; got x float32[]",
}
LOGITS = {
    "logits": "{op}: labels must have one class for each row, the shape (4, 3) of logits {what} …; got labels int32[4]",
    ("logits", "other size"): RIGHT,
    ("logits", "mixed dtypes"): RIGHT,
    ("logits", "0-d"): "{op}: logits must have a last axis, of classes; got logits float32[]",
    "labels": "{op}: labels must have one class for each row, the shape (4,) of logits …; got labels {what}",
    ("labels", "float8"): "{op}: labels must be an array of integers; got {what}. Cast them: labels.astype('int32')",
    "no rows": "{op}: a mean needs at least one row; got logits float32[0,3]. The reduction 'sum' gives 0 there",
}
LINEAR_LOSS = {
    "x": "{op}: the last axis of x must be fan_in = 3, the first axis of w; got x {what} and w float32[3,2]",
    "w": "{op}: w must have shape (fan_in, fan_out); got w {what}",
    ("w", "other size"): "{op}: b must have shape (fan_out,) = (3,), the last axis of w; got b float32[2] and w {what}",
    "b": "{op}: b must have shape (fan_out,) = (2,), the last axis of w; got b {what} and w float32[3,2]",
    "labels": "{op}: labels must have one class for each row, the shape (4,) of x …; got labels {what}",
    ("labels", "float8"): LOGITS["labels", "float8"],
    "no rows": "{op}: a mean needs at least one row; got x float32[0,3]. The reduction 'sum' gives 0 there",
}
NET = {
    "x": "{op}: the first axis of params[0]'s w must match the last axis of x {what}; got w float32[3,4]",
    "params[0]'s w": "{op}: params[0]'s w must have shape (fan_in, fan_out); got w {what}",
    ("params[0]'s w", "other size"): "{op}: params[0]'s b must have shape (fan_out,) = (5,), …; got b … and w {what}",
    "params[1]'s b": "{op}: params[1]'s b must have shape (fan_out,) = (2,), …; got b {what} and w float32[4,2]",
}
LOSS = NET | {
    "targ": "{op}: output must have targ's shape …; got output float32[4,2] and targ {what}",
    "mask": "{op}: mask must have the shape of x's leading axes, (4,); got {what}",
}
SHARDED = LOSS | {"no rows": "{op}: x's rows must be at least 1; got none"}
EPOCH = LOSS | {
    (
        "targ",
        "0-d",
    ): "{op}: x must be [n, fan_in] and targ have its n, of at least 1; got x float32[4,3] and targ {what}",
    "order": "{op}: order must be [steps, batch], with a batch of at least 1; got {what}",
    ("order", "other size"): "{op}: mask must have the shape of order, (1, 5); got bool[1,4]",
    "mask": "{op}: mask must have the shape of order, (1, 4); got {what}",
    "no rows": "{op}: order must be [steps, batch], with a batch of at least 1; got int32[1,0]",
}
ROWS = {
    "x": "{op}: x must be [n, fan_in] and y_bar [n, fan_out]; got x {what} and y_bar float32[4,2]",
    "y_bar": "{op}: x must be [n, fan_in] and y_bar [n, fan_out]; got x float32[4,3] and y_bar {what}",
    ("x", "other size"): RIGHT,
    ("y_bar", "other size"): RIGHT,
}
ELEMENTS = {"x": RIGHT, ("x", "mixed dtypes"): RIGHT}
NO_CLASSES = "{op}: x must have a last axis, of classes; got x float32[]"
LOG_SOFTMAX = ELEMENTS | {("x", "0-d"): NO_CLASSES, ("x", "Python number", "grad"): NO_CLASSES}
NO_DTYPE = {("y_bar", "mixed dtypes"): ""}  # the mask that shifted_relu keeps does not know y's dtype
SAME_ROWS = "{op}: x and targ must have the same rows, at least 1; got …"
BATCH: dict[Any, str] = {(name, kind): SAME_ROWS for name in ("x", "targ") for kind in ("text", "None")}
BATCH |= {"x": RIGHT, "targ": RIGHT, "no rows": SAME_ROWS}
BATCH |= {("x", "torch tensor"): RIGHT, ("targ", "torch tensor"): RIGHT}
TENSOR = {("value", "torch tensor"): RIGHT, ("params", "torch tensor"): RIGHT}  # NumPy makes an array of it
AS_OP = {name: "lin: …{what}…" for name in net_args(0)} | {"targ": "mse: …{what}…"}
AS_OP |= {(name, "mixed dtypes"): "…must have the same dtype; got …{what}…" for name in loss_args(0)}
STATE_DICT = {name: "{op}: params[…] must be a pair (w[…, fan_out], b[fan_out] or None); got …" for name in net_args(0)}
STATE_DICT |= {(name, "mixed dtypes"): RIGHT for name in net_args(0)}
STATE_DICT |= {("params[0]'s w", "None"): STATE_DICT["x"]}
OF_NET = ("x", "params[0]'s w", "params[1]'s b")
OF_LOSS = (*OF_NET, "targ")


def rule(
    name: str,
    args: Any,
    plain: Any,
    shapes: Any,
    bar: Any,
    *,
    sorts: Any = (),
    more: Any = (),
    statics: Any = (),
    ways: Any = WAYS,
) -> dict[str, Function]:
    """An op, its forward, and its backward, whose cotangent has the shape that `bar` gives of n rows.

    more: what comes of kinds of the cotangent. ways: those of the op itself.
    """
    op, fwd, bwd = (getattr(F, f"{name}{part}") for part in ("", "_fwd", "_bwd"))
    y_bar = "loss_bar" if name == "mse" or name.endswith("cross_entropy") else "y_bar"
    forward = Function(op, args, plain, shapes, name, sorts=dict(sorts), ways=ways)
    backward = Function(
        call=lambda *args: bwd(*statics, fwd(*args[:-1])[1], args[-1]),
        args=lambda n: args(n) | {y_bar: whole(*bar(n))},
        plain=plain and pulled_back(plain),
        shapes={y_bar: BAR, **dict(more)},
        op=f"{name}_bwd",
        vary=(y_bar,),
    )
    only_y = forward._replace(call=lambda *args: fwd(*args)[0], ways=NOT_GRAD)
    return {name: forward, f"{name}_fwd": only_y, f"{name}_bwd": backward}


def of_net(function: Any, plain: Any, *, args: Any = loss_args, shapes: Any = LOSS, **more: Any) -> Function:
    options: dict[str, Any] = {"vary": OF_LOSS} | more
    return Function(net(function), args, plain and net(plain), shapes, **options)


def drawn(name: str, shape: Any) -> Function:
    """An initialization. Of a key as it was once, two numbers of uint32, it draws what it draws of jax's array."""
    key = lambda n: {"key": np.asarray([0, 7], np.uint32)}  # noqa: E731
    return Function(
        lambda key: getattr(F, name)(key, shape), key, None, {"key": SORTS["key"].error}, name, sorts={"key": "key"}
    )


def layer(made: F.Layer, names: int) -> Callable[..., Any]:
    """What a layer computes of its parameters, so many of the arguments, and of its inputs."""
    return lambda *args: made.forward(args[:names] or None, *args[names:])[0]


def x_and(name: str) -> Callable[[int], dict[str, Any]]:
    return lambda n: {"x": whole(n, 3), name: np.asarray(2, np.float32)}


def pair(first: str, second: str, fan: int = 2) -> Callable[[int], dict[str, Any]]:
    return lambda n: {first: whole(n, fan), second: whole(n, 2)}


def wbx(n: int) -> dict[str, Any]:
    return {name: lin_args(n)[name] for name in "wbx"}


def with_mask(n: int) -> dict[str, Any]:
    return loss_args(n) | {"mask": np.ones(n, bool)}


def masked(function: Any) -> Any:
    return lambda params, x, targ, mask: function(params, x, targ, mask=mask)


def epoch(function: Any) -> Any:
    return lambda params, x, targ, order, lr, mask: function(params, x, targ, order, lr, mask=mask)


def without_mask(plain: Any) -> Any:
    return lambda params, x, targ, mask: plain(params, x, targ)


MASK: dict[str, Any] = {"args": with_mask, "vary": (*OF_LOSS, "mask"), "sorts": {"mask": "bools"}}
OF_EPOCH: dict[str, Any] = {
    "args": epoch_args,
    "shapes": EPOCH,
    "vary": ("x", "params[0]'s w", "targ", "order", "lr", "mask"),
    "sorts": {"order": "integers", "lr": "number", "mask": "bools"},
}
NET_LAYER = F.serial(F.Lin(3, 4), F.Relu(), F.Lin(4, 2), F.Mse())

FUNCTIONS = {
    **rule("lin", lin_args, plain_lin, LIN, lambda n: (n, 2)),
    **rule("relu", lambda n: {"x": whole(n, 3)}, plain_relu, ELEMENTS, lambda n: (n, 3)),
    **rule(
        "leaky_relu",
        x_and("negative_slope"),
        plain_leaky,
        ELEMENTS | {"negative_slope": SORTS["number"].error},
        lambda n: (n, 3),
        sorts={"negative_slope": "number"},
    ),
    **rule(
        "shifted_relu",
        x_and("shift"),
        plain_shifted,
        ELEMENTS | {"shift": SORTS["number"].error},
        lambda n: (n, 3),
        sorts={"shift": "number"},
        more=NO_DTYPE,
    ),
    **rule("mse", pair("output", "targ"), plain_mse, MSE, lambda n: ()),
    **rule("conv2d", conv_args, plain_conv, CONV, lambda n: (n, 3, 3, 3), statics=(1, "VALID", 1)),
    **rule("max_pool2d", image_args, plain_max, IMAGE, lambda n: (n, 2, 2, 2), statics=(2, None, "VALID")),
    **rule("avg_pool2d", image_args, plain_avg, IMAGE, lambda n: (n, 2, 2, 2), statics=(2, None, "VALID", True)),
    **rule("log_softmax", lambda n: {"x": whole(n, 3)}, None, LOG_SOFTMAX, lambda n: (n, 3)),
    **rule(
        "softmax_cross_entropy",
        logits_args,
        None,
        LOGITS,
        lambda n: (),
        sorts={"labels": "integers"},
        more={"no rows": LOGITS["no rows"].format(op="softmax_cross_entropy")},
        statics=(-100, 0.0, "mean"),
        ways=NOT_GRAD,  # whole numbers have no gradient
    ),
    **rule(
        "linear_cross_entropy",
        linear_loss_args,
        None,
        LINEAR_LOSS,
        lambda n: (),
        sorts={"labels": "integers"},
        more={"no rows": LINEAR_LOSS["no rows"].format(op="linear_cross_entropy")},
        statics=(-100, 0.0, "mean", None),
        ways=NOT_GRAD,
    ),
    **{
        f"weight_grad_{form}": Function(
            getattr(F, f"weight_grad_{form}"), pair("x", "y_bar", 3), lambda x, y_bar: x.T @ y_bar, ROWS, ways=WAYS
        )
        for form in ("outer", "einsum", "matmul", "transposed")
    },
    "mlp": of_net(F.mlp, plain_net, args=net_args, shapes=NET, vary=OF_NET, ways=WAYS),
    "mlp_fwd": of_net(lambda *args: F.mlp_fwd(*args)[0], plain_net, args=net_args, shapes=NET, vary=OF_NET),
    "mlp_bwd": of_net(
        lambda params, x, bar: F.mlp_bwd(F.mlp_fwd(params, x)[1], bar),
        pulled_back(plain_net),
        args=lambda n: net_args(n) | {"output_bar": whole(n, 2)},
        shapes={"output_bar": BAR},
        vary=("output_bar",),
    ),
    "mlp_loss": of_net(F.mlp_loss, plain_loss, ways=WAYS),
    "forward_and_backward": of_net(F.forward_and_backward, loss_and_all),
    "activation_stats": of_net(F.activation_stats, None, args=net_args, shapes=NET, vary=OF_NET),
    "fused_value_and_grad": of_net(masked(F.fused_value_and_grad), without_mask(loss_and_grads), **MASK),
    "fused_forward_and_backward": of_net(masked(F.fused_forward_and_backward), without_mask(loss_and_all), **MASK),
    "fused_mlp_loss": of_net(F.fused_mlp_loss, plain_loss, ways=WAYS),
    "fused_mlp_loss_fwd": of_net(lambda *args: F.fused_mlp_loss_fwd(*args)[0], plain_loss, op="fused_mlp_loss"),
    "fused_mlp_loss_bwd": of_net(
        lambda params, x, targ, bar: F.fused_mlp_loss_bwd(None, F.fused_mlp_loss_fwd(params, x, targ)[1], bar),
        pulled_back(plain_loss),
        args=lambda n: loss_args(n) | {"loss_bar": np.asarray(2, np.float32)},
        # It scales gradients that are made already: an infinite cotangent meets their zeros there.
        shapes={"loss_bar": BAR, ("loss_bar", "infinity"): ""},
        vary=("loss_bar",),
    ),
    "fused_value_and_grad_pallas": of_net(
        functools.partial(fused_value_and_grad_pallas, interpret=True), loss_and_grads
    ),
    "sgd_epoch": of_net(epoch(F.sgd_epoch), plain_step, **OF_EPOCH),
    "Lin": Function(layer(F.Lin(3, 2), 2), wbx, lambda w, b, x: plain_lin(x, w, b), LIN, "lin"),
    "as_op": of_net(
        F.as_op(NET_LAYER), plain_loss, shapes=AS_OP, sorts=dict.fromkeys(loss_args(0), "layer's"), vary=OF_LOSS
    ),
    "Relu": Function(layer(F.Relu(), 0), lambda n: {"x": whole(n, 3)}, plain_relu, ELEMENTS, "relu"),
    "Mse": Function(layer(F.Mse(), 0), pair("output", "targ"), plain_mse, MSE, "mse"),
    **{name: drawn(name, (3, 2)) for name in ("xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform")},
    **{name: drawn(name, (3, 2)) for name in ("torch_linear", "init_mlp")},
    "torch_conv": drawn("torch_conv", (2, 2, 3, 2)),
    "gather": Function(
        parallel.gather,
        lambda n: {"value": whole(n, 3)},
        lambda value: value[None],
        {"value": RIGHT} | TENSOR,
        sorts={"value": "numbers"},
        needs_values=True,
    ),
    "check_same": Function(
        lambda params: parallel.check_same("params", params),
        lambda n: {"params": whole(n, 3)},
        lambda params: None,
        {"params": RIGHT, ("params", "None"): RIGHT} | TENSOR,
        sorts={"params": "numbers"},
        needs_values=True,
    ),
    "to_state_dict": of_net(
        lambda params, x: {name: to_numpy(tensor) for name, tensor in to_state_dict(params).items()},
        lambda params, x: [params[0][1], params[0][0].T, params[1][1], params[1][0].T],
        args=net_args,
        shapes=STATE_DICT,
        vary=OF_NET[1:],
        needs_values=True,
    ),
}  # fmt: skip


def sharded(mesh: Any) -> dict[str, Function]:
    """The functions that take a mesh."""
    value, everything, of_epoch = (
        functools.partial(function, mesh)
        for function in (
            parallel.sharded_value_and_grad,
            parallel.sharded_forward_and_backward,
            parallel.sharded_sgd_epoch,
        )
    )
    return {
        "sharded_value_and_grad": of_net(masked(value), without_mask(loss_and_grads), **MASK, shapes=SHARDED),
        "sharded_forward_and_backward": of_net(masked(everything), without_mask(loss_and_all), **MASK, shapes=SHARDED),
        "sharded_sgd_epoch": of_net(epoch(of_epoch), plain_step, **OF_EPOCH),
        "shard_params": of_net(
            lambda params, x: parallel.shard_params(mesh, params),
            lambda params, x: params,
            args=net_args,
            shapes=NET,
            vary=OF_NET[1:],
            needs_values=True,
        ),
        "shard_batch": Function(
            lambda x, targ: parallel.shard_batch(mesh, x, targ)[:2],
            pair("x", "targ"),
            lambda x, targ: (x, targ),
            BATCH,
            sorts={"x": "numbers", "targ": "numbers"},
            needs_values=True,
        ),
    }


FLOATING = ("float", "layer's")
TRACED = "{op}: it needs values, and got a traced array: call it outside of jax.jit, vmap and grad"


def expected(function: Function, name: str, kind: str, way: str) -> str:
    """RIGHT, the template of an error, or "" where the kind does not apply to the argument."""
    sort_name = function.sorts.get(name, "float")
    sort, array = SORTS[sort_name], np.ndim(function.args(4)[name]) > 0
    if kind in sort.skipped or (not array and kind in ("0-d", "other size")):
        return ""
    if sort_name == "number" and way == "grad" and kind in ("mixed dtypes", "float8", "ints"):
        return ""
    if function.needs_values and way in ("jit", "vmap") and not (kind == "None" and len(function.args(4)) == 1):
        return TRACED
    if way == "jit" and kind == "Python number" and sort_name in (*FLOATING, "number"):  # jax makes an array of it
        kind = "0-d" if array else "NumPy"
    if kind == "float64 of NumPy" and way == "x64" and sort_name in FLOATING:
        kind = "mixed dtypes"
    if name == "b" or name.endswith("'s b"):
        if kind == "None":
            return "" if way == "grad" or "bwd" in function.op else RIGHT
    if (name, kind, way) in function.shapes:
        return function.shapes[name, kind, way]
    if (name, kind) in function.shapes:
        return function.shapes[name, kind]
    if kind in SHAPES and name in function.shapes:
        return function.shapes[name]
    return RIGHT if kind in sort.right else MIXED if kind == "mixed dtypes" else sort.error


class Row(NamedTuple):
    name: str
    kind: str
    """Of KINDS or OF_ALL."""
    argument: str
    """The one that is varied; "" where all are."""
    way: str
    expected: str


def rows_of(name: str, function: Function) -> Iterator[Row]:
    every = function.vary or tuple(function.args(4))
    for way in function.ways:
        for argument in every if way == "eager" else tuple(dict.fromkeys((every[0], *function.sorts))):
            for kind in KINDS:
                result = expected(function, argument, kind, way)
                if result:
                    yield Row(name, kind, argument, way, result)
        for kind in OF_ALL if way in ("eager", "jit", "x64") and "key" not in function.sorts else ():
            yield Row(
                name,
                kind,
                "",
                way,
                TRACED if function.needs_values and way == "jit" else function.shapes.get(kind, RIGHT),
            )


def values_of(function: Function, row: Row) -> list[Any]:
    """The arguments of a row."""
    n = {"no rows": 0, "one row": 1}.get(row.kind, 4)
    args = function.args(n)
    if row.kind in OF_ALL and n == 4:
        dtype = jnp.dtype(row.kind)
        args = {
            k: a.astype(dtype) if a.dtype == np.float32 and function.sorts.get(k) != "number" else a
            for k, a in args.items()
        }
    if row.argument:
        args[row.argument] = KINDS[row.kind][0](args[row.argument])
    return list(args.values())


CONTEXTS: dict[str, Callable[[], Any]] = {
    "x64": lambda: jax.enable_x64(True),
    "JAX_DISABLE_JIT": jax.disable_jit,
    "JAX_DEBUG_NANS": lambda: jax.debug_nans(True),
}
AS_IT_LIES = (*ARRAYS, "masked", "big-endian", "objects")  # kinds that a stack of two would lose


def total(call: Callable[..., Any]) -> Callable[..., Any]:
    """The sum of all that call returns, to be differentiated."""
    return lambda *args: functools.reduce(jnp.add, map(jnp.sum, jax.tree.leaves(call(*args))))


def in_this_way(function: Function, row: Row, values: list[Any]) -> tuple[Any, Any, list[Any]]:
    """What to call, jax's door to it (the same transformation of a function that looks at nothing), and arguments."""
    names = list(function.args(4))
    if row.way == "JAX_DISABLE_JIT":
        return jitted(function.call), None, values
    if row.way == "jit":  # the door as it is when it sees such arguments for the first time
        return jitted(function.call), functools.partial(jax.eval_shape, nothing), values
    if row.way == "grad":
        fixed = row.argument if row.expected != RIGHT else None
        wrt = tuple(k for k, name in enumerate(names) if name != fixed) or (0,)
        return jax.grad(total(function.call), wrt), jax.grad(nothing, wrt), values
    if row.way != "vmap":
        return function.call, None, values
    axes, stacked = [], []
    for name, a, value in zip(names, function.args(4).values(), values, strict=True):
        again = name == row.argument and row.kind in AS_IT_LIES
        array = again or (isinstance(value, np.ndarray) and (value.ndim > 0 or a.ndim == 0))
        stacked.append(KINDS[row.kind][0](np.stack([a, a])) if again else np.stack([value, value]) if array else value)
        axes.append(0 if array else None)
    return jax.vmap(function.call, axes), jax.vmap(nothing, axes, None), stacked


jitted = functools.cache(jax.jit)


def nothing(*args: Any) -> Any:
    return jnp.float32(0)


def as_jax(value: Any) -> Any:
    return None if value is None else jnp.asarray(np.array(value.numpy() if isinstance(value, torch.Tensor) else value))


def wanted(function: Function, row: Row, values: list[Any]) -> list[np.ndarray]:
    """The right result: of the same maths in float32, or of the function itself, for arrays of jax's own."""
    half = row.kind if row.kind in ("float16", "bfloat16") and function.plain else None
    clean = []
    for name, array in zip(function.args(4), map(as_jax, values), strict=True):
        widen = function.plain and (row.kind in OF_ALL or function.sorts.get(name) == "number")
        floats = array is not None and jnp.issubdtype(array.dtype, jnp.floating)
        clean.append(array.astype(jnp.float32) if array is not None and widen and floats else array)
    call = function.plain or (jitted(function.call) if row.way == "jit" else function.call)
    result = jax.grad(total(call), tuple(range(len(clean)))) if row.way == "grad" else call
    return [np.asarray(leaf).astype(half) if half else np.asarray(leaf) for leaf in jax.tree.leaves(result(*clean))]


def outcome(function: Function, row: Row) -> str:
    """What came of a row: "right", "our error", "jax's own" where jax refuses before it calls us, or what is wrong."""
    values = values_of(function, row)
    with jax.enable_x64(row.way == "x64" and function.plain is None):
        want = wanted(function, row, values) if row.expected == RIGHT else []
    with CONTEXTS.get(row.way, contextlib.nullcontext)():
        call, door, values = in_this_way(function, row, values)
        if door is not None:
            try:
                door(*values)
            except Exception:
                return "jax's own"
        try:
            got = jax.tree.map(np.asarray, jax.tree.leaves(call(*values)))
        except (FloatingPointError, RecursionError) as error:  # jax says it by recursion in an interpreted kernel
            asked = row.way == "JAX_DEBUG_NANS" and row.kind in (*NOT_FINITE, "no rows")
            return "NaN found" if asked else f"WRONG: {error!r}"
        except Exception as error:
            return judged(function, row, error)
    if row.expected != RIGHT:
        return f"WRONG: no error, expected {row.expected}"
    pairs = [(leaf, leaf) for leaf in got] if row.way != "vmap" else [(leaf[0], leaf[1]) for leaf in got]
    for pair, leaf in zip(pairs, want, strict=True):
        for one in pair:
            wide = np.complex128 if np.iscomplexobj(one) else np.float64
            if not np.array_equal(one.astype(wide), leaf.astype(wide), equal_nan=True):
                return f"WRONG: {one.tolist()}, and {leaf.tolist()} is right"
            wider = row.kind == "float64" or (row.kind == "float64 of NumPy" and function.needs_values)
            if one.dtype != leaf.dtype and not wider and row.way not in ("x64", "grad"):
                return f"WRONG: dtype {one.dtype}, and {leaf.dtype} is right"
    return "right"


def judged(function: Function, row: Row, error: Exception) -> str:
    """ "our error" where the text is the one that the tables give, and else what is wrong with it."""
    text = str(error)
    if row.expected != RIGHT and isinstance(error, (TypeError, ValueError)):
        pattern = ".*".join(map(re.escape, text_of(function, row).split("…")))
        if re.fullmatch(pattern, text, re.DOTALL):
            return "our error"
    ours = text.partition(":")[0] in OURS
    return f"WRONG {'error' if ours else 'foreign'}: {type(error).__name__}: {text[:300]}"


def text_of(function: Function, row: Row) -> str:
    """The error that the tables give for a row."""
    fill = {"name": row.argument, "op": function.op or row.name, "got": "", "what": ""}
    if row.argument:
        make, got = KINDS[row.kind]
        if row.kind == "float64 of NumPy":
            got = "float64{shape}"
        if row.kind == "Python number" and row.way == "jit":
            got = "float32[]"
        a = np.asarray(function.args(4)[row.argument])
        shape = f"[{','.join(map(str, getattr(make(a), 'shape', ())))}]"
        fill["got"] = got.format(shape=shape, dtype=a.dtype.name, code=a.dtype.str[1:], **fill)
        fill["what"] = fill["got"].partition(". ")[0]
    return row.expected.format(**fill)


OURS = {*dir(F), *dir(parallel), "fused_value_and_grad_pallas", "to_state_dict"}
FUNCTIONS_ROWS_REFUSED = 69, 15_451, 10_424  # a table that lost rows would prove less
ON_ONE_DEVICE = FUNCTIONS | sharded(parallel.make_mesh(1))


@functools.cache
def outcomes(name: str) -> dict[Row, str]:
    """What came of each row of a function, run once."""
    return {row: outcome(ON_ONE_DEVICE[name], row) for row in rows_of(name, ON_ONE_DEVICE[name])}


@pytest.fixture(scope="module", autouse=True)
def annotations_off():
    """As they are for users: our own errors must then speak. (And for the module, so that one worker runs it.)"""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", ON_ONE_DEVICE)
def test_every_row_is_right_or_our_error(name):
    assert [(*row[:4], came) for row, came in outcomes(name).items() if came.startswith("WRONG")] == []


def test_how_many_rows():
    """`pytest -s` prints them. "jax's own": jax refuses the argument before it calls us."""
    counts = collections.Counter(came.partition(":")[0] for name in ON_ONE_DEVICE for came in outcomes(name).values())
    print(f"\n{len(ON_ONE_DEVICE)} functions, {len(KINDS) + len(OF_ALL)} kinds of input, {len(WAYS)} ways of running")
    print(f"{counts.total():,} rows:", ", ".join(f"{came} {count:,}" for came, count in counts.most_common()))
    rows = [row for name in ON_ONE_DEVICE for row in outcomes(name)]
    refused = sum(row.expected != RIGHT for row in rows)
    assert (len(ON_ONE_DEVICE), len(rows), refused) == FUNCTIONS_ROWS_REFUSED
    assert set(counts) == {"right", "our error", "jax's own", "NaN found"}


@pytest.mark.eight_devices
def test_sharded_over_four_devices(as_a_user):
    """What goes through shard_map, which has a door of its own. Eagerly it is slow, so only errors are tried so."""
    for name, function in sharded(parallel.make_mesh(4)).items():
        rows = [row for row in rows_of(name, function) if row.kind not in ("one row", "other size")]
        rows = [row for row in rows if row.way == "jit" or (row.way == "eager" and row.expected != RIGHT)]
        assert [(*row[:4], came) for row in rows if (came := outcome(function, row)).startswith("WRONG")] == []
