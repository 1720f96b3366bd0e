"""The net on all devices, of all processes: one more implementation, and whether the processes have the same bits."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from pullback.functional import mlp
from pullback.parallel import check_same, gather, make_mesh, shard_batch, shard_params, sharded_forward_and_backward

from ..case.leaves import Leaves
from ..verdict.finding import Finding, first_line
from .result import Result


def net_sharded(devices: Sequence[Any]) -> Callable[..., Result]:
    """`sharded_forward_and_backward` on a batch divided over devices, and the results whole again, in every process."""
    mesh = make_mesh(devices=devices)
    step = jax.jit(functools.partial(sharded_forward_and_backward, mesh))
    whole = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def run(params: Any, x: np.ndarray, targ: np.ndarray) -> Result:
        there = shard_params(mesh, params)
        x_there, targ_there, mask = shard_batch(mesh, x, targ)
        loss, grads, x_bar = step(there, x_there, targ_there, mask)
        output, x_bar = (np.asarray(a)[: len(x)] for a in whole((jax.jit(mlp)(there, x_there), x_bar)))
        return Result(output, loss, grads, x_bar)

    return run


def check_same_inputs(params: Any, x: np.ndarray, targ: np.ndarray) -> None:
    """Raises ValueError where processes would check different things: another seed, batch, or source of the data."""
    check_same("the batch (x, targ)", (x, targ))
    check_same("params", params)


def process_findings(sharded: Leaves, ok: bool) -> list[Finding]:
    """Of many processes: whether they hold the same gradients, bit for bit, and came to the same verdict (here: ok).

    sharded: the leaves that the sharded net gave in this process; none if it raised.
    """
    count = jax.process_count()
    try:
        check_same("grads", {name: leaf for name, leaf in sharded.items() if name not in ("output", "loss", "x_bar")})
        found = Finding("processes", "gradients", "pass", f"bitwise equal in all {count} processes")
    except ValueError as error:
        found = Finding("processes", "gradients", "FAIL", first_line(error))
    no = ", ".join(str(process) for process, said in enumerate(gather(np.int32(ok))) if not said)
    text = f"process {no} of {count} says FAIL" if no else f"the same in all {count} processes"
    return [found, Finding("processes", "verdicts", "FAIL" if no else "pass", text)]
