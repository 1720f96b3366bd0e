"""From nothing to the first result: the workloads `cold` (a process) and `report` (a call)."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from .clock import Times
from .row import BASE, Plan, Row, Tables

FUSED = "fused_value_and_grad"
STARTS = ("without a cache", "first start, empty cache", "second start")

# What each process runs: `python -c`, with the name of the implementation.
FIRST_RESULT = """
import json, sys, time
import jax, numpy as np
if sys.argv[1] == "fused_value_and_grad":
    from pullback.functional import fused_value_and_grad as net
else:
    from pullback.parity.lesson.in_jax import twin_loss
    net = jax.value_and_grad(twin_loss)
n = int(sys.argv[2])
layer = lambda i, o: (np.full((i, o), 0.01, np.float32), np.zeros(o, np.float32))
args = [layer(784, 50), layer(50, 1)], np.ones((n, 784), np.float32), np.ones(n, np.float32)
start = time.perf_counter()
compiled = jax.jit(net).lower(*args).compile()
compile_ms = 1e3 * (time.perf_counter() - start)
jax.block_until_ready(compiled(*args))
print(json.dumps(compile_ms))
"""


def cold(plan: Plan) -> Tables:
    """A process's time to its first result, and what of it is compiling, without and with jax's compilation cache."""
    for name in (BASE, FUSED):
        seen: dict[str, list[tuple[float, float]]] = {start: [] for start in STARTS}
        for _ in range(1 if plan.quick else 3):
            with tempfile.TemporaryDirectory() as folder:
                for start in STARTS:
                    seen[start].append(_start(name, None if start == STARTS[0] else folder, plan.quick))
        rows = []
        for start, pairs in seen.items():
            totals, compiles = zip(*pairs, strict=True)
            rows.append(Row(start, Times.of(totals), statistics.median(compiles)))
        yield f"cold, {name}", rows


def _start(name: str, cache: str | None, quick: bool) -> tuple[float, float]:
    """Milliseconds of the whole process, and of compiling in it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION_CACHE")}
    if cache is not None:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    command = [sys.executable, "-P", "-c", FIRST_RESULT, name, "1000" if quick else "50000"]
    start = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return 1e3 * (time.perf_counter() - start), json.loads(done.stdout)


def report(plan: Plan) -> Tables:
    """`pullback.parity.check_mnist()`: the first call, which compiles, and the calls after it."""
    from pullback.parity import check_mnist

    times = []
    for _ in range(2 if plan.quick else 4):
        start = time.perf_counter()
        assert (check_mnist(8, 4) if plan.quick else check_mnist()).ok
        times.append(1e3 * (time.perf_counter() - start))
    first, *later = times
    rows = [
        Row("check_mnist, first call", Times.of([first])),
        Row("check_mnist, later calls", Times.of(later)),
    ]
    yield "report", rows
