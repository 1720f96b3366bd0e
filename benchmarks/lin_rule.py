"""What the readable rule of `lin` costs, beside rules with other forms of the weight's gradient: the workload `lin`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pullback.functional import (
    Layer,
    Mse,
    Relu,
    forward_and_backward,
    lin_bwd,
    lin_fwd,
    mlp_loss,
    mse,
    relu,
    serial,
    weight_grad_matmul,
    weight_grad_transposed,
)

from . import peers
from .clock import Call, in_turn
from .floor import operations
from .gradients import LESSON, in_jax, timed
from .held import hold
from .inputs import mnist_rows
from .row import BASE, Plan, Row, Tables

PLAIN, TRANSPOSED, BY_PLATFORM = "lin_bwd", "transposed", "by platform"
BATCHES = (64, 512)

# (residuals, y_bar) -> (x_bar, w_bar, b_bar), for a matrix y_bar and a bias.
Backward = Callable[[Any, jax.Array], tuple[jax.Array, jax.Array, jax.Array | None]]


def lin(plan: Plan) -> Tables:
    """The lesson's net on all rows, jitted, by each rule; then the rule alone on a small batch, not jitted."""
    inputs = mnist_rows(1000 if plan.quick else 50_000, LESSON)
    nets = {
        BASE: peers.in_jax_(x_bar=False)[BASE],
        f"value_and_grad(mlp_loss), {PLAIN}": jax.value_and_grad(mlp_loss),
        f"value_and_grad(mlp_loss), {TRANSPOSED}": jax.value_and_grad(_loss(_backward(weight_grad_transposed))),
        f"forward_and_backward, {PLAIN}": lambda *args: forward_and_backward(*args)[:2],
        f"forward_and_backward, {TRANSPOSED}": _by_hand(_backward(weight_grad_transposed)),
        peers.GRAD: peers.in_jax_(x_bar=False)[peers.GRAD],
    }
    args = jax.device_put((inputs.params, inputs.x, inputs.targ))
    ready = [in_jax(name, net, args) for name, net in nets.items()]
    hold(inputs, nets, {}, x_bar=False)
    yield f"lin, {len(inputs.x):,} rows", timed(plan, ready, operations(LESSON, len(inputs.x), x_bar=False))
    for n in BATCHES:
        yield f"lin, eager, batch {n}", _eager(plan, n)


def _eager(plan: Plan, n: int) -> list[Row]:
    """One call of each rule for the first layer: the library's, and those that differ only in the form."""
    inputs = mnist_rows(n, LESSON)
    (w, b), _ = inputs.params
    x, w, b = jax.device_put((inputs.x, w, b))
    y, residuals = lin_fwd(x, w, b)
    rules: dict[str, Backward] = {
        PLAIN: lin_bwd,
        "matmul": _backward(weight_grad_matmul),
        TRANSPOSED: _backward(weight_grad_transposed),
        BY_PLATFORM: _backward(_by_platform),
    }
    calls = [Call(lambda rule=rule: jax.block_until_ready(rule(residuals, y))) for rule in rules.values()]
    return [Row(name, took) for name, took in zip(rules, in_turn(calls, plan.rounds), strict=True)]


def _by_platform(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """The transposed product on a CPU only: it puts a `cond` into the jaxpr."""
    return lax.platform_dependent(x, y_bar, cpu=weight_grad_transposed, default=weight_grad_matmul)


def _backward(weight_grad: Callable[[jax.Array, jax.Array], jax.Array]) -> Backward:
    """`lin_bwd` with that form of the weight's gradient."""

    def backward(residuals, y_bar):
        x, w, _b = residuals
        return jnp.tensordot(y_bar, w, axes=(-1, 1)), weight_grad(x, y_bar), jnp.sum(y_bar, axis=0)

    return backward


def _loss(backward: Backward) -> Callable[..., jax.Array]:
    """`mlp_loss` of the lesson's net, with that rule for lin."""
    op = jax.custom_vjp(lambda x, w, b: lin_fwd(x, w, b)[0])
    op.defvjp(lin_fwd, backward)

    def loss(params, x, targ):
        first, last = params
        return mse(op(relu(op(x, *first)), *last), targ)

    return loss


def _by_hand(backward: Backward) -> peers.Net:
    """`forward_and_backward` of the lesson's net, with that rule for lin."""

    def of_layer(residuals, y_bar):
        x_bar, *params_bar = backward(residuals, y_bar)
        return tuple(params_bar), x_bar

    layer = Layer(lambda key: (), lambda params, x: lin_fwd(x, *params), of_layer)
    model = serial(layer, Relu(), layer, Mse())

    def run(params, x, targ):
        loss, residuals = model.forward(params, x, targ)
        return loss, model.backward(residuals, jnp.ones_like(loss))[0]

    return run
