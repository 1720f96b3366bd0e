"""epoch: many steps of gradient descent in one compiled call.

    for each step t, with the rows order[t] of the data:        loss_t, grads = value_and_grad(mlp_loss)(params, ...)
                                                                params = params - lr grads

It is one `lax.scan`, so that no step waits for Python. The data stay on the device as they are (uint8, say), and each
step gathers and widens its own minibatch. A step is one tile of functional/_tile.py, and the weights stay transposed,
as tiles take them, from the first step to the last.

Source: Robbins & Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951.
"""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._check import accumulator, check_scalar, describe, dtype_of, float_dtype, scalar
from ._check_net import check_loss, check_net
from ._tile import Sums, Turned, checked, checked_mask, of_rows, tile_pass, turn, turn_back, whole_batch
from ._typing import Array, Float, Params


def sgd_epoch(
    params: Params,
    x: Array,
    targ: Array,
    order: Any,
    lr: Any,
    *,
    mean: Any = 0.0,
    std: Any = 1.0,
    mask: Any = None,
    axis_name: Hashable | None = None,
) -> tuple[Params, Float[Array, " steps"]]:
    """`(params, losses)` after one step of gradient descent on `mlp_loss` for each row of order.

    Shapes: `x[n, fan_in]`, of params' dtype or uint8; `targ[n]` or `targ[n, fan_out]`, of params' dtype;
    `order[steps, batch]`, integers: the rows that each step sees. The new params have the shapes and dtypes of the old;
    `losses[steps]` holds each step's loss before its update. The net's input is `(x - mean) / std`, mean and std in x's
    unit. lr, mean and std are real numbers or arrays of one without axes, so they may be traced. Half precision
    accumulates in float32.

    mask: bools of order's shape. Where it is False, a step has no row in that place, and its mean is that of the other
    rows, so that the last step may be smaller. axis_name: the name of a mapped axis (`jax.shard_map`) along which the
    data and order's second axis are divided. Each step is then one of the whole batch, by one all-reduce.

    Jit it as `jax.jit(sgd_epoch, donate_argnums=0)`: the new params then take the place of the old. Shuffle on the
    host: `rng.permutation(n)[: steps * batch].reshape(steps, batch)`. Sorting random keys on a CPU costs a fifth of the
    epoch. An index out of range takes the nearest row, because compiled code cannot raise.

    Raises:
        ValueError: a shape does not fit.
        TypeError: a dtype does not fit, order holds no integers, or mask no bools.
    """
    check_arguments("sgd_epoch", params, x, targ, order, lr, mean, std, mask)
    mask = None if mask is None else jnp.asarray(mask)
    params, x, targ, dtype = checked("sgd_epoch", params, x, targ, raw=True)
    acc = accumulator(dtype)
    lr, mean, std = (scalar("sgd_epoch", k, v, acc) for k, v in (("lr", lr), ("mean", mean), ("std", std)))
    targets = targ.reshape(len(x), params[-1][0].shape[1])
    size = order.shape[1] * targets.shape[1]
    # The number of rows of a masked or divided batch is known only in its step, and then divides the sums.
    later = mask is not None or axis_name is not None
    scale = 2.0 if later else 2 / size

    def step(weights: Sums, at: tuple[Array, Array | None]) -> tuple[Sums, Array]:
        rows, here = at
        part, goal = (a.at[rows].get(mode="clip") for a in (x, targets))
        part = ((part.astype(acc) - mean) / std).astype(dtype)
        tile = tile_pass([Turned(w_t.T, w_t, b) for w_t, b in weights], part, goal.T, scale, of_rows(here))
        loss, sums = tile.squares * (scale / 2), tile.sums
        if later:
            squares, sums, count = whole_batch(tile.squares, sums, size, here, axis_name, acc)
            loss, sums = squares / count, jax.tree.map(lambda bar: bar / jnp.maximum(count, 1), sums)
        return jax.tree.map(lambda p, g: (p.astype(acc) - lr * g).astype(p.dtype), weights, sums), loss

    weights, losses = lax.scan(step, [(w_t, b) for _, w_t, b in turn(params)], (jnp.asarray(order), mask))
    return turn_back(weights, params), losses.astype(dtype)


def check_arguments(
    op: str, params: Any, x: Any, targ: Any, order: Any, lr: Any, mean: Any, std: Any, mask: Any
) -> None:
    """Raises ValueError or TypeError, naming the argument of op, where one of an epoch's does not fit."""
    kind = dtype_of(order)
    if kind is None or not jnp.issubdtype(kind, jnp.integer):
        raise TypeError(f"{op}: order must be an array of integers; got {describe(order)}")
    if order.ndim != 2 or order.shape[1] < 1:
        raise ValueError(f"{op}: order must be [steps, batch], with a batch of at least 1; got {describe(order)}")
    check_net(op, params, x, raw=True)
    float_dtype(op, targ=targ)
    if x.ndim != 2 or x.shape[:1] != targ.shape[:1] or not len(x):
        raise ValueError(
            f"{op}: x must be [n, fan_in] and targ have its n, of at least 1; "
            f"got x {describe(x)} and targ {describe(targ)}"
        )
    check_loss(op, params, x, targ, raw=True)
    for name, value in (("lr", lr), ("mean", mean), ("std", std)):
        check_scalar(op, name, value)
    if mask is not None:
        checked_mask(op, mask, order.shape, "order")
