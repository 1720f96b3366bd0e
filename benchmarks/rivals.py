"""The same right and wrong rules through four checkers of gradients; kept in docs/rivals.md.

make rivals

Rules: functions of the catalog as custom_vjp, right, and wrong with each error of benchmarks/planted.py. Checkers:
jax.test_util.check_grads, chex.assert_numerical_grads, torch.autograd.gradcheck and pullback.parity.check.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import torch
from jax.test_util import check_grads
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.autograd.gradcheck import GradcheckError

from pullback import parity
from pullback.parity.report.report import Report

from . import planted
from .catalog.entry import Entry
from .planted import ERRORS, Rule

PAGE = Path("docs/rivals.md")
BEGIN, END = "<!-- made by make rivals -->", "<!-- end of what is made by make rivals -->"
NOT_SAID = "not judged / raised"
RIGHT, WRONG, UNJUDGED, RAISED = "said right", "said wrong", "not judged", "raised"


def by_check_grads(rule: Rule) -> str:
    try:
        check_grads(rule.fun, [jnp.asarray(a) for a in rule.args], order=1, modes=["rev"])
    except AssertionError:
        return WRONG
    return RIGHT


def by_chex(rule: Rule) -> str:
    try:
        chex.assert_numerical_grads(rule.fun, [jnp.asarray(a) for a in rule.args], order=1, modes=["rev"])
    except AssertionError:
        return WRONG
    return RIGHT


def by_gradcheck(rule: Rule) -> str:
    try:
        torch.autograd.gradcheck(
            rule.in_torch, [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in rule.args]
        )
    except GradcheckError:
        return WRONG
    return RIGHT


def by_parity(rule: Rule) -> str:
    one = rule.entry
    return verdict(parity.check(rule.fun, *rule.args, reference=one.fun, torch=one.torch))


def by_rule_alone(rule: Rule) -> str:
    return verdict(parity.check(rule.fun, *rule.args, checks=["values", "numerical"]))


def by_values(rule: Rule) -> str:
    one = rule.entry
    return verdict(parity.check(rule.fun, *rule.args, reference=one.fun, torch=one.torch, checks=["values"]))


def verdict(report: Report) -> str:
    return UNJUDGED if report.undecided else {0: RIGHT, 1: WRONG, 3: UNJUDGED}[report.exit_code]


TOOLS: dict[str, Callable[[Rule], str]] = {
    "jax.test_util.check_grads": by_check_grads,
    "chex.assert_numerical_grads": by_chex,
    "torch.autograd.gradcheck": by_gradcheck,
    "parity.check, the rule alone": by_rule_alone,
    'parity.check, checks=["values"]': by_values,
    "parity.check": by_parity,
}
SHORT = ("check_grads", "chex", "gradcheck", "parity, alone", "parity, values", "parity")
EVERY = {"parity.check": 3}
"""Of so many functions one: with all its probes it takes longest."""


@dataclass
class Tally:
    """What one checker said."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, Counter[str]] = field(default_factory=lambda: {error: Counter() for error in ERRORS})
    seconds: list[float] = field(default_factory=list)
    """Of each right rule, with nothing compiled before."""
    notes: list[str] = field(default_factory=list)

    def add(self, rule: Rule, tool: Callable[[Rule], str]) -> None:
        start = time.perf_counter()
        try:
            said = tool(rule)
        except Exception as error:  # it is counted, and the others go on
            said = RAISED
            self.notes.append(f"{rule.entry.name}, {rule.error or 'right'}: {type(error).__name__}")
        if rule.error is None:
            self.seconds.append(time.perf_counter() - start)
            self.right[said] += 1
            if said != RIGHT:
                self.notes.append(f"{rule.entry.name}, right: {said}")
        else:
            self.wrong[rule.error][said] += 1

    @property
    def caught(self) -> tuple[int, int]:
        """How many wrong rules were said to be wrong, and of how many."""
        return sum(c[WRONG] for c in self.wrong.values()), sum(c.total() for c in self.wrong.values())

    def of_all(self, said: str) -> int:
        return self.right[said] + sum(c[said] for c in self.wrong.values())


def measured(entries: Sequence[Entry]) -> dict[str, Tally]:
    """Every checker on the rules of every entry. One rule goes ahead, uncounted, so that nobody pays for imports."""
    warm_up = planted.planted(entries[0], None)
    for tool in TOOLS.values():
        Tally().add(warm_up, tool)
    tallies = {name: Tally() for name in TOOLS}
    for k, one in enumerate(track(entries, "functions", console=Console(stderr=True))):
        for name, tool in TOOLS.items():
            if k % EVERY.get(name, 1) == 0:
                jax.clear_caches()
                for rule in planted.rules(one):
                    tallies[name].add(rule, tool)
    return tallies


def rows(tallies: dict[str, Tally]) -> list[list[str]]:
    """The first is the head."""
    table = [["checker", "wrong rules caught", "right rules called wrong", NOT_SAID, "seconds a rule"]]
    for name, tally in tallies.items():
        caught, of = tally.caught
        right = f"{tally.right[WRONG]} of {tally.right.total()}"
        unsaid = f"{tally.of_all(UNJUDGED)} / {tally.of_all(RAISED)}"
        table.append(
            [name, f"{caught} of {of} ({caught / of:.0%})", right, unsaid, f"{statistics.median(tally.seconds):.2f}"]
        )
    return table


def rows_of_errors(tallies: dict[str, Tally]) -> list[list[str]]:
    table = [["planted error", *SHORT]]
    for error in ERRORS:
        counts = [tally.wrong[error] for tally in tallies.values()]
        table.append([error, *(f"{count[WRONG]} of {count.total()}" for count in counts)])
    return table


def shown(table: list[list[str]]) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for k, title in enumerate(table[0]):
        out.add_column(title, justify="right" if k else "left")
    for row in table[1:]:
        out.add_row(*row)
    return out


def markdown(table: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in table)
    return "\n".join([head, "|---" + "|---:" * (len(table[0]) - 1) + "|", *body])


def about(count: int, minutes: float) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "chex", "torch", "pullback"))
    on = f"Python {platform.python_version()}; on a CPU with {os.cpu_count()} cores"
    return f"{count} functions, {minutes:.0f} minutes; {versions}, {on}."


def written(page: str, made: str) -> str:
    """The page with what is made put between its markers. Raises ValueError where these are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no markers {BEGIN} and {END}: put them where the tables belong")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=60, help="about how many functions (default 60)")
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {PAGE}")
    asked = parser.parse_args()
    if asked.write and not PAGE.is_file():
        sys.exit(f"pullback: {PAGE} does not exist: run this in the root of a checkout")
    entries = planted.chosen(asked.functions)
    start = time.perf_counter()
    tallies = measured(entries)
    said = about(len(entries), (time.perf_counter() - start) / 60)
    tables = rows(tallies), rows_of_errors(tallies)
    console = Console(width=150, highlight=False, markup=False)
    for table in tables:
        console.print(shown(table), "")
    for name, tally in tallies.items():
        for note in dict.fromkeys(tally.notes):
            console.print(f"{name}: {note}")
    console.print(said)
    if asked.write:
        made = "\n\n".join([*map(markdown, tables), said])
        PAGE.write_text(written(PAGE.read_text(), made))


if __name__ == "__main__":
    main()
