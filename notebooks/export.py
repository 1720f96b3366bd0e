"""Makes an importable script of a notebook: the cells that say `#| export`.

    python notebooks/export.py [--to FOLDER]     (make export)

The convention is nbdev's, and `#| default_exp` says the script's name. Directives are the
lines that begin a cell and start with `#|`; they are left out.
"""

import argparse
from pathlib import Path

import jupytext

HERE = Path(__file__).parent


def exported(path: Path) -> tuple[str, str] | None:
    """`(module name, source)` of a notebook's text, or None if it exports nothing.

    Raises ValueError for cells to export in a notebook that names no module, or names two.
    """
    names, cells = [], []
    for cell in jupytext.read(path).cells:
        if cell.cell_type != "code":
            continue
        directives, source = _directives(cell.source)
        names += [words[1] for words in directives if words[:-1] == ["default_exp"]]
        if ["export"] in directives:
            cells.append(source)
    if not cells:
        return None
    if len(names) != 1:
        need = "exports cells, so one of its cells must say '#| default_exp NAME'"
        raise ValueError(f"{path.name} {need}; got {names}")
    head = f"# Made by `make export` from notebooks/{path.name}: change that one.\n"
    return names[0], "\n\n".join([head, *(cell.strip() + "\n" for cell in cells)])


def _directives(source: str) -> tuple[list[list[str]], str]:
    lines = source.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("#|")), len(lines))
    directives = [line[2:].split() for line in lines[:count] if line[2:].split()]
    return directives, "\n".join(lines[count:])


def export_all(to: Path) -> list[Path]:
    """Writes every notebook's script into the folder, and returns their paths."""
    scripts = [exported(path) for path in sorted(HERE.glob("[0-9][0-9]_*.py"))]
    made = [script for script in scripts if script is not None]
    to.mkdir(parents=True, exist_ok=True)
    for name, source in made:
        (to / f"{name}.py").write_text(source)
    return [to / f"{name}.py" for name, _ in made]


def main() -> None:
    as_written = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    folder = HERE / "exported"
    options.add_argument("--to", type=Path, default=folder, help="default notebooks/exported")
    for path in export_all(options.parse_args().to):
        print(path)


if __name__ == "__main__":
    main()
