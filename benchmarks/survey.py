"""The catalog's functions, as rules that nobody here wrote: is a right one called wrong, and which errors are seen?

    make survey

Every function of benchmarks/catalog is checked against its counterpart in torch and against its own forward in float64,
with several kinds of arguments, in float32 and bfloat16. In each cotangent, errors are planted (benchmarks/floors.py).
Ordinary arguments of float32 get every check that `parity.check` makes, for one function in --all-checks; the others
get values and cotangents. What is done is kept in --rows, and a run that was cut off goes on where it stopped.

A function that is called wrong must be known to be wrong: benchmarks/findings.py proves each. Exit code 0 if nothing
else is called wrong, and every error above its floor is caught.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from .findings import KNOWN
from .floors import KINDS

DTYPES = ("float32", "bfloat16")
ROWS = Path(".survey.jsonl")
EVERY = 8
"""One function in so many gets all checks: all of them would take an hour."""


class Unit(NamedTuple):
    """One check: a function, a kind of arguments, a dtype."""

    name: str
    kind: str
    dtype: str
    whole: bool  # with every check


def units(only: Iterable[str] = (), every: int = EVERY) -> list[Unit]:
    """All of the survey, or that of the functions whose names hold one of these words."""
    from .catalog import entries

    words = list(only)
    chosen = [each for each in entries() if not words or any(word in each.name for word in words)]
    return [
        Unit(each.name, kind, dtype, kind == "ordinary" and dtype == "float32" and i % every == 0)
        for i, each in enumerate(chosen)
        for dtype in each.dtypes
        for kind in each.inputs
    ]


def surveyed(unit: Unit) -> dict[str, Any]:
    """What the check says of it, as plain data."""
    import jax
    import jax.numpy as jnp

    from pullback import parity
    from pullback.parity.probes.probe import PROBES

    from .catalog import entries
    from .floors import planted

    entry = next(each for each in entries() if each.name == unit.name)
    args = [np.asarray(a).astype(jnp.dtype(unit.dtype)) if np.asarray(a).dtype == np.float32 else a
            for a in entry.inputs[unit.kind]]  # fmt: skip
    found: list[Any] = []

    def look(evaluation: Any) -> list[Any]:
        found.extend(planted(evaluation) if "rule" in evaluation.values.got else [])
        return []

    checks: list[Any] = [*(PROBES if unit.whole else ["values"]), parity.Probe("planted", look)]
    start = time.perf_counter()
    row: dict[str, Any] = {**unit._asdict(), "torch": entry.torch is not None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = parity.check(entry.fun, *args, torch=entry.torch, checks=checks)
    except Exception as error:
        row |= {"verdict": "raised", "said": [f"{type(error).__name__}: {error}"[:300]]}
        return row
    finally:
        row["seconds"] = round(time.perf_counter() - start, 2)
        jax.clear_caches()
    own = [each for each in report.rows if each.check == unit.dtype]
    floors = [each.floor for each in own if each.leaf.endswith("_bar") and each.floor is not None]
    return row | {
        "verdict": {0: "agrees", 1: "differs", 3: "not judged"}[report.exit_code],
        "culprits": report.culprits,
        "said": _said(report),
        "leaves": len(own),
        "unjudged": [each.leaf for each in own if each.verdict == "not judged"],
        "estimated": list(report.fallbacks),
        "floors": [floor if np.isfinite(floor) else None for floor in floors],
        "planted": [tuple(each) for each in found],
    }


def _said(report: Any) -> list[str]:
    said = []
    for row in report.rows:
        for who, deviation in row.deviations.items():
            if deviation.problem:
                values = ", ".join(f"{name} {value:.6g}" for name, value in row.values.items())
                said.append(f"{row.check} {row.leaf}: {who} {deviation.problem} ({deviation.budget:.3g}): {values}")
    return said + [f"{f.check} {f.about}: {f.text}" for f in report.findings if f.status == "FAIL"]


def run(todo: list[Unit], rows: Path, workers: int) -> list[dict[str, Any]]:
    """Every unit's row; those that are in the file already are not run again."""
    of_these = {"jax": version("jax"), "torch": version("torch"), "pullback": version("pullback")}
    kept: dict[Unit, dict[str, Any]] = {}
    for line in rows.read_text().splitlines() if rows.is_file() else []:
        row = json.loads(line)
        if row.pop("versions") == of_these:
            kept[Unit(*(row[field] for field in Unit._fields))] = row
    left = [unit for unit in todo if unit not in kept]
    os.environ |= {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}
    spawn = multiprocessing.get_context("spawn")  # jax's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool, rows.open("a") as file:
        waiting = {pool.submit(surveyed, unit): unit for unit in left}
        description = f"{len(left):,} checks" + (f", {len(kept):,} done before" if kept else "")
        for done in track(as_completed(waiting), description, len(left), console=Console(stderr=True)):
            kept[waiting[done]] = row = done.result()
            file.write(json.dumps(row | {"versions": of_these}) + "\n")
            file.flush()
    return [kept[unit] for unit in todo]


def known(row: dict[str, Any]) -> str | None:
    """The finding that explains why this one is called wrong, if there is one."""
    return next((name for name, where in KNOWN.items() if (row["name"], row["kind"], row["dtype"]) in where), None)


def report(rows: list[dict[str, Any]]) -> bool:
    """Prints what was found; whether nothing right was called wrong, and every error above its floor was caught."""
    wrong = [row for row in rows if row["verdict"] in ("differs", "raised")]
    for row in wrong:
        print(f"{row['name']} ({row['kind']}, {row['dtype']}) {row['verdict']}; known: {known(row) or 'NO'}")
        for line in row["said"][:3]:
            print(f"    {line}")
    fine = True
    for dtype in DTYPES:
        of = [row for row in rows if row["dtype"] == dtype and row["verdict"] != "raised"]
        if of:
            fine = _totals(dtype, of) and fine
    unknown = [row for row in wrong if not known(row)]
    functions = len({row["name"] for row in rows})
    seconds = sum(row.get("seconds", 0) for row in rows)
    print(
        f"{functions} functions, {len(rows):,} checks: {len(unknown)} right ones called wrong, "
        f"{len(wrong) - len(unknown)} wrong ones found and proven; {seconds:,.0f} s of one core"
    )
    return fine and not unknown


def _totals(dtype: str, rows: list[dict[str, Any]]) -> bool:
    leaves = sum(row["leaves"] for row in rows)
    unjudged = sum(len(row["unjudged"]) for row in rows)
    estimated = sum(row["leaves"] for row in rows if row["estimated"])
    floors = sorted(np.inf if floor is None else floor for row in rows for floor in row["floors"])
    found = [each for row in rows for each in row["planted"]]
    above = [each for each in found if each[2]]
    missed = [each for each in above if not each[3]]
    quantiles = ", ".join(f"{share:.0%} {floors[int(share * (len(floors) - 1))]:.0e}" for share in (0.5, 0.95))
    print(
        f"{dtype}: {leaves:,} leaves, {unjudged / leaves:.1%} not judged, {estimated / leaves:.1%} by estimate; "
        f"floors: {quantiles}; planted above their floor: {len(above) - len(missed):,} of {len(above):,} caught"
    )
    for kind in KINDS:
        these = [each for each in found if each[0] == kind]
        if these:
            caught = sum(each[3] for each in these)
            print(f"    {kind:<20} {caught:>6,} of {len(these):,} caught ({caught / len(these):.1%})")
    return not missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="FILE", type=Path, default=ROWS, help=f"default {ROWS}")
    parser.add_argument("--only", metavar="WORD", nargs="+", default=(), help="functions whose names hold one of these")
    parser.add_argument("--every", type=int, default=EVERY, help="one function in so many gets all checks")
    parser.add_argument("--sample", type=int, default=1, help="one check in so many, evenly spread; default all")
    parser.add_argument("--workers", type=int, default=max(os.cpu_count() or 1, 1))
    given = parser.parse_args()
    todo = units(given.only, given.every)[:: given.sample]
    sys.exit(not report(run(todo, given.rows, given.workers)))


if __name__ == "__main__":
    main()
