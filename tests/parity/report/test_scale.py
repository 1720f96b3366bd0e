import math

import numpy as np
import pytest

from pullback.parity.report.scale import HIGHEST, LOWEST, Scale, share


@pytest.mark.parametrize(
    ("bound", "error", "times"),
    [
        (1e-6, 0.0, 0.0),
        (1e-6, 5e-7, 0.5),
        (1e-6, 1e-6, 1.0),
        (1e-6, 2e-6, 2.0),
        (0.0, 0.0, 0.0),
        (0.0, 1e-9, math.inf),
        (1e-6, math.inf, math.inf),
        (1e-6, math.nan, math.inf),
        (math.inf, 3.0, 0.0),
        (math.inf, math.inf, 0.0),
        (5e-324, 1e300, math.inf),
    ],
)
def test_share(bound, error, times):
    assert share(bound, error) == pytest.approx(times)


def test_numbers_stand_by_their_power_of_ten():
    scale = Scale([0.5, 1.0, 1e5])
    assert [scale(each) for each in (0.1, 1.0, 1e5)] == pytest.approx([-1, 0, 5])
    assert scale.columns == {}


def test_a_power_of_ten_that_is_a_little_off_is_no_infinity():
    assert Scale([1e-5 / 1e-6])(1e-5 / 1e-6) == pytest.approx(1), "10.000000000000002"


def test_zero_and_what_is_no_number_have_a_place_of_their_own():
    scale = Scale([0.0, 0.5, math.inf])
    assert scale(0.0) == scale.zero < scale.low and scale(math.inf) == scale.infinite > scale.high
    assert scale.columns == {scale.zero: "0", scale.infinite: "∞ or\nNaN"}


def test_what_is_too_small_or_too_large_is_named():
    scale = Scale([0.0, 1e-300, 1.0, 1e300])
    assert (scale.low, scale.high) == (LOWEST, HIGHEST)
    assert scale.columns == {scale.zero: f"under\n1e{LOWEST}×", scale.infinite: f"over\n1e{HIGHEST}×"}
    assert scale(1e-300) == scale(0.0)


@pytest.mark.parametrize("shares", [[], [0.0], [math.inf], [1.0], [0.4], [5e-324, 1e308], [1e20], [1e-9]])
def test_the_bound_is_in_sight_with_room_on_either_side(shares):
    scale = Scale(shares)
    left, right = scale.limits
    assert -left >= (right - left) / 6 and right >= (right - left) / 6
    assert all(left < scale(each) < right for each in shares)


@pytest.mark.parametrize("most", [5, 7])
@pytest.mark.parametrize("high", [0.3, 1e1, 1e3, 1e7, 1e13, 1e24])
def test_few_ticks_and_the_bound_is_one(high, most):
    scale = Scale([1e-3, high])
    ticks = scale.ticks(most)
    assert ticks[0.0] == "1×" and 2 <= len(ticks) <= most
    assert len(set(ticks.values())) == len(ticks)
    gaps = np.diff(sorted(ticks))
    assert gaps.min() == gaps.max(), "evenly spread"
