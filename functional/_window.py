"""A window that moves over height and width of x[n, height, width, channels]: where it stops, and what it sees there.

conv2d and the two poolings share the arguments window (or kernel), stride and padding. The poolings work on one axis
after the other: kernel height + kernel width slices, and not one for each of their products.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from ._check import describe, float_dtype
from ._typing import Array

Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = Literal["SAME", "VALID"] | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
Pads: TypeAlias = Sequence[tuple[int, int]]


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Returns one integer for each axis. Raises ValueError where value is neither one nor two, or one is too small."""
    both = (value, value) if isinstance(value, int) else value
    if not (isinstance(both, tuple) and len(both) == 2 and all(isinstance(v, int) and v >= least for v in both)):
        raise ValueError(f"{op}: {name} must be an integer of at least {least}, or a tuple of two; got {value!r}")
    return both


def pads_of(op: str, padding: Any, size: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> Pads:
    """Returns `(before, after)` for each axis. Raises ValueError where padding is none."""
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"{op}: padding must be 'SAME', 'VALID', an integer, or a tuple of two; got {padding!r}")
        return jax.lax.padtype_to_pads(size, window, stride, padding)
    if isinstance(padding, tuple) and len(padding) == 2 and all(isinstance(p, tuple) for p in padding):
        return [pair(op, "padding", p, 0) for p in padding]
    return [(p, p) for p in pair(op, "padding", padding, 0)]


class Steps(NamedTuple):
    """The window's way along one axis."""

    axis: int
    size: int
    """x's length on that axis."""
    window: int
    stride: int
    before: int
    """The padding before x."""
    after: int

    @property
    def stops(self) -> int:
        """How often the window stops: the result's length."""
        return (self.size + self.before + self.after - self.window) // self.stride + 1

    @property
    def inside(self) -> list[tuple[int, int]]:
        """For each stop, the first place in the window that is x's and not the padding's, and how many are."""
        starts = (k * self.stride - self.before for k in range(self.stops))
        return [(max(-start, 0), min(start + self.window, self.size) - max(start, 0)) for start in starts]


def pooling_steps(op: str, x: Any, window: Any, stride: Any, padding: Any) -> tuple[Steps, Steps]:
    """Returns the steps along height and along width. stride: None is window.

    Raises TypeError or ValueError where x is no batch of images, or the window does not fit.
    """
    float_dtype(op, x=x)
    if x.ndim != 4:
        raise ValueError(f"{op}: x must be [n, height, width, channels]; got x {describe(x)}")
    windows = pair(op, "window", window, 1)
    strides = windows if stride is None else pair(op, "stride", stride, 1)
    pads = pads_of(op, padding, x.shape[1:3], windows, strides)
    steps = [Steps(1 + k, x.shape[1 + k], windows[k], strides[k], *pads[k]) for k in (0, 1)]
    if any(s.size < 1 or s.window > s.size + s.before + s.after for s in steps):
        raise ValueError(
            f"{op}: the window must fit in x and its padding; got x {describe(x)}, window {window!r} and "
            f"padding {padding!r}"
        )
    if any(max(s.before, s.after) >= s.window for s in steps):
        raise ValueError(
            f"{op}: padding must be less than the window, or a window would see nothing of x; "
            f"got window {window!r} and padding {padding!r}"
        )
    return steps[0], steps[1]


def seen(x: Array, steps: Steps, outside: float) -> Iterator[Array]:
    """Yields, for each place in the window, what stands there at the window's stops. outside: the padding's value."""
    pads = [(0, 0, 0)] * x.ndim
    pads[steps.axis] = (steps.before, steps.after, 0)
    padded = jax.lax.pad(x, jnp.asarray(outside, x.dtype), pads)
    for place in range(steps.window):
        last = place + (steps.stops - 1) * steps.stride
        yield jax.lax.slice_in_dim(padded, place, last + 1, steps.stride, steps.axis)


def put_back(bars: Iterable[Array], steps: Steps) -> Array:
    """The transpose of `seen`: adds each place's cotangents to x's, where they came from; the padding's are dropped."""
    total = None
    for place, bar in enumerate(bars):
        pads = [(0, 0, 0)] * bar.ndim
        first = place - steps.before
        pads[steps.axis] = (first, steps.size - first - (steps.stops - 1) * steps.stride - 1, steps.stride - 1)
        spread = jax.lax.pad(bar, jnp.zeros((), bar.dtype), pads)
        total = spread if total is None else total + spread
    assert total is not None, "a window has at least one place"
    return total
