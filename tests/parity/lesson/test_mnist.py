import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity import check_mnist

WHO = ["by hand", "custom_vjp", "jax.grad", "torch", "torch by hand", "nn.Module"]
NET = ["output", "loss", "w1", "b1", "w2", "b2", "x_bar"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_all_agree(dtype):
    report = check_mnist(dtype=dtype, source="sample")
    assert report.ok, str(report)
    leaves = {(row.check, row.leaf) for row in report.rows}
    assert leaves == {("net", leaf) for leaf in NET} | {
        *(("lin", leaf) for leaf in ("y", "x_bar", "w_bar", "b_bar")),
        *(("mse", leaf) for leaf in ("y", "output_bar", "targ_bar")),
        *((check, leaf) for check in ("relu", "relu at 0") for leaf in ("y", "x_bar")),
    }
    for row in report.rows:
        assert list(row.deviations) == WHO and row.dtype == dtype
    assert jnp.ones(1, float).dtype == jnp.float32, "x64 is put back"


def test_the_floor_tells_what_would_be_noticed():
    report = check_mnist(source="sample")
    floors = {row.leaf: row.floor for row in report.rows if row.check == "net"}
    assert all(floor and 1e-7 < floor < 1e-4 for floor in floors.values()), floors


@pytest.mark.parametrize(("batch_size", "hidden"), [(1, 1), (1, 50), (2, 3), (300, 7)])
def test_sizes(batch_size, hidden):
    report = check_mnist(batch_size, hidden, source="sample", seed=1)
    assert report.ok, str(report)
    shapes = {row.leaf: row.shape for row in report.rows if row.check == "net"}
    assert shapes["x_bar"] == (batch_size, 784) and shapes["w1"] == (784, hidden)


def test_same_seed_same_figures_other_seed_others():
    first, again, other = (check_mnist(8, 4, seed=seed, source="sample").to_dict() for seed in (3, 3, 4))
    assert first == again and first["rows"] != other["rows"]


def test_float16_dtype_objects():
    assert check_mnist(4, 2, dtype=jnp.bfloat16, source="sample").about["dtype"] == "bfloat16"


def test_a_wrong_net_names_the_first_step_that_goes_wrong(monkeypatch):
    module = sys.modules["pullback.functional.mlp"]
    right = module.relu_bwd
    monkeypatch.setattr(module, "relu_bwd", lambda y, y_bar: (2 * right(y, y_bar)[0],))
    jax.clear_caches()
    report = check_mnist(8, 4, source="sample")
    jax.clear_caches()
    (finding,) = report.findings
    assert (finding.check, finding.about, finding.status) == ("chain", "by hand", "FAIL")
    assert "the first step to go wrong is w1" in finding.text and "twice what it should be" in finding.text
    assert report.culprits == ["by hand"]


def test_full_looks_at_each_rule_too():
    report = check_mnist(4, 3, source="sample", full=True)
    assert report.ok, str(report)
    assert {row.check.split()[0] for row in report.rows} == {
        "net",
        "lin",
        "relu",
        "shifted_relu",
        "leaky_relu",
        "mse",
        "mlp_loss",
        "max_pool2d",
        "avg_pool2d",
        "log_softmax",
        "softmax_cross_entropy",
        "linear_cross_entropy",
    }
    assert report.implementations == WHO
    assert {f.check for f in report.findings} >= {"transformations", "kinks", "numerical", "structure", "rule ran"}


def test_full_batch_of_the_lesson(full_mnist):
    report = check_mnist(50_000, source="cache")
    assert report.ok, str(report)
    assert report.gates == 50_000 * 50
    assert report.about["data"].startswith("full MNIST")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer of at least 1; got 2.0"),
        ({"hidden": -1}, "hidden must be an integer of at least 1; got -1"),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"dtype": "float8"}, "dtype must be one of float32, float64, bfloat16, float16; got 'float8'"),
        ({"dtype": np.int32}, "dtype must be one of float32"),
        ({"batch_size": 4001}, r"batch_size must be at most 4,000, the train rows of the embedded sample.*got 4,001"),
    ],
)
def test_bad_arguments(as_a_user, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_mnist(**({"source": "sample"} | arguments))
