from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.deviation import OUTSIDE
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


def test_each_is_held_by_its_own_and_the_worst_is_named():
    wrong = RIGHT["w1"].copy()
    wrong[1, 0] += np.float32(2**-18)
    row = rows(ours=RIGHT, torch=changed(w1=wrong))["w1"]
    assert not row.ok and row.worst[0] == "torch" and row.verdict == "FAIL"
    assert row.deviations["ours"].problem is None and row.deviations["torch"].problem == OUTSIDE
    assert row.values == {"oracle": 4.0, "ours": 4.0, "torch": 4 + 2**-18}, "at the worst element"
    assert row.floor == pytest.approx(2e-6 / 4)
    assert rows(ours=RIGHT, torch=changed(w1=wrong))["loss"].ok


def test_a_missing_leaf_fails():
    row = rows(ours=changed(w1=None), torch=RIGHT)["w1"]
    assert row.worst[0] == "ours" and row.deviations["ours"].problem == "leaf is missing"
    assert row.deviations["torch"].problem is None


def test_an_extra_leaf_fails():
    row = rows(ours=changed(b9=np.zeros(3, np.float32)), torch=RIGHT)["b9"]
    assert row.deviations["ours"].problem == "leaf is unknown to the oracle"
    assert row.deviations["torch"].problem is None, "nor has torch anything to do with it"
    assert not row.ok


def one(leaf, got, want, bound, dtype: Any = np.float32, **options):
    (row,) = compare(
        "op", {"ours": {leaf: np.array(got, dtype)}}, {leaf: want}, {leaf: bound}, {leaf: dtype}, **options
    )
    return row


def test_the_verdict_of_what_agrees():
    row = one("y", [1, 2], np.array([1.0, 2.0]), np.full(2, 1e-6))
    assert (row.verdict, row.unjudged, row.reason) == ("pass", 0, "")


def test_a_leaf_without_elements_is_empty_and_no_agreement():
    row = one("y", np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    assert row.ok and row.floor is None and row.verdict == "empty"


def test_elements_without_a_bound_are_not_judged():
    want = np.array([1.0, 2.0, 3.0])
    row = one("y", [1, 9, 3], want, np.array([1e-6, np.inf, 1e-6]))
    assert row.ok and row.verdict == "not judged" and row.unjudged == 1
    assert row.reason == "rounding may move them without bound, or to NaN or beyond the dtype's range"
    wrong = one("y", [1, 9, 4], want, np.array([1e-6, np.inf, 1e-6]))
    assert wrong.verdict == "FAIL" and wrong.deviations["ours"].problem == OUTSIDE, "the others are"


def test_a_leaf_that_could_be_dropped_unseen_is_not_judged_and_calls_nobody_wrong():
    # The bounds are more than half of each element: a leaf of zeros might pass. Sampled ones call nobody wrong either.
    want = np.array([1.0, -2.0])
    for got in ([1, -2], [0, 0], [-7, 9]):
        row = one("y", got, want, np.array([0.51, 1.02]), sampled=True)
        assert row.floor is not None and row.floor > 1
        assert row.ok and row.verdict == "not judged" and row.unjudged == 2
        assert row.reason == "rounding may move every element by more than its own size"
    assert one("y", [-7, 9], want, np.array([0.51, 1.02])).verdict == "FAIL", "bounds that are proofs do"
    assert one("y", [1, -2], want, np.array([0.51, 1.02])).verdict == "not judged"
    few = one("y", [-7, 9], want, np.array([0.49, 1.02]), sampled=True)
    assert few.verdict == "FAIL", "one element is enough to see it"
    zero = one("y", [1, 9], np.array([1.0, 0.0]), np.array([0.51, 1e-30]), sampled=True)
    assert zero.verdict == "FAIL", "where 0 is certain, anything else is wrong"


def test_nan_is_wrong_where_nothing_else_can_be_said():
    row = one("y", [np.nan, -2], np.array([1.0, -2.0]), np.array([5.0, 5.0]))
    assert row.verdict == "FAIL" and row.deviations["ours"].problem == "is NaN at [0], where 1 is right"


def test_nan_is_not_judged_where_samples_say_that_rounding_may_do_anything():
    """So 1 + c^2 - 2 c cos x may round to 0. A row that is certain is judged, and so is a leaf of sharp bounds."""
    want, vague = np.array([[1.0, -2.0], [0.0, 0.0]]), np.array([[6.0, 9.0], [0.0, 0.0]])
    (row,) = compare("op", {"ours": {"x_bar": np.array([[np.nan, -2.0], [np.nan, 0.0]])}}, {"x_bar": want},
                     {"x_bar": vague}, {"x_bar": np.float64}, sampled=True, stacked=True)  # fmt: skip
    assert row.verdict == "not judged" and row.floor is not None and row.floor > 1
    for got in ([np.nan, -2.0], [np.inf, -2.0]):
        for sharp in ([1e-7, 9.0], [1e-7, 1e-7]):
            assert one("y", got, np.array([1.0, -2.0]), np.array(sharp), sampled=True).verdict == "FAIL"


def test_whole_numbers_are_always_judged():
    assert one("y", [3, 5], np.array([3, 4]), np.zeros(2), np.int32).verdict == "FAIL"
    assert one("y", [3, 4], np.array([3, 4]), np.full(2, 9.0), np.int32).verdict == "pass"


def test_zeros_are_judged_by_their_bounds():
    assert one("y", [0, 1e-9], np.zeros(2), np.full(2, 1e-8)).verdict == "pass"
    assert one("y", [0, 1e-7], np.zeros(2), np.full(2, 1e-8)).verdict == "FAIL"


def test_what_is_excused_is_not_judged():
    row = one("y", [np.nan, 2], np.array([1.0, 2.0]), np.full(2, 1e-6), excused={"y": np.array([True, False])})
    assert row.ok and row.verdict == "not judged" and row.unjudged == 1


def test_bounds_of_ones_own():
    got = {"ours": {"y": f32(1.01)}, "torch": {"y": f32(1.01)}}
    own = {"torch": {"y": np.array([0.1])}}
    (row,) = compare("op", got, {"y": np.array([1.0])}, {"y": np.array([1e-6])}, F32, own=own)
    assert row.deviations["ours"].problem == OUTSIDE and row.deviations["torch"].problem is None


def test_approximations_are_told_from_mistakes():
    want = np.array([1.0, 0.01])
    for off, approximated in (([5e-10, 0], True), ([0, 5e-10], True), ([1e-9, 0], False), ([np.nan, 0], False)):
        row = one("y", want + off, want, np.full(2, 1e-16), np.float64)
        assert not row.ok and row.is_approximated("ours") is approximated
    assert not one("y", want, want, np.full(2, 1e-16), np.float64).is_approximated("ours"), "nothing is off"


def test_values_of_complex_leaves():
    row = one("y", [3 - 4j], np.array([3 + 4j]), np.array([1e-6]), np.complex64)
    assert row.values == {"oracle": 3 + 4j, "ours": 3 - 4j} and row.verdict == "FAIL"


def test_whoever_raises_fails_every_leaf():
    result = compare("net", {"torch": RIGHT}, WANT, BOUNDS, F32, {"ours": "ValueError: no"})
    assert all(row.deviations["ours"].problem == "raised ValueError: no" for row in result)
    assert all(row.deviations["torch"].problem is None for row in result)


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


def test_complex_runs_are_as_far_apart_as_the_plane_says():
    z = {"y": np.array([3 + 4j], np.complex64)}
    off = apart(z, {"y": z["y"] + np.complex64(3e-3 + 4e-3j)}, {"y": np.array([5e-3])})
    assert off is not None and off.share == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (LEAVES["y"][:1], "y is float32[1], not float32[2]"),
        (LEAVES["y"].astype(jnp.bfloat16), "y is bfloat16[2], not float32[2]"),
    ],
)
def test_another_shape_or_dtype_is_said(leaf, text):
    assert differing(y=leaf) == ("y", np.inf, text)


def test_which_elements_are_outside_is_said_in_the_arguments_own_indices():
    want = np.arange(1.0, 31).reshape(5, 2, 3)
    got = want.copy()
    got[2, 1, 0] += 1
    row = one("x_bar", got, want, np.full(want.shape, 1e-5), stacked=True)
    assert row.extent == {"ours": "at 1 of 6 elements, [1, 0]"}
    assert (row.cotangents, row.own_shape, row.shape) == (5, (2, 3), (5, 2, 3))
    assert row.own_index((2, 1, 0)) == ((1, 0), 2) and row.own_index(()) == ((), None)
    flat = one("x_bar", got, want, np.full(want.shape, 1e-5))
    assert flat.extent == {"ours": "at 1 of 30 elements, [2, 1, 0]"}
    assert (flat.cotangents, flat.own_shape, flat.own_index((2, 1, 0))) == (0, (5, 2, 3), ((2, 1, 0), None))


def test_only_cotangents_have_an_axis_of_cotangents():
    row = one("y", np.ones((5, 3)), np.zeros((5, 3)), np.full((5, 3), 1e-5), stacked=True)
    assert row.cotangents == 0 and row.extent == {"ours": "at every element"}
