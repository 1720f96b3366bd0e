"""Weights carried over by layout: the layer that gets them computes what torch's does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from pullback.parity.layers.trees import flattened, nested
from pullback.parity.weights.parameters import in_the_ports_layout, same_lengths, same_numbers

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def carried(kind, layer, variables, original):
    """The variables of a linen layer, in the original's values."""
    arrays = {name: tensor.numpy() for name, tensor in original.state_dict().items()}
    found = {}
    for name, value in flattened(variables["params"]).items():
        array = in_the_ports_layout(kind, arrays, name, np.shape(value), layer)
        assert array is not None, name
        found[name] = jnp.asarray(array)
    return {"params": nested(found)}


CHANNELS_LAST = (0, 2, 3, 1)
CASES = [
    ("linear", nn.Dense(5), torch.nn.Linear(6, 5), normal(4, 6)),
    ("convolution", nn.Conv(6, (3, 2), feature_group_count=2, padding="VALID"),
     torch.nn.Conv2d(4, 6, (3, 2), groups=2), normal(2, 5, 5, 4)),
    ("transposed convolution", nn.ConvTranspose(5, (3, 3), (2, 2), "VALID"),
     torch.nn.ConvTranspose2d(3, 5, 3, stride=2), normal(2, 4, 4, 3)),
    ("transposed convolution", nn.ConvTranspose(5, (3, 3), (2, 2), "VALID", transpose_kernel=True),
     torch.nn.ConvTranspose2d(3, 5, 3, stride=2), normal(2, 4, 4, 3)),
    ("prelu", nn.PReLU(), torch.nn.PReLU(init=0.3), normal(4, 6)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "layer", "original", "x"), CASES)
def test_a_layer_with_torchs_weights_gives_torchs_output(kind, layer, original, x):
    original.requires_grad_(False)
    variables = carried(kind, layer, layer.init(jax.random.key(0), x), original)
    given = torch.from_numpy(np.moveaxis(x, -1, 1)) if x.ndim == 4 else torch.from_numpy(x)
    want = original(given).numpy()
    want = want.transpose(CHANNELS_LAST) if want.ndim == 4 else want
    np.testing.assert_allclose(np.asarray(layer.apply(variables, x)), want, atol=1e-5)


@pytest.mark.parametrize(("kind", "layer", "original"), [
    ("gru cell", nn.GRUCell(5), torch.nn.GRUCell(4, 5)),
    ("rnn cell", nn.SimpleCell(5), torch.nn.RNNCell(4, 5)),
])  # fmt: skip
def test_a_cell_with_torchs_weights_gives_torchs_state(kind, layer, original):
    original.requires_grad_(False)
    x, h = normal(3, 4), normal(3, 5)
    variables = carried(kind, layer, layer.init(jax.random.key(0), h, x), original)
    want = original(torch.from_numpy(x), torch.from_numpy(h)).numpy()
    np.testing.assert_allclose(np.asarray(layer.apply(variables, h, x)[0]), want, atol=1e-6)


def test_the_gates_of_nnx_lie_in_one_array():
    original = torch.nn.LSTMCell(4, 5).requires_grad_(False)
    arrays = {name: tensor.numpy() for name, tensor in original.state_dict().items()}
    cell = nnx.OptimizedLSTMCell(4, 5, rngs=nnx.Rngs(0))
    for part, name in ((cell.dense_i, "dense_i"), (cell.dense_h, "dense_h")):
        for leaf in ("kernel", "bias"):
            if (param := getattr(part, leaf)) is not None:
                value = in_the_ports_layout("lstm cell", arrays, f"{name}.{leaf}", param.shape, cell)
                param.set_value(jnp.asarray(value))
    x, h, c = normal(3, 4), normal(3, 5), normal(3, 5)
    want = original(torch.from_numpy(x), (torch.from_numpy(h), torch.from_numpy(c)))
    (new_c, new_h), _ = cell((jnp.asarray(c), jnp.asarray(h)), jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(new_h), want[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(np.asarray(new_c), want[1].numpy(), atol=1e-6)


def test_two_biases_are_added_and_their_gradients_are_not():
    arrays = {"bias_ih": np.arange(6.0), "bias_hh": np.full(6, 10.0)}
    added = in_the_ports_layout("gru cell", arrays, "dense_i.bias", (6,), None)
    np.testing.assert_array_equal(added, [10, 11, 12, 13, 4, 5])  # not of the gate n: r lies between its two
    alone = in_the_ports_layout("gru cell", arrays, "dense_i.bias", (6,), None, summed=False)
    np.testing.assert_array_equal(alone, np.arange(6.0))


def test_the_projections_of_attention_are_a_third_each():
    arrays = {"in_proj_weight": np.arange(48.0).reshape(12, 4), "in_proj_bias": np.arange(12.0)}
    key = in_the_ports_layout("attention", arrays, "key.kernel", (4, 2, 2), None)
    np.testing.assert_array_equal(key, arrays["in_proj_weight"][4:8].T.reshape(4, 2, 2))
    same = in_the_ports_layout("attention", arrays, "key_proj.weight", (4, 4), None)
    np.testing.assert_array_equal(same, arrays["in_proj_weight"][4:8])
    np.testing.assert_array_equal(
        in_the_ports_layout("attention", arrays, "value.bias", (2, 2), None), [[8, 9], [10, 11]]
    )


def test_what_is_not_known_is_none():
    arrays = {"weight": np.zeros((3, 2))}
    assert in_the_ports_layout("linear", arrays, "bias", (3,), None) is None
    assert in_the_ports_layout("linear", arrays, "kernel", (7,), None) is None
    assert in_the_ports_layout("gru cell", {}, "bias", (3,), None) is None


def test_a_loose_array_is_known_by_its_numbers_or_its_lengths():
    table, other = normal(3, 4), normal(1, 3, 4)
    assert getattr(same_numbers(table.T, {"other": other, "table": table}), "names", None) == ("table",)
    assert same_numbers(table + 1, {"table": table}) is None
    fit = same_lengths((3, 4), "pos_embed", other)
    assert fit is not None and fit.names == ("pos_embed",)
    np.testing.assert_array_equal(fit.source({"pos_embed": other}, True), other[0])
    assert same_lengths((3, 4), "cls", normal(1, 1, 4)) is None


def test_two_biases_that_are_given_as_one():
    left = {"bias_ih_l0": normal(6), "bias_hh_l0": normal(6)}
    fit = same_numbers(left["bias_ih_l0"] + left["bias_hh_l0"], left)
    assert fit is not None and fit.names == ("bias_ih_l0", "bias_hh_l0")
    np.testing.assert_array_equal(fit.source(left, False), left["bias_ih_l0"])  # their gradients are equal
    apart = left["bias_ih_l0"] + left["bias_hh_l0"] * [1, 1, 1, 1, 0, 0]  # a GRU's, whose gate n has two
    fit = same_numbers(apart.astype(np.float32), left)
    assert fit is not None and fit.names == ("bias_ih_l0",)
