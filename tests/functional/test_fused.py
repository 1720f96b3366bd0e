"""The fused forms: the same values as the readable one, in memory that does not grow, and nothing that nobody asked."""

import functools
import os
import re
import subprocess
import sys
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import (
    forward_and_backward,
    fused_forward_and_backward,
    fused_mlp_loss,
    fused_value_and_grad,
    init_mlp,
    mlp_loss,
)
from pullback.parity.case.leaves import as_numpy
from pullback.parity.lesson import in_jax, in_torch
from pullback.parity.lesson.result import grad_leaves
from pullback.parity.verdict.comparison import Comparison

LESSON, WIDE = (784, 50, 1), (20, 40, 30, 10)
REDUCTIONS: tuple[Literal["mean"], Literal["sum"]] = ("mean", "sum")


def whole_params(sizes, bias=True, dtype=jnp.float32):
    """Small whole numbers: with 8 rows, every value of forward and backward is exact."""
    rng = np.random.default_rng(9)
    draw = [(rng.integers(-1, 2, (m, n)), rng.integers(-2, 3, n)) for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    return [(jnp.asarray(w, dtype), jnp.asarray(b, dtype) if bias else None) for w, b in draw]


def whole_batch(n=8, dtype=jnp.float32, width=1):
    rng = np.random.default_rng(1)
    targ = rng.integers(0, 10, (n, width) if width > 1 else n)
    return jnp.asarray(rng.integers(-2, 3, (n, 6)), dtype), jnp.asarray(targ, dtype)


def normal_arguments(n, sizes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    params = [(np.asarray(w), 0.1 * rng.standard_normal(w.shape[1])) for w, _ in init_mlp(jax.random.key(seed), sizes)]
    x, targ = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
    return jax.tree.map(lambda a: np.asarray(a).astype(dtype), (params, x, targ))


def by_shape(n, sizes):
    """The arguments of a compilation, without values."""
    weights = list(zip(sizes[:-1], sizes[1:], strict=True))
    params = [(jax.ShapeDtypeStruct(w, jnp.float32), jax.ShapeDtypeStruct(w[1:], jnp.float32)) for w in weights]
    return params, *(jax.ShapeDtypeStruct((n, width), jnp.float32) for width in (sizes[0], sizes[-1]))


@pytest.mark.parametrize("tile_rows", [None, 1, 3, 4, 8, 100])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(6, 1), (6, 4, 1), (6, 4, 5, 3, 2, 4)])
def test_the_same_as_forward_and_backward_exactly(sizes, bias, tile_rows):
    params, (x, targ) = whole_params(sizes, bias), whole_batch(width=sizes[-1])
    want_loss, want_grads, want_x_bar = forward_and_backward(params, x, targ)
    loss, grads, x_bar = fused_forward_and_backward(params, x, targ, tile_rows=tile_rows)
    assert np.any(want_x_bar), "a dead net proves nothing: choose another seed"
    np.testing.assert_array_equal(loss, want_loss)
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, params)
    chex.assert_trees_all_equal((grads, x_bar), (want_grads, want_x_bar))
    chex.assert_trees_all_equal(fused_value_and_grad(params, x, targ, tile_rows=tile_rows), (loss, grads))
    # The same through jax.grad, the target's gradient too.
    of_plain = jax.value_and_grad(mlp_loss, (0, 1, 2))(params, x, targ)
    by_rule = jax.value_and_grad(functools.partial(fused_mlp_loss, tile_rows=tile_rows), (0, 1, 2))
    chex.assert_trees_all_equal(by_rule(params, x, targ), of_plain)


@pytest.mark.parametrize("tile_rows", [None, 100])
@pytest.mark.parametrize("sizes", [LESSON, WIDE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16, np.float16])
def test_within_the_derived_bound(dtype, sizes, tile_rows):
    with jax.enable_x64(dtype == np.float64), jax.default_matmul_precision("highest"):
        args = normal_arguments(333, sizes, dtype)
        by_rule = jax.value_and_grad(functools.partial(fused_mlp_loss, tile_rows=tile_rows), (0, 1))

        def through_grad(params, x, targ):
            loss, (grads, x_bar) = by_rule(params, x, targ)
            return loss, grads, x_bar

        fused = functools.partial(fused_forward_and_backward, tile_rows=tile_rows)
        compared = Comparison(
            "fused",
            args,
            {"fused": jax.jit(fused), "through jax.grad": jax.jit(through_grad)},
            lambda *args: in_jax.net_twin(*args)[1:],
            lambda *args: in_torch.in_double(in_torch.net_autograd)(*args)[1:],
            dtype,
            held_leaves,
        )
        rows = compared.rows
    assert rows and all(row.ok for row in rows), [row.deviations for row in rows if not row.ok]


def held_leaves(result):
    loss, grads, *x_bar = result
    return as_numpy({"loss": loss} | grad_leaves(grads) | dict(zip(["x_bar"], x_bar, strict=False)))


def test_uint8_is_folded_within_the_bound_of_normalizing_first():
    """The twin normalizes; the bound is that of the folded arithmetic, which is longer."""
    rng = np.random.default_rng(0)
    params, _, targ = normal_arguments(64, LESSON)
    pixels = rng.integers(0, 256, (64, 784)).astype(np.uint8)
    mean, std = np.float32(33.3), np.float32(78.6)

    def folded(params, x, targ):
        (w, b), last = params
        shift = jnp.broadcast_to(((mean / std) * jnp.sum(w, axis=0)), b.shape)
        return in_jax.twin_loss([(w / std, b - shift), last], x, targ)

    def normalized_first(params, x, targ):
        wide = (x.astype(np.float64) - mean) / std
        return in_torch.in_double(in_torch.net_autograd)(params, wide, targ)[1:3]

    def fused(p, x, t):
        return fused_value_and_grad(p, x.astype(np.uint8), t, mean=mean, std=std, tile_rows=20)

    compared = Comparison(
        "folded",
        (params, pixels.astype(np.float32), targ),
        {"fused": jax.jit(fused)},
        jax.value_and_grad(folded),
        normalized_first,
        np.float32,
        held_leaves,
    )
    assert all(row.ok for row in compared.rows), [row.deviations for row in compared.rows if not row.ok]


def test_mean_and_std_of_a_float_x_and_its_gradient():
    params, x, targ = jax.tree.map(jnp.asarray, normal_arguments(50, WIDE))
    got = jax.jit(fused_forward_and_backward)(params, x, targ, mean=0.3, std=2.0)
    want = jax.value_and_grad(lambda p, x: mlp_loss(p, (x - 0.3) / 2, targ), (0, 1))(params, x)
    chex.assert_trees_all_close(got, (want[0], *want[1]), rtol=1e-4, atol=1e-6)


def test_a_sum_is_the_mean_times_the_count():
    params, (x, targ) = whole_params((6, 4, 1)), whole_batch()
    mean, total = (fused_forward_and_backward(params, x, targ, reduction=r) for r in REDUCTIONS)
    chex.assert_trees_all_equal(total, jax.tree.map(lambda a: 8 * a, mean))


def test_no_rows():
    params, (x, targ) = whole_params((6, 4, 1)), whole_batch(0)
    loss, grads, x_bar = fused_forward_and_backward(params, x, targ)
    assert np.isnan(loss) and x_bar.shape == (0, 6)
    chex.assert_trees_all_equal(grads, jax.tree.map(jnp.zeros_like, params))


def test_leading_axes_and_arrays_of_numpy(as_a_user):
    params, (x, targ) = whole_params((6, 4, 1)), whole_batch()
    want = forward_and_backward(params, x, targ)
    shaped: Any = jax.tree.map(np.asarray, (params, x.reshape(2, 4, 6), targ.reshape(2, 4)))
    loss, grads, x_bar = fused_forward_and_backward(*shaped)
    chex.assert_trees_all_equal((loss, grads, x_bar.reshape(8, 6)), want)


@pytest.mark.parametrize("who", [fused_value_and_grad, jax.value_and_grad(fused_mlp_loss)])
def test_temporary_memory_is_constant_in_n(who):
    """x_bar, which nobody asks for here, is neither kept nor computed: it alone would take 157 MB at 50,000 rows."""
    memory: dict[int, Any] = {
        n: jax.jit(who).lower(*by_shape(n, LESSON)).compile().memory_analysis() for n in (10_000, 400_000)
    }
    few, many = (m.temp_size_in_bytes for m in memory.values())
    assert few <= many * 1.01 and many <= few * 1.01 and many <= 16e6, (few, many)
    readable: Any = jax.jit(forward_and_backward).lower(*by_shape(400_000, LESSON)).compile().memory_analysis()
    activations = 4 * 50 * 400_000
    assert readable.temp_size_in_bytes > activations, "then tiles save nothing, and this test shows nothing"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the layout measured is a CPU's")
@pytest.mark.parametrize("who", [fused_value_and_grad, jax.value_and_grad(fused_mlp_loss)])
def test_the_weight_gradient_is_compiled_as_its_transpose(who):
    """The barrier keeps it apart: autodiff's is a product into [784, 50], which a CPU computes more slowly."""

    def weight_products(fun):
        text: Any = jax.jit(fun).lower(*by_shape(50_000, LESSON)).compile().as_text()
        return set(re.findall(r" = f32\[(784,50|50,784)\]\S* dot\(", text))

    assert weight_products(who) == {"50,784"}
    assert weight_products(jax.value_and_grad(in_jax.twin_loss)) == {"784,50"}


@pytest.mark.parametrize("flag", ["", "--xla_cpu_experimental_ynn_fusion_type="])
def test_bias_gradient_of_50_000_rows_with_and_without_ynn(flag):
    """Long sums, which the kernels on a CPU have been seen to get wrong: within the bound all the same."""
    code = """
import jax, numpy as np
from pullback.functional import fused_value_and_grad, forward_and_backward
from pullback.parity.lesson import in_jax
from pullback.parity.roundoff.bounds import rounding_bounds
rng = np.random.default_rng(0)
params = [(rng.standard_normal((20, 30)).astype(np.float32) / 4, np.full(30, 0.1, np.float32)),
          (rng.standard_normal((30, 1)).astype(np.float32) / 5, np.full(1, 0.1, np.float32))]
x = rng.standard_normal((50_000, 20)).astype(np.float32) + 0.5
targ = rng.standard_normal(50_000).astype(np.float32)
bounds = rounding_bounds(jax.grad(in_jax.twin_loss), params, x, targ, dtype=np.float32)
with jax.enable_x64(True):
    wide = jax.tree.map(np.float64, (params, x, targ))
    want = jax.jit(jax.grad(in_jax.twin_loss))(*wide)
for who in (fused_value_and_grad, forward_and_backward):
    grads = jax.jit(who)(params, x, targ)[1]
    for k in (0, 1):
        error = np.abs(np.asarray(grads[k][1], np.float64) - np.asarray(want[k][1]))
        assert (error <= np.asarray(bounds.errors[k][1])).all(), (who, k, (error / bounds.errors[k][1]).max())
"""
    env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


REFUSED = [
    (
        {"reduction": "none"},
        ValueError,
        "reduction must be 'mean' or 'sum'; got 'none'. A tile goes backward before the other tiles are seen",
    ),
    ({"mean": 1.0}, ValueError, "give both mean and std, or neither; got mean=1.0, std=None"),
    ({"mean": 1.0, "std": "2"}, TypeError, "std must be a real number or an array of one, without axes; got str"),
    ({"tile_rows": 0}, ValueError, "tile_rows must be a positive integer; got 0"),
    ({"tile_rows": 2.0}, ValueError, "tile_rows must be a positive integer; got 2.0"),
]


@pytest.mark.parametrize("who", [fused_value_and_grad, fused_forward_and_backward])
@pytest.mark.parametrize("options, error, text", REFUSED)
def test_what_is_refused(who, options, error, text, as_a_user):
    text = text if text.startswith("tile_rows") else f"{who.__name__}: {text}"
    with pytest.raises(error, match=re.escape(text)):
        who(whole_params((6, 4, 1)), *whole_batch(), **options)


@pytest.mark.parametrize("compiled", [False, True])
def test_who_still_asks_for_x_bar_is_told_the_new_function(compiled):
    """In 0.1.0 `x_bar=True` made it return three values."""
    args: Any = whole_params((6, 4, 1)), *whole_batch()
    of_library: Any = fused_value_and_grad
    before = functools.partial(of_library, x_bar=True)
    with pytest.raises(
        TypeError, match=re.escape("fused_value_and_grad: returns (loss, grads); for x_bar too, call fu")
    ):
        (jax.jit(before) if compiled else before)(*args)
    before = functools.partial(of_library, x_bar=False)
    chex.assert_trees_all_equal(before(*args), fused_value_and_grad(*args))


def test_what_mlp_loss_refuses_is_refused(as_a_user):
    params, (x, targ) = whole_params((6, 4, 1)), whole_batch()
    with pytest.raises(ValueError, match=re.escape("the first axis of params[0]'s w must match the last axis of x")):
        fused_value_and_grad(params, x[:, :5], targ)
    with pytest.raises(TypeError, match=re.escape("targ must be an array of float16")):
        fused_value_and_grad(params, x, targ.astype(int))
    with pytest.raises(ValueError, match="output must have targ's shape"):
        jax.grad(fused_mlp_loss)(params, x, targ[:5])
    with pytest.raises(ValueError, match=re.escape("x_bar needs a floating-point x; got x uint8[8,6]")):
        fused_forward_and_backward(params, x.astype(jnp.uint8), targ)


def test_on_a_gpu_a_tile_holds_more_rows(monkeypatch):
    """So many rows are several tiles on a CPU, and one where jax's default backend is a GPU (docs/gpu.md)."""
    args = jax.eval_shape(lambda: ([(jnp.zeros((784, 50)), jnp.zeros(50)), (jnp.zeros((50, 1)), jnp.zeros(1))],))[0]
    x, targ = jax.ShapeDtypeStruct((50_000, 784), jnp.float32), jax.ShapeDtypeStruct((50_000,), jnp.float32)
    loops = lambda: str(jax.make_jaxpr(fused_value_and_grad)(args, x, targ)).count("scan[")  # noqa: E731
    assert loops() == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    assert loops() == 0
