"""The plugin as users have it: pytest in a process and a folder of its own."""

import inspect
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from pullback.parity import check

TESTS = """
import my_rules
import pytest

from pullback import parity as pullback_parity

ONLY = {"reference": my_rules.plain, "checks": ["values"]}

def test_right(parity):
    report = parity.check(my_rules.right, my_rules.X, **ONLY)
    assert report.ok

def test_wrong(parity):
    parity.check(my_rules.right, my_rules.X, **ONLY)
    parity.check(
        my_rules.wrong, my_rules.X, **ONLY
    )

def test_without_the_fixture():
    pullback_parity.check(my_rules.wrong, my_rules.X, **ONLY).raise_if_failed()

def test_expected(parity):
    with pytest.raises(pullback_parity.ParityError):
        parity.check(my_rules.wrong, my_rules.X, **ONLY)

def test_other():
    assert 1 == 2
"""


def run_pytest(folder, *args):
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def session(tmp_path_factory, rules_text):
    """One session with everything on: its folder and its output."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "my_rules.py").write_text(rules_text)
    (folder / "test_rules.py").write_text(TESTS)
    return folder, run_pytest(folder, "--parity-report", "reports.json", "--junitxml", "junit.xml")


def test_a_failure_is_the_line_and_the_table(session):
    folder, result = session
    assert result.returncode == 1 and result.stderr == ""
    assert "3 failed, 2 passed" in result.stdout
    shown = result.stdout.split(" test_wrong ")[1].split(" test_without_the_fixture ")[0]
    verdict = "FAIL: 1 of 2 leaves in 2 implementations disagree. Wrong: rule.\n"
    assert f"\n{verdict}test_rules.py:15: parity.check(\n        my_rules.wrong, my_rules.X, **ONLY\n    )\n" in shown
    assert re.search(r"^float32 x_bar +4 .* FAIL$", shown, re.MULTILINE)
    assert shown.count(verdict) == 2, "first and last"
    assert "raise" not in shown and "pytest_plugin.py" not in shown and "report.py" not in shown


def test_raise_if_failed_is_shown_alike(session):
    shown = session[1].stdout.split(" test_without_the_fixture ")[1].split(" test_other ")[0]
    assert "test_rules.py:20: pullback_parity.check(my_rules.wrong, my_rules.X, **ONLY).raise_if_failed()\n" in shown
    assert "Wrong: rule.\n" in shown and "report.py" not in shown


def test_the_summary_has_the_verdict(session):
    assert "FAILED test_rules.py::test_wrong - FAIL: 1 of 2 leaves in 2 implementatio" in session[1].stdout


def test_other_failures_are_left_alone(session):
    assert "E       assert 1 == 2" in session[1].stdout


def test_junit(session):
    root = ElementTree.parse(session[0] / "junit.xml").getroot()
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    (failure,) = cases["test_wrong"].findall("failure")
    # pytest 9.2 keeps 500 characters of a message: the verdict and what is wrong; the text is the whole report.
    verdict, *wrong = failure.attrib["message"].splitlines()
    assert verdict == "FAIL: 1 of 2 leaves in 2 implementations disagree. Wrong: rule."
    assert wrong[0] == "What is wrong:" and wrong[1].startswith("  1. x_bar of the rule is wrong at every element: ")
    assert failure.text is not None and "oracle" in failure.text and failure.text.endswith("Wrong: rule.")
    assert properties(cases["test_right"]) == [
        ("parity_rule", "right"),
        ("parity_ok", "True"),
        ("parity_worst_budget", "0"),
    ]
    both = properties(cases["test_wrong"])
    assert both[:3] == properties(cases["test_right"]), "one check after the other"
    assert both[3:5] == [("parity_rule", "wrong"), ("parity_ok", "False")] and float(both[5][1]) > 1000
    assert properties(cases["test_other"]) == []


def properties(case):
    return [(p.attrib["name"], p.attrib["value"]) for p in case.iter("property")]


def test_report_file(session):
    folder, result = session
    data = json.loads((folder / "reports.json").read_text())
    assert data["schema"] == 1
    assert [(report["test"], report["about"]["rule"], report["ok"]) for report in data["reports"]] == [
        ("test_rules.py::test_right", "right", True),
        ("test_rules.py::test_wrong", "right", True),
        ("test_rules.py::test_wrong", "wrong", False),
        ("test_rules.py::test_expected", "wrong", False),
    ]
    assert data["reports"][2]["rows"][0]["leaf"] == "x_bar"
    assert f"generated parity report: {folder / 'reports.json'}" in result.stdout
    assert not [path for path in folder.iterdir() if path.name.startswith(".reports.json")]


def test_a_file_that_cannot_be_is_refused_before_the_tests(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(): print(open('ran', 'w'))")
    for given, problem in (("no/r.json", f"the folder {tmp_path / 'no'} does not exist"), (".", "is a folder")):
        result = run_pytest(tmp_path, "--parity-report", given)
        assert result.returncode == pytest.ExitCode.USAGE_ERROR
        assert "ERROR: --parity-report: " in result.stderr and problem in result.stderr
    assert not (tmp_path / "ran").exists()


def test_a_session_without_checks_writes_an_empty_report_and_imports_nothing_of_ours(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it(): assert not {'jax', 'typer', 'pullback.parity'} & set(sys.modules)"
    )
    result = run_pytest(tmp_path, "--parity-report", "r.json")
    assert result.returncode == 0, result.stdout
    assert json.loads((tmp_path / "r.json").read_text()) == {"schema": 1, "reports": []}


def test_a_report_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "conftest.py").write_text("import os\ndef pytest_runtest_teardown(): os.mkdir('r.json')")
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    result = run_pytest(tmp_path, "--parity-report", "r.json")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--parity-report: cannot write {tmp_path / 'r.json'}: Is a directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_fixture_has_the_signature_of_check(parity):
    assert inspect.signature(parity.check) == inspect.signature(check)


REFUSED = """
import jax.numpy as jnp

def rule(x, n):
    if n == 7:
        return x * (1 // (n - 7))
    return x * n

def broken(x):
    return x.no_such_method()

def test_argument(parity):
    parity.check(rule, jnp.ones(3), {1, 2})

def test_option():
    from pullback import parity
    parity.check(rule, jnp.ones(3), 3, checks=["value"])

def test_inside(parity):
    parity.check(rule, jnp.ones(3), 7)

def test_inside_too(parity):
    parity.check(broken, jnp.ones(3))

def test_mine():
    raise ValueError("mine")
"""


def test_what_cannot_be_checked_is_one_sentence_and_the_place(tmp_path):
    (tmp_path / "test_refused.py").write_text(REFUSED)
    result = run_pytest(tmp_path)
    shown = result.stdout.replace("\n", "|")
    cure = "make it a jax or NumPy array, or give its argument's position in static_argnums to pass it on as it is"
    first = f"TypeError: argument n is of type set, which is no array: {cure}|"
    assert f"{first}test_refused.py:13: parity.check(rule, jnp.ones(3), {{1, 2}})|_" in shown
    assert re.search(r"\|ValueError: checks must be among [^|]*; got 'value'\|test_refused.py:17: parity.check", shown)
    cannot = r"\|ValueError: the rule cannot be called with these arguments: "
    assert re.search(
        rf"{cannot}ZeroDivisionError: [^|]*\|test_refused.py:20: [^|]*\|test_refused.py:6: return x \*", shown
    )
    assert re.search(
        rf"{cannot}AttributeError: [^|]*\|test_refused.py:23: [^|]*\|test_refused.py:10: return x.no", shown
    )
    assert '>       raise ValueError("mine")' in result.stdout, "other errors are left alone"
    assert "_check.py" not in result.stdout and len(result.stdout.splitlines()) < 40


ABUSE = r"""
import sys

import jax
import my_rules
from pullback import parity as pullback_parity

NAME = "[/red]\x1b[31m<b>\x00\u202e:smile:\n"
ONLY = {"reference": my_rules.plain, "checks": ["values"]}

def leave(*_):
    sys.exit(0)

in_backward = jax.custom_vjp(my_rules.plain)
in_backward.defvjp(lambda x, scale: (x * x, x), leave)
named = jax.custom_vjp(lambda x: x * x)
named.defvjp(lambda x: (x * x, x), lambda x, y_bar: (x * y_bar,))
named.__name__ = NAME

def test_exit_in_the_rule(parity):
    parity.check(leave, my_rules.X, checks=["values"])

def test_exit_in_the_backward(parity):
    parity.check(in_backward, my_rules.X, **ONLY)

def test_exit_without_the_fixture():
    pullback_parity.check(leave, my_rules.X, checks=["values"])

def test_name(parity):
    parity.check(named, my_rules.X, **ONLY)
"""


def test_a_rule_that_exits_fails_its_test_and_names_are_text(tmp_path, rules_text):
    (tmp_path / "my_rules.py").write_text(rules_text)
    (tmp_path / "test_abuse.py").write_text(ABUSE, encoding="utf-8")
    (tmp_path / "reports.json").symlink_to("kept.json")
    result = run_pytest(tmp_path, "--parity-report", "reports.json", "--junitxml", "junit.xml", "--color=no")
    assert result.returncode == 1 and "4 failed" in result.stdout
    exits = "ValueError: the code under test ended Python, where it should return or raise an error, so nothing is"
    assert result.stdout.count(f"\n{exits} judged: SystemExit: 0, in test_abuse.py, line 12\n") == 3
    assert "\ntest_abuse.py:21: parity.check(leave, my_rules.X, checks=" in result.stdout, "the line of the test"
    shown = r"[/red]\x1b[31m<b>\x00\u202e:smile:\n"
    assert f"  rule        {shown}\n" in result.stdout
    assert not {c for c in result.stdout if not c.isprintable()} - {"\n"}
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    (named,) = [case for case in cases if case.attrib["name"] == "test_name"]
    assert properties(named)[0] == ("parity_rule", shown)
    assert (tmp_path / "reports.json").is_symlink(), "a link is followed"
    (report,) = json.loads((tmp_path / "kept.json").read_text())["reports"]
    assert report["about"]["rule"] == shown


MODEL_TESTS = """
import jax.numpy as jnp
import numpy as np
import torch

net = torch.nn.Linear(3, 2)
params = {"w": jnp.asarray(net.weight.detach().numpy().T), "b": jnp.asarray(net.bias.detach().numpy())}
x = np.ones((4, 3), np.float32)

def test_right(parity):
    assert parity.check_model((lambda p, x: x @ p["w"] + p["b"], params), net, (x,)).ok

def test_wrong(parity):
    parity.check_model((lambda p, x: x @ p["w"] - p["b"], params), net, (x,))
"""


def test_a_port_is_checked_in_the_same_way(tmp_path):
    (tmp_path / "test_port.py").write_text(MODEL_TESTS)
    result = run_pytest(tmp_path, "--parity-report", "reports.json")
    assert result.returncode == 1 and "1 failed, 1 passed" in result.stdout, result.stdout
    assert "First divergence: the model itself, forward" in result.stdout
    right, wrong = json.loads((tmp_path / "reports.json").read_text())["reports"]
    assert (right["exit_code"], wrong["exit_code"]) == (0, 1) and wrong["test"] == "test_port.py::test_wrong"
