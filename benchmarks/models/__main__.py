"""Ports of layers and nets against torch's own: is a right one called right, and is each error found?

    make survey-models

The layers are flax's and equinox's; the nets are ResNet-18 in linen and in nnx, and equimo's ViT against timm's where
both are installed (`pip install --no-deps equimo timm torchvision einops`). Each net is checked in a process of its
own, for its peak of memory.
Exit code 0 if the check says of each case what it should.
"""

import argparse
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import activations, layers, others, sequences, structure
from .case import Case, Found, judged
from .costs import all_nets, of_net


def all_cases(only: Iterable[str] = ()) -> list[Case]:
    """Every case whose name holds one of the words."""
    words = list(only)
    found = [case for room in (layers, others, sequences, activations, structure) for case in room.all_cases()]
    return [case for case in found if not words or any(word in case.layer for word in words)]


def rows(cases: Iterable[Case]) -> Iterator[tuple[Case, Found, float]]:
    for case in cases:
        begun = time.perf_counter()
        found = judged(case)
        yield case, found, time.perf_counter() - begun


def show_nets(only: Iterable[str]) -> bool:
    """A line for each net, as soon as it is known; whether all are as they should be."""
    well = True
    for net in all_nets(only):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            right, said, seconds, held, alone = pool.submit(of_net, net.name, net.framework).result()
        well &= right
        verdict = "as it should be" if right else "NOT AS IT SHOULD BE"
        cost = f"{seconds:.0f} s, {held:.0f} MB, and {alone:.0f} MB for the original alone"
        print(f"{net.name} ({net.framework}): {verdict}. {cost}. {said}", flush=True)
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="words that a layer's name must hold one of")
    parser.add_argument("--bad", action="store_true", help="show only what is not as it should be")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = Table("layer", "framework", "port", "as it should", "said", "seconds")
    counts: Counter[str] = Counter()
    cases = all_cases(options.only)
    for case, found, seconds in rows(track(cases, "checking", transient=True, console=Console(stderr=True))):
        kind = "wrong" if case.error else "right"
        counts[f"{kind} {found.as_it_should}"] += 1
        if not (options.bad and found.as_it_should):
            verdict = "yes" if found.as_it_should else "NO"
            table.add_row(case.layer, case.framework, case.error or "right", verdict, found.said, f"{seconds:.1f}")
    console = Console()
    console.print(table)
    right, wrong = (counts[f"{kind} True"] for kind in ("right", "wrong"))
    kinds = len({case.layer for case in cases})
    console.print(f"{kinds} kinds of layers. Right ports that pass: {right} of {right + counts['right False']}. "
                  f"Errors found at their layer, and named where a name is known: "
                  f"{wrong} of {wrong + counts['wrong False']}.")  # fmt: skip
    well = show_nets(options.only)
    return int(bool(counts["right False"] or counts["wrong False"]) or not well)


if __name__ == "__main__":
    sys.exit(main())
