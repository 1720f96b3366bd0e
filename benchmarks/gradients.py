"""Loss and gradients of one batch: the workloads `lesson`, `wide`, `rows`, and the steps that `step` looks into."""

import functools
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself on stderr
import torch

from pullback.functional import fused_value_and_grad

from . import peers
from .clock import Call, in_turn
from .floor import operations
from .held import hold, hold_raw
from .inputs import Inputs, mnist_rows
from .row import Plan, Row, Tables

LESSON, WIDE = (784, 50, 1), (784, 1024, 1024, 10)
TRAIN_ROWS = 50_000
HELD_ROWS = 10_000
"""`rows` are held against float64 up to here: the bound of every element of 400,000 rows would not fit in memory."""


class Ready(NamedTuple):
    """An implementation with its arguments where it wants them, compiled."""

    name: str
    run: Callable[[], Any]
    compile_ms: float | None
    memory_mb: float | None
    temporary_mb: float = 0.0
    """XLA's figure for what lives only during the call, 10**6 bytes."""


def lesson(plan: Plan) -> Tables:
    """All of MNIST's train split through the lesson's net, without x_bar and with it."""
    inputs = mnist_rows(1000 if plan.quick else 50_000, LESSON)
    yield "lesson", compare(plan, inputs, x_bar=False)
    yield "lesson, x_bar", compare(plan, inputs, x_bar=True)


def wide(plan: Plan) -> Tables:
    """A net of 1.9 million weights, whose products are nearly all of the work."""
    n, sizes = (64, (784, 32, 32, 10)) if plan.quick else (4096, WIDE)
    inputs = mnist_rows(n, sizes)
    yield "wide", compare(plan, inputs, x_bar=False)
    if peers.on_gpu():
        yield "wide, bfloat16", compare(plan, inputs.in_dtype(jnp.bfloat16), x_bar=False)


def tiles(plan: Plan) -> Tables:
    """The fused step over the number of rows in a tile."""
    sizes: dict[int, tuple[int, ...]] = {50_000: (640, 1280, 2560, 6400, 12_800, 25_600, 50_000)}
    if peers.on_gpu():
        sizes[1_000_000] = (10_000, 50_000, 100_000, 250_000, 1_000_000)
    for n, counts in ({1000: (250, 1000)} if plan.quick else sizes).items():
        nets = {f"{rows:,} rows in a tile": functools.partial(fused_value_and_grad, tile_rows=rows) for rows in counts}
        hold(mnist_rows(min(n, HELD_ROWS), LESSON), nets, {}, x_bar=False)
        args = _on_device(n)
        ready = [in_jax(name, net, args) for name, net in nets.items()]
        yield f"tiles, {n:,} rows", timed(plan, ready, operations(LESSON, n, x_bar=False))


def rows(plan: Plan) -> Tables:
    """Time and memory over the number of rows."""
    counts = (1000, 2000) if plan.quick else (1000, 10_000, 50_000, 100_000, 200_000, 400_000)
    if peers.on_gpu() and not plan.quick:
        counts += (1_000_000, 4_000_000, 10_000_000)
    nets = {name: net for name, net in peers.in_jax_(x_bar=False).items() if name != peers.GRAD}
    hold(mnist_rows(min(HELD_ROWS, counts[-1]), LESSON), nets, {}, x_bar=False)
    for n in counts:
        args = _on_device(n)
        ready = [in_jax(name, net, args) for name, net in nets.items()]
        found = timed(plan, ready, operations(LESSON, n, x_bar=False))
        yield (
            f"rows, {n:,}",
            [
                row._replace(extra={"rows": n, "temporary_mb": one.temporary_mb})
                for row, one in zip(found, ready, strict=True)
            ],
        )


def _on_device(n: int) -> tuple:
    """Arguments of n rows. Those beyond a train split are copied on the device: 10**7 rows are 31 GB."""
    inputs = mnist_rows(min(n, TRAIN_ROWS), LESSON)
    params, x, targ = jax.device_put((inputs.params, inputs.x, inputs.targ))
    if n > TRAIN_ROWS:
        x, targ = jnp.tile(x, (n // TRAIN_ROWS, 1)), jnp.tile(targ, n // TRAIN_ROWS)
    return params, x, targ


def compare(plan: Plan, inputs: Inputs, x_bar: bool) -> list[Row]:
    """Everybody on the same batch: held against float64, then timed."""
    ready, missing = everybody(plan, inputs, x_bar)
    return timed(plan, ready, operations(inputs.sizes, len(inputs.x), x_bar)) + missing


def everybody(plan: Plan, inputs: Inputs, x_bar: bool) -> tuple[list[Ready], list[Row]]:
    """Those that are ready and right, and rows for those that cannot be run, which say why."""
    args = (inputs.params, inputs.x, inputs.targ)
    on_device = jax.device_put(args)
    jax_nets, torch_nets = peers.in_jax_(x_bar), peers.in_torch_(x_bar)
    # NumPy has no products of bfloat16.
    numpy_nets = peers.in_numpy(x_bar) if inputs.x.dtype == jnp.float32 else {}
    # Compiled before the check, which would leave warm caches.
    ready = [in_jax(name, net, on_device) for name, net in jax_nets.items()]
    whole = inputs.x.dtype == jnp.float32
    if not x_bar and whole:
        raw_args = jax.device_put((inputs.params, inputs.raw, inputs.targ))
        ready.append(in_jax(peers.RAW, peers.on_raw(inputs.mean, inputs.std), raw_args))
    ready += [_in_torch(name, net, args) for name, net in torch_nets.items()]
    missing = []
    try:
        if plan.quick:
            raise RuntimeError("--quick: it takes long to compile")
        net = peers.compiled(x_bar)
        ready.append(_in_torch(peers.COMPILED, net, args, compiles=True))
        torch_nets[peers.COMPILED] = net
    except Exception as error:  # no C++ compiler, or one of the many ways in which it can fail
        missing.append(Row(peers.COMPILED, note=f"not run: {str(error).strip().splitlines()[0]}"))
    ready += [_in_numpy(name, net, args) for name, net in numpy_nets.items()]
    others = {name: peers.on_arrays(net) for name, net in torch_nets.items()} | numpy_nets
    hold(inputs, jax_nets, others, x_bar)
    if not x_bar and whole:
        hold_raw(inputs)
    return ready, missing


def in_jax(name: str, net: peers.Net, args: tuple) -> Ready:
    """Jitted; args are on the device."""
    jitted = jax.jit(lambda *args: net(*args))  # a function of its own, of which jax has compiled nothing yet
    start = time.perf_counter()
    compiled = jitted.lower(*args).compile()
    compile_ms = 1e3 * (time.perf_counter() - start)
    memory: Any = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes
    size = temporary + memory.output_size_in_bytes
    # Called as users call it: through jit.
    return Ready(name, lambda: jax.block_until_ready(jitted(*args)), compile_ms, size / 1e6, temporary / 1e6)


def _in_torch(name: str, net: peers.Net, args: tuple, compiles: bool = False) -> Ready:
    args = peers.tensors(*args)  # its own: autograd marks those that it is given
    start = time.perf_counter()
    net(*args)
    peers.finish_torch()
    first_ms = 1e3 * (time.perf_counter() - start)
    allocated = _allocated_in_torch(lambda: net(*args))

    def run() -> None:
        net(*args)
        peers.finish_torch()

    return Ready(name, run, first_ms if compiles else None, allocated / 1e6)


def _allocated_in_torch(run: Callable[[], Any]) -> float:
    """Bytes: on a CPU all that one call allocates, on a GPU the most that it holds beside what was there."""
    if peers.torch_device().type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    return sum(max(event.self_cpu_memory_usage, 0) for event in profile.events() or ())


def _in_numpy(name: str, net: peers.Net, args: tuple) -> Ready:
    tracemalloc.start()
    net(*args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Ready(name, lambda: net(*args), None, peak / 1e6)


def timed(plan: Plan, ready: list[Ready], gflop: float) -> list[Row]:
    """Rows of those that are ready, which take turns. gflop: the operations of their products, in 10**9."""
    times = in_turn([Call(one.run) for one in ready], plan.rounds)
    floor_ms = 1e3 * gflop / plan.gflops
    # What reads uint8 or float32, and in which order, is each one's own affair: the floor is that of the products.
    return [
        Row(one.name, took, one.compile_ms, one.memory_mb, floor_ms) for one, took in zip(ready, times, strict=True)
    ]
