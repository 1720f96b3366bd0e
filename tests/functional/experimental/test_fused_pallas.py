import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import functional
from pullback.functional import fused_value_and_grad
from pullback.functional.experimental import fused_pallas, fused_value_and_grad_pallas
from pullback.parity.case.leaves import as_numpy
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import net_twin
from pullback.parity.lesson.mnist import draw_params
from pullback.parity.lesson.result import grad_leaves
from pullback.parity.verdict.comparison import Comparison

in_interpreter = functools.partial(fused_value_and_grad_pallas, interpret=True)


def arguments(n, sizes, dtype: Any = np.float32):
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    x, targ = (np.asarray(rng.standard_normal((n, size))).astype(dtype) for size in (sizes[0], sizes[-1]))
    return draw_params(0, sizes, rng, dtype), x, targ


def on_device(args):
    return jax.tree.map(jnp.asarray, args)


def within_the_bound(args, dtype, biases=True):
    """The check's rows: ours beside `fused_value_and_grad`, against float64; without biases they are 0 elsewhere."""

    def of(fused):
        return lambda params, x, targ: fused(params if biases else [(w, None) for w, _ in params], x, targ)

    def leaves(result):
        loss, grads = result
        bars = {k: bar for k, bar in grad_leaves(grads).items() if biases or k[0] == "w"}
        return as_numpy({"loss": loss} | bars)

    def loss_and_grads(net):
        return lambda *args: net(*args)[1:3]

    params, x, targ = args
    if not biases:
        params = [(w, np.zeros_like(b)) for w, b in params]
    ours = {"pallas": jax.jit(of(in_interpreter)), "fused": jax.jit(of(fused_value_and_grad))}
    oracle = loss_and_grads(in_torch.in_double(in_torch.net_autograd))
    return Comparison("fused", (params, x, targ), ours, loss_and_grads(net_twin), oracle, dtype, leaves).rows


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("sizes", [(30, 3), (30, 20, 12, 1)])
@pytest.mark.parametrize("n", [5, 256, 300])  # less than a tile, two tiles, two and a rest
def test_it_is_within_the_derived_bound(n, sizes, biases, dtype):
    rows = within_the_bound(arguments(n, sizes, dtype), dtype, biases)
    assert len(rows) == 1 + (len(sizes) - 1) * (1 + biases)
    assert all(row.ok and len(row.deviations) == 2 for row in rows), [row for row in rows if not row.ok]


def test_the_lessons_net_in_larger_tiles():
    params, x, targ = on_device(arguments(600, (784, 50, 1)))
    want = jax.jit(fused_value_and_grad)(params, x, targ)
    got = jax.jit(functools.partial(in_interpreter, tile_rows=256))(params, x, targ)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, strict=True)
    # The same rows with other leading axes, and a targ without a last one.
    loss, _ = jax.jit(in_interpreter)(params, x.reshape(2, 300, 784), targ.reshape(2, 300))
    np.testing.assert_allclose(loss, want[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float64])
def test_the_other_dtypes_in_interpret_mode(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        params, x, targ = on_device(arguments(130, (6, 5, 2), dtype))
        got, want = (jax.jit(f)(params, x, targ) for f in (in_interpreter, fused_value_and_grad))
        tolerance = 8 * float(jnp.finfo(dtype).eps)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, strict=True)


def test_rows_beyond_n_that_are_not_masked_are_caught(monkeypatch):
    args = arguments(300, (30, 20, 1))
    monkeypatch.setattr(fused_pallas, "_kept", lambda a, left, axis: a)
    rows = within_the_bound(args, np.float32)
    caught = {row.leaf for row in rows if row.deviations["pallas"].problem}
    assert caught == {"loss", "w1", "w2", "b2"}  # not b1: relu's gradient at NaN is 0
    assert not any(row.deviations["fused"].problem for row in rows)


@pytest.mark.parametrize("axis", [0, 1])
def test_each_of_the_two_masks_is_needed(monkeypatch, axis):
    kept = fused_pallas._kept
    monkeypatch.setattr(fused_pallas, "_kept", lambda a, left, on: a if on == axis else kept(a, left, on))
    loss, grads = jax.jit(in_interpreter)(*on_device(arguments(300, (30, 20, 1))))
    assert any(jnp.isnan(leaf).any() for leaf in jax.tree.leaves((loss, grads)))


@pytest.mark.parametrize("n, sizes", [(0, (3, 2, 1)), (4, (0, 2, 1)), (4, (3, 0, 1)), (4, (3, 2, 0))])
def test_an_empty_axis(n, sizes):
    x, targ = jnp.ones((n, sizes[0])), jnp.ones((n, sizes[-1]))
    params = [(jnp.ones(shape), jnp.ones(shape[1])) for shape in zip(sizes, sizes[1:], strict=False)]
    got, want = in_interpreter(params, x, targ), fused_value_and_grad(params, x, targ)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), got, want)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("n", [5, 256, 300])
def test_it_lowers_for_a_tpu(n, biases, dtype):
    params, x, targ = on_device(arguments(n, (784, 50, 1), dtype))
    params = params if biases else [(w, None) for w, _ in params]
    step = jax.jit(functools.partial(fused_pallas.kernel_call, tile_rows=128, interpret=False))
    text = step.trace(params, x, targ).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 1


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_it_is_compiled_for_a_tpu_only(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    message = (
        f"fused_value_and_grad_pallas: compiled for TPU only; on {backend} use fused_value_and_grad, or interpret=True"
    )
    for call in (fused_value_and_grad_pallas, jax.jit(fused_value_and_grad_pallas)):
        with pytest.raises(NotImplementedError, match=message):
            call(*on_device(arguments(4, (3, 2, 1))))


def test_dtypes_that_pallas_does_not_compile(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(TypeError, match=r"takes float32 or bfloat16; got float16"):
        fused_value_and_grad_pallas(*on_device(arguments(4, (3, 2, 1), np.float16)))


@pytest.mark.parametrize("tile_rows", [0, -128, 100, 128.0])
def test_tiles_that_do_not_fit(as_a_user, tile_rows):
    with pytest.raises(ValueError, match=r"tile_rows must be a positive multiple of 128; got"):
        in_interpreter(*on_device(arguments(4, (3, 2, 1))), tile_rows=tile_rows)


def test_what_does_not_fit_the_net_says(as_a_user):
    params, x, targ = on_device(arguments(4, (3, 2, 1)))
    with pytest.raises(ValueError, match=r"the first axis of params\[0\]'s w must match the last axis of x"):
        in_interpreter(params, x[:, :2], targ)
    with pytest.raises(ValueError, match=r"fused_value_and_grad_pallas: output must have targ's shape"):
        in_interpreter(params, x, targ[:3])
    with pytest.raises(TypeError, match=r"must have the same dtype"):
        in_interpreter(params, x.astype(jnp.bfloat16), targ)


def test_importing_it_does_not_import_pallas():
    code = "import sys, pullback.functional.experimental; sys.exit('jax.experimental.pallas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_where_it_was_before_says_where_it_is():
    with pytest.warns(DeprecationWarning, match="from pullback.functional.experimental import fused_value_and_grad_pa"):
        from pullback.functional import fused_value_and_grad_pallas as as_before  # type: ignore[attr-defined]
    assert as_before is fused_value_and_grad_pallas
    with pytest.raises(AttributeError, match="module 'pullback.functional' has no attribute 'fused_pallas'"):
        functional.fused_pallas  # type: ignore[attr-defined]  # noqa: B018
