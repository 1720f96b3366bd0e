"""The verdict as data: what is ok, who is to blame, and plain data for programs."""

import json

import pytest

from pullback.parity import Finding, Report


def test_ok_and_culprits(rows, passing, outcome):
    assert Report.of({"net": "n"}, [outcome(passing)]).ok
    report = Report.of({"net": "n"}, [outcome(rows), outcome(passing)])
    assert not report.ok
    assert report.culprits == ["custom_vjp", "torch"]
    assert report.implementations == ["by hand", "custom_vjp", "torch", "ours"]


def test_worst_first(rows, passing, outcome):
    report = Report.of({"net": "n"}, [outcome(passing), outcome(rows)])
    assert [row.ok for row in report.rows] == [False, False, True]


def test_a_finding_that_fails_fails_the_report(passing, outcome):
    findings = [Finding("kinks", "x", status, "text") for status in ("pass", "note", "skipped")]
    report = Report.of({"net": "n"}, [outcome(passing)], findings)
    assert report.ok and [finding.status for finding in report.findings] == ["note", "skipped", "pass"]
    report = Report.of({"net": "n"}, [outcome(passing)], [*findings, Finding("kinks", "x", "FAIL", "text")])
    assert not report.ok and report.findings[0].status == "FAIL"


@pytest.mark.parametrize("budget", [1.5, float("nan"), float("inf")])
def test_an_oracle_that_is_contradicted_is_no_oracle(passing, budget, outcome):
    assert not Report.of({"net": "n"}, [outcome(passing, oracle_budget=budget)]).ok


def test_json(rows, passing, outcome):
    findings = [Finding("kinks", "x = 0", "note", "a convention")]
    report = Report.of({"net": "n"}, [outcome(rows, fallbacks=("lu",)), outcome(passing)], findings)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (data["schema"], data["ok"], data["about"], data["kinks"]) == (1, False, {"net": "n"}, 3)
    assert [mistake["leaves"] for mistake in data["mistakes"]] == [["b1", "w1"], ["w1"]]
    assert data["mistakes"][1]["extent"] == "at 1 of 4 elements, [1, 0]" and data["mistakes"][1]["index"] == [1, 0]
    assert data["culprits"] == ["custom_vjp", "torch"] and data["fallbacks"] == ["lu"]
    assert data["findings"] == [{"check": "kinks", "about": "x = 0", "status": "note", "text": "a convention"}]
    row = next(row for row in data["rows"] if row["leaf"] == "w1")
    assert row["implementations"]["custom_vjp"] == {
        "ok": False, "max_abs": 0.5, "index": [1, 0], "relative": 0.5, "ulps": 0.5 / 2**-23,
        "budget": pytest.approx(5e5), "problem": "outside the bound",
    }  # fmt: skip
    assert row["implementations"]["torch"]["max_abs"] is None
    assert row["values"] == {"oracle": 1.0, "by hand": 1.0, "custom_vjp": 1.5}


def test_tracebacks_of_all_outcomes_are_kept(passing, outcome):
    first, second = outcome(passing, errors={"float32 torch": "Traceback 1"}), outcome(passing, errors={"b": "2"})
    report = Report.of({"net": "n"}, [first, second])
    assert report.errors == {"float32 torch": "Traceback 1", "b": "2"} == report.to_dict()["errors"]
