"""The survey: a right function agrees, a wrong one must be known, and what is kept is not run again."""

import json
from importlib.metadata import version

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.benchmarks import survey
from pullback.benchmarks.catalog import entries
from pullback.benchmarks.findings import KNOWN
from pullback.benchmarks.floors import KINDS, planted
from pullback.benchmarks.survey import Unit, report, surveyed, units
from pullback.parity.case.case import take_up
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle


def test_there_are_many_and_each_has_a_place():
    every = units()
    assert len({unit.name for unit in every}) >= 150 and len(set(every)) == len(every)
    assert {unit.dtype for unit in every} == {"float32", "bfloat16"} and any(unit.whole for unit in every)
    assert {unit.name for unit in units(["relu"])} < {unit.name for unit in every}


def test_what_is_known_is_in_the_catalog():
    there = {(each.name, kind, dtype) for each in entries() for kind in each.inputs for dtype in each.dtypes}
    assert set().union(*KNOWN.values()) <= there


def test_a_right_function_agrees_and_errors_in_it_are_caught():
    row = surveyed(Unit("jax.nn.softplus", "ordinary", "float32", False))
    assert row["verdict"] == "agrees" and not row["unjudged"] and not row["estimated"] and max(row["floors"]) < 1e-4
    kinds = {kind for kind, *_ in row["planted"]}
    assert kinds == set(KINDS) and all(caught for *_, caught in row["planted"])


def test_what_jax_does_wrong_is_found():
    row = surveyed(Unit("jsp.digamma", "near kinks", "float32", False))
    assert row["verdict"] == "differs" and row["culprits"] == ["rule"] and survey.known(row) == "digamma"


def test_errors_below_their_floor_are_not_expected_to_be_caught():
    evaluation = choose_oracle(Evaluation(take_up(lambda x: jnp.sin(x) * x, (np.array([1.3, -2.1], np.float16),))))
    found = {kind: (above, caught) for kind, _, above, caught in planted(evaluation)}
    assert found["times 1.001"] == (False, False) and found["cotangent ignored"] == (True, True)


def row(verdict, planted=(), **more):
    unit = {"name": "f", "kind": "ordinary", "dtype": "float32", "whole": False}
    figures = {"leaves": 2, "unjudged": [], "estimated": [], "floors": [1e-6], "seconds": 1.0, "said": ["x_bar"]}
    return unit | figures | {"verdict": verdict, "planted": list(planted)} | more


@pytest.mark.parametrize(
    ("rows", "fine", "said"),
    [
        ([row("agrees", [("a sign flipped", "x_bar", True, True)])], True, "1 of 1 caught"),
        ([row("agrees", [("a sign flipped", "x_bar", True, False)])], False, "0 of 1 caught"),
        ([row("differs")], False, "known: NO"),
        ([row("differs", name="jsp.i0", kind="at 0")], True, "known: i0"),
        ([row("raised"), row("agrees")], False, "1 right ones called wrong"),
    ],
)
def test_the_totals_and_the_exit_code(rows, fine, said, capsys):
    assert report(rows) == fine
    assert said in capsys.readouterr().out


def test_what_is_kept_is_not_run_again(tmp_path):
    todo = units(["jax.nn.relu"])[:2]
    versions = {name: version(name) for name in ("jax", "torch", "pullback")}
    kept = [row("agrees") | unit._asdict() | {"versions": versions} for unit in todo]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in kept))
    assert [each["seconds"] for each in survey.run(todo, file, 1)] == [1.0, 1.0]
