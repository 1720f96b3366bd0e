"""flax and equinox keep the biased variance of a batch: a note, where it is the library that does it."""

import json

import equinox as eqx
import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
from flax import nnx

from pullback import parity

X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
VARIANCE = "updated running variance"


class Own(nn.BatchNorm):
    """Somebody's own: it derives from flax's, and may do anything."""


class Batched(eqx.Module):
    layer: eqx.nn.BatchNorm

    def __call__(self, x, state):
        return jax.vmap(self.layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)


def of_equinox():
    return eqx.nn.make_with_state(
        lambda: Batched(eqx.nn.BatchNorm(6, "batch", mode="batch", momentum=0.9))
    )()  # fmt: skip


PORTS = {
    "linen": lambda: nn.BatchNorm(False, momentum=0.9),
    "nnx": lambda: nnx.BatchNorm(6, use_running_average=False, momentum=0.9, rngs=nnx.Rngs(0)),
    "equinox": of_equinox,
}


def check(nets, port):
    return parity.check_model(port, nets.randomized(torch.nn.BatchNorm1d(6)).train(), (X,))


@pytest.mark.parametrize("framework", PORTS)
def test_the_librarys_own_convention_is_a_note(nets, framework):
    report = check(nets, PORTS[framework]())
    assert report.ok and report.exit_code == 0, report
    library = "equinox" if framework == "equinox" else "flax"
    (note,) = report.notes
    assert note.startswith(f"{library} keeps the biased variance of the batch, torch the unbiased one")
    assert "(here n = 5: up to 1.25 times)" in note
    told = note.split(".")[0]
    assert told in " ".join(str(report).split()) and told in report.to_html()
    assert json.loads(json.dumps(report.to_dict()))["notes"] == [note]


@pytest.mark.parametrize("port", [Own(False, momentum=0.9), nn.BatchNorm(False, momentum=0.99)])
def test_a_layer_of_ones_own_and_another_momentum_are_differences(nets, port):
    report = check(nets, port)
    assert report.exit_code == 1 and report.notes == []
    hints = [hint for place, hint in report.hints.items() if place.role == VARIANCE]
    assert len(hints) == 1 and "of the biased variance, where the original keeps the unbiased one" in hints[0]


def test_a_layer_that_is_called_twice_has_both_batches_in_its_variance(nets):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(6)

        def forward(self, x):
            return self.norm(torch.nn.functional.pad(self.norm(x), (0, 0, 0, 2)))

    class Port(nn.Module):
        @nn.compact
        def __call__(self, x):
            norm = nn.BatchNorm(False, momentum=0.9, name="norm")
            return norm(jax.numpy.pad(norm(x), ((0, 2), (0, 0))))

    report = parity.check_model(Port(), nets.randomized(Twice()).train(), (X,))
    assert report.ok and "n = 5 to 7: up to 1.25" in report.notes[0], report
