import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.rows import apart, compare

WANT = {"w1": np.array([[1.0, -2.0], [4.0, 0.0]]), "loss": np.array(8.0)}
BOUNDS = {"w1": np.full((2, 2), 1e-6), "loss": np.array(1e-6)}
F32 = dict.fromkeys(["w1", "loss", "y", "x_bar"], np.float32)
RIGHT = {name: leaf.astype(np.float32) for name, leaf in WANT.items()}


def rows(**got):
    return {row.leaf: row for row in compare("net", got, WANT, BOUNDS, F32)}


def changed(**leaves):
    return {name: leaf for name, leaf in (RIGHT | leaves).items() if leaf is not None}


def test_agreement():
    result = rows(ours=RIGHT, torch=RIGHT)
    assert list(result) == ["w1", "loss"]
    assert all(row.ok for row in result.values())
    assert result["w1"].values == {"oracle": 1.0, "ours": 1.0, "torch": 1.0}
    assert result["loss"].values == {"oracle": 8.0, "ours": 8.0, "torch": 8.0}


def test_figures():
    wrong = RIGHT["w1"].copy()
    wrong[1, 0] += np.float32(2**-20)  # two units in the last place of 4
    wrong[0, 1] += np.float32(2**-22)
    row = rows(ours=RIGHT, torch=changed(w1=wrong))["w1"]
    deviation = row.deviations["torch"]
    assert deviation.max_abs == 2**-20 and deviation.index == (1, 0)
    assert deviation.relative == 2**-20 / 4 and deviation.ulps == 2
    assert deviation.budget == 2**-20 / 1e-6 and deviation.problem is None
    assert row.worst[0] == "torch"
    assert row.values["torch"] == 4 + 2**-20
    # Scaling by 1 + s moves the largest element, 4, most: noticed from 4 s > 2 bounds on.
    assert row.floor == pytest.approx(2e-6 / 4)


def test_the_worst_element_is_the_one_nearest_its_own_bound():
    bounds = BOUNDS | {"w1": np.array([[1e-3, 1e-3], [1e-3, 1e-9]])}
    wrong = RIGHT["w1"] + np.array([[1e-4, 0], [0, 1e-8]], np.float32)
    (row, _) = compare("net", {"ours": changed(w1=wrong)}, WANT, bounds, F32)
    assert row.deviations["ours"].index == (0, 0) and row.deviations["ours"].budget_index == (1, 1)
    assert not row.ok and row.values["ours"] == np.float32(1e-8)


@pytest.mark.parametrize(
    ("leaf", "problem"),
    [
        (None, "leaf is missing"),
        (RIGHT["w1"].ravel(), r"shape is (4,), expected (2, 2)"),
        (RIGHT["w1"].astype(jnp.bfloat16), "dtype is bfloat16, expected float32"),
        (RIGHT["w1"].astype(np.float64), "dtype is float64, expected float32"),
        (RIGHT["w1"] + np.float32(2e-6), "outside the bound"),
        (np.full((2, 2), np.nan, np.float32), "outside the bound"),
        (np.where(RIGHT["w1"] == 4, np.inf, RIGHT["w1"]).astype(np.float32), "outside the bound"),
    ],
)
def test_what_is_wrong_is_said(leaf, problem):
    row = rows(ours=changed(w1=leaf), torch=RIGHT)["w1"]
    assert not row.ok
    assert row.worst[0] == "ours" and row.deviations["ours"].problem == problem
    assert row.deviations["torch"].problem is None
    assert rows(ours=changed(w1=leaf), torch=RIGHT)["loss"].ok


def test_an_extra_leaf_fails():
    row = rows(ours=changed(b9=np.zeros(3, np.float32)), torch=RIGHT)["b9"]
    assert row.deviations["ours"].problem == "leaf is unknown to the oracle"
    assert not row.ok


def test_whoever_raises_fails_every_leaf():
    result = compare("net", {"torch": RIGHT}, WANT, BOUNDS, F32, {"ours": "ValueError: no"})
    assert all(row.deviations["ours"].problem == "raised ValueError: no" for row in result)
    assert all(row.deviations["torch"].problem is None for row in result)


def test_what_is_not_finite():
    want = {"y": np.array([np.nan, np.inf, -np.inf, 1.0])}
    bounds = {"y": np.array([np.nan, np.nan, np.nan, 1e-6])}
    same = {"y": want["y"].astype(np.float32)}
    (row,) = compare("op", {"ours": same}, want, bounds, F32)
    assert row.ok and row.deviations["ours"].budget == 0
    for i, other in enumerate([1.0, -np.inf, np.nan, np.inf]):
        leaf = same["y"].copy()
        leaf[i] = other
        (row,) = compare("op", {"ours": {"y": leaf}}, want, bounds, F32)
        assert not row.ok and row.deviations["ours"].budget_index == (i,)


def test_a_leaf_without_any_bound_has_no_floor():
    want, bounds = {"y": np.array([np.inf, np.nan])}, {"y": np.array([np.inf, np.inf])}
    (row,) = compare("op", {"ours": {"y": want["y"].astype(np.float32)}}, want, bounds, F32)
    assert row.ok and row.floor == np.inf


def test_no_elements_agree():
    empty = {"x_bar": np.zeros((0, 3), np.float32)}
    (row,) = compare("net", {"ours": empty}, {"x_bar": np.zeros((0, 3))}, {"x_bar": np.zeros((0, 3))}, F32)
    assert row.ok and row.floor is None


def test_integers_must_be_equal_in_whatever_width():
    want, bounds = {"y": np.array([3, 4])}, {"y": np.zeros(2)}
    for leaf, ok in (([3, 4], True), ([3, 5], False)):
        (row,) = compare("op", {"ours": {"y": np.array(leaf, np.int32)}}, want, bounds, {"y": np.int32})
        assert row.ok == ok
    (row,) = compare("op", {"ours": {"y": np.array([3.0, 4.0], np.float32)}}, want, bounds, {"y": np.int32})
    assert row.deviations["ours"].problem == "dtype is float32, expected int32"


def test_points_for_a_plot_are_bounds_and_true_errors():
    want, bounds = {"y": np.zeros(100)}, {"y": np.where(np.arange(100) == 7, 0.0, 1e-6)}
    wrong = np.zeros(100, np.float32)
    wrong[7] = 0.5
    (row,) = compare("op", {"ours": {"y": wrong}}, want, bounds, F32)
    points = row.deviations["ours"].points
    assert points[-1] == (0.0, 0.5), "the worst, though its bound is 0"
    assert 30 < len(points) <= 42 and set(points[:-1]) == {(1e-6, 0.0)}
    (row,) = compare("op", {"ours": {"y": np.full(100, np.nan, np.float32)}}, want, bounds, F32)
    assert all(error == np.inf for _, error in row.deviations["ours"].points)


LEAVES = {"y": np.array([1.0, 2.0], np.float32), "x_bar": np.array([[4.0, np.nan]], np.float32)}
ROUNDING = {"y": np.full(2, 1e-6), "x_bar": np.full((1, 2), 1e-6)}


def f32(*numbers):
    return np.array(numbers, np.float32)


def differing(**leaves):
    return apart(LEAVES, LEAVES | leaves, ROUNDING)


def test_two_runs_with_the_same_bits_are_not_apart():
    assert differing() is None
    assert apart(LEAVES, {name: leaf.copy() for name, leaf in LEAVES.items()}, ROUNDING) is None


def test_how_far_two_runs_are_apart():
    off = differing(y=LEAVES["y"] + f32(0, 2**-20))
    assert off is not None and off.leaf == "y"
    assert off.share == pytest.approx(2**-20 / 2e-6), "both are rounded, hence twice the bound"
    assert off.text == "y differs, 48% of what rounding allows"


def test_the_leaf_that_is_furthest_off_is_named():
    off = differing(y=LEAVES["y"] + f32(0, 2**-20), x_bar=LEAVES["x_bar"] + np.float32(2**-16))
    assert off is not None and off.leaf == "x_bar" and off.share == pytest.approx(2**-16 / 2e-6)


def test_elements_that_are_equal_need_no_bound():
    # A dead unit's zero has a bound of 0, and one NaN is like another.
    zeros = {"y": np.array([0.0, 2.0, np.inf], np.float32)}
    off = apart(zeros, {"y": zeros["y"] + f32(0, 2**-22, 0)}, {"y": np.array([0, 1e-6, np.nan])})
    assert off is not None and off.share == pytest.approx(2**-22 / 2e-6)


def test_a_number_for_nan_and_a_difference_where_none_is_allowed_are_infinitely_far_off():
    off = differing(x_bar=f32(4, 0)[None])
    assert off is not None and off.share == np.inf
    exact = apart({"y": LEAVES["y"]}, {"y": LEAVES["y"] + 1}, {"y": np.zeros(2)})
    assert exact is not None and exact.share == np.inf


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (LEAVES["y"][:1], "y is float32[1], not float32[2]"),
        (LEAVES["y"].astype(jnp.bfloat16), "y is bfloat16[2], not float32[2]"),
    ],
)
def test_another_shape_or_dtype_is_said(leaf, text):
    assert differing(y=leaf) == ("y", np.inf, text)
