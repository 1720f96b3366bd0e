"""The results as one picture: time over the number of rows, and everybody's ratio to jit(value_and_grad)."""

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pullback.files import write_whole

from .compare import OURS
from .row import BASE


def save(path: Path, results: dict[str, list[dict[str, Any]]]) -> None:
    """A PNG. Raises OSError."""
    ratios = {title: rows for title, rows in results.items() if any(row.get("ratio_to_vg") for row in rows)}
    ratios = {title: rows for title, rows in ratios.items() if not title.startswith("rows, ")}
    bars = sum(1 for rows in ratios.values() for row in rows if row.get("ratio_to_vg"))
    figure = Figure(figsize=(13, max(5, 0.22 * bars + 1.5)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _times(left, results)
    _ratios(right, ratios)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    write_whole(path, drawn.getvalue())


def _times(axes: Axes, results: dict[str, list[dict[str, Any]]]) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for title, rows in results.items():
        if title.startswith("rows, "):
            for row in rows:
                lines.setdefault(row["name"], []).append((row["rows"], row["median_ms"]))
    for (name, points), marker in zip(lines.items(), "so^vD", strict=False):
        axes.plot(*zip(*points, strict=True), marker=marker, label=name)
    axes.set(xlabel="rows", ylabel="ms", title="784 → 50 → 1: time over rows")
    if lines:
        axes.set(xscale="log", yscale="log")
        axes.legend()
    else:
        axes.text(0.5, 0.5, "the workload rows was not run", ha="center", transform=axes.transAxes)
    axes.grid(alpha=0.3)


def _ratios(axes: Axes, results: dict[str, list[dict[str, Any]]]) -> None:
    pairs = [(title, row) for title, rows in results.items() for row in rows if row.get("ratio_to_vg")]
    values = [row["ratio_to_vg"] for _, row in pairs]
    colours = ["#2f7fe6" if row["name"] in OURS else "#9a9a9a" for _, row in pairs]
    axes.barh(range(len(pairs)), values, color=colours)
    axes.set_yticks(range(len(pairs)), [f"{title}: {row['name']}" for title, row in pairs], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel=f"times as fast as {BASE} (ours in blue)", title="ratios")
