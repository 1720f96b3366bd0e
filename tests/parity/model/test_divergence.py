import flax.linen as nn
import torch

from pullback import parity


def test_the_sentence_names_both_sides_and_both_values(nets):
    wrong = parity.check_model(nets.Dense(between=lambda x: 2.5 * x), nets.linear_layers(), (nets.ROWS,))
    first = wrong.first_divergence
    assert first is not None
    assert str(first).startswith("second (Dense; in the original 2, a Linear), forward: its input is ")
    assert "The output of first agrees" in str(first)
    assert f"{first.step.port:.9g} in the port, {first.step.original:.9g} in the original" in str(first)


def test_of_a_layer_that_is_called_twice_the_call_is_named(nets):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(torch.relu(self.layer(x)))

    class Ported(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(6, name="layer")
            return layer(1.5 * nn.relu(layer(x)))

    report = parity.check_model(Ported(), nets.randomized(Twice()), (nets.ROWS,))
    first = report.first_divergence
    assert first is not None and (first.step.place.call, first.calls) == (1, 2)
    said = "layer (Dense; in the original layer, a Linear; call 2 of 2), forward: its input is "
    assert str(first).startswith(said) and "Its output in call 1 agrees" in str(first)
    assert said.partition(",")[0] in report.to_html() and report.to_dict()["first_divergence"]["call"] == 1
