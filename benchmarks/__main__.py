"""`python -m pullback.benchmarks`: what `pullback bench` runs. Prints as it goes; exit code 1 if anybody is wrong.

lesson  loss and gradients of 50,000 rows of MNIST through 784 -> 50 -> 1, without x_bar and with it
step    one small batch, and how much of a call is not computing
epoch   one epoch of SGD
wide    a net of 1.9 million weights
rows    time and memory over the number of rows
tiles   the fused step over the number of rows in a tile
lin     what the readable rule of lin costs, beside rules with another form of the weight's gradient
cold    from the start of a process to its first result
report  the parity check itself
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pullback.cli.ending import ended
from pullback.signals import end_with_standard_input, ends_on_signals, temporary_folder

from . import machine

WORKLOADS = {
    "lesson": "gradients",
    "step": "step",
    "epoch": "epoch",
    "wide": "gradients",
    "rows": "gradients",
    "tiles": "gradients",
    "lin": "lin_rule",
    "cold": "cold",
    "report": "cold",
}
"""Name of the workload, and of the function -> the module it is in."""
ROUNDS, QUICK_ROUNDS = 11, 3
PRECISIONS = ("default", "highest")
PRECISION_HELP = "matmul precision of jax and of torch; default is TF32 on a GPU, and the same as highest on a CPU"


def main() -> int:
    """Runs the workloads that the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workload", action="append", metavar="NAME", help="only this one; may be repeated")
    options.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    options.add_argument("--rounds", type=int, help=f"how often each is timed; default {ROUNDS}")
    options.add_argument("--threads", type=int, default=machine.THREADS, help="CPUs for everybody (default 2)")
    options.add_argument("--precision", choices=PRECISIONS, default="default", help=PRECISION_HELP)
    options.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw them there, as PNG")
    options.add_argument("--end-with-stdin", action="store_true", help="end when standard input does")
    asked = options.parse_args()
    if asked.end_with_stdin:
        end_with_standard_input()
    names = list(dict.fromkeys(asked.workload or WORKLOADS))
    for name in names:
        if name not in WORKLOADS:
            print(f"pullback: there is no workload {name!r}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
            return 2
    machine.pin(asked.threads)  # before what follows is imported
    asked.rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
    return _run(names, asked)


def _run(names: list[str], asked: argparse.Namespace) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself on stderr
    for slow in ("jax", "torch"):  # before there is a folder to remove: until then, a signal ends the process at once
        importlib.import_module(slow)
    # torch.compile keeps what it made: from an earlier run, it would not compile in this one.
    with temporary_folder() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder  # whatever anybody leaves there goes with it
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        return _run_them(names, asked)


def _run_them(names: list[str], asked: argparse.Namespace) -> int:
    import warnings

    import jax
    import torch

    from pullback.cli.terminal import console, plain_notes
    from pullback.data import SampleDataWarning
    from pullback.files import is_replaced, write_whole

    from . import floor, plot, show
    from .held import NotTheSame
    from .inputs import mnist
    from .row import Plan, to_dicts
    from .targets import verdicts

    quick, rounds = asked.quick, asked.rounds
    torch.set_num_threads(asked.threads)
    jax.config.update("jax_default_matmul_precision", asked.precision)
    # torch's words for it; its "high" on a GPU is TF32, which is jax's default there.
    torch.set_float32_matmul_precision("highest" if asked.precision == "highest" else "high")
    screen = console(132)  # as wide as the widest table
    with plain_notes():
        about = machine.about() | {"data": {"source": mnist().source}}
    warnings.simplefilter("ignore", SampleDataWarning)  # said once
    best = floor.measure(rounds, quick)
    screen.print(show.heading(about, best, rounds), highlight=False)
    plan = Plan(rounds, quick, best["gflops"])
    results = {}
    whole: dict[str, Any] = about | {"version": version("pullback"), "quick": quick, "rounds": rounds, "floor": best}
    targets = []
    for name in names:
        if sys.stderr.isatty():  # no spinner: its thread would run beside what is timed
            print(f"timing {name}, {names.index(name) + 1} of {len(names)} ...", file=sys.stderr)
        workload = getattr(importlib.import_module(f".{WORKLOADS[name]}", __package__), name)
        try:
            for title, rows in workload(plan):
                results[title] = to_dicts(rows)
                screen.print(show.of_rows(title, results[title]), highlight=False)
                screen.print()
                # Tiny sizes say nothing of the targets.
                targets = verdicts({} if quick else results, about["machine"]["platform"])
                whole |= {"workloads": results, "targets": targets}
                # After each table: a run that is cut off keeps what it has.
                if asked.json is not None and is_replaced(asked.json):
                    write_whole(asked.json, _as_json(whole))
        except NotTheSame as error:
            print(f"pullback: {name}: {error}", file=sys.stderr)
            return 1
    screen.print(show.of_targets(targets), highlight=False)
    if asked.json is not None and not is_replaced(asked.json):
        write_whole(asked.json, _as_json(whole))
    if asked.plot is not None:
        plot.save(asked.plot, results)
    return 0


def _as_json(whole: dict[str, Any]) -> str:
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


if __name__ == "__main__":
    with ends_on_signals():
        sys.exit(ended(main))
