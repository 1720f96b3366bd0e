import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch

from pullback import parity


def test_in_many_pieces_the_report_is_the_same(nets, monkeypatch):
    """Values and bounds: a piece begins with what the original has at the marks, and so does every step."""
    original, port = nets.randomized(nets.Picture()), nets.PortedPicture(same=True)
    whole = parity.check_model(port, original, (nets.IMAGES,)).to_dict()
    monkeypatch.setattr("pullback.parity.model.stepwise.MOST", 1)
    parts = parity.check_model(port, original, (nets.IMAGES,)).to_dict()
    exact = [[step for step in report["steps"] if step["dtype"] == "float64"] for report in (whole, parts)]
    assert exact[0] == exact[1]
    assert {**whole, "steps": 0} == {**parts, "steps": 0}
    places = [[(step["path"], step["what"], step["ok"]) for step in report["steps"]] for report in (whole, parts)]
    assert places[0] == places[1]


@jax.custom_vjp
def relu(x):
    return 1.5 * nn.relu(x)


relu.defvjp(lambda x: (nn.relu(x), x), lambda x, y_bar: (jnp.where(x > 0, y_bar, 0),))


def test_a_rule_whose_forward_is_another_one_without_gradients(nets):
    """jax calls the function itself where no gradient is asked for, and the rule's forward where one is."""
    report = parity.check_model(nets.Dense(between=relu), nets.linear_layers(), (nets.ROWS,))
    assert report.exit_code == 1
    assert {step.what for step in report.steps if not step.ok} == {"input"}
    first = report.first_divergence
    assert first is not None and first.path == "second"


def test_a_loop_over_layers_is_walked_whole(nets, monkeypatch):
    monkeypatch.setattr("pullback.parity.model.stepwise.MOST", 1)

    class Repeated(nn.Module):
        @nn.compact
        def __call__(self, x):
            twice = {"variable_broadcast": "params", "split_rngs": {"params": False}, "length": 2}
            body = nn.scan(lambda layer, x, _: (nn.relu(layer(x)), None), **twice)
            return body(nn.Dense(6, name="dense"), x, None)[0]

    dense = torch.nn.Linear(6, 6)

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = dense

        def forward(self, x):
            return torch.relu(self.dense(torch.relu(self.dense(x))))

    report = parity.check_model(Repeated(), Twice(), (nets.ROWS,))
    assert report.ok, report
    assert {step.place.call for step in report.steps if step.place.path == "dense"} == {0, 1}
    assert not np.isnan(report.worst_budget)
