"""What `check_model` says of what it cannot take, or not whole: one sentence, and the rest is still reported."""

import builtins
import dataclasses
import importlib.util
from typing import Any

import equinox
import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
from flax import nnx

from pullback import parity


class Returns(torch.nn.Module):
    """`how` wraps what two linear layers give."""

    def __init__(self, net, how):
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x):
        return self.how(self.net(x))


@dataclasses.dataclass(frozen=True)
class Output:
    logits: Any
    loss: Any = None


class Raises(torch.nn.Module):
    """After its first layer, on the way forward or on the way back."""

    def __init__(self, net, back=False):
        super().__init__()
        self.net, self.back, self.last = net, back, Last(net[2])

    def forward(self, x):
        h = torch.relu(self.net[0](x))
        if self.back:
            h.register_hook(_raise)
            return self.net[2](h)
        return self.last(h)


class Scaled(torch.nn.Module):
    """Raises in the end."""

    def __init__(self, net):
        super().__init__()
        self.net, self.last = net, Last(net[2])

    def forward(self, x):
        return self.last(self.net(x))


class Last(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, h):
        raise RuntimeError("no more\nof this")


def _raise(_):
    raise RuntimeError("no more\nof this")


@jax.custom_vjp
def raises_on_the_way_back(x):
    return nn.relu(x)


raises_on_the_way_back.defvjp(lambda x: (nn.relu(x), None), lambda _, y_bar: _raise(y_bar))


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


class PortedTied(nn.Module):
    tied: bool

    @nn.compact
    def __call__(self, ids):
        table = nn.Embed(11, 8, name="table")
        return table.attend(table(ids)) if self.tied else nn.Dense(11, use_bias=False, name="head")(table(ids))


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


class PortedTwice(nn.Module):
    factor: float = 1.0

    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(6, name="layer")
        return layer(self.factor * nn.relu(layer(x)))


class Broken(nnx.Module):
    def __init__(self):
        self.one, self.two = nnx.Linear(6, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 3, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.two(nnx.relu(self.one(x))[:, :3])


class BrokenInside(equinox.Module):
    one: equinox.nn.Linear
    two: equinox.nn.Linear

    def __call__(self, x):
        return jax.vmap(lambda row: self.two(jax.nn.relu(self.one(row))[:3]))(x)


def equinox_port():
    return BrokenInside(*(equinox.nn.Linear(*n, key=jax.random.key(0)) for n in ((6, 8), (8, 3))))


TABLE = {
    # what is bad: (port, original, inputs, options) of the models of conftest -> an error, or the report's exit code
    "a class as port": (lambda n: (n.Dense, n.linear_layers(), (n.ROWS,)), "port is the class Dense, and no model yet"),
    "a class as original": (lambda n: (n.Dense(), torch.nn.Linear, (n.ROWS,)), "original is the class Linear"),
    "a function alone": (lambda n: (nn.relu, n.linear_layers(), (n.ROWS,)), "port must be a flax module, "),
    "one array": (lambda n: (n.Dense(), n.linear_layers(), n.ROWS), "inputs must be a tuple of arrays; got one array"),
    "a dict": (lambda n: (n.Dense(), n.linear_layers(), {"x": n.ROWS}), "got a dict of x"),
    "too many inputs": (
        lambda n: (n.Dense(), n.linear_layers(), (n.ROWS, n.ROWS)),
        r"the port cannot be called with inputs of shape \(5, 6\) and \(5, 6\): the model itself \(Dense\) raised Type",
    ),
    "another width": (
        lambda n: (n.Dense(), n.linear_layers(), (n.ROWS[:, :5],)),
        r"the original cannot be called with inputs of shape \(5, 5\): 0 \(Linear\) raised RuntimeError: mat1 and mat2",
    ),
    "channels second": (
        lambda n: (n.PortedPicture(), n.randomized(n.Picture()), (np.moveaxis(n.IMAGES, -1, 1),)),
        r"The input of shape \(2, 3, 8, 8\) seems to have its channels second",
    ),
    "a lazy layer": (
        lambda n: (n.Dense(), torch.nn.Sequential(torch.nn.LazyLinear(8)), (n.ROWS,)),
        "0.weight of the original is made at its first call: call it once",
    ),
    "no params": (
        lambda n: ((n.Dense(), {}), n.linear_layers(), (n.ROWS,)),
        r"the port cannot be called with inputs of shape \(5, 6\): first \(Dense\) raised ScopeCollectionNotFound",
    ),
    "shapes for params": (
        lambda n: (nnx.eval_shape(Broken), n.linear_layers(), (n.ROWS,)),
        "of the port is a shape without values",
    ),
    "fewer layers": (
        lambda n: (nn.Dense(3), n.linear_layers(), (n.ROWS,)),
        "Only the port has kernel, bias. Only the original has 0.weight",
    ),
    "a match of nothing": (
        lambda n: (n.Dense(), n.linear_layers(), (n.ROWS,), {"match": {"fc": "0"}}),
        "match has 'fc', which fits nothing in the port; there are first, second",
    ),
    "an exit": (
        lambda n: (n.Dense(between=lambda h: builtins.exit(0)), n.linear_layers(), (n.ROWS,)),
        "the code under test ended Python",
    ),
    "tensors": (lambda n: (n.Dense(), n.linear_layers(), (torch.from_numpy(n.ROWS),)), 0),
    "half precision": (lambda n: (n.Dense(), n.linear_layers().half(), (n.ROWS,)), 0),
    "a tuple": (lambda n: (n.Dense(), Returns(n.linear_layers(), lambda y: (y,)), (n.ROWS,)), 0),
    "a dict of outputs": (lambda n: (n.Dense(), Returns(n.linear_layers(), lambda y: {"y": y}), (n.ROWS,)), 0),
    "a dataclass": (lambda n: (n.Dense(), Returns(n.linear_layers(), Output), (n.ROWS,)), 0),
    "no tensor": (lambda n: (n.Dense(), Returns(n.linear_layers(), lambda y: y.tolist()), (n.ROWS,)), 3),
    "shared weights": (lambda n: (PortedTied(True), n.randomized(Tied()), (n.IDS,)), 0),
    "a layer called twice": (lambda n: (PortedTwice(), n.randomized(Twice()), (n.ROWS,)), 0),
}


@pytest.mark.parametrize("what", TABLE)
def test_one_clear_sentence(nets, what):
    build, expected = TABLE[what]
    inputs: Any
    port, original, inputs, options = (*build(nets), {})[:4]
    if isinstance(expected, int):
        report = parity.check_model(port, original, inputs, **options)
        assert report.exit_code == expected, report
        return
    with pytest.raises((TypeError, ValueError), match=expected) as raised:
        parity.check_model(port, original, inputs, **options)
    assert "\n" not in str(raised.value)


def first(report):
    assert report.exit_code == 1 and report.first_divergence is not None, report
    return report.first_divergence


@pytest.mark.parametrize(
    ("port", "said", "kept"),
    [
        (
            lambda nets: nets.Dense(between=_raise),
            "the model itself, forward: it raised RuntimeError: no more.",
            "first",
        ),
        (
            lambda nets: Broken(),
            "two (Linear; in the original 2, a Linear), forward: its input is wrong (its shape is (5, 3), and the",
            "one",
        ),
        (
            lambda nets: equinox_port(),
            "two (Linear; in the original 2, a Linear), forward: its input is wrong (its shape is (5, 3), and the",
            "one",
        ),
    ],
    ids=["linen", "nnx", "equinox, in a vmap"],
)
def test_a_port_that_raises_midway_is_wrong_there_and_right_before(nets, port, said, kept):
    report = parity.check_model(port(nets), nets.linear_layers(), (nets.ROWS,))
    assert str(first(report)).startswith(said)
    agreed = {step.place.path for step in report.steps if step.ok and step.place.role == "out"}
    assert agreed == {kept} and report.unmapped == {"port": [], "original": []}
    (note,) = report.notes
    assert " raised " in note and note.endswith("What comes after that was not compared, nor were gradients.")
    assert [step for step in report.to_dict()["steps"] if str(step["problem"]).startswith("raised ")]


def test_an_original_that_raises_midway_is_not_judged_from_there(nets):
    report = parity.check_model(nets.Dense(), Raises(nets.linear_layers()), (nets.ROWS,))
    assert report.exit_code == 3 and "first" in {step.place.path for step in report.steps}
    (note,) = report.notes
    assert note.startswith("Of the original, last (Last) raised RuntimeError: no more. What comes after")
    wrong = parity.check_model(nets.Dense(between=lambda h: 2 * h), Raises(nets.linear_layers()), (nets.ROWS,))
    assert wrong.exit_code == 3, "what lies between the last layer that ended and the one that raised"
    wrong = parity.check_model(nets.Dense(between=lambda h: 2 * h), Scaled(nets.linear_layers()), (nets.ROWS,))
    assert first(wrong).path == "second", "what came before it is compared"


def test_who_raises_on_the_way_back(nets):
    report = parity.check_model(nets.Dense(), Raises(nets.linear_layers(), back=True), (nets.ROWS,))
    assert report.exit_code == 3 and all(step.ok for step in report.steps)
    assert report.unmapped["port"] == ["gradients (on the way back the original raised RuntimeError: no more)"]
    report = parity.check_model(nets.Dense(between=raises_on_the_way_back), nets.linear_layers(), (nets.ROWS,))
    assert str(first(report)).startswith("the model itself, backward: it raised RuntimeError: no more.")


def test_a_use_of_shared_weights_that_the_port_has_apart(nets):
    report = parity.check_model(PortedTied(False), nets.randomized(Tied()), (nets.IDS,))
    assert report.exit_code == 1
    assert {step.what for step in report.steps if not step.ok} == {"gradient of embedding", "gradient of kernel"}


def test_a_library_that_is_not_there_is_named(nets, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "equinox" else real(name, *more)
    )
    with pytest.raises(TypeError, match=r"Not installed here: equinox \(pip install equinox\)"):
        parity.check_model(object(), nets.linear_layers(), (nets.ROWS,))
