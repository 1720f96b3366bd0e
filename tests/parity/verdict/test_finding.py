import dataclasses
from typing import get_args

import pytest

from pullback.parity.verdict.finding import STATUSES, Finding, Status, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\n\n  one  \ntwo"), "ValueError: one"),
        (ValueError(), "ValueError"),
        (ValueError("  \n "), "ValueError"),
        (KeyError("w"), "KeyError: 'w'"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_as_one_line(error, line):
    assert first_line(error) == line


def test_the_order_of_statuses_has_them_all_with_failures_first():
    assert STATUSES == get_args(Status) and STATUSES[0] == "FAIL"


def test_a_finding_stays_as_it_is():
    finding = Finding("kinks", "x = 0", "note", "a convention")
    assert finding == Finding("kinks", "x = 0", "note", "a convention")
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.status = "pass"  # pyright: ignore[reportAttributeAccessIssue]
