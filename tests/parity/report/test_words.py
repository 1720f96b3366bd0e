import math

import numpy as np
import pytest

from pullback.parity.report.words import NO_BOUND, figure, hung, listed, numbered, percent, times, told_apart


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.5, "0.5"), (12.3, "12"), (3.2e-8, "3e-8"), (1e5, "1e5"), (math.nan, "-")]
)
def test_a_figure(value, shown):
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.63, "63%"), (99.0, "9900%"), (3e5, "3e5×"), (NO_BOUND, "inf"), (math.inf, "-")]
)
def test_a_share(share, shown):
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (1.0004, "a little farther off than rounding explains"),
        (1.36, "1.36 times as far off as rounding explains"),
        (840.2, "840 times as far off as rounding explains"),
        (2397.0, "2,397 times as far off as rounding explains"),
        (5e14, "5e14 times as far off as rounding explains"),
        (math.inf, "nothing is rounded there, so no rounding explains it"),
        (1e300, "nothing is rounded there, so no rounding explains it"),
    ],
)
def test_how_far_off(budget, said):
    assert times(budget) == said


def test_numbers_have_the_digits_that_tell_them_apart():
    assert told_apart(0.5031, 0.5026, {"torch": 0.50259}) == ("0.50310", "0.50260", {"torch": "0.50259"})
    assert told_apart(2.0, -3.0, {}) == ("2.000", "-3.000", {})
    assert told_apart(0.0, 1.25, {"a": 0}) == ("0", "1.250", {"a": "0"})
    right = 1 / 3
    for off in (1e-6, 1e-9, 1e-12, 1e-15):
        got, shown, _ = told_apart(right * (1 + off), right, {})
        assert got != shown and float(got) != float(shown)
        assert abs((float(got) - float(shown)) / (right * off) - 1) < 0.5


def test_numbers_that_cannot_be_told_apart():
    assert told_apart(1.5, 1.5, {}) == ("1.50000", "1.50000", {})
    assert told_apart(math.nan, 1.0, {})[:2] == ("nan", "1.00000")
    assert told_apart(1 + 1j, 1 - 1j, {})[0] == "1.000+1.000j"


def test_lists_and_places():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert numbered((3, 7)) == "[3, 7]"


def test_lines_hang_and_break_no_word():
    lines = hung("  1. ", "a loss of-digits " * 4 + "and_one_word_that_is_longer_than_the_line", 30)
    assert lines[0].startswith("  1. a loss") and all(line.startswith("     ") for line in lines[1:])
    assert all(len(line) <= 30 for line in lines[:-1])
    assert lines[-1].strip() == "and_one_word_that_is_longer_than_the_line"
    assert " ".join(" ".join(lines).split()).count("of-digits") == 4
    assert hung("  x  ", "", 40) == ["  x  "]


def test_figures_of_numpy_are_figures():
    assert times(float(np.float64(2))) == "2 times as far off as rounding explains"
