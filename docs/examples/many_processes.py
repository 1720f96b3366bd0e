"""Train the lesson's net for a few epochs, on one process or many, and say what each process has.

One:      python many_processes.py
Many, in a terminal (or on a machine) each:
          python many_processes.py --coordinator HOST:PORT --num-processes 2 --process-id 0
          python many_processes.py --coordinator HOST:PORT --num-processes 2 --process-id 1
Under SLURM or on Cloud TPU, where jax finds the others itself:
          python many_processes.py --detect
"""

import argparse
import functools
import hashlib

import jax
import numpy as np

from pullback.data import load_mnist
from pullback.functional import init_mlp
from pullback.parallel import (
    check_same,
    make_mesh,
    processes,
    shard_batch,
    shard_order,
    shard_params,
    sharded_sgd_epoch,
    sharded_value_and_grad,
)


def train(epochs: int, batch: int, model: int, source: str) -> None:
    mesh = make_mesh(model=model)
    images, labels = load_mnist(source).train
    n, targ = len(images), labels.astype(np.float32)
    # Each process puts the rows of its own devices there, and params that are the same everywhere.
    x, targ, rows = shard_batch(mesh, images, targ)
    params = shard_params(mesh, init_mlp(jax.random.key(0), (784, 64, 1)))
    moments = {"mean": 33.3, "std": 78.6}  # of MNIST's pixels, 0 to 255

    epoch = jax.jit(functools.partial(sharded_sgd_epoch, mesh), donate_argnums=0)
    for k in range(epochs):
        order, mask = shard_order(mesh, n, batch, seed=k)
        params, losses = epoch(params, x, targ, order, 0.002, mask=mask, **moments)
        print(f"process {jax.process_index()}: epoch {k}, mean loss of its steps {np.mean(losses):.4f}", flush=True)

    step = jax.jit(functools.partial(sharded_value_and_grad, mesh))
    loss, grads = step(params, x, targ, rows, **moments)
    check_same("grads", grads)
    bits = hashlib.sha256(b"".join(np.asarray(g.addressable_data(0)).tobytes() for g in jax.tree.leaves(grads)))
    here = sum(shard.data.shape[0] for shard in x.addressable_shards if shard.replica_id == 0)
    print(
        f"process {jax.process_index()} of {jax.process_count()}, {jax.local_device_count()} of "
        f"{jax.device_count()} devices, {here:,} of {x.shape[0]:,} places: "
        f"loss {loss:.6f}, grads {bits.hexdigest()[:16]}"
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--coordinator", metavar="HOST:PORT")
    options.add_argument("--num-processes", type=int)
    options.add_argument("--process-id", type=int)
    options.add_argument("--detect", action="store_true")
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--model", type=int, default=1, help="devices that a wide layer is divided over")
    options.add_argument("--source", default="auto", help="as for pullback.data.load_mnist")
    asked = options.parse_args()
    with processes(asked.coordinator, asked.num_processes, asked.process_id, detect=asked.detect):
        train(asked.epochs, asked.batch, asked.model, asked.source)
