"""`python -m pullback.benchmarks.compare [NEW] [OLD]`: is any of ours slower than it was? Exit code 1 if one is.

Ratios to jit(value_and_grad) of the same run are compared, not times: the machine may be another one, or busier. A
ratio is a regression if it is worse by more than both runs' spreads together, and by at least LEAST.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from pullback.cli.terminal import console

RESULTS = Path("benchmarks/results")
LATEST = RESULTS / "latest.json"
LEAST = 0.15
"""Of the ratio: below, it is noise whatever the spreads say."""
OURS = ("forward_and_backward", "fused_value_and_grad", "value_and_grad(fused_mlp_loss)", "fused, uint8", "sgd_epoch")


def main(argv: list[str] | None = None) -> int:
    """0: no regression. 1: one or more. 2: a file is missing or is none of ours."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "new", type=Path, nargs="?", default=LATEST, help=f"default {LATEST}, which `make bench` makes"
    )
    options.add_argument("old", type=Path, nargs="?", help=f"default the newest version in {RESULTS}")
    asked = options.parse_args(argv)
    try:
        new = _read(asked.new, "run `make bench` first")
        old_file = asked.old or _newest(RESULTS)
        old = _read(old_file, "there is nothing to compare with")
    except ValueError as error:
        print(f"pullback: {error}", file=sys.stderr)
        return 2
    lines = compare(old, new)
    console().print(_table(lines, f"{asked.new} against {old_file}"))
    if not lines:
        print(f"pullback: {asked.new} and {old_file} have no row in common", file=sys.stderr)
        return 2
    return 1 if any(line["worse"] for line in lines) else 0


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each of our rows that both have: `old` and `new` ratio, `allowed` (relative), and whether `worse`."""
    lines = []
    for title, rows in new["workloads"].items():
        before = {row["name"]: row for row in old["workloads"].get(title, [])}
        for row in rows:
            was = before.get(row["name"], {}).get("ratio_to_vg")
            if row["name"] not in OURS or was is None or row.get("ratio_to_vg") is None:
                continue
            allowed = max(LEAST, before[row["name"]].get("spread", 0.0) + row.get("spread", 0.0))
            worse = row["ratio_to_vg"] < was * (1 - allowed)
            line = {"what": f"{title}: {row['name']}", "old": was, "new": row["ratio_to_vg"]}
            lines.append(line | {"allowed": allowed, "worse": worse})
    return lines


def _read(file: Path, otherwise: str) -> dict[str, Any]:
    """Raises ValueError, with a sentence."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist: {otherwise}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict) or "workloads" not in found:
        raise ValueError(f"{file} is not what `pullback bench --json` writes")
    return found


def _newest(folder: Path) -> Path:
    """The file of the highest version, `1.10.0.json` after `1.9.0.json`. Raises ValueError if there is none."""

    def number(file: Path) -> list[int]:
        return [int(part) for part in file.stem.split(".")]

    versions = [file for file in folder.glob("*.json") if file.stem.replace(".", "").isdigit()]
    if not versions:
        raise ValueError(f"there is no {folder}/VERSION.json to compare with")
    return max(versions, key=number)


def _table(lines: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, box=None, title_justify="left", title_style="bold", header_style="bold")
    for column in ("ratio to jit(value_and_grad)", "old", "new", "change", "allowed", ""):
        table.add_column(column, justify="left" if column in ("ratio to jit(value_and_grad)", "") else "right")
    for line in lines:
        table.add_row(
            line["what"],
            f"{line['old']:.2f}",
            f"{line['new']:.2f}",
            f"{line['new'] / line['old'] - 1:+.0%}",
            f"-{line['allowed']:.0%}",
            "WORSE" if line["worse"] else "",
            style="red" if line["worse"] else None,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
