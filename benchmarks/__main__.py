"""`python -m pullback.benchmarks`: what `pullback bench` runs. Prints as it goes; exit code 1 if anybody is wrong.

lesson  loss and gradients of 50,000 rows of MNIST through 784 -> 50 -> 1, without x_bar and with it
step    one small batch, and how much of a call is not computing
epoch   one epoch of SGD
wide    a net of 1.9 million weights
rows    time and memory over the number of rows
lin     what the readable rule of lin costs, beside rules with another form of the weight's gradient
cold    from the start of a process to its first result
report  the parity check itself
"""

import argparse
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from . import machine

WORKLOADS = {
    "lesson": "gradients",
    "step": "step",
    "epoch": "epoch",
    "wide": "gradients",
    "rows": "gradients",
    "lin": "lin_rule",
    "cold": "cold",
    "report": "cold",
}
"""Name of the workload, and of the function -> the module it is in."""
ROUNDS, QUICK_ROUNDS = 11, 3


def main() -> int:
    """Runs the workloads that the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workload", action="append", metavar="NAME", help="only this one; may be repeated")
    options.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    options.add_argument("--rounds", type=int, help=f"how often each is timed; default {ROUNDS}")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw them there, as PNG")
    asked = options.parse_args()
    names = list(dict.fromkeys(asked.workload or WORKLOADS))
    for name in names:
        if name not in WORKLOADS:
            print(f"pullback: there is no workload {name!r}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
            return 2
    machine.pin()  # before what follows is imported
    return _run(names, asked.quick, asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS), asked.json, asked.plot)


def _run(names: list[str], quick: bool, rounds: int, json_file: Path | None, plot_file: Path | None) -> int:
    # torch.compile keeps what it made: from an earlier run, it would not compile in this one.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself on stderr
        return _run_them(names, quick, rounds, json_file, plot_file)


def _run_them(names: list[str], quick: bool, rounds: int, json_file: Path | None, plot_file: Path | None) -> int:
    import importlib
    import warnings

    import torch

    from pullback.cli.files import write_whole
    from pullback.cli.terminal import console, plain_notes
    from pullback.data import SampleDataWarning

    from . import floor, plot, show
    from .held import NotTheSame
    from .inputs import mnist
    from .row import Plan, to_dicts
    from .targets import verdicts

    torch.set_num_threads(machine.THREADS)
    screen = console(132)  # as wide as the widest table
    with plain_notes():
        about = machine.about() | {"data": {"source": mnist().source}}
    warnings.simplefilter("ignore", SampleDataWarning)  # said once
    best = floor.measure(rounds, quick)
    screen.print(show.heading(about, best, rounds), highlight=False)
    plan = Plan(rounds, quick, best["gflops"])
    results = {}
    for name in names:
        workload = getattr(importlib.import_module(f".{WORKLOADS[name]}", __package__), name)
        try:
            for title, rows in workload(plan):
                results[title] = to_dicts(rows)
                screen.print(show.of_rows(title, results[title]), highlight=False)
                screen.print()
        except NotTheSame as error:
            print(f"pullback: {name}: {error}", file=sys.stderr)
            return 1
    # Tiny sizes say nothing of the targets.
    targets = verdicts({} if quick else results, about["machine"]["platform"])
    screen.print(show.of_targets(targets), highlight=False)
    whole = {
        "version": version("pullback"),
        "quick": quick,
        "rounds": rounds,
        **about,
        "floor": best,
        "workloads": results,
        "targets": targets,
    }
    if json_file is not None:
        write_whole(json_file, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    if plot_file is not None:
        plot.save(plot_file, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
