import flax.linen as nn
import numpy as np
import torch

from pullback import parity


class Cell(nn.Module):
    @nn.compact
    def __call__(self, x, h):
        return nn.GRUCell(5, name="cell")(h, x)[0]


def test_two_biases_that_are_one_are_summed_before_they_are_rounded(nets):
    original = nets.randomized(torch.nn.GRUCell(4, 5))
    x, h = np.ones((2, 4), np.float32), np.full((2, 5), 0.5, np.float32)
    report = parity.check_model(Cell(), original, (x, h))
    assert report.ok, report
    assert "gradient of ir.bias" in {step.what for step in report.steps}


def test_match_says_which_layers_are_each_others(nets):
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(6, name="late")(nn.Dense(6, name="early")(x))

    class Swapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unused = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.b(self.a(self.unused(x)))

    original = nets.randomized(Swapped())
    report = parity.check_model(Two(), original, (nets.ROWS,), match={"early": "a", "late": "b"})
    assert report.pairs == {"": "", "early": "a", "late": "b"}
    first = report.first_divergence
    assert first is not None and (first.path, first.step.what) == ("early", "input")
    assert report.unmapped["original"] == ["unused.weight", "unused.bias"]


def test_match_follows_layers_that_run_in_another_order(nets):
    class Port(nn.Module):
        @nn.compact
        def __call__(self, x):
            q, k = nn.Dense(6, name="q")(x), nn.Dense(6, name="k")(x)
            return q * nn.tanh(k)

    class Original(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)

        def forward(self, x):
            k = torch.tanh(self.one(x))
            return k * self.two(x)

    original = nets.randomized(Original())
    assert not parity.check_model(Port(), original, (nets.ROWS,)).ok
    report = parity.check_model(Port(), original, (nets.ROWS,), match={"q": "two", "k": "one"})
    assert report.ok and report.pairs == {"": "", "q": "two", "k": "one"}, report


def test_counters_are_no_state(nets):
    original = nets.randomized(nets.Picture())
    report = parity.check_model(nets.PortedPicture(), original, (nets.IMAGES,), grads=False)
    assert "norm.num_batches_tracked" in original.state_dict() and report.unmapped == {"port": [], "original": []}
