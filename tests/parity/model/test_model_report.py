import dataclasses
import json

import pytest

from pullback import parity


@pytest.fixture
def wrong(nets):
    return parity.check_model(nets.Dense(between=lambda x: 2.5 * x), nets.linear_layers(), (nets.ROWS,))


def test_the_verdict_and_the_exit_code(nets, wrong):
    assert (wrong.ok, wrong.exit_code) == (False, 1)
    with pytest.raises(parity.ParityError, match="First divergence: second"):
        wrong.raise_if_failed()
    right = parity.check_model(nets.Dense(), nets.linear_layers(), (nets.ROWS,))
    right.raise_if_failed()
    assert "PASS" in repr(right) and "FAIL" in repr(wrong)


def test_what_only_one_side_has_is_not_agreement(nets):
    import torch

    class More(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.table = nets.linear_layers(), torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return self.net(x)

    report = parity.check_model(nets.Dense(), More(), (nets.ROWS,))
    assert report.unmapped == {"port": [], "original": ["table"]} and (report.ok, report.exit_code) == (False, 3)


def test_as_plain_data(wrong):
    data = json.loads(json.dumps(wrong.to_dict(), allow_nan=False))
    first = data["first_divergence"]
    assert (first["path"], first["class"], first["original_path"], first["original_class"]) == (
        *("second", "Dense", "2", "Linear"),
    )
    assert (first["what"], first["call"], first["calls"], first["output_agrees_of"]) == ("input", 0, 1, "first")
    assert len(first["index"]) == 2 and first["port"] == pytest.approx(2.5 * first["original"]) and not data["ok"]
    assert data["classes"]["original"]["2"] == "Linear"
    assert len(data["steps"]) == len(wrong.steps) and {step["dtype"] for step in data["steps"]} == {
        "float64",
        "float32",
    }


def test_without_its_output_compared_nothing_is_proven(nets):
    report = parity.check_model(nets.Dense(), nets.linear_layers(), (nets.ROWS,), grads=False)
    inner = dataclasses.replace(report, steps=[step for step in report.steps if step.place.path])
    assert report.ok and all(step.ok for step in inner.steps)
    assert (inner.ok, inner.exit_code) == (False, 3) and "NOT JUDGED: the port's output" in repr(inner)


def test_inputs_without_elements_are_refused(nets):
    with pytest.raises(ValueError, match=r"inputs must have elements.*\(0, 6\)"):
        parity.check_model(nets.Dense(), nets.linear_layers(), (nets.ROWS[:0],))
