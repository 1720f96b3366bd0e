from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.deviation import OUTSIDE, deviation_of, extent_of, floor_of, places

WANT = np.array([[1.0, -2.0], [4.0, 0.0]])
BOUND = np.full((2, 2), 1e-6)
RIGHT = WANT.astype(np.float32)
F32 = np.dtype(np.float32)


def off(got: Any, want: Any = WANT, bound: Any = BOUND, dtype: Any = F32, excuse: Any = None):
    return deviation_of(got, want, bound, np.dtype(dtype), excuse)


def changed(*elements: Any, leaf: Any = RIGHT):
    """The leaf with other values at these places."""
    leaf = leaf.copy()
    for place, value in elements:
        leaf[place] = value
    return leaf


def test_figures():
    # Two units in the last place of 4.
    deviation = off(RIGHT + np.array([[0, 2**-22], [2**-20, 0]], np.float32))
    assert deviation.max_abs == 2**-20 and deviation.index == (1, 0)
    assert deviation.relative == 2**-20 / 4 and deviation.ulps == 2
    assert deviation.budget == 2**-20 / 1e-6 and deviation.problem is None


def test_the_worst_element_is_the_one_nearest_its_own_bound():
    bound = np.array([[1e-3, 1e-3], [1e-3, 1e-9]])
    deviation = off(RIGHT + np.array([[1e-4, 0], [0, 1e-8]], np.float32), bound=bound)
    assert deviation.index == (0, 0) and deviation.budget_index == (1, 1) and deviation.problem == OUTSIDE


@pytest.mark.parametrize(
    ("leaf", "problem"),
    [
        (None, "leaf is missing"),
        (RIGHT.ravel(), r"shape is (4,), expected (2, 2)"),
        (RIGHT.astype(jnp.bfloat16), "dtype is bfloat16, expected float32"),
        (RIGHT.astype(np.float64), "dtype is float64, expected float32"),
        (RIGHT.astype(np.complex64), "dtype is complex64, expected float32"),
        (RIGHT + np.float32(2e-6), OUTSIDE),
        (RIGHT + np.float32(5e-7), None),
    ],
)
def test_what_is_wrong_is_said(leaf, problem):
    assert off(leaf).problem == problem


def test_a_leaf_that_only_somebody_else_has():
    assert off(RIGHT, want=None).problem == "leaf is unknown to the oracle"
    assert off(RIGHT, bound=None).problem == "leaf is unknown to the oracle"
    assert off(None, want=None).problem is None, "whoever does not have it either is right"


@pytest.mark.parametrize(
    ("elements", "problem"),
    [
        ([((1, 0), np.nan)], "is NaN at [1, 0], where 4 is right"),
        ([((1, 0), np.inf)], "is inf at [1, 0], where 4 is right"),
        ([((0, 1), -np.inf)], "is -inf at [0, 1], where -2 is right"),
        ([((1, slice(None)), np.nan)], "is NaN at [1, :], where 4 is right"),
        ([((0, 0), np.nan), ((1, 1), np.nan)], "is NaN at [0, 0] and 1 more, where 1 is right"),
        ([(slice(None), np.nan)], "is NaN at [:, :], where 1 is right"),
    ],
)
def test_not_finite_against_a_number_is_named_with_its_places(elements, problem):
    deviation = off(changed(*elements))
    assert deviation.problem == problem and deviation.max_abs == deviation.budget == np.inf


def test_a_number_against_what_is_not_finite_is_named_too():
    want = np.array([np.nan, np.inf, -np.inf, 1.0])
    bound = np.array([np.nan, np.nan, np.nan, 1e-6])
    assert off(want.astype(np.float32), want, bound).problem is None, "NaN is like NaN, and an infinity like itself"
    assert off(want.astype(np.float32), want, bound).budget == 0
    said = [
        "is 1 at [0], where NaN",
        "is -inf at [1], where inf",
        "is NaN at [2], where -inf",
        "is inf at [3], where 1",
    ]
    for i, (other, text) in enumerate(zip([1.0, -np.inf, np.nan, np.inf], said, strict=True)):
        deviation = off(changed((i, other), leaf=want.astype(np.float32)), want, bound)
        assert deviation.problem == f"{text} is right" and deviation.budget_index == (i,)


def test_a_scalar_that_is_not_finite_has_no_place():
    assert off(np.array(np.nan, np.float32), np.array(8.25), np.array(1e-6)).problem == "is NaN, where 8.25 is right"


def test_nan_is_no_excuse_where_there_is_no_bound():
    # An infinite bound says nothing about numbers; NaN is none.
    bound = np.full((2, 2), np.inf)
    assert off(RIGHT + 5, bound=bound).problem is None
    assert off(changed(((0, 1), np.nan)), bound=bound).problem == "is NaN at [0, 1], where -2 is right"


def test_elements_that_are_excused_are_not_asked():
    excuse = np.array([[False, True], [False, False]])
    assert off(changed(((0, 1), np.nan)), excuse=excuse).problem is None
    assert off(changed(((0, 0), np.nan)), excuse=excuse).problem == "is NaN at [0, 0], where 1 is right"


def test_beyond_the_dtypes_range_infinity_is_right_too():
    want, bound, f16 = np.array([9e4, -9e4, 6.55e4, 1.0]), np.array([40.0, 40.0, 40.0, 1e-3]), np.float16
    assert off(np.array([np.inf, -np.inf, np.inf, 1], f16), want, bound, f16).problem is None
    for i, wrong in enumerate([-np.inf, np.inf, -np.inf, np.inf]):
        got = changed((i, wrong), leaf=np.array([np.inf, -np.inf, np.inf, 1], f16))
        assert str(off(got, want, bound, f16).problem).startswith(f"is {wrong} at [{i}], where ")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_are_as_far_apart_as_the_plane_says(dtype):
    want = np.array([3 + 4j, 1 - 1j])
    assert off(want.astype(dtype), want, np.full(2, 1e-9), dtype).budget == 0
    deviation = off((want + [3e-3 + 4e-3j, 0]).astype(dtype), want, np.full(2, 1e-2), dtype)
    assert deviation.max_abs == pytest.approx(5e-3, rel=1e-4) and deviation.relative == pytest.approx(1e-3, rel=1e-4)
    assert deviation.problem is None
    assert off(want.conj().astype(dtype), want, np.full(2, 1e-2), dtype).problem == OUTSIDE
    assert off(changed((0, complex(3, np.nan)), leaf=want.astype(dtype)), want, np.full(2, 1e-2), dtype).problem == (
        "is 3+NaNj at [0], where 3+4j is right"
    )


def test_integers_must_be_equal_in_whatever_width():
    want, bound = np.array([3, 4]), np.zeros(2)
    assert off(np.array([3, 4], np.int32), want, bound, np.int32).problem is None
    assert off(np.array([3, 5], np.int8), want, bound, np.int32).problem == OUTSIDE
    assert off(np.array([3.0, 4.0], np.float32), want, bound, np.int32).problem == "dtype is float32, expected int32"


def test_no_elements_agree():
    empty = np.zeros((0, 3))
    assert off(empty.astype(np.float32), empty, empty).problem is None


def test_points_for_a_plot_are_bounds_and_true_errors():
    want, bound = np.zeros(100), np.where(np.arange(100) == 7, 0.0, 1e-6)
    points = off(changed((7, 0.5), leaf=np.zeros(100, np.float32)), want, bound).points
    assert points[-1] == (0.0, 0.5), "the worst, though its bound is 0"
    assert 30 < len(points) <= 42 and set(points[:-1]) == {(1e-6, 0.0)}
    points = off(np.full(100, np.nan, np.float32), want, bound).points
    assert all(error == np.inf for _, error in points)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ([[0, 0, 0], [0, 1, 0]], "[1, 1]"),
        ([[0, 0, 0], [1, 1, 1]], "[1, :]"),
        ([[0, 1, 1], [0, 1, 1]], "[:, 1:3]"),
        ([[1, 0, 1], [0, 0, 0]], "[0, 0] and 1 more"),
        ([[1, 0, 0], [0, 1, 1]], "[0, 0] and 2 more"),
    ],
)
def test_places(mask, text):
    assert places(np.array(mask, bool)) == text


def test_the_floor_is_the_smallest_factor_that_is_sure_to_be_noticed():
    # Scaling by 1 + s moves the largest element, 4, most: noticed from 4 s > 2 bounds on.
    assert floor_of(WANT, BOUND) == pytest.approx(2e-6 / 4)
    assert floor_of(WANT, np.full((2, 2), np.inf)) == np.inf
    assert floor_of(0 * WANT, BOUND) is None and floor_of(None, BOUND) is None and floor_of(WANT, None) is None


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (lambda x: x + 1, "at every element"),
        (lambda x: x * 2, "at every element that should not be 0"),
        (lambda x: x + np.array([[0, 0, 0], [1, 1, 1]]), "at 3 of 6 elements, [1, :]"),
        (lambda x: x + np.array([[1, 0, 0], [0, 0, 1]]), "at 2 of 6 elements"),
        (lambda x: np.where(x == 2, np.nan, x), "at 1 of 6 elements, [0, 2]"),
    ],
)
def test_which_elements_are_outside(off, said):
    want = np.arange(6.0).reshape(2, 3)
    bound = np.full((2, 3), 1e-6)
    assert extent_of(off(want), want, bound, None, False) == said
    stack = np.stack([0 * want, want])
    assert extent_of(off(stack), stack, np.stack([bound, bound]), None, True) == said, "in the argument's indices"


def test_a_single_number_has_no_place():
    assert extent_of(np.array(2.0), np.array(1.0), np.array(0.1), None, False) == ""
    assert extent_of(np.array([2.0, 1.0]), np.array([1.0, 1.0]), np.full(2, 0.1), None, True) == ""


def test_what_is_excused_is_not_outside():
    want, excuse = np.zeros(3), np.array([True, False, False])
    assert extent_of(want + 1, want, np.full(3, 0.1), excuse, False) == "at 2 of 3 elements, [1:3]"


def test_places_leave_the_cotangent_out():
    want = np.ones((5, 2, 3))
    got = want.astype(np.float32)
    got[3, 1] = np.nan
    said = deviation_of(got, want, np.full(want.shape, 1e-6), np.dtype(np.float32), stacked=True).problem
    assert said == "is NaN at [1, :], where 1 is right"
    said = deviation_of(got[:, :1], want, want, np.dtype(np.float32), stacked=True).problem
    assert said == "shape is (1, 3), expected (2, 3)"


def test_zero_times_infinity_is_0_or_nan():
    """The derivative is infinite there: for a cotangent that is 0, torch says 0 and jax NaN."""
    want = np.array([[-np.inf, 1.0], [0.0, 0.0]])
    for got in ([[-np.inf, 1.0], [np.nan, 0.0]], [[-np.inf, 1.0], [0.0, 0.0]]):
        assert deviation_of(np.array(got), want, np.zeros((2, 2)), np.dtype(float), stacked=True).problem is None
    swapped = np.array([[-np.inf, 1.0], [np.nan, 0.0]])
    assert deviation_of(want, swapped, np.zeros((2, 2)), np.dtype(float), stacked=True).problem is None
    for wrong in ([[-np.inf, 1.0], [0.0, np.nan]], [[np.nan, 1.0], [0.0, 0.0]]):
        assert deviation_of(np.array(wrong), want, np.zeros((2, 2)), np.dtype(float), stacked=True).problem is not None
