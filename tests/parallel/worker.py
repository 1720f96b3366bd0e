"""One process of a run of many, for test_processes.py and test_agree.py: what it does is its first argument."""

import argparse
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.data import load_mnist
from pullback.functional import init_mlp
from pullback.parallel import (
    check_same,
    gather,
    make_mesh,
    processes,
    shard_batch,
    shard_order,
    shard_params,
    sharded_sgd_epoch,
    sharded_value_and_grad,
)

MOMENTS = {"mean": 33.3, "std": 78.6}


class Disk:
    """An array that keeps which rows were read."""

    def __init__(self, array):
        self.array, self.read = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        self.read += range(*rows.indices(len(self.array)))
        return self.array[rows]


def say(**what: Any) -> None:
    print(json.dumps({"process": jax.process_index(), "of": jax.process_count()} | what), flush=True)


def placed(rows: int, mesh: Any) -> tuple[Any, ...]:
    images, labels = load_mnist("sample").train
    x = Disk(images[:rows])
    params = shard_params(mesh, init_mlp(jax.random.key(0), (784, 64, 1)))
    return (params, *shard_batch(mesh, x, labels[:rows].astype(np.float32)), x)


def train(out: Path) -> None:
    """The gradients of 61 rows, then an epoch; what came of it, and the gradients themselves in a file."""
    mesh = make_mesh()
    params, x, targ, mask, disk = placed(61, mesh)
    loss, grads = jax.jit(functools.partial(sharded_value_and_grad, mesh))(params, x, targ, mask, **MOMENTS)
    check_same("grads", grads)
    arrays = [np.asarray(leaf.addressable_data(0)) for leaf in (loss, *jax.tree.leaves(grads))]
    np.savez(out / f"{jax.process_index()}.npz", *arrays)
    order, here = shard_order(mesh, 61, 16, 0)
    epoch = jax.jit(functools.partial(sharded_sgd_epoch, mesh), donate_argnums=0)
    after, losses = epoch(params, x, targ, order, 1e-3, mask=here, **MOMENTS)
    check_same("params", after)
    say(
        digest=hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest(),
        losses=np.asarray(losses).tolist(),
        read=disk.read,
        held=[list(shard.data.shape) for shard in x.addressable_shards],
        devices=jax.device_count(),
    )


def endless(out: Path) -> None:
    """Steps without end: all wait for each other in each."""
    mesh = make_mesh()
    *args, _ = placed(64, mesh)
    step = jax.jit(functools.partial(sharded_value_and_grad, mesh))
    for k in range(10**9):
        loss, _ = step(*args, **MOMENTS)
        loss.block_until_ready()
        if not k:
            say(running=True)


def disagree(out: Path) -> None:
    """Each process draws params of its own."""
    params = init_mlp(jax.random.key(0), (784, 8, 1))
    if jax.process_index() == 1:
        params[1] = (params[1][0] + 1, params[1][1])
    shard_params(make_mesh(), params)


def meet(out: Path) -> None:
    say(gathered=gather(np.int32(jax.process_index())).tolist())


def fail(out: Path) -> None:
    """An error that is this program's own, in one process."""
    if jax.process_index() == 1:
        raise KeyError("mine")
    endless(out)


def agree(out: Path) -> None:
    """What check_same says of each case."""
    me, mesh = jax.process_index(), make_mesh()
    same = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": jnp.zeros(3)}
    divided = shard_batch(mesh, np.arange(8.0, dtype=np.float32), np.zeros(8, np.float32))[0]
    devices = jax.local_devices()
    # On the second device of process 0 lies something else, though both say that they hold the whole.
    torn = [jax.device_put(np.full(2, k == 1 and me == 0, np.float32), d) for k, d in enumerate(devices)]
    whole = jax.NamedSharding(mesh, jax.P())
    cases: dict[str, Any] = {
        "same": same,
        "empty": [],
        "nan": np.array([np.nan, -0.0], np.float32),
        "divided": divided,
        "number": 3,
        "value": [(same["w"], same["b"]), (same["w"] + me, None)],
        "zero": np.float32(-0.0 if me else 0.0),
        "wide": np.float64(1 + me * 2.0**-40),
        "shape": {"w": same["w"][: 1 + me]},
        "dtype": same["w"].astype(np.float16 if me else np.float32),
        "count": [same["b"]] * (1 + me),
        "none": [same["b"]] * me,
        "torn": jax.make_array_from_single_device_arrays((2,), whole, torn),
    }
    said = {}
    for name, tree in cases.items():
        try:
            said[name] = check_same("params", tree)
        except ValueError as error:
            said[name] = str(error)
    gathered = {str(np.dtype(d)): gather(np.array([me, 3], d)).tolist() for d in (np.int32, np.float32, bool)}
    wide = gather(np.float64(1 + me * 2.0**-40))
    say(said=said, gathered=gathered, wide=wide.tolist(), shape=gather(np.zeros((2, 3))).shape)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("what", choices=["train", "endless", "disagree", "meet", "fail", "agree"])
    options.add_argument("out", type=Path)
    options.add_argument("--coordinator")
    options.add_argument("--num-processes", type=int)
    options.add_argument("--process-id", type=int)
    options.add_argument("--detect", action="store_true")
    options.add_argument("--timeout", type=int, default=20)
    asked = options.parse_args()
    with processes(
        asked.coordinator, asked.num_processes, asked.process_id, detect=asked.detect, timeout=asked.timeout
    ):
        globals()[asked.what](asked.out)
