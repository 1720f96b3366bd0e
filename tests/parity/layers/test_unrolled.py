"""torch's LSTM, GRU and RNN, cell by cell: the same numbers as torch's, and ports of whole sequences against them."""

import copy
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from pullback import parity
from pullback.parity.layers.unrolled import Direction, unroll

X = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"batch_first": True, "num_layers": 2, "bidirectional": True}, {"bias": False}],
    ids=str,
)
@pytest.mark.parametrize("alone", [False, True], ids=["batch", "one"])
def test_the_cells_compute_what_torch_computes(kind, settings, alone):
    layer = getattr(torch.nn, kind)(3, 5, **settings).double()
    own = copy.deepcopy(layer)
    names = unroll(own)
    assert {own.get_parameter(new) is own.get_parameter(old) for new, old in names.items()} == {True}
    assert set(names.values()) == set(dict(layer.named_parameters()))
    x = torch.from_numpy(X).double()[0 if alone else slice(None)]
    (y, state), (want, last) = own(x), layer(x)
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(state, last)
    torch.testing.assert_close(own(x, state), layer(x, last))  # a state that is given


def test_what_is_no_plain_layer_is_left_as_it_is():
    class Own(torch.nn.GRU):
        pass

    nets = torch.nn.ModuleDict({"own": Own(3, 5), "projected": torch.nn.LSTM(3, 5, proj_size=2)})
    assert unroll(nets) == {} and not [part for part in nets.modules() if isinstance(part, Direction)]
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3, 3), torch.ones(2, 3)])
    layer = torch.nn.GRU(3, 5)
    want = layer(packed)[0].data
    unroll(layer)
    torch.testing.assert_close(layer(packed)[0].data, want)


class Outputs(torch.nn.Module):
    """A layer's outputs without its last state."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


class Linen(nn.Module):
    cell: type = nn.LSTMCell
    layers: int = 1

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(self.layers):
            x = nn.RNN(self.cell(5))(x)  # pyright: ignore[reportCallIssue]
        return x


class Nnx(nnx.Module):
    def __init__(self):
        one, other = (nnx.RNN(nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(0))) for _ in range(2))
        self.rnn = nnx.Bidirectional(one, other)

    def __call__(self, x):
        return self.rnn(x)


class Scanned(eqx.Module):
    """Somebody's own loop over equinox's cell."""

    cell: eqx.nn.GRUCell

    def __call__(self, x):
        def step(h, x):
            h = self.cell(x, h)
            return h, h

        return jax.vmap(lambda x: jax.lax.scan(step, jnp.zeros(5), x)[1])(x)


def test_several_layers_of_linen(nets):
    report = parity.check_model(Linen(layers=2), Outputs(torch.nn.LSTM(3, 5, 2, batch_first=True, dropout=0.5)), (X,))
    assert report.ok, report
    assert {"rnn.l0.cell", "rnn.l1.cell"} <= set(report.pairs.values())
    assert {step.place.call for step in report.steps} == set(range(4))  # each step of the sequence


def test_both_directions_of_nnx(nets):
    report = parity.check_model(Nnx(), Outputs(torch.nn.LSTM(3, 5, batch_first=True, bidirectional=True)), (X,))
    assert report.ok, report
    assert report.pairs["rnn.backward_rnn.cell"] == "rnn.l0_reverse.cell" and report.pairs["rnn"] == "rnn"


def test_a_loop_over_a_cell_of_equinox(nets):
    port = Scanned(eqx.nn.GRUCell(3, 5, key=jax.random.key(0)))
    report = parity.check_model(port, Outputs(torch.nn.GRU(3, 5, batch_first=True)), (X,))
    assert report.ok and report.pairs["cell"] == "rnn.l0.cell", report


def test_the_state_that_flax_returns_first(nets):
    class Port(nn.Module):
        @nn.compact
        def __call__(self, x):
            carry, y = nn.RNN(nn.GRUCell(5), return_carry=True, time_major=True, name="rnn")(x)
            return y, carry

    assert parity.check_model(Port(), torch.nn.GRU(3, 5), (X,), grads=False).ok


def test_gates_in_another_order_are_named_by_all_steps(nets):
    """At the first step h and c are 0, so that step alone does not tell the gates f and o apart."""
    original = Outputs(torch.nn.LSTM(3, 5, batch_first=True))
    arrays = {name: tensor.numpy() for name, tensor in original.rnn.state_dict().items()}
    bias = arrays["bias_ih_l0"] + arrays["bias_hh_l0"]
    cell = {}
    for gate, k in zip("ifgo", (0, 3, 2, 1), strict=True):
        cell[f"i{gate}"] = {"kernel": np.split(arrays["weight_ih_l0"], 4)[k].T}
        cell[f"h{gate}"] = {"kernel": np.split(arrays["weight_hh_l0"], 4)[k].T, "bias": np.split(bias, 4)[k]}
    report = parity.check_model((Linen(), {"params": {"LSTMCell_0": cell}}), original, (X,), grads=False)
    first = report.first_divergence
    assert first is not None and (first.path, first.hint) == ("LSTMCell_0", "gates in the order i, o, g, f")


def lstm(params, x):
    """A function of its own, with the two biases in one."""

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ params["w"] + h @ params["u"] + params["b"], 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.vmap(lambda x: jax.lax.scan(step, (jnp.zeros(5), jnp.zeros(5)), x)[1])(x)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)], ids=["right", "i g f o"])
def test_a_function_with_all_gates_in_one_array(nets, order):
    original = Outputs(torch.nn.LSTM(3, 5, batch_first=True))
    w, u, *biases = (tensor.numpy() for tensor in original.rnn.state_dict().values())
    arrays = {"w": w, "u": u, "b": biases[0] + biases[1]}
    params = {name: np.concatenate([np.split(array, 4)[k] for k in order]).T for name, array in arrays.items()}
    report = parity.check_model((lstm, params), original, (X,))
    if order == (0, 1, 2, 3):
        assert report.ok and "gradient of b" in {step.what for step in report.steps}, report
    else:
        first = report.first_divergence
        assert first is not None and first.hint == "gates in the order i, g, f, o"
