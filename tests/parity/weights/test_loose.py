import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.parity.weights.loose import Blocks, loose_fits

ONES = np.ones(4, np.float32)
PAIRS = {"": "", "b0": "layers.0", "b1": "layers.1", "b0.fc": "layers.0.fc", "b1.fc": "layers.1.fc"}


def names(ours, theirs, match=(), values=False, pairs=PAIRS):
    arrays = {key: np.full(4, float(i)) for i, key in enumerate(theirs)} if not values else theirs
    mine = dict.fromkeys(ours, ONES) if not values else ours
    blocks = Blocks(pairs, {"b0.fc", "b1.fc"}, {"layers.0.fc", "layers.1.fc"})
    found = loose_fits(mine, arrays, blocks, dict(match), values)
    return {name: fit.names[0] for name, fit in found.items()}


def test_a_scale_is_that_of_its_own_block():
    theirs = ["token", "layers.1.gamma", "layers.0.gamma"]
    assert names(["b0.scale", "b1.scale", "cls"], theirs) == {
        "b0.scale": "layers.0.gamma", "b1.scale": "layers.1.gamma", "cls": "token",
    }  # fmt: skip


def test_several_in_a_block_are_told_by_name_or_else_by_order():
    theirs = ["layers.0.ls1.gamma", "layers.0.ls2.gamma"]
    assert names(["b0.ls2", "b0.ls1"], theirs) == {"b0.ls1": theirs[0], "b0.ls2": theirs[1]}
    assert names(["b0.q", "b0.x"], theirs) == {"b0.q": theirs[0], "b0.x": theirs[1]}
    assert names(["b0.ls1"], theirs) == {}, "one of two is not guessed"
    assert names(["b0.x.gamma"], ["layers.0.gamma", "layers.0.beta"]) == {"b0.x.gamma": "layers.0.gamma"}


def test_what_a_whole_layer_has_left_is_nobody_elses():
    assert names(["scale"], ["layers.0.fc.bias"]) == {}
    assert names(["b0.fc.bias"], ["gamma"]) == {}


def test_the_user_may_match_them():
    theirs = ["layers.0.u", "layers.0.v"]
    assert names(["b0.a", "b0.b"], theirs, {"b{i}.a": "layers.{i}.v"}) == {"b0.a": theirs[1], "b0.b": theirs[0]}


def test_values_that_are_given_tell_them_whatever_their_order():
    theirs = {"x": ONES, "y": 2 * ONES, "layers.0.g": 3 * ONES, "layers.1.g": 3 * ONES}
    ours = {"b1.s": 3 * ONES, "b0.s": 3 * ONES, "one": 2 * ONES, "two": ONES}
    assert names(ours, theirs, values=True) == {
        "b1.s": "layers.1.g", "b0.s": "layers.0.g", "one": "y", "two": "x",
    }  # fmt: skip


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 6)
        self.gamma_1, self.gamma_2 = (torch.nn.Parameter(torch.ones(6)) for _ in range(2))

    def forward(self, x):
        return self.gamma_2 * (x + self.gamma_1 * self.fc(x))


class PortedBlock(nn.Module):
    swapped: bool = False

    @nn.compact
    def __call__(self, x):
        first, second = (self.param(name, nn.initializers.ones, (6,))[None] for name in ("scale_1", "scale_2"))
        first, second = (second, first) if self.swapped else (first, second)
        return second * (x + first * nn.Dense(6)(x))


class Port(nn.Module):
    swapped: bool = False

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = PortedBlock(self.swapped)(x)
        return jnp.tanh(x)


@pytest.mark.parametrize("swapped", [False, True])
def test_scales_of_several_blocks_in_a_model(nets, swapped):
    original = nets.randomized(torch.nn.Sequential(*[Block() for _ in range(3)], torch.nn.Tanh()))
    report = parity.check_model(Port(swapped), original, (nets.ROWS,))
    assert report.ok != swapped, report
    assert report.unmapped == {"port": [], "original": []}


def test_a_square_kernel_of_a_layer_without_counterpart_is_not_guessed_by_its_shape(nets):
    class Twisted(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ self.param("w", nn.initializers.ones, (6, 6))

    with pytest.raises(ValueError, match="Only the port has w. Only the original has weight"):
        parity.check_model(Twisted(), torch.nn.Linear(6, 6, bias=False), (nets.ROWS,))
