import json
import pickle

import numpy as np
import pytest

from pullback.parity import Finding, ParityError, Report
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.rows import compare


def outcome(rows, **changes):
    parts = {"gates": 10, "kinks": 3, "kink_at": ((1, 2),), "oracle_budget": 0.5, "fallbacks": ()}
    return Outcome(rows, **(parts | changes))


@pytest.fixture
def rows():
    """One leaf right, one wrong, and an implementation that raised."""
    want = {"w1": np.ones((2, 2)), "b1": np.ones(2)}
    bounds = {"w1": np.full((2, 2), 1e-6), "b1": np.full(2, 1e-6)}
    right = {name: leaf.astype(np.float32) for name, leaf in want.items()}
    wrong = right | {"w1": np.array([[1, 1], [1.5, 1]], np.float32)}
    got = {"by hand": right, "custom_vjp": wrong}
    return compare("net", got, want, bounds, dict.fromkeys(want, np.float32), {"torch": "RuntimeError: out of memory"})


@pytest.fixture
def passing():
    want, bounds = {"y": np.ones(2)}, {"y": np.full(2, 1e-6)}
    return compare("net", {"ours": {"y": np.ones(2, np.float32)}}, want, bounds, {"y": np.float32})


def test_ok_and_culprits(rows, passing):
    assert Report.of({"net": "n"}, [outcome(passing)]).ok
    report = Report.of({"net": "n"}, [outcome(rows), outcome(passing)])
    assert not report.ok
    assert report.culprits == ["custom_vjp", "torch"]
    assert report.implementations == ["by hand", "custom_vjp", "torch", "ours"]


def test_worst_first(rows, passing):
    report = Report.of({"net": "n"}, [outcome(passing), outcome(rows)])
    assert [row.ok for row in report.rows] == [False, False, True]


def test_a_finding_that_fails_fails_the_report(passing):
    findings = [Finding("kinks", "x", status, "text") for status in ("pass", "note", "skipped")]
    report = Report.of({"net": "n"}, [outcome(passing)], findings)
    assert report.ok and [finding.status for finding in report.findings] == ["note", "skipped", "pass"]
    report = Report.of({"net": "n"}, [outcome(passing)], [*findings, Finding("kinks", "x", "FAIL", "text")])
    assert not report.ok and report.findings[0].status == "FAIL"


@pytest.mark.parametrize("budget", [1.5, float("nan"), float("inf")])
def test_an_oracle_that_is_contradicted_is_no_oracle(passing, budget):
    assert not Report.of({"net": "n"}, [outcome(passing, oracle_budget=budget)]).ok


def test_raise_if_failed(rows, passing):
    Report.of({"net": "n"}, [outcome(passing)]).raise_if_failed()
    report = Report.of({"net": "n"}, [outcome(rows)])
    with pytest.raises(ParityError, match=r"FAIL  net w1. custom_vjp: outside the bound") as raised:
        report.raise_if_failed()
    assert raised.value.report is report and isinstance(raised.value, AssertionError)


def test_json(rows, passing):
    findings = [Finding("kinks", "x = 0", "note", "a convention")]
    report = Report.of({"net": "n"}, [outcome(rows, fallbacks=("lu",)), outcome(passing)], findings)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (data["schema"], data["ok"], data["about"], data["kinks"]) == (1, False, {"net": "n"}, 3)
    assert data["culprits"] == ["custom_vjp", "torch"] and data["fallbacks"] == ["lu"]
    assert data["findings"] == [{"check": "kinks", "about": "x = 0", "status": "note", "text": "a convention"}]
    row = next(row for row in data["rows"] if row["leaf"] == "w1")
    assert row["implementations"]["custom_vjp"] == {
        "ok": False, "max_abs": 0.5, "index": [1, 0], "relative": 0.5, "ulps": 0.5 / 2**-23,
        "budget": pytest.approx(5e5), "problem": "outside the bound",
    }  # fmt: skip
    assert row["implementations"]["torch"]["max_abs"] is None
    assert row["values"] == {"oracle": 1.0, "by hand": 1.0, "custom_vjp": 1.5}


def test_it_survives_pickling(rows):
    report = Report.of({"net": "n"}, [outcome(rows)])
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()
