"""Pallas kernels as ordinary jaxprs: the same values, a bound that holds, and None where there is no way."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from pullback import parity
from pullback.parity.roundoff import kernels
from pullback.parity.roundoff.bounds import rounding_bounds

RNG = np.random.default_rng(0)


def blocks(kernel, rows, *arrays, accumulate=False):
    columns = arrays[0].shape[1]
    block = pl.BlockSpec((rows, columns), lambda i: (i, 0))
    out = jax.ShapeDtypeStruct((rows if accumulate else len(arrays[0]), columns), arrays[0].dtype)
    return pl.pallas_call(
        kernel,
        out_shape=out,
        grid=(-(-len(arrays[0]) // rows),),
        in_specs=[block] * len(arrays),
        out_specs=pl.BlockSpec((rows, columns), lambda i: (0, 0)) if accumulate else block,
        interpret=True,
    )(*arrays)


def exp_kernel(x_ref, y_ref):
    y_ref[...] = jnp.exp(x_ref[...]) / (1 + x_ref[...] ** 2)


def running_kernel(x_ref, y_ref):
    """Adds up the blocks in place, which starts from nothing in the first."""

    @pl.when(pl.program_id(0) == 0)
    def _():
        y_ref[...] = jnp.zeros_like(y_ref)

    y_ref[...] += x_ref[...] * 3


def loop_kernel(x_ref, y_ref):
    y_ref[...] = jax.lax.fori_loop(0, 5, lambda i, y: y * x_ref[...] + x_ref[i % 3][None], jnp.ones_like(x_ref))


CALLS = {
    "blocks": (functools.partial(blocks, exp_kernel, 4), 12),
    "a last block that is not full": (functools.partial(blocks, exp_kernel, 8), 12),
    "a sum over the grid": (functools.partial(blocks, running_kernel, 2, accumulate=True), 12),
    "a loop inside": (functools.partial(blocks, loop_kernel, 3), 12),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_kernel_has_the_values_that_it_has(name):
    call, rows = CALLS[name]
    x = RNG.standard_normal((rows, 5)).astype(np.float32)
    found = rounding_bounds(call, x, dtype=np.float32)
    got = np.asarray(call(x), np.float64)
    assert not found.opaque and not found.fallbacks
    assert np.all(np.abs(got - found.values) <= found.errors)
    assert np.median(found.errors / np.abs(found.values)) < 1e-5  # not merely wide


def soft_kernel(x_ref, y_ref):
    e = jnp.exp(x_ref[...])
    y_ref[...] = e / e.sum(-1, keepdims=True)


def soft_bar_kernel(y_ref, y_bar_ref, x_bar_ref):
    y, y_bar = y_ref[...], y_bar_ref[...]
    x_bar_ref[...] = y * (y_bar - (y * y_bar).sum(-1, keepdims=True))


def softmax(factor=1.0):
    @jax.custom_vjp
    def rule(x):
        return blocks(soft_kernel, 2, x)

    def forward(x):
        y = rule(x)
        return y, y

    rule.defvjp(forward, lambda y, y_bar: (blocks(soft_bar_kernel, 2, y, y_bar) * factor,))
    return rule


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1 + 1e-5, 1)])
def test_a_rule_of_kernels_is_judged_without_a_reference(factor, code):
    """jax cannot differentiate a kernel, so the slope of its forward is the witness; it is measured in float64."""
    x = RNG.standard_normal((8, 5)).astype(np.float32)
    report = parity.check(softmax(factor), x, checks=["values", "numerical"])
    assert report.exit_code == code, report
    assert not any("own dtype" in finding.text for finding in report.findings)


def test_what_interpret_mode_does_not_know_stays_opaque(monkeypatch):
    import jax._src.pallas.hlo_interpreter as interpreter

    def refuse(*_args, **_params):
        raise NotImplementedError

    monkeypatch.setattr(interpreter, "pallas_call_hlo_interpret", refuse)
    kernels.kernel_jaxpr.cache_clear()
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    traced = jax.make_jaxpr(functools.partial(blocks, exp_kernel, 2))(x)
    (eqn,) = [eqn for eqn in traced.jaxpr.eqns if eqn.primitive.name == "pallas_call"]
    assert kernels.kernel_jaxpr(eqn) is None
    kernels.kernel_jaxpr.cache_clear()
