import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import init_mlp, lin_bwd, relu_bwd
from pullback.parity.lesson.chain import chain_finding, step_names, trace_by_hand, trace_twin

F32 = np.dtype(np.float32)


def net(sizes=(7, 5, 4, 1), n=6):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), F32)  # noqa: E731
    params = [(w, draw(w.shape[1])) for w, _ in init_mlp(jax.random.key(0), sizes)]
    return params, draw(n, sizes[0]), draw(n)


def test_steps_are_named_in_the_order_of_the_chain():
    assert step_names(2) == ["h1", "output", "loss", "output_bar", "w2", "b2", "h1_bar", "w1", "b1", "x_bar"]
    assert step_names(1) == ["output", "loss", "output_bar", "w1", "b1", "x_bar"]


@pytest.mark.parametrize("sizes", [(7, 1), (7, 5, 1), (7, 5, 4, 1)])
def test_both_traces_are_the_same_chain(sizes):
    args = net(sizes)
    names = step_names(len(sizes) - 1)
    for name, ours, twin in zip(names, trace_by_hand(*args), trace_twin(*args), strict=True):
        np.testing.assert_allclose(ours, twin, rtol=1e-4, atol=1e-5, err_msg=name)
        assert name == "loss" or np.any(twin), name
    finding = chain_finding(*args, F32)
    assert finding.status == "pass" and finding.text == f"all {len(names)} steps agree, from {names[0]} to x_bar"


MLP = sys.modules["pullback.functional.mlp"]


def wrong_lin(residuals, y_bar):
    x_bar, w_bar, b_bar = lin_bwd(residuals, y_bar)
    return (-x_bar if w_bar.shape == (5, 4) else x_bar), w_bar, b_bar


def wrong_relu(y, y_bar):
    return (relu_bwd(y, y_bar)[0] * (2 if y_bar.shape[1] == 4 else 1),)


@pytest.mark.parametrize(
    ("rule", "wrong", "first", "says"),
    [
        ("lin_bwd", wrong_lin, "h1_bar", "the sign is wrong"),
        (
            "relu_bwd",
            lambda y, g: (relu_bwd(y, g)[0] * (2 if g.shape[1] == 4 else 1),),
            "w2",
            "twice what it should be",
        ),
    ],
)
def test_the_first_step_that_goes_wrong_is_named(monkeypatch, rule, wrong, first, says):
    args = net()
    monkeypatch.setattr(MLP, rule, wrong)
    jax.clear_caches()
    finding = chain_finding(*args, F32)
    jax.clear_caches()
    assert finding.status == "FAIL"
    assert finding.text.startswith(f"the first step to go wrong is {first}; right before it: h1, h2, output, loss")
    assert says in finding.text
