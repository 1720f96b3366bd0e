"""One line of a result, and what a run is told."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from .clock import Times

BASE = "jit(value_and_grad)"
"""The row that all ratios are to: jax's own gradient of the same loss, with none of our rules."""
JIT = "jit per step"
"""The same in an epoch: a call of it for each step."""


class Row(NamedTuple):
    """What one implementation took."""

    name: str
    times: Times | None = None
    compile_ms: float | None = None
    """Tracing, lowering and compiling, apart; or torch.compile's first call."""
    memory_mb: float | None = None
    """10**6 bytes beside the arguments, with the result. XLA: temporary and output buffers. torch: all that it
    allocates in one call, by its profiler. NumPy: the peak, by tracemalloc."""
    floor_ms: float | None = None
    """What its products alone would take at the best rate of a product that was reached on this machine. None: it has
    none, and is not compared."""
    note: str = ""
    """Why it is not run, or what else there is to say."""
    extra: dict[str, float] = {}
    """Further figures, by name."""


Tables: TypeAlias = Iterator[tuple[str, list[Row]]]
"""What a workload yields as it goes: title, rows."""


class Plan(NamedTuple):
    """How a run is to be made."""

    rounds: int
    quick: bool
    """Tiny sizes: to see that everything runs, not to learn how fast it is."""
    gflops: float
    """The best rate of a product, 10**9 operations a second."""


def to_dicts(rows: list[Row]) -> list[dict[str, Any]]:
    """For JSON, with each row's ratio to BASE or JIT: how many times as long that one takes."""
    base = next((row.times.median for row in rows if row.name in (BASE, JIT) and row.times), None)
    return [_to_dict(row, base) for row in rows]


def _to_dict(row: Row, base: float | None) -> dict[str, Any]:
    result: dict[str, Any] = {"name": row.name}
    if row.times is not None:
        result |= {
            "median_ms": row.times.median,
            "min_ms": row.times.least,
            "max_ms": row.times.most,
            "spread": row.times.spread,
            "ratio_to_vg": None if base is None or row.floor_ms is None else base / row.times.median,
            "share_of_floor": None if row.floor_ms is None else row.floor_ms / row.times.median,
        }
    result |= {"compile_ms": row.compile_ms, "memory_mb": row.memory_mb, "note": row.note}
    return result | row.extra
