"""What moves numbers: indices, slices, scatter, padding, segments, interpolation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch.nn import functional as F

from .entry import EXACT, Draw, Entry, between, cancelling, entry, mask, near, near_ties, normal, sized, whole

LARGE = sized(1e3, 1e4)


def scattered(name: str, how: str, reduce: str, twice: bool) -> Entry:
    """`x.at[rows].how(updates)`. Without `twice`, no row is named twice."""

    def ours(x: Any, rows: Any, updates: Any) -> Any:
        return getattr(x.at[rows], how)(updates, unique_indices=not twice)

    def theirs(x: torch.Tensor, rows: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        at = rows.long()[:, None].expand_as(updates)
        return x.scatter(0, at, updates) if not reduce else x.scatter_reduce(0, at, updates, reduce)

    def rows(rng: np.random.Generator) -> np.ndarray:
        return (rng.integers(0, 5, 4) if twice else rng.permutation(5)[:4]).astype(np.int32)

    kinds: dict[str, tuple[Draw, ...]] = {"ordinary": (normal(), rows, normal(4, 7))}
    if how in ("max", "min"):
        kinds["near_kinks"] = (near(1), rows, near(1, shape=(4, 7)))
    else:
        kinds["large"] = (LARGE, rows, sized(1e3, 1e4, 4, 7))
    return entry(name, ours, theirs, **kinds)


def padded(mode: str, of_torch: Callable[..., Any] | None) -> Entry:
    return entry(
        f"jnp.pad, {mode}",
        lambda x: jnp.pad(x, ((2, 2), (1, 1)), mode=mode),
        of_torch,
        ordinary=normal(),
        large=LARGE,
    )


def torch_pad(mode: str) -> Callable[..., Any]:
    return lambda x: F.pad(x[None], (1, 1, 2, 2), mode=mode)[0]


def segments(name: str, reduce: str) -> Entry:
    """Five rows in three segments; the last one has one row."""
    to = (0, 1, 0, 1, 2)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        at = torch.tensor(to)[:, None].expand_as(x)
        return x.new_zeros(3, 7).scatter_reduce(0, at, x, reduce, include_self=False)

    near_one = near(1) if reduce != "sum" else lambda rng: cancelling(7, 5)(rng).T
    return entry(
        f"jax.ops.{name}",
        lambda x: getattr(jax.ops, name)(x, jnp.array(to), 3),
        theirs,
        **{"ordinary": normal(), "large": LARGE, "near_kinks" if reduce != "sum" else "badly_conditioned": near_one},
    )


def interp(x: torch.Tensor, xp: torch.Tensor, fp: torch.Tensor) -> torch.Tensor:
    i = torch.searchsorted(xp.detach(), x.detach()).clamp(1, len(xp) - 1)
    inside = fp[i - 1] + (x - xp[i - 1]) * (fp[i] - fp[i - 1]) / (xp[i] - xp[i - 1])
    return torch.where(x < xp[0], fp[0], torch.where(x > xp[-1], fp[-1], inside))


def knots(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(np.cumsum(rng.uniform(0.5, 1.5, 6)), np.float32)


def beside_knots(rng: np.random.Generator) -> np.ndarray:
    """The knots are 1, 2, 3, 4, 5, 6."""
    return near(1, 2, 3, 5, 6, shape=(9,))(rng)


def bilinear(image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """torch's grid runs from -1 to 1 over the centres of the outer pixels."""
    grid = torch.stack([2 * columns / (image.shape[1] - 1) - 1, 2 * rows / (image.shape[0] - 1) - 1], -1)
    return F.grid_sample(image[None, None], grid[None, None], align_corners=True)[0, 0, 0]


def resized(method: str, kind: str) -> Entry:
    return entry(
        f"jax.image.resize, {method}",
        lambda x: jax.image.resize(x, (9, 11), method),
        lambda x: F.interpolate(x[None, None], (9, 11), mode=kind, align_corners=False)[0, 0] if kind else None,
        ordinary=normal(),
        large=LARGE,
    )


def taken() -> list[Entry]:
    rows, spots = whole(0, 5, 6), whole(0, 7, 5, 3)
    return [
        entry(
            "jnp.take",
            lambda x, i: jnp.take(x, i, axis=0),
            lambda x, i: x[i.long()],
            ordinary=(normal(), rows),
            large=(LARGE, rows),
        ),
        entry(
            "jnp.take_along_axis",
            lambda x, i: jnp.take_along_axis(x, i, axis=1),
            lambda x, i: x.gather(1, i.long()),
            ordinary=(normal(), spots),
            large=(LARGE, spots),
        ),
        entry(
            "jax.lax.dynamic_slice",
            lambda x, i: lax.dynamic_slice(x, (i[0], i[1]), (3, 4)),
            lambda x, i: x[i[0] : i[0] + 3, i[1] : i[1] + 4],
            ordinary=(normal(), whole(0, 3, 2)),
            large=(LARGE, whole(0, 3, 2)),
        ),
        entry(
            "jax.lax.dynamic_update_slice",
            lambda x, update: lax.dynamic_update_slice(x, update, (1, 2)),
            lambda x, update: x.slice_scatter(x[1:4].slice_scatter(update, 1, 2, 6), 0, 1, 4),
            ordinary=(normal(), normal(3, 4)),
            large=(LARGE, sized(1e3, 1e4, 3, 4)),
        ),
        entry(
            "jnp.where",
            lambda keep, x, y: jnp.where(keep, x, y),
            torch.where,
            ordinary=(mask(), normal(), normal()),
            large=(mask(), LARGE, LARGE),
        ),
        entry(
            "jnp.select",
            lambda x, y: jnp.select([x > 1, x > -1], [jnp.sin(x), x * y], y),
            lambda x, y: torch.where(x > 1, torch.sin(x), torch.where(x > -1, x * y, y)),
            ordinary=(normal(scale=2), normal()),
            near_kinks=(near(1, -1), normal()),
        ),
    ]


def entries() -> list[Entry]:
    return taken() + [
        scattered("jnp.ndarray.at.set", "set", "", False),
        scattered("jnp.ndarray.at.add", "add", "sum", True),
        scattered("jnp.ndarray.at.multiply", "multiply", "prod", False),
        scattered("jnp.ndarray.at.max", "max", "amax", True),
        scattered("jnp.ndarray.at.min", "min", "amin", True),
        padded("constant", torch_pad("constant")),
        padded("reflect", torch_pad("reflect")),
        padded("edge", torch_pad("replicate")),
        padded("wrap", torch_pad("circular")),
        padded("symmetric", None),
        padded("linear_ramp", None),
        entry(
            "jax.lax.pad, interior",
            lambda x, value: lax.pad(x, value[0], ((1, -1, 1), (0, 2, 0))),
            None,
            ordinary=(normal(), normal(1)),
            large=(LARGE, normal(1)),
        ),
        segments("segment_sum", "sum"),
        segments("segment_max", "amax"),
        segments("segment_min", "amin"),
        entry(
            "jnp.interp",
            jnp.interp,
            interp,
            EXACT,
            ordinary=(between(0, 6, 9), knots, normal(6)),
            near_kinks=(beside_knots, lambda rng: np.arange(1, 7, dtype=np.float32), normal(6)),
        ),
        entry(
            "jax.scipy.ndimage.map_coordinates",
            lambda image, y, x: jax.scipy.ndimage.map_coordinates(image, [y, x], 1),
            bilinear,
            EXACT,
            ordinary=(normal(), between(0.1, 3.9, 9), between(0.1, 5.9, 9)),
            near_kinks=(normal(), near(1, 2, 3, shape=(9,)), near(2, 4, 5, shape=(9,))),
        ),
        resized("bilinear", "bilinear"),
        entry(
            "jax.image.resize, cubic",
            lambda x: jax.image.resize(x, (9, 11), "cubic"),
            None,
            ordinary=normal(),
            large=LARGE,
        ),
        entry("jnp.roll", lambda x: jnp.roll(x, 2, 1), lambda x: torch.roll(x, 2, 1), ordinary=normal(), large=LARGE),
        entry("jnp.tril", jnp.tril, torch.tril, ordinary=normal(), large=LARGE),
        entry("jnp.diag", jnp.diag, torch.diag, ordinary=normal(5), large=sized(1e3, 1e4, 5)),
        entry("jnp.tile", lambda x: jnp.tile(x, (2, 3)), lambda x: x.tile((2, 3)), ordinary=normal(), large=LARGE),
        entry(
            "jnp.repeat",
            lambda x: jnp.repeat(x, jnp.array([1, 0, 3, 2, 1]), axis=0, total_repeat_length=7),
            lambda x: x.repeat_interleave(torch.tensor([1, 0, 3, 2, 1]), 0),
            ordinary=normal(),
            large=LARGE,
        ),
        entry(
            "jnp.concatenate",
            lambda x, y: jnp.concatenate([x, y, x], axis=1),
            lambda x, y: torch.cat([x, y, x], 1),
            ordinary=(normal(), normal(5, 3)),
            large=(LARGE, sized(1e3, 1e4, 5, 3)),
        ),
        entry(
            "jnp.piecewise",
            lambda x: jnp.piecewise(x, [x < -1, x > 1], [lambda x: -x, lambda x: x**2, lambda x: x**3]),
            lambda x: torch.where(x < -1, -x, torch.where(x > 1, x**2, x**3)),
            ordinary=normal(scale=2),
            near_kinks=near(-1, 1),
        ),
        entry(
            "jnp.sort, of two axes",
            lambda x: jnp.sort(x, axis=0),
            lambda x: x.sort(0)[0],
            ordinary=normal(),
            near_kinks=lambda rng: near_ties(7, 5)(rng).T,
        ),
    ]
