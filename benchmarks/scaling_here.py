"""The sharded step, measured on what is here: fake devices of one process, and processes on loopback.

They share this machine's cores, so no speed-up is to be had: the figures show what dividing the work costs. Every run
is first held against float64 within the derived bound. `make scaling` runs it; `--worker` is one process of it.
"""

import argparse
import functools
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

ROWS, ROUNDS = 16_384, 15
CASES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (4, 1), (2, 2))
"""Processes, and fake devices in each."""


def worker(process_id: int, num_processes: int, coordinator: str | None, rows: int) -> None:
    """Prints, from process 0, the median and the least time of a step."""
    import jax
    import numpy as np

    from pullback.parallel import make_mesh, processes, shard_batch, shard_params, sharded_value_and_grad

    from . import held, inputs

    many = (coordinator, num_processes, process_id) if coordinator else (None, None, None)
    with processes(*many):
        of = inputs.mnist_rows(rows, (784, 64, 1))
        mesh = make_mesh()
        step = jax.jit(functools.partial(sharded_value_and_grad, mesh))

        def placed(params: Any, x: Any, targ: Any) -> Any:
            return shard_params(mesh, params), *shard_batch(mesh, x, targ)

        held.hold(of, {}, {"sharded": lambda *args: step(*placed(*args))}, x_bar=False)
        args = placed(of.params, of.x, of.targ)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            jax.block_until_ready(step(*args))
            times.append(time.perf_counter() - start)
        if process_id == 0:
            print(json.dumps({"ms": 1e3 * float(np.median(times)), "min": 1e3 * min(times)}))


def measure(num_processes: int, devices: int, rows: int = ROWS) -> dict[str, Any]:
    """What process 0 of such a run prints. Raises RuntimeError with stderr where one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "pullback.benchmarks.scaling_here", "--worker", str(num_processes)]
    command += ["--rows", str(rows)]
    if num_processes > 1:
        command += ["--coordinator", address]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen([*command, "--process-id", str(k)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for k in range(num_processes)
    ]
    outputs = [process.communicate() for process in started]
    for process, (_, stderr) in zip(started, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(stderr.decode())
    return json.loads(outputs[0][0].decode().strip().splitlines()[-1])


def main() -> None:
    """The table, in Markdown."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--worker", type=int)
    options.add_argument("--process-id", type=int, default=0)
    options.add_argument("--coordinator")
    options.add_argument("--rows", type=int, default=ROWS)
    asked = options.parse_args()
    if asked.worker:
        worker(asked.process_id, asked.worker, asked.coordinator, asked.rows)
        return
    print("| processes × devices | ms a step (median) | min | over one device |")
    print("|---:|---:|---:|---:|")
    first = None
    for num_processes, devices in CASES:
        row = measure(num_processes, devices)
        first = first or row["ms"]
        print(
            f"| {num_processes} × {devices} | {row['ms']:.1f} | {row['min']:.1f} | {row['ms'] / first:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
