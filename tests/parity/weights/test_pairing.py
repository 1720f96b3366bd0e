import flax.linen as nn
import pytest
import torch
from flax import nnx

from pullback.parity.weights.pairing import Unit, argument_order, containers, kind_of, paired


class Attention(nn.Module):
    """Somebody's own."""


class Wider(torch.nn.Linear):
    """Derived from a library's."""


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Dense(3), "linear"),
        (Wider(2, 3), "linear"),
        (torch.nn.InstanceNorm2d(3), "instance norm"),
        (nn.SimpleCell(3), "rnn cell"),
        (nnx.PReLU(), "prelu"),
        (Attention(), ""),
        (torch.nn.ReLU(), ""),
    ],
)
def test_a_layer_is_what_its_library_calls_it(layer, kind):
    assert kind_of(layer) == kind


def units(*names):
    return [Unit(name, "linear", 4) for name in names]


def test_layers_are_paired_in_order_and_by_the_likest_name():
    assert paired(units("a", "b"), units("x", "y"), {}) == {"a": "x", "b": "y"}
    assert paired(units("fc2"), units("fc1", "fc2", "fc3"), {}) == {"fc2": "fc2"}
    other = [Unit("a", "linear", 5), Unit("b", "convolution", 4)]
    assert paired(other, units("x", "y"), {}) == {}


def test_the_user_may_match_what_order_does_not_tell():
    ours, theirs = units("block0.fc", "block1.fc"), units("layers.1.fc", "layers.0.fc")
    match = {"block{i}": "layers.{i}"}
    assert paired(ours[:1], theirs, match) == {"block0.fc": "layers.0.fc"}
    assert paired(ours[1:], theirs, match) == {"block1.fc": "layers.1.fc"}
    assert paired(ours, theirs, {"block0": "nowhere"}) == {"block1.fc": "layers.1.fc"}


def test_matched_layers_may_come_in_another_order():
    ours, theirs = units("block0.a", "block0.b", "block1.a", "head"), units("l.1.x", "l.0.x", "l.0.y", "out")
    found = paired(ours, theirs, {"block{i}": "l.{i}"})
    assert found == {"block0.a": "l.0.x", "block0.b": "l.0.y", "block1.a": "l.1.x", "head": "out"}
    # What is not matched stays in order, and takes nothing that is.
    assert paired(units("q", "k", "v"), units("k", "q", "v"), {"q": "q", "k": "k"}) == {"q": "q", "k": "k", "v": "v"}


def test_what_holds_the_same_layers_is_the_same_container():
    pairs = {"enc.b0.fc": "net.layers.0.lin", "head": "net.head"}
    ours, theirs = (
        ["enc.b0.fc", "enc.b0", "enc", "head", ""],
        ["net.layers.0.lin", "net.layers.0", "net", "net.head", ""],
    )
    found = containers(ours, theirs, pairs)
    assert found == {"": "", "enc.b0": "net.layers.0", "enc": "net.layers.0"}


def test_flax_hands_the_state_first():
    assert argument_order("flax linen", "gru cell", "in", 2) == (1, 0)
    assert argument_order("flax nnx", "rnn cell", "in", 2) == (1, 0)
    assert argument_order("equinox", "gru cell", "in", 2) == ()
    assert argument_order("flax linen", "linear", "in", 1) == ()
