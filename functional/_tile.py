"""A tile of rows goes through the net, forward and backward, with the batch axis last.

h_0 is the tile as it lies in memory, x[rows, fan_in]. Every activation after it has its units first, its rows last:

    forward     z_k = w_k^T h_{k-1} + b_k        h_k = relu(z_k)        d = z_last - targ^T
    backward    z_last_bar = scale d             z_{k-1}_bar = w_k z_k_bar where h_{k-1} > 0, else 0
                w_k_bar^T = z_k_bar h_{k-1}^T    b_k_bar = z_k_bar summed over the rows

So x is read as it lies, and no activation is transposed. The weight's gradient comes out as its transpose: a matrix
product with few rows, which a CPU computes faster than one with few columns. docs/performance.md has the figures.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ._check import accumulator, describe, dtype_of
from ._check_net import check_loss
from ._typing import Array, Params
from .relu import relu_bwd, relu_fwd

Sums: TypeAlias = list[tuple[Array, Array | None]]
"""For each layer `(w_bar^T[units, inputs], b_bar[units, 1])`, in the accumulator's dtype."""


class Turned(NamedTuple):
    """A layer's parameters, with the weight in both orders: each product takes the order that suits it."""

    w: Array
    """`[inputs, units]`."""
    w_t: Array
    """`[units, inputs]`."""
    b: Array | None
    """`[units, 1]`: a column, because activations have their units first."""


class Tile(NamedTuple):
    """What one tile adds to the sums over the batch, and the cotangents of its own rows."""

    squares: Array
    """The sum of d^2 over the tile."""
    sums: Sums
    """The weights' and biases' cotangents, added up over the tile."""
    z1_bar: Array
    """`[h_1, rows]`."""
    output_bar: Array
    """`[fan_out, rows]`."""


def checked(op: str, params: Any, x: Any, targ: Any, *, raw: bool) -> tuple[Params, Array, Array, jnp.dtype]:
    """Returns params, x and targ as jax arrays, and the loss's dtype. raw: whether x may be uint8 too.

    Raises ValueError or TypeError, naming the argument of op, where a shape or dtype does not fit.
    """
    dtype = check_loss(op, params, x, targ, raw=raw)
    return *jax.tree.map(jnp.asarray, (params, x, targ)), dtype


def checked_mask(op: str, mask: Any, shape: tuple[int, ...], whose: str) -> Array:
    """Returns mask as a jax array. Raises TypeError unless it holds bools, ValueError unless it has that shape.

    whose: the name of what has the shape, for the error.
    """
    if dtype_of(mask) != jnp.bool_:
        raise TypeError(f"{op}: mask must be an array of bools; got {describe(mask)}")
    if mask.shape != shape:
        raise ValueError(f"{op}: mask must have the shape of {whose}, {shape}; got {describe(mask)}")
    return jnp.asarray(mask)


def turn(params: Params) -> list[Turned]:
    """Transposes each w once. The barrier keeps XLA from folding that into the products, which makes them slower."""
    return [Turned(w, lax.optimization_barrier(w.T), None if b is None else b[:, None]) for w, b in params]


def turn_back(sums: Sums, params: Params) -> Params:
    """Returns the cotangents in the structure, shapes and dtypes of params."""
    return [
        (
            lax.optimization_barrier(w_bar_t).T.astype(w.dtype),
            None if b is None or b_bar is None else b_bar[:, 0].astype(b.dtype),
        )
        for (w_bar_t, b_bar), (w, b) in zip(sums, params, strict=True)
    ]


def of_rows(mask: Array | None) -> Callable[[Array], Array]:
    """Returns the function that sets the columns of d to 0 where the row's mask is False."""
    return lambda d: d if mask is None else jnp.where(mask[None, :], d, jnp.zeros((), d.dtype))


def whole_batch(
    squares: Array, sums: Sums, size: int, mask: Array | None, axis_name: Hashable | None, acc: jnp.dtype
) -> tuple[Array, Sums, Array]:
    """Returns squares and sums of the whole batch, and the number of elements of targ in rows whose mask is True.

    size: the number of elements of targ on this device. With axis_name, one all-reduce adds up all three over the
    devices along that axis.
    """
    rows = jnp.ones((), acc) if mask is None else jnp.sum(mask, dtype=acc)
    count = rows * (size if mask is None else size // max(mask.size, 1))
    return (squares, sums, count) if axis_name is None else lax.psum((squares, sums, count), axis_name)


def tile_pass(
    layers: Sequence[Turned],
    x: Array,
    targ_t: Array,
    scale: float,
    kept: Callable[[Array], Array] = lambda d: d,
) -> Tile:
    """Takes one tile `x[rows, fan_in]`, `targ_t[fan_out, rows]` forward and backward. Its arrays have one dtype.

    scale: the factor of d in output_bar. kept: a function that sets to 0 those columns of d that are no rows of the
    batch (padding). Products and sums accumulate in the accumulator's dtype.
    """
    dtype, acc = targ_t.dtype, accumulator(targ_t.dtype)
    # relu is computed in the accumulator's dtype: not every TPU can compare in half precision, and the values are the
    # same. inputs[k] is the input of layer k: x, then activations with the batch axis last.
    inputs, z = [x], jnp.zeros((), acc)
    for k, (_, w_t, b) in enumerate(layers):
        if k:
            h, _ = relu_fwd(z)
            inputs.append(h.astype(dtype))
        z = dot(w_t, inputs[k], 1, 0 if k else 1)
        z = z if b is None else z + b.astype(acc)
    d = kept(z.astype(dtype).astype(acc) - targ_t.astype(acc))
    bar = output_bar = (scale * d).astype(dtype)
    sums: Sums = []
    for k in reversed(range(len(layers))):
        w, _, b = layers[k]
        b_bar = None if b is None else jnp.sum(bar.astype(acc), axis=1, keepdims=True)
        sums.insert(0, (dot(bar, inputs[k], 1, 1 if k else 0), b_bar))
        if k:
            (bar,) = relu_bwd(inputs[k].astype(acc), dot(w, bar, 1, 0))
            bar = bar.astype(dtype)
    return Tile(jnp.sum(d * d), sums, bar, output_bar)


def dot(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
    """The product of matrices a and b, summed over a's axis a_axis and b's axis b_axis, in the accumulator's dtype."""
    dims = (((a_axis,), (b_axis,)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=accumulator(a.dtype))
