"""The weight's gradient in its forms: what each costs, in time and memory, in XLA and in torch.

    python benchmarks/weight_grad.py [--rows N ...]

The lesson's first layer, 784 -> 50, on rows of MNIST with a random cotangent, float32. All are first held against
float64 within the derived bound; then they are timed in turn, round after round, and the median of the rounds is shown
with its ratio to the fastest. Both frameworks use all cores. Memory: XLA's own figure for the buffers of the compiled
function beside its arguments, torch's allocations as its profiler counts them; both with the result.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself on stderr
import torch
from rich.console import Console
from rich.table import Table

from pullback.data import load_mnist
from pullback.functional import weight_grad_einsum, weight_grad_matmul, weight_grad_outer, weight_grad_transposed
from pullback.parity.lesson.mnist import batch
from pullback.parity.verdict.comparison import Comparison

HIDDEN, ROUNDS = 50, 11
IN_JAX = {
    "outer": weight_grad_outer,
    "einsum": weight_grad_einsum,
    "matmul": weight_grad_matmul,
    "transposed": weight_grad_transposed,
}
IN_TORCH = {
    "outer": lambda x, y_bar: (x.unsqueeze(-1) * y_bar.unsqueeze(1)).sum(0),
    "einsum": lambda x, y_bar: torch.einsum("ni,no->io", x, y_bar),
    "matmul": lambda x, y_bar: x.t() @ y_bar,
}
LARGEST = 2**32
"""Bytes: what torch would have to make beyond them is not run."""


class Form(NamedTuple):
    """One form in one framework, ready to be timed."""

    name: str
    run: Callable[[], Any]
    megabytes: float
    compile_ms: float | None


def arguments(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    train = load_mnist().train
    x, _ = batch(train, rng.choice(len(train.images), n, replace=n > len(train.images)), np.dtype(np.float32))
    return x, np.asarray(rng.standard_normal((n, HIDDEN))).astype(np.float32)


def held_against_float64(x: np.ndarray, y_bar: np.ndarray, torch_names: list[str]) -> None:
    """Raises AssertionError where a form is outside the derived bound."""

    def on_arrays(form: Callable[..., torch.Tensor]) -> Callable[..., np.ndarray]:
        return lambda x, y_bar: form(torch.from_numpy(x), torch.from_numpy(y_bar)).numpy()

    in_torch = {f"torch {name}": on_arrays(IN_TORCH[name]) for name in torch_names}
    compared = Comparison(
        "weight gradient",
        (x, y_bar),
        {name: jax.jit(form) for name, form in IN_JAX.items()} | in_torch,
        weight_grad_matmul,
        lambda x, y_bar: x.astype(np.float64).T @ y_bar.astype(np.float64),
        np.float32,
        lambda w_bar: {"w_bar": np.asarray(w_bar)},
    )
    (row,) = compared.rows
    assert row.ok, f"not the same gradient: {row.deviations}"


def in_jax(name: str, x: np.ndarray, y_bar: np.ndarray) -> Form:
    args = jax.device_put((x, y_bar))
    start = time.perf_counter()
    compiled = jax.jit(IN_JAX[name]).lower(*args).compile()
    compile_ms = 1e3 * (time.perf_counter() - start)
    memory: Any = compiled.memory_analysis()
    size = memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Form(f"XLA {name}", lambda: jax.block_until_ready(compiled(*args)), size / 1e6, compile_ms)


def in_torch(name: str, x: np.ndarray, y_bar: np.ndarray) -> Form:
    args = [torch.from_numpy(a) for a in (x, y_bar)]
    with torch.profiler.profile(profile_memory=True) as profile:
        IN_TORCH[name](*args)
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.events() or ())
    return Form(f"torch {name}", lambda: IN_TORCH[name](*args), allocated / 1e6, None)


def medians(forms: list[Form]) -> list[float]:
    """Milliseconds, one for each form; the forms take turns."""
    times: list[list[float]] = [[] for _ in forms]
    for round_ in range(ROUNDS + 1):  # the first warms up
        for form, seen in zip(forms, times, strict=True):
            start = time.perf_counter()
            form.run()
            if round_:
                seen.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(seen) for seen in times]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[64, 1000, 10_000, 50_000], help="how many rows")
    sizes = options.parse_args().rows
    if min(sizes) < 1:
        sys.exit("--rows must be positive")
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    device = jax.devices()[0]
    table = Table(title="w_bar[784, 50] from n rows, float32", box=None, title_justify="left")
    for column in ("n", "form", "ms", "of the fastest", "memory, MB", "compile, ms"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for n in sizes:
        x, y_bar = arguments(n)
        made = 4 * n * x.shape[1] * HIDDEN  # bytes of all the outer products
        torch_names = [name for name in IN_TORCH if name != "outer" or made <= LARGEST]
        # Compiled before the check, which would leave warm caches.
        forms = [in_jax(name, x, y_bar) for name in IN_JAX] + [in_torch(name, x, y_bar) for name in torch_names]
        held_against_float64(x, y_bar, torch_names)
        times = medians(forms)
        for form, ms in zip(forms, times, strict=True):
            compiling = "" if form.compile_ms is None else f"{form.compile_ms:.0f}"
            table.add_row(
                f"{n:,}", form.name, f"{ms:.2f}", f"{ms / min(times):.1f}", f"{form.megabytes:,.1f}", compiling
            )
        if len(torch_names) < len(IN_TORCH):
            table.add_row(f"{n:,}", "torch outer", "not run", "", f"{made / 1e6:,.0f} to make", "")
        table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"Median of {ROUNDS} interleaved rounds, {cores} cores each; {device.platform} ({device.device_kind}), "
        f"jax {jax.__version__}, torch {torch.__version__}, Python {platform.python_version()}. All within the derived "
        "bound of float64."
    )


if __name__ == "__main__":
    main()
