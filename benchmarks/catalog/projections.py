"""optax.projections, of a vector."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from optax import projections as P

from .entry import EXACT, Entry, entry, fixed, near, near_ties, normal, positive, sized


def simplex(x: torch.Tensor) -> torch.Tensor:
    """Held, Wolfe and Crowder 1974: what lies above a threshold is kept, less the threshold."""
    u = x.sort(descending=True)[0]
    excess = (u.cumsum(0) - 1) / torch.arange(1, len(x) + 1).to(x.dtype)
    return torch.relu(x - excess[int((u > excess).sum()) - 1])


def l1_ball(x: torch.Tensor) -> torch.Tensor:
    return x if x.abs().sum() <= 1 else torch.sign(x) * simplex(x.abs())


def projection(name: str, fun: Callable[..., Any], of_torch: Callable[..., Any] | None, **kinds: Any) -> Entry:
    """Of a vector; x is beyond the set except where it is small."""
    x = {"ordinary": normal(7, scale=2), "large": sized(1e2, 1e3, 7)}
    return entry(f"optax.projections.{name}", fun, of_torch, EXACT, **{**x, **kinds})


def unit(rng: np.random.Generator) -> np.ndarray:
    x = normal(7)(rng)
    return x / np.linalg.norm(x)


def entries() -> list[Entry]:
    ball = {"near_kinks": lambda rng: 1.001 * unit(rng), "small": sized(1e-4, 1e-2, 7)}
    flat = {"ordinary": (normal(7, scale=2), normal(7)), "large": (sized(1e2, 1e3, 7), normal(7))}
    return [
        projection(
            "projection_simplex",
            P.projection_simplex,
            simplex,
            large=near_ties(7, off=0.1, size=100),
            near_kinks=fixed(0.5, 0.301, 0.2, 0.01, -0.3),
        ),
        projection(
            "projection_l1_ball",
            P.projection_l1_ball,
            l1_ball,
            large=near_ties(7, off=0.1, size=100),
            small=sized(1e-4, 1e-2, 7),
        ),
        projection(
            "projection_l1_sphere",
            P.projection_l1_sphere,
            lambda x: torch.sign(x) * simplex(x.abs()),
            large=near_ties(7, off=0.1, size=100),
        ),
        projection("projection_l2_ball", P.projection_l2_ball, lambda x: x / x.norm().clamp(min=1), **ball),
        projection("projection_l2_sphere", P.projection_l2_sphere, lambda x: x / x.norm(), small=sized(1e-4, 1e-2, 7)),
        projection(
            "projection_linf_ball",
            P.projection_linf_ball,
            lambda x: x.clamp(-1, 1),
            large=sized(0.5, 20, 7),
            near_kinks=near(-1, 1, shape=(7,)),
        ),
        projection("projection_non_negative", P.projection_non_negative, torch.relu, near_kinks=near(0, shape=(7,))),
        projection(
            "projection_box",
            lambda x: P.projection_box(x, -1, 2),
            lambda x: x.clamp(-1, 2),
            large=sized(0.5, 20, 7),
            near_kinks=near(-1, 2, shape=(7,)),
        ),
        projection(
            "projection_hypercube",
            P.projection_hypercube,
            lambda x: x.clamp(0, 1),
            large=positive(0.1, 20, 7),
            near_kinks=near(0, 1, shape=(7,)),
        ),
        projection(
            "projection_hyperplane",
            lambda x, a: P.projection_hyperplane(x, a, 1.0),
            lambda x, a: x - a * (a @ x - 1) / (a @ a),
            **flat,
        ),
        projection(
            "projection_halfspace",
            lambda x, a: P.projection_halfspace(x, a, -1.0),
            lambda x, a: x - a * torch.relu(a @ x + 1) / (a @ a),
            **flat,
        ),
        projection("projection_vector", P.projection_vector, lambda x, a: a * (a @ x) / (a @ a), **flat),
    ]
