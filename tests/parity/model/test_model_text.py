import io

import pytest
from rich.console import Console

from pullback import parity


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits(nets, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    original = nets.randomized(nets.Transformer())
    report = parity.check_model(nets.PortedTransformer(second=(("tanh", True),)), original, (nets.IDS,), grads=False)
    shown = str(report).splitlines()
    assert max(map(len, shown)) <= width, max(shown, key=len)
    assert shown[-1] == "FAIL: the port differs from the original at the input of b1.down."
    (line,) = [line for line in shown if line.strip().startswith("down") and "FAIL" in line]
    assert "blocks.1.narrow" in line
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(report)
    assert [line.rstrip() for line in console.export_text().splitlines()] == [line.rstrip() for line in shown]


def test_a_layer_without_a_counterpart_is_shown_and_has_no_verdict(nets):
    original = nets.randomized(nets.Transformer())
    report = parity.check_model(nets.PortedTransformer(), original, (nets.IDS,), grads=False)
    (line, _) = [line for line in str(report).splitlines() if line.strip().startswith("query")]
    assert "pass" not in line and "FAIL" not in line
    assert str(report).splitlines()[-1].startswith("PASS: ")
