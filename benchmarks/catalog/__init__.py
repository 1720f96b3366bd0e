"""A catalog of public functions of jax, optax and equinox, with counterparts in torch, and inputs."""

from . import (
    activations,
    cells,
    control,
    counts,
    elementwise,
    gamma,
    indexing,
    layers,
    linalg,
    losses,
    products,
    projections,
    reductions,
    special,
    stats,
)
from .entry import Entry

AREAS = (
    *(activations, elementwise, special, gamma, stats, counts, reductions, linalg, products, indexing, control),
    *(losses, projections, layers, cells),
)

__all__ = ["Entry", "entries"]


def entries() -> list[Entry]:
    """All of them, area by area."""
    return [each for area in AREAS for each in area.entries()]
