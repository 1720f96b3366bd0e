import numpy as np
import pytest

from pullback.cli.rule import PASSED_ON, check_rule, save_run
from pullback.cli.saved_run import replay_as_allowed
from pullback.parity import check
from pullback.parity.capsule import save_capsule


def test_every_option_that_is_passed_on_is_one_of_check():
    import inspect

    assert set(PASSED_ON) <= inspect.signature(check).parameters.keys()
    assert set(PASSED_ON) - {"device"} <= inspect.signature(save_capsule).parameters.keys(), "a replay is the same run"


def test_a_failing_run_is_saved_with_its_options_and_run_again(rules, capsys):
    with (rules / "my_rules.py").open("a") as file:
        file.write("\n\ndef powers(n, x, mask):\n    return wrong(x) * mask + n\n\n\nALL = (2, X, X)\n")
    options = {"static_argnums": "0", "nondiff": "mask", "checks": "values, rule-ran", "precision": "high", "seed": 3}
    report, save = check_rule("my_rules:powers", None, None, "my_rules:ALL", options | {"device": "cpu"})
    assert report.exit_code == 1 and "matmul precision high" in report.about["device"]
    assert report.about["arguments"] == "x float32[4], mask float32[4], n = 2; not differentiated: mask, n"
    save_run(save, rules / "run.npz")
    assert "to re-run it: pullback parity --replay" in capsys.readouterr().err
    again = replay_as_allowed(rules / "run.npz", ["my_rules"])
    same = {name: text for name, text in again.about.items() if name in report.about}
    assert same == report.about and again.mistakes[0].to_dict() == report.mistakes[0].to_dict()


def test_a_python_float_and_a_random_key_are_saved(rules):
    with (rules / "my_rules.py").open("a") as file:
        file.write(
            "\n\nimport jax\n\n\ndef noisy(x, key, scale):\n    return scale * wrong(x) + jax.random.normal(key)\n"
        )
        file.write("\n\nNOISY = (X, jax.random.key(3), 0.5)\n")
    report, save = check_rule("my_rules:noisy", None, None, "my_rules:NOISY", {"checks": "values"})
    assert report.about["arguments"].startswith("x float32[4], key random key, scale = 0.5 as float32")
    save(rules / "run.npz")
    again = replay_as_allowed(rules / "run.npz", ["my_rules"])
    np.testing.assert_equal(again.to_dict()["rows"], report.to_dict()["rows"])


def test_a_run_that_cannot_be_saved_is_a_note(rules, capsys):
    def save(path):
        raise ValueError("no name")

    save_run(save, rules / "run.npz")
    assert capsys.readouterr().err == "note: this run is not saved: no name\n"


@pytest.mark.parametrize("name", ["x", "1.5", ""])
def test_positions_that_are_none(rules, name, capsys):
    with pytest.raises(Exception) as exited:
        check_rule("my_rules:right", None, None, "my_rules:ARGS", {"static_argnums": name})
    assert getattr(exited.value, "exit_code", None) == 2
    assert capsys.readouterr().err == f"pullback: --static-argnums: expected positions such as 0,2, got {name!r}\n"
