import equinox
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from pullback.parity.layers.calls import Calls
from pullback.parity.layers.port import take_apart

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


class Nnx(nnx.Module):
    def __init__(self):
        self.fc, self.norm = nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.BatchNorm(2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(self.fc(x))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(False, name="norm")(nn.Dense(2, name="fc")(x))


class Equinox(equinox.Module):
    layers: list

    def __init__(self):
        self.layers = [equinox.nn.Linear(3, 2, key=jax.random.key(0))]

    def __call__(self, x):
        return jax.vmap(self.layers[0])(x)


def function(params, x):
    return x @ params["fc"]["w"]


NAMES = {"fc.kernel", "fc.bias", "norm.scale", "norm.bias", "norm.mean", "norm.var"}
PORTS = [
    (Linen(), "flax linen", ["fc", "norm", ""], NAMES),
    (Nnx(), "flax nnx", ["fc", "norm", ""], NAMES),
    (Equinox(), "equinox", ["layers.0", ""], {"layers.0.weight", "layers.0.bias"}),
    ((function, {"fc": {"w": jnp.ones((3, 2))}}), "function", [""], {"fc.w"}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "framework", "layers", "names"), PORTS)
def test_a_model_is_a_function_of_its_named_parameters_and_its_layers_are_marked(model, framework, layers, names):
    port = take_apart(model, (X,), {})
    assert port.framework == framework and set(port.params) == names
    calls = Calls()
    y = port.run(port.params, calls, X)
    assert [called.path for called in calls.ended] == layers
    zeros = {name: jnp.zeros_like(value) for name, value in port.params.items()}
    assert not np.any(port.run(zeros, Calls(), X)) and np.any(y)
    assert port.frozen == {name for name in names if name.endswith(("mean", "var"))}


@pytest.mark.parametrize("model", [Linen(), Nnx()])
def test_updated_statistics_are_marked(model):
    port = take_apart(model, (X,), {})

    def run(params, x):
        calls = Calls()
        return port.run(params, calls, x), calls.statistics

    marks = [eqn for eqn in jax.make_jaxpr(run)(port.params, X).eqns if eqn.primitive.name == "layer_mark"]
    roles = [eqn.params["place"].role for eqn in marks if eqn.params["place"].path == "norm"]
    assert [role for role in roles if role.startswith("updated")] == [
        "updated running mean",
        "updated running variance",
    ]


class Stateful(equinox.Module):
    norm: equinox.nn.BatchNorm

    def __init__(self):
        self.norm = equinox.nn.BatchNorm(3, "batch", mode="batch", momentum=0.9)

    def __call__(self, x, state):
        return jax.vmap(self.norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)


def test_equinox_keeps_statistics_in_a_state():
    port = take_apart(equinox.nn.make_with_state(Stateful)(), (X,), {})
    assert port.frozen == {"norm.running_mean", "norm.running_var"}
    calls = Calls()
    y = port.run(port.params, calls, X)
    np.testing.assert_allclose(np.asarray(y), (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(calls.statistics[0]), 0.1 * X.mean(0), rtol=1e-5)
    called = calls.ended[0]
    assert called.path == "norm" and len(called.inputs) == len(called.outputs) == 1


def test_a_class_is_as_it_was_after_a_call():
    before = Nnx.__call__
    port = take_apart(Nnx(), (X,), {})
    port.run(port.params, Calls(), X)
    assert Nnx.__call__ is before
    with pytest.raises(TypeError):
        port.run(port.params, Calls(), X[:, :2])
    assert Nnx.__call__ is before


@pytest.mark.parametrize(("model", "words"), [
    (torch.nn.Linear(2, 2), r"got Linear \(the original comes second\)"),
    ((1, 2, 3), "got a tuple of int, int, int"),
    (function, "got function"),
])  # fmt: skip
def test_what_is_no_port_is_an_error(model, words):
    with pytest.raises(TypeError, match=f"port must be a flax module.*{words}"):
        take_apart(model, (X,), {})
