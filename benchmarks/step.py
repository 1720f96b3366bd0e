"""One step of a small batch, where calling costs as much as computing: the workload `step`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import peers
from .clock import Call, in_turn
from .floor import operations
from .gradients import LESSON, Ready, everybody
from .inputs import mnist_rows
from .row import BASE, Plan, Row, Tables

EMPTY = "an empty jitted call"
BATCHES = (64, 512)
LOOP = 200
"""Steps in the compiled loop that shows what computing alone takes."""


def step(plan: Plan) -> Tables:
    """Everybody at each batch size. `overhead_ms` is what a call took beyond computing, `of_empty` that over EMPTY."""
    for n in BATCHES:
        yield f"step, batch {n}", _at(plan, n)


def _at(plan: Plan, n: int) -> list[Row]:
    inputs = mnist_rows(n, LESSON)
    ready, missing = everybody(plan, inputs, x_bar=False)
    args = jax.device_put((inputs.params, inputs.x, inputs.targ))
    # All arguments in, results of the same shapes out, and nothing in between.
    shapes = jax.eval_shape(peers.in_jax_(False)[BASE], *args)
    empty = jax.jit(lambda *_args: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes), keep_unused=True)
    ready.append(Ready(EMPTY, lambda: jax.block_until_ready(empty(*args)), None, None))
    inside = {name: _loop(peers.in_jax_(False)[name], args) for name in (BASE, peers.FUSED)}
    calls = [Call(one.run) for one in ready] + [Call(run) for run in inside.values()]
    times = in_turn(calls, plan.rounds)
    took = dict(zip([one.name for one in ready], times, strict=False))
    computing = {name: loop.median / LOOP for name, loop in zip(inside, times[len(ready) :], strict=True)}
    floor_ms = 1e3 * operations(LESSON, n, x_bar=False) / plan.gflops
    result = []
    for one in ready:
        row = Row(one.name, took[one.name], one.compile_ms, one.memory_mb, None if one.name == EMPTY else floor_ms)
        if one.name in computing:
            compute = computing[one.name]
            overhead = max(took[one.name].median - compute, 0.0)
            extra = {"compute_ms": compute, "overhead_ms": overhead, "of_empty": overhead / took[EMPTY].median}
            row = row._replace(extra=extra, note=f"calling: {overhead:.3f} ms")
        result.append(row)
    return result + missing


def _loop(net: peers.Net, args: tuple) -> Any:
    """LOOP steps in one compiled call. Each changes the weights, so that none can be left out; that is timed too."""

    @jax.jit
    def run(params, x, targ):
        def body(_, params):
            # The barrier ties x to this step: nothing of it may be computed once for all steps.
            _, grads = net(*lax.optimization_barrier((params, x, targ)))
            return jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)

        return lax.fori_loop(0, LOOP, body, params)

    return lambda: jax.block_until_ready(run(*args))
