"""The results as tables in a terminal."""

from typing import Any

from rich.table import Table

from pullback.names import printable

COLUMNS = {
    "median, ms": "median_ms",
    "min, ms": "min_ms",
    "max, ms": "max_ms",
    "× vs jit(vg)": "ratio_to_vg",
    "of floor": "share_of_floor",
    "compile, ms": "compile_ms",
    "memory, MB": "memory_mb",
}


def heading(about: dict[str, dict[str, Any]], floor: dict[str, float], rounds: int) -> str:
    """What the figures were measured on."""
    machine = about["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    flags = ", ".join(f"{name}={value}" for name, value in about["flags"].items() if value) or "none"
    return "\n".join(
        [
            "pullback bench",
            f"  machine   {machine['cpu']}, {machine['cores']} cores",
            f"  device    {machine['platform']} ({machine['device']}), {machine['products']}; "
            f"torch on {machine['torch_device']}",
            f"  data      {printable(about['data']['source'])}",
            f"  threads   {machine['threads']} CPUs for everybody, {machine['torch_threads']} threads in torch",
            f"  versions  {versions}",
            f"  flags     {flags}",
            f"  floor     {floor['gflops']:.0f} GFLOP/s ({floor['product_size']}³ float32), "
            f"{floor['read_gb_s']:.1f} GB/s reading {floor['read_mb']:.0f} MB",
            f"  rounds    {rounds}, interleaved; every timed implementation is first held against float64",
            "",
        ]
    )


def of_rows(title: str, rows: list[dict[str, Any]]) -> Table:
    """One workload."""
    kept = {column: key for column, key in COLUMNS.items() if any(row.get(key) is not None for row in rows)}
    noted = any(row["note"] for row in rows)
    table = Table(title=title, box=None, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("", no_wrap=True)
    for column in kept:
        table.add_column(column, justify="right")
    if noted:
        table.add_column("")
    for row in rows:
        cells = [_cell(key, row.get(key)) for key in kept.values()]
        table.add_row(row["name"], *cells, *([printable(row["note"])] if noted else []))
    return table


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key == "share_of_floor":
        return f"{value:.0%}"
    return f"{value:,.3f}" if value < 1 else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def of_targets(lines: list[dict[str, Any]]) -> Table:
    """Each target, and whether it is met."""
    table = Table(title="targets", box=None, title_justify="left", title_style="bold", header_style="bold")
    for column in ("device", "fused against", "target", "reached", ""):
        table.add_column(column, justify="right" if column in ("target", "reached") else "left")
    styles = {"met": "green", "missed": "red", "not measured": "dim"}
    for line in lines:
        reached = "" if line["reached"] is None else f"{line['reached']:.2f}"
        table.add_row(
            line["device"], line["what"], line["limit"], reached, line["verdict"], style=styles[line["verdict"]]
        )
    return table
