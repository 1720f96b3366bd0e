"""Runs the notebooks, from their text, and keeps their outputs or compares them with the kept.

    python notebooks/execute.py            fails on an error, or where a kept output is stale
    python notebooks/execute.py --update   runs them, and keeps the outputs

(`make notebooks` and `make notebooks-update`.) The text is `NN_name.py` (jupytext's percent
format); what is kept is `NN_name.ipynb` beside it. Kept outputs are stale where their cells
are not the text's, or where another run gives other words or other figures. Figures may differ
by 1%, or by one in the last digit that is printed: another machine rounds differently. A cell
tagged `varies` (times, versions, sizes of rounding errors) is run and not compared, and of a
picture only that there is one. Other data than the kept outputs are of (the embedded sample in
place of the full set) gives other figures, so then only errors count, and the run says so.
"""

import argparse
import functools
import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

from pullback.data import load_mnist

HERE = Path(__file__).parent
SECONDS = 300
"""What one notebook may take."""
KEPT_DATA = "full MNIST"
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def texts(names: list[str]) -> list[Path]:
    """The notebooks' texts, all of them or those named."""
    found = sorted(HERE.glob("[0-9][0-9]_*.py"))
    if unknown := set(names) - {path.stem for path in found}:
        there = ", ".join(path.stem for path in found)
        raise SystemExit(f"there is no notebook {sorted(unknown)[0]}; there are {there}")
    return [path for path in found if not names or path.stem in names]


def from_text(path: Path) -> Any:
    """The notebook that a text says, without outputs; the same text gives the same file."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return notebook


def executed(path: Path) -> Any:
    """The notebook with the outputs of a run from top to bottom in a kernel of its own.

    A bar says which cell it is at; where stderr is no terminal, one line says which notebook.
    Raises CellExecutionError for a cell that raises, CellTimeoutError for one without an end.
    """
    notebook = from_text(path)
    count = sum(cell.cell_type == "code" for cell in notebook.cells)
    if not sys.stderr.isatty():
        print(f"{path.stem}: running, {count} cells", flush=True)
    with tqdm(total=count, desc=path.stem, unit="cell", leave=False, disable=None) as bar:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": HERE}},
            # Errors only: the kernel warns, on stderr, that it talks over loopback.
            extra_arguments=["--log-level=40"],
            on_cell_complete=lambda **_: bar.update(),
        )
        client.execute()
    notebook.metadata["data"] = data_name()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if "outputs" in cell:
            cell.outputs = _joined(cell.outputs)
    return notebook


@functools.cache
def data_name() -> str:
    """Which data the notebooks get, without the path where they lie."""
    return load_mnist().source.split(" (")[0].split(", ")[0]


def _joined(outputs: list[Any]) -> list[Any]:
    """Printed text in one piece: where a kernel breaks it is chance."""
    joined: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _text(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def stale(kept: Any, fresh: Any) -> list[str]:
    """What is stale in the kept notebook, a line each; outputs only of the same data."""
    if _text(kept) != _text(fresh):
        return ["its cells are not those of its text"]
    if kept.metadata.get("data") != fresh.metadata["data"]:
        return []
    found = []
    for number, (old, new) in enumerate(zip(kept.cells, fresh.cells, strict=True), start=1):
        if old.cell_type != "code" or "varies" in new.metadata.get("tags", ()):
            continue
        was, now = _shown(old), _shown(new)
        kinds_were, kinds = ([kind for kind, _ in outputs] for outputs in (was, now))
        if kinds_were != kinds:
            found.append(f"cell {number} shows {kinds}, kept are {kinds_were}")
            continue
        found += [
            f"cell {number}: {problem}"
            for (_, a), (_, b) in zip(was, now, strict=True)
            if (problem := other_text(a, b))
        ]
    return found


def _shown(cell: Any) -> list[tuple[str, str]]:
    """Each output of a cell as (kind, text); of a picture, the kind alone."""
    shown = []
    for output in cell.outputs:
        if output.output_type == "stream":
            shown.append((output.name, output.text))
        else:
            for kind, data in sorted(output.data.items()):
                shown.append((kind, data if kind == "text/plain" else ""))
    return shown


def other_text(old: str, new: str) -> str:
    """How two outputs differ, in words or in a figure by more than 1%; "" if they do not."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (old, new)]
    if words[0] != words[1]:
        return f"now {new!r}, kept {old!r}"
    for was, now in zip(*(NUMBER.findall(text) for text in (old, new)), strict=True):
        a, b = (float(n.replace(",", "")) for n in (was, now))
        one_more = min(_last_place(was), _last_place(now))
        if abs(a - b) > max(0.01 * max(abs(a), abs(b)), one_more):
            return f"now {b:g}, kept {a:g}"
    return ""


def _last_place(number: str) -> float:
    """One in the last printed digit of a decimal fraction; 0 of a whole number, a count."""
    mantissa, _, exponent = number.lower().partition("e")
    if "." not in mantissa and not exponent:
        return 0.0
    return 1.001 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    options.add_argument("names", nargs="*", help="01_forward, say; all by default")
    options.add_argument("--update", action="store_true", help="keep the outputs")
    chosen = options.parse_args()
    if chosen.update and data_name() != KEPT_DATA:
        need = f"outputs are kept of the {KEPT_DATA}; here is the {data_name()}"
        raise SystemExit(f"{need}: pullback data --source download")
    failed = False
    for path in texts(chosen.names):
        start, problems = time.perf_counter(), []
        kept_at = path.with_suffix(".ipynb")
        try:
            fresh = executed(path)
        except CellExecutionError as error:
            end = str(error).splitlines()[-30:]
            problems = [f"raised {error.ename}: {error.evalue}", *end]
        except TimeoutError:
            problems = [f"a cell ran for more than {SECONDS} s"]
        else:
            if chosen.update:
                nbformat.write(fresh, kept_at)
            elif not kept_at.exists():
                problems = [f"{kept_at.name} is missing: make notebooks-update"]
            else:
                kept = nbformat.read(kept_at, as_version=4)
                problems = stale(kept, fresh)
                theirs = kept.metadata.get("data")
                if not problems and theirs != fresh.metadata["data"]:
                    print(f"{path.stem}: figures not compared: kept are those of the {theirs}")
                if problems:
                    problems.append("if that is right: make notebooks-update")
        seconds = time.perf_counter() - start
        if not problems and seconds > SECONDS:
            problems = [f"took {seconds:.0f} s; it may take {SECONDS}"]
        verdict = "FAILED" if problems else "ok"
        print(f"{path.stem}: {verdict}, {seconds:.0f} s, on {data_name()}")
        print("".join(f"  {line}\n" for line in problems), end="", flush=True)
        failed |= bool(problems)
    sys.exit(failed)


if __name__ == "__main__":
    main()
