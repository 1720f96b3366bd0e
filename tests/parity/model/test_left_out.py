"""Gradients that a port, or its original, stops: found where nobody named them, and left out where somebody did."""

import flax.linen as nn
import jax
import optax
import pytest
import torch

from pullback import parity

IDS = 11


class Port(nn.Module):
    stop: str = ""

    @nn.compact
    def __call__(self, ids):
        x = nn.Dense(8, name="enc")(nn.Embed(IDS, 8, name="embed")(ids))
        x = jax.lax.stop_gradient(x) if self.stop == "enc" else x
        x = nn.relu(nn.Dense(8, name="mid")(x))
        return nn.Dense(3, name="head")(jax.lax.stop_gradient(x) if self.stop == "mid" else x)


class Net(torch.nn.Module):
    def __init__(self, stop=""):
        super().__init__()
        self.a, self.b = torch.nn.Embedding(IDS, 8), torch.nn.Linear(8, 8)
        self.c, self.d, self.stop = torch.nn.Linear(8, 8), torch.nn.Linear(8, 3), stop

    def forward(self, ids):
        x = self.b(self.a(ids))
        x = torch.relu(self.c(x.detach() if self.stop == "enc" else x))
        return self.d(x)


@pytest.fixture
def check(nets):
    return lambda port="", net="", **options: parity.check_model(
        Port(port), nets.randomized(Net(net)), (nets.IDS,), **options
    )


def first(report):
    assert report.exit_code == 1 and report.first_divergence is not None
    return report.first_divergence


def test_a_gradient_that_only_the_port_stops_is_found_where_it_is(check):
    found = first(check("enc"))
    assert (found.path, found.step.what, found.step.port) == ("mid", "gradient of the input", 0.0)
    assert found.hint == "a gradient that the port stops, and the original does not"


def test_a_gradient_that_only_the_original_stops_is_found_where_it_is(check):
    report = check("", "enc")
    found = first(report)
    assert (found.path, found.step.what, found.step.original) == ("enc", "gradient of the output", 0.0)
    assert "off (the original's is 0 everywhere)" in str(found)
    assert found.hint == "a gradient that the original stops, and the port does not"
    assert check("enc", "enc").ok


def test_the_gradient_of_an_input_that_is_stopped(nets):
    class Stopped(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(jax.lax.stop_gradient(x))

    found = first(parity.check_model(Stopped(), nets.randomized(torch.nn.Linear(6, 3)), (nets.ROWS,)))
    assert (found.path, found.step.what) == ("Dense_0", "gradient of the input")


def test_an_original_without_gradients_is_not_judged(nets):
    class Without(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets.linear_layers()

        def forward(self, x):
            with torch.no_grad():
                return self.net(x)

    report = parity.check_model(nets.Dense(), Without(), (nets.ROWS,))
    assert report.exit_code == 3 and report.unmapped["port"] == ["the gradient of output 0"]
    assert parity.check_model(nets.Dense(), Without(), (nets.ROWS,), grads=False).ok


def test_a_stop_on_purpose_is_left_out_and_said(check):
    report = check("enc", intended_stop=["enc"])
    assert report.ok, report
    stopped, beyond = report.notes
    assert "(intended_stop)" in stopped and "the output of enc" in stopped and "enc.kernel" in stopped
    assert "embed.embedding" in beyond and str(report).splitlines()[-1].endswith("but for what the note says.")
    compared = {step.what for step in report.steps if step.place.path == "mid"}
    assert {"gradient of kernel", "gradient of the output"} <= compared


def test_a_stop_on_purpose_excuses_no_other(check):
    assert first(check("mid", intended_stop=["enc"])).path == "head"
    found = first(check("", intended_stop=["enc"]))
    assert "intended_stop names enc, and the port stops no gradient there" in str(found)
    with pytest.raises(
        ValueError, match="intended_stop has 'encoder', which fits nothing in the port; there are embed"
    ):
        check("enc", intended_stop=["encoder"])


def test_what_is_frozen_is_left_out_and_said(check, nets):
    class Wrong(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(8, name="first")(x)
            scale = nets.halved_gradient(self.param("scale", nn.initializers.ones, (8,)))
            return nn.Dense(3, name="second")(nn.relu(h * scale[None]))

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = nets.linear_layers(), torch.nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.net[2](torch.relu(self.net[0](x) * self.scale))

    original = nets.randomized(Scaled())
    assert first(parity.check_model(Wrong(), original, (nets.ROWS,))).step.what == "gradient of scale"
    report = parity.check_model(Wrong(), original, (nets.ROWS,), frozen="scale")
    assert report.ok and report.notes == [
        "The port does not train these (frozen), so their gradients were not compared: scale."
    ]
    assert check(frozen=["embed", "**.bias"]).ok
    with pytest.raises(
        ValueError, match="frozen has 'embd', which fits nothing in the port; there are embed.embedding"
    ):
        check(frozen=["embd"])


def test_what_is_frozen_is_left_out_of_training_steps_too(check):
    optimizer = optax.sgd(0.1), lambda parameters: torch.optim.SGD(parameters, 0.1)
    with jax.numpy_dtype_promotion("standard"):
        report = check(frozen="embed", steps=1, optimizer=optimizer)
    changed = [step.what for step in report.steps if step.what.startswith("change of")]
    assert report.ok and len(changed) == 6 and not any("embedding" in what for what in changed)
