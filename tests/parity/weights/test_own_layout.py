"""A port whose query, key and value lie apart, where the original has them in one linear layer."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.parity.weights.own_layout import given_layouts, likely_arrays

WIDTH = 4
X = np.random.default_rng(0).standard_normal((2, 3, WIDTH)).astype(np.float32)


class Fused(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        query, key, value = self.qkv(x).chunk(3, -1)
        return self.out(torch.softmax(query @ key.transpose(1, 2) / WIDTH**0.5, -1) @ value)


class Apart(nn.Module):
    """stopped: whether the query gets no gradient."""

    stopped: bool = False

    @nn.compact
    def __call__(self, x):
        query, key, value = (nn.Dense(WIDTH, name=name)(x) for name in ("query", "key", "value"))
        query = jax.lax.stop_gradient(query) if self.stopped else query
        weights = jax.nn.softmax(query @ jnp.swapaxes(key, 1, 2) / WIDTH**0.5, -1)
        return nn.Dense(WIDTH, name="out")(weights @ value)


def part(number):
    """Of a weight, transposed, or of a bias: one third."""
    return lambda array: array[number * WIDTH : (number + 1) * WIDTH].T


PARTS: dict[str, Any] = {"query": part(0), "key": part(1), "**.value": part(2)}
MATCH: dict[str, str] = dict.fromkeys(("query", "key", "value"), "qkv")


def test_a_fused_projection_is_taken_apart_and_so_are_its_gradients(nets):
    original = nets.randomized(Fused())
    report = parity.check_model(Apart(), original, (X,), match=MATCH, layout=PARTS)
    assert report.ok and not any(report.unmapped.values()), report
    assert {"gradient of query.kernel", "gradient of value.bias"} <= {step.what for step in report.steps}
    report = parity.check_model(Apart(stopped=True), original, (X,), match=MATCH, layout=PARTS)
    wrong = {step.what for step in report.steps if not step.ok}
    assert wrong == {"gradient of the input", "gradient of query.kernel", "gradient of query.bias"}


def test_the_wrong_layout_is_no_agreement(nets):
    report = parity.check_model(
        Apart(), nets.randomized(Fused()), (X,), match=MATCH, layout={**PARTS, "query": part(1), "key": part(0)}
    )
    assert report.exit_code == 1 and report.first_divergence is not None


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"queries": part(0)}, "layout has 'queries', which fits nothing in the port; there are "),
        (
            {"query": lambda w: w},
            r"of qkv.weight, of shape \(12, 4\), makes the shape \(12, 4\), and query.kernel has \(4, 4\)",
        ),
        ({"query": lambda w: 2 * part(0)(w)}, r"layout\['query'\] of qkv.weight, of shape \(12, 4\), changes numbers"),
        (
            {"query": lambda w: w[:, :, 0]},
            r"layout\['query'\] of qkv.weight, of shape \(12, 4\), raised IndexError: too many",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(nets, layout, message):
    with pytest.raises(ValueError, match=message):
        parity.check_model(Apart(), nets.randomized(Fused()), (X,), match=MATCH, layout=layout)


def test_an_array_that_is_not_known_is_an_error():
    with pytest.raises(ValueError, match=r"which of the original's arrays w is: say so with match=\{\"w\": "):
        given_layouts({"w": lambda array: array}, {"w": X}, {"weight": X}, lambda name: [])


def test_the_names_that_a_parameter_may_have():
    assert likely_arrays("a.kernel", {"a": "b.c"}, None, {})[:2] == ["b.c", "b.c.weight"]
    assert likely_arrays("a.bias", {}, "a", {"a": "d"})[1] == "d.bias"
    assert likely_arrays("table", {"table": "pos"}, None, {})[0] == "pos"
