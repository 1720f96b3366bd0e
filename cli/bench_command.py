"""`pullback bench`: how fast ours is, beside jax, torch, optax and NumPy."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pullback.signals import SECONDS, tidily

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
    command = [sys.executable, "-m", "pullback.benchmarks", "--end-with-stdin"]
    for name in workload or []:
        command += ["--workload", name]
    if quick:
        command.append("--quick")
    given = {"--rounds": rounds, "--precision": precision, "--threads": threads}
    for option, value in (given | {"--json": json_file, "--plot": plot_file}).items():
        if value is not None:
            command += [option, str(value)]
    code = _run(command)
    if code < 0:
        refuse(f"the process that measures was ended by {signal.Signals(-code).name}; so nothing is said of the rest")
    raise typer.Exit(code)


def _run(command: list[str]) -> int:
    """The exit code. The worker, and what it starts, import nothing from the current folder, and end with us.

    It ends when its standard input does, whether we close that or are killed.
    """
    with tidily(seconds=SECONDS + 3):  # the worker has SECONDS
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"PYTHONSAFEPATH": "1"})
        try:
            return worker.wait()
        finally:
            assert worker.stdin is not None
            worker.stdin.close()
            try:
                worker.wait(SECONDS + 1)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
