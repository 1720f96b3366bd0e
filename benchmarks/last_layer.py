"""The last layer and its loss: `linear_cross_entropy` beside the plain form, which makes all logits at once.

    python -m pullback.benchmarks.last_layer [--rounds N]

Temporary memory is the compiler's own figure, beside arguments and results: compiled, and not run. For the time
they take turns, and the least of all rounds is shown, of the clock on the wall and of the processor's: on a shared
machine the first tells how busy others were. Errors are against the plain form in float64, as a part of the largest
value of the loss or gradient; the bound of each element is held in tests/functional/test_linear_cross_entropy.py.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from pullback.functional import linear_cross_entropy
from pullback.parity.lesson.in_jax import twin_linear_cross_entropy

PLAIN, TILED = "plain", "linear_cross_entropy"
LOSSES: dict[str, Callable[..., Any]] = {PLAIN: twin_linear_cross_entropy, TILED: linear_cross_entropy}
VALUE, GRADIENTS = "value", "value_and_grad"


class Size(NamedTuple):
    """Of the last layer."""

    rows: int
    classes: int
    width: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.classes:,} classes, width {self.width:,}"


LARGE, TIMED = Size(8192, 32_000, 512), Size(2048, 8192, 256)


class Least(NamedTuple):
    """Milliseconds, the least of all rounds."""

    wall: float
    processor: float


def compute(form: str, what: str) -> Any:
    """`(x, w, b, labels)` -> the loss, and its gradients where they are asked for."""
    return jax.jit(LOSSES[form] if what == VALUE else jax.value_and_grad(LOSSES[form], (0, 1, 2)))


def temporary_megabytes(form: str, what: str, size: Size, dtype: Any) -> float:
    """What the compiled function needs beside its arguments and its results."""
    n, classes, width = size
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((n, width), (width, classes), (classes,))]
    compiled = compute(form, what).lower(*arrays, jax.ShapeDtypeStruct((n,), jnp.int32)).compile()
    memory: Any = compiled.memory_analysis()
    return memory.temp_size_in_bytes / 1e6


def arguments(size: Size) -> tuple[np.ndarray, ...]:
    """Random inputs, weights that give logits of about 1, biases and labels."""
    rng, (n, classes, width) = np.random.default_rng(0), size
    w = rng.standard_normal((width, classes)) / np.sqrt(width)
    floats = (rng.standard_normal((n, width)), w, rng.standard_normal(classes))
    labels = np.asarray(rng.integers(0, classes, n), np.int32)
    return *(np.asarray(a, np.float32) for a in floats), labels


def errors(args: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Form -> its largest error in the loss or a gradient, as a part of that array's largest value in float64."""
    with jax.enable_x64(True):
        wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in args]
        oracle = [np.asarray(a) for a in jax.tree.leaves(compute(PLAIN, GRADIENTS)(*wide))]
    off = {}
    for form in LOSSES:
        got = [np.asarray(a, np.float64) for a in jax.tree.leaves(compute(form, GRADIENTS)(*args))]
        off[form] = max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(got, oracle, strict=True))
    return off


def least(calls: Sequence[Callable[[], Any]], rounds: int) -> list[Least]:
    """The calls take turns. Each is made once before, to compile it."""
    seen: list[list[Least]] = [[] for _ in calls]
    for call in calls:
        jax.block_until_ready(call())
    for _ in range(rounds):
        for call, times in zip(calls, seen, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            times.append(Least(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)))
    return [Least(*(min(figures) for figures in zip(*times, strict=True))) for times in seen]


def memory_table(size: Size) -> Table:
    """One line for each form and dtype."""
    table = Table(box=None)
    for column in ("", "dtype", VALUE, GRADIENTS):
        table.add_column(column, justify="left" if column in ("", "dtype") else "right")
    for dtype in (jnp.float32, jnp.bfloat16):
        for form in LOSSES:
            figures = [f"{temporary_megabytes(form, what, size, dtype):,.1f}" for what in (VALUE, GRADIENTS)]
            table.add_row(form, jnp.dtype(dtype).name, *figures)
    return table


def time_table(size: Size, rounds: int) -> Table:
    """One line for each form and what it computes, with its ratio to the plain form."""
    args = arguments(size)
    off = errors(args)
    on_device = jax.device_put(args)
    table = Table(box=None)
    for column in ("", "", "ms", "of plain", "processor ms", "of plain", "error"):
        table.add_column(column, justify="right" if column else "left")
    for what in (VALUE, GRADIENTS):
        runs = [compute(form, what) for form in LOSSES]
        times = least([lambda run=run: run(*on_device) for run in runs], rounds)
        plain = times[0]
        for form, (wall, processor) in zip(LOSSES, times, strict=True):
            figures = (
                f"{wall:.0f}",
                f"{wall / plain.wall:.2f}",
                f"{processor:.0f}",
                f"{processor / plain.processor:.2f}",
            )
            table.add_row(form, what, *figures, f"{off[form]:.0e}" if what == GRADIENTS else "")
    return table


def main() -> None:
    """Prints both tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=20, help="how often each is timed (default 20)")
    rounds = max(1, options.parse_args().rounds)
    console, device = Console(width=100), jax.devices()[0]
    console.print(f"Temporary memory in MB, {LARGE}:")
    console.print(memory_table(LARGE))
    console.print(f"\nMilliseconds, float32, {TIMED}:")
    console.print(time_table(TIMED, rounds))
    console.print(
        f"\nThe least of {rounds} rounds in turn, {os.cpu_count()} cores; {device.platform} ({device.device_kind}), "
        f"jax {jax.__version__}, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
