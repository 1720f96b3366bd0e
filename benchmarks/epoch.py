"""One epoch of SGD over MNIST's train split, as each library's users write it: the workload `epoch`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import torch

from pullback import functional
from pullback.parity.lesson import in_jax

from . import peers
from .clock import Call, in_turn
from .floor import operations
from .gradients import LESSON
from .held import hold_params
from .inputs import Inputs, mnist_rows
from .row import JIT, Plan, Row, Tables

OURS, TORCH, LOADER, OPTAX = "sgd_epoch", "torch loop", "torch DataLoader", "optax, jit per step"
BATCHES = (64, 512)
RATE = 1e-3
HELD_STEPS = 20
MOST_ROUNDS = 5
"""An epoch is hundreds of steps, so that its time varies little."""

# params, order [steps, batch] -> the params after the epoch.
Epoch = Callable[[Any, np.ndarray], Any]


def epoch(plan: Plan) -> Tables:
    """Everybody from the same weights in the same order."""
    inputs = mnist_rows(2048 if plan.quick else 50_000, LESSON)
    for batch in BATCHES:
        yield f"epoch, batch {batch}", _at(plan, inputs, batch)


def _at(plan: Plan, inputs: Inputs, batch: int) -> list[Row]:
    steps = len(inputs.x) // batch
    order = np.random.default_rng(0).permutation(len(inputs.x))[: steps * batch].reshape(steps, batch)
    order = order.astype(np.int32)
    runs: dict[str, Epoch] = {
        OURS: _ours(inputs),
        JIT: _jit_per_step(inputs),
        OPTAX: _optax(inputs),
        TORCH: _torch_loop(inputs),
        LOADER: _torch_loader(inputs),
    }
    first = order[:HELD_STEPS]
    want = _in_double(inputs, first)
    notes = {}
    for name, run in runs.items():
        worst = hold_params(name, run(_params(name, inputs), first), want)
        notes[name] = f"{len(first)} steps: {worst:.0e} from float64"
    # Fresh weights for each call, outside the clock: an epoch may use them up.
    calls = [
        Call(functools.partial(_run, run, order), functools.partial(_prepared, name, inputs))
        for name, run in runs.items()
    ]
    times = in_turn(calls, min(plan.rounds, MOST_ROUNDS))
    floor_ms = 1e3 * operations(LESSON, steps * batch, x_bar=False) / plan.gflops
    return [
        Row(name, took, None, None, floor_ms, notes[name], {"ms_per_step": took.median / steps})
        for name, took in zip(runs, times, strict=True)
    ]


def _run(run: Epoch, order: np.ndarray, params: Any) -> None:
    jax.block_until_ready(run(params, order))


def _prepared(name: str, inputs: Inputs) -> tuple:
    return (jax.block_until_ready(_params(name, inputs)),)


def _params(name: str, inputs: Inputs) -> Any:
    """A copy in the implementation's own library."""
    if name in (TORCH, LOADER):
        return peers.torch_tree(inputs.params)
    return jax.tree.map(lambda a: jax.device_put(a.copy()), inputs.params)


def _ours(inputs: Inputs) -> Epoch:
    jitted = jax.jit(functional.sgd_epoch, donate_argnums=0)
    raw, targ = jax.device_put((inputs.raw, inputs.targ))
    return lambda params, order: jitted(params, raw, targ, order, RATE, mean=inputs.mean, std=inputs.std)[0]


def _jit_per_step(inputs: Inputs) -> Epoch:
    x, targ = jax.device_put((inputs.x, inputs.targ))

    @jax.jit
    def step(params, x, targ, rows):
        loss, grads = jax.value_and_grad(in_jax.twin_loss)(params, x[rows], targ[rows])
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), loss

    def run(params, order):
        for rows in order:
            params, _loss = step(params, x, targ, rows)
        return params

    return run


def _optax(inputs: Inputs) -> Epoch:
    x, targ = jax.device_put((inputs.x, inputs.targ))
    sgd = optax.sgd(RATE)

    @jax.jit
    def step(params, state, x, targ, rows):
        loss, grads = jax.value_and_grad(in_jax.twin_loss)(params, x[rows], targ[rows])
        updates, state = sgd.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    def run(params, order):
        state = sgd.init(params)
        for rows in order:
            params, state, _loss = step(params, state, x, targ, rows)
        return params

    return run


def _torch_loop(inputs: Inputs) -> Epoch:
    x, targ = peers.torch_tree((inputs.x, inputs.targ))

    def run(params, order):
        for rows in torch.from_numpy(order).to(x.device):
            _torch_step(params, x[rows], targ[rows])
        return _detached(params)

    return run


def _torch_loader(inputs: Inputs) -> Epoch:
    # The rows stay in memory, and each batch goes to where torch computes.
    data = torch.utils.data.TensorDataset(torch.from_numpy(inputs.x), torch.from_numpy(inputs.targ))

    def run(params, order):
        loader = torch.utils.data.DataLoader(data, batch_size=order.shape[1], sampler=order.ravel().tolist())
        for some_x, some_targ in loader:
            _torch_step(params, some_x.to(peers.torch_device()), some_targ.to(peers.torch_device()))
        return _detached(params)

    return run


_gradient = peers.in_torch_(x_bar=False)[peers.EAGER]


def _torch_step(params: Any, x: torch.Tensor, targ: torch.Tensor) -> None:
    _loss, grads = _gradient(params, x, targ)
    with torch.no_grad():
        for layer, bars in zip(params, grads, strict=True):
            for leaf, bar in zip(layer, bars, strict=True):
                leaf -= RATE * bar


def _detached(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.detach().cpu().numpy(), params)


def _in_double(inputs: Inputs, order: np.ndarray) -> Any:
    """The weights after these steps, in float64."""
    net = peers.in_numpy(x_bar=False)[peers.NUMPY]
    params, x, targ = jax.tree.map(lambda a: a.astype(np.float64), (inputs.params, inputs.x, inputs.targ))
    for rows in order:
        _loss, grads = net(params, x[rows], targ[rows])
        params = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
    return params
