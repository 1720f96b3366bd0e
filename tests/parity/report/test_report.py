"""The report as an object: it raises, it can be pickled, and its repr is short."""

import pickle

import pytest

from pullback.parity import ParityError, Report


def test_raise_if_failed(rows, passing, outcome):
    Report.of({"net": "n"}, [outcome(passing)]).raise_if_failed()
    report = Report.of({"net": "n"}, [outcome(rows)])
    with pytest.raises(ParityError, match=r"net w1 of custom_vjp is wrong at 1 of 4 elements") as raised:
        report.raise_if_failed()
    assert raised.value.report is report and isinstance(raised.value, AssertionError)


def test_it_survives_pickling(rows, outcome):
    report = Report.of({"net": "n"}, [outcome(rows)])
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()


def test_its_repr_is_a_line(rows, outcome):
    report = Report.of({"net": "n"}, [outcome(rows)])
    assert repr(report).startswith("<Report FAIL: ") and "\n" not in repr(report)
    assert str(report).splitlines()[-1] in repr(report).replace("<Report ", "")
