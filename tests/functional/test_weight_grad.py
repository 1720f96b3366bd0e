import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.data import load_mnist
from pullback.functional import (
    lin_bwd,
    lin_fwd,
    weight_grad_einsum,
    weight_grad_matmul,
    weight_grad_outer,
    weight_grad_transposed,
)
from pullback.parity.lesson.mnist import batch
from pullback.parity.verdict.comparison import Comparison

FORMS = [weight_grad_outer, weight_grad_einsum, weight_grad_matmul, weight_grad_transposed]


def whole(seed, shape, dtype):
    return jnp.asarray(np.random.default_rng(seed).integers(-3, 4, shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_lins_exactly(form, n, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x, w, y_bar = whole(0, (n, 5), dtype), whole(1, (5, 4), dtype), whole(2, (n, 4), dtype)
        want = lin_bwd(lin_fwd(x, w)[1], y_bar)[1]
        np.testing.assert_array_equal(form(x, y_bar), want, strict=True)
        np.testing.assert_array_equal(jax.jit(form)(x, y_bar), want, strict=True)


IN_TORCH = {
    "torch outer": lambda x, y_bar: (x.unsqueeze(-1) * y_bar.unsqueeze(1)).sum(0),
    "torch einsum": lambda x, y_bar: torch.einsum("bi,bj->ij", x, y_bar),
    "torch matmul": lambda x, y_bar: x.t() @ y_bar,
}


def in_torch(form):
    return lambda x, y_bar: form(torch.from_numpy(x), torch.from_numpy(y_bar)).numpy()


@pytest.mark.parametrize("n", [64, 1000])
def test_all_are_equal_within_the_derived_bound(n):
    x, _ = batch(load_mnist("sample").train, np.arange(n), np.dtype(np.float32))
    y_bar = np.asarray(np.random.default_rng(0).standard_normal((n, 20))).astype(np.float32)
    compared = Comparison(
        "weight gradient",
        (x, y_bar),
        {form.__name__: jax.jit(form) for form in FORMS} | {name: in_torch(form) for name, form in IN_TORCH.items()},
        weight_grad_matmul,
        lambda x, y_bar: x.astype(np.float64).T @ y_bar.astype(np.float64),
        np.float32,
        lambda w_bar: {"w_bar": np.asarray(w_bar)},
    )
    (row,) = compared.rows
    assert row.ok and len(row.deviations) == 7, row


@pytest.mark.parametrize("form", FORMS)
def test_parity_in_every_dtype(form):
    rng = np.random.default_rng(0)
    x, y_bar = (np.asarray(rng.standard_normal(shape)).astype(np.float32) for shape in ((6, 5), (6, 4)))
    parity.check(form, x, y_bar, reference=weight_grad_matmul, torch=IN_TORCH["torch matmul"]).raise_if_failed()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_accumulates_in_float32(form):
    args = jnp.ones((5000, 1), jnp.bfloat16), jnp.ones((5000, 1), jnp.bfloat16)
    assert form(*args) == jnp.bfloat16(5000)
    # A CPU may be better than it is asked to be, so this is asked too.
    jaxpr = str(jax.make_jaxpr(form)(*args))
    assert "preferred_element_type=float32" in jaxpr or "reduce_sum" in jaxpr and ":f32[5000,1,1]" in jaxpr


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3,), (3,)), ((2, 3, 4), (2, 3, 5))])
def test_shapes_that_do_not_fit(as_a_user, form, shapes):
    with pytest.raises(
        ValueError, match=rf"{form.__name__}: x must be \[n, fan_in\] and y_bar \[n, fan_out\]; got x fl"
    ):
        form(*(jnp.ones(shape) for shape in shapes))


@pytest.mark.parametrize("form", FORMS)
def test_dtypes_that_do_not_fit(as_a_user, form):
    with pytest.raises(TypeError, match=f"{form.__name__}: x and y_bar must have the same dtype"):
        form(jnp.ones((3, 2)), jnp.ones((3, 2), jnp.bfloat16))


@pytest.mark.parametrize("form", FORMS)
def test_xla_does_not_make_the_outer_products(form):
    if form is weight_grad_outer and jax.__version_info__ < (0, 10, 2):
        pytest.skip("jaxlib before 0.10.2 makes them on a CPU")
    n, fan_in, fan_out = 256, 784, 50
    compiled = jax.jit(form).lower(jnp.ones((n, fan_in)), jnp.ones((n, fan_out))).compile()
    memory: Any = compiled.memory_analysis()
    assert memory.output_size_in_bytes == 4 * fan_in * fan_out
    # Some scratch space is allowed, but far less than the n x fan_in x fan_out numbers that torch makes.
    assert memory.temp_size_in_bytes < 4 * n * fan_in * fan_out / 10
    made = torch.ones(n, fan_in).unsqueeze(-1) * torch.ones(n, fan_out).unsqueeze(1)
    assert made.nbytes == 4 * n * fan_in * fan_out


def products(f, *args):
    """The shapes of the matrix products in the compiled function, and the axis of the first factor that each sums."""
    text: Any = jax.jit(f).lower(*args).compile().as_text()
    return set(re.findall(r" = f32\[(\d+,\d+)\]\S* dot\(.*lhs_contracting_dims={(\d)}", text))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other backends choose their own kernels")
def test_the_transposed_product_stays_transposed():
    """XLA folds neither transpose into the product, as it does those of x^T @ y_bar."""
    args = jnp.ones((5000, 784)), jnp.ones((5000, 50))
    assert products(weight_grad_transposed, *args) == {("50,784", "1")}
    assert products(weight_grad_matmul, *args) == {("784,50", "0")}
