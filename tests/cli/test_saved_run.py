"""`--replay` runs what the user allows, and nothing of it is imported before."""

import json
import sys

import numpy as np
import pytest
import typer

from pullback.cli import saved_run

TRAP = "open('trapped', 'w').close()\n"


@pytest.fixture
def capsule(rules, run):
    """A capsule of a wrong rule in `my_rules.py`; that module runs `TRAP` from then on."""
    asked = ("--checks", "values", "--capsule", "run.npz")
    assert run("parity", "--rule", "my_rules:wrong", "--args", "my_rules:ARGS", *asked).exit_code == 1
    text = (rules / "my_rules.py").read_text()
    (rules / "my_rules.py").write_text(TRAP + text)
    del sys.modules["my_rules"]
    sys.path.remove(str(rules))
    return rules / "run.npz"


def rename(capsule, **functions):
    with np.load(capsule) as file:
        arrays = {name: file[name] for name in file.files}
    contents = json.loads(str(arrays["capsule"]))
    contents["functions"] |= functions
    np.savez(capsule, allow_pickle=False, **(arrays | {"capsule": np.array(json.dumps(contents))}))


def test_without_a_word_it_is_refused(run, rules, capsule):
    result = run("parity", "--replay", "run.npz")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr == (
        "run.npz names these functions, and a replay imports and calls them:\n"
        "  rule  my_rules:wrong\n"
        "Not allowed so far: my_rules:wrong. To import a module is to run its code.\n"
        "pullback: they were not run. If you trust them: pullback parity --replay run.npz --allow my_rules\n"
    )
    assert not (rules / "trapped").exists() and str(rules) not in sys.path and "my_rules" not in sys.modules


def test_the_command_that_it_shows_runs_it(run, rules, capsule):
    command = run("parity", "--replay", "run.npz").stderr.strip().rpartition("pullback ")[2]
    result = run(*command.split())
    assert result.exit_code == 1 and result.stdout.splitlines()[-1].endswith("Wrong: rule.") and result.stderr == ""
    assert (rules / "trapped").exists()


def test_a_word_for_another_module_is_not_enough(run, rules, capsule):
    result = run("parity", "--replay", "run.npz", "--allow", "my_other", "--allow", "my_rule")
    assert result.exit_code == 2
    assert result.stderr.endswith("parity --replay run.npz --allow my_other --allow my_rule --allow my_rules\n")
    assert not (rules / "trapped").exists()


@pytest.mark.parametrize(
    ("name", "allow", "message"),
    [
        (
            "builtins:exec",
            "my_rules",
            "run.npz: a capsule cannot name builtins:exec, because builtins is a part of Python",
        ),
        ("os:system", "my_rules", "run.npz: a capsule cannot name os:system, because os is a part of Python itself"),
        (
            "my_rules:np.load",
            "my_rules",
            "cannot name my_rules:np.load, because that is numpy:load: it reads or writes",
        ),
        ("my_rules:X", "my_rules", "run.npz: a capsule cannot name my_rules:X, because it is no function"),
        ("my_rules:wrong", "os", "allow: os is never allowed, because os is a part of Python itself"),
        (
            "my_rules:wrong",
            "my rules",
            "allow: expected the name of a module or a package, such as my_ops; got 'my rules'",
        ),
        ("my_rules:gone", "my_rules", "run.npz needs what is not here: there is no gone in my_rules"),
        ("exec", "my_rules", "run.npz: expected package.module:function, got 'exec'"),
    ],
)
def test_what_never_runs(run, rules, capsule, name, allow, message):
    rename(capsule, rule=name)
    result = run("parity", "--replay", "run.npz", "--allow", allow)
    assert result.exit_code == 2 and result.stdout == "" and message in result.stderr
    assert result.stderr.startswith("pullback: ") and result.stderr.count("\n") == 1


def test_a_capsule_without_a_rule_is_2(run, rules, capsule):
    with np.load(capsule) as file:
        contents, array = json.loads(str(file["capsule"])), file["array0"]
    del contents["functions"]["rule"]
    np.savez(capsule, capsule=np.array(json.dumps(contents)), array0=array)
    result = run("parity", "--replay", "run.npz", "--allow", "my_rules")
    assert result.exit_code == 2 and result.stderr == "pullback: run.npz is a damaged capsule: it names no rule\n"


def test_functions_of_arrays_need_no_word(run, rules, capsule):
    rename(capsule, rule="jax.numpy:square")
    (rules / "jax.py").write_text(TRAP)
    result = run("parity", "--replay", "run.npz")
    assert result.exit_code == 0, result.output
    assert str(rules) not in sys.path, "nothing of the current folder was asked for"


@pytest.mark.parametrize(("answer", "code"), [("y\n", 1), ("n\n", 2), ("\n", 2), ("", 2)])
def test_on_a_terminal_it_asks(run, rules, capsule, monkeypatch, answer, code):
    asked = []

    def confirm(question, **_):
        asked.append(question)
        if not answer:
            raise typer.Abort
        return answer == "y\n"

    monkeypatch.setattr(saved_run, "_is_terminal", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)
    result = run("parity", "--replay", "run.npz")
    assert result.exit_code == code and asked == ["Do you trust these, and shall they run?"]
    assert "  rule  my_rules:wrong\n" in result.stderr
    assert (rules / "trapped").exists() == (code == 1)
    if code == 2:
        said = "pullback: they were not run. If you trust them: pullback parity --replay run.npz --allow my_rules"
        assert result.stderr.splitlines()[-1] == said


def test_a_function_from_elsewhere_is_asked_for_too(run, rules, capsule):
    (rules / "my_other.py").write_text("def theirs(x):\n    return x * x\n")
    with (rules / "my_rules.py").open("a") as file:
        file.write("\nfrom my_other import theirs\n")
    rename(capsule, rule="my_rules:theirs")
    result = run("parity", "--replay", "run.npz", "--allow", "my_rules")
    assert result.exit_code == 2
    assert "Not allowed so far: my_rules:theirs, which is my_other:theirs." in result.stderr
    again = run(*result.stderr.strip().rpartition("pullback ")[2].split())
    assert again.exit_code == 0, again.output
    sys.modules.pop("my_other")
