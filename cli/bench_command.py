"""`pullback bench`: how fast ours is, beside jax, torch, optax and NumPy."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .terminal import refuse, refuse_unwritable

NEEDED = ("torch", "optax", "matplotlib")


def bench(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default="all",
            help="Only this one, may be repeated: lesson, step, epoch, wide, rows, tiles, lin, cold, report.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes: to see that everything runs.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, show_default="11, quick 3", help="How often each is timed.")
    ] = None,
    precision: Annotated[
        Literal["default", "highest"] | None,
        typer.Option(show_default="default", help="Matmul precision of jax and torch: on a GPU the default is TF32."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, show_default="2", help="CPUs for everybody.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there too, as JSON.")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the results there, as PNG.")
    ] = None,
) -> None:
    """Time ours beside jax, torch, optax and NumPy, in a process of its own, on the device that jax finds.

    Exit code: 0 done, 1 somebody's gradients are wrong, 2 usage, or something missing.
    """
    refuse_unwritable({"--json": json_file, "--plot": plot_file})
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            refuse(f"bench compares with {package}, which is not installed: pip install 'pullback[bench]'")
    command = [sys.executable, "-m", "pullback.benchmarks"]
    for name in workload or []:
        command += ["--workload", name]
    if quick:
        command.append("--quick")
    given = {"--rounds": rounds, "--precision": precision, "--threads": threads}
    for option, value in (given | {"--json": json_file, "--plot": plot_file}).items():
        if value is not None:
            command += [option, str(value)]
    raise typer.Exit(subprocess.run(command).returncode)
