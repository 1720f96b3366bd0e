import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.diagnosis import Diagnosis, diagnose

RNG = np.random.default_rng(0)
WANT = RNG.standard_normal((5, 4, 3))
SQUARE = RNG.standard_normal((4, 4))
U = 2.0**-24


def said(got, want=WANT, dtype: Any = np.float32, bound: Any = None, **options):
    bound = np.abs(want) * 4 * float(jnp.finfo(dtype).eps) / 2 + 1e-30 if bound is None else bound
    return diagnose(np.asarray(got).astype(dtype), want, bound, dtype, **options)


FACTORS = {
    -1.0: "the sign is wrong",
    2.0: "twice what it should be: the 2 of a square?",
    0.5: "half of what it should be",
    7.0: "7 times what it should be, the length of an axis: a sum for a mean?",
    1 / 7: "1/7 of what it should be, 7 the length of an axis: a mean for a sum?",
    50000.0: "50000 times what it should be, the length of an axis: a sum for a mean?",
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_constant_factor(dtype, factor):
    assert said(WANT * factor, WANT, dtype, sizes={7, 50000, 1, 2}) == FACTORS[factor]


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
@pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5, 7.0, 1 / 7])
def test_a_constant_factor_in_half_precision(request, dtype, factor):
    want = WANT.astype(dtype).astype(np.float64)
    assert said(want * factor, want, dtype, sizes={7, 50000, 1, 2}) == FACTORS[factor]


def test_an_axis_of_two_does_not_explain_a_factor_of_two():
    assert said(2 * WANT, sizes={2}).startswith("twice")


def test_any_other_factor_is_named_as_a_figure():
    assert said(1.25 * WANT, sizes={3}) == "1.25 times what it should be"
    assert said(-3 * WANT, sizes={3}) == "-3 times what it should be"
    assert said(1.001 * WANT) == "1.001 times what it should be"
    assert said(1.001 * WANT).kind == "factor" and said(-WANT).kind == "sign"


@pytest.mark.parametrize(("off", "shown"), [(1e-12, "(1 + 1.0e-12)"), (-2.1e-6, "(1 - 2.1e-06)"), (3e-4, "1.0003")])
def test_a_factor_is_never_one(off, shown):
    bound = 4 * 2.0**-53 * np.abs(WANT)
    assert said(WANT * (1 + off), dtype=np.float64, bound=bound) == f"{shown} times what it should be"


@pytest.mark.parametrize(("dtype", "shown"), [(np.float16, "1.371"), (jnp.bfloat16, "1.37")])
def test_a_factor_has_the_digits_that_its_dtype_knows(dtype, shown):
    want = WANT.astype(dtype).astype(np.float64)
    assert said(want * 1.3707, want, dtype).startswith(f"{shown} times")


def test_what_a_factor_does_not_explain_is_no_factor():
    near = WANT + 3e-6 * RNG.standard_normal(WANT.shape)
    assert said(near, bound=1e-7 * np.ones(WANT.shape)).kind != "factor"
    assert said(1.3 * WANT[0, 0, :1], WANT[0, 0, :1]) == "", "one number is some multiple of any other"


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (9 / 8, "9/8 times what it should be: n - 1 for n, or n for n - 1?"),
        (8 / 9, "8/9 of what it should be: n for n - 1, or n - 1 for n?"),
        (3.0, "√9 times what it should be, 9 the length of an axis: a root too many or too few?"),
        (1 / 3, "1/√9 of what it should be, 9 the length of an axis: a root too many or too few?"),
    ],
)
def test_factors_of_means_and_roots(factor, text):
    assert said(WANT * factor, sizes={9}) == text


def test_zeros():
    assert said(np.zeros_like(WANT)) == "all zeros: is it dropped, or None returned for it?"


def test_an_ignored_cotangent():
    got = np.broadcast_to(WANT[:1], WANT.shape)
    text = "the same for every cotangent: the rule ignores its incoming cotangent"
    assert said(got, cotangent_axis=True) == text
    assert said(got) != text, "without an axis of cotangents there is none to ignore"
    assert said(got, cotangent_axis=True).kind == "cotangent ignored"
    same = np.broadcast_to(WANT[:1], WANT.shape)
    assert said(2 * same, same, cotangent_axis=True).startswith("twice"), "as it should be"


def test_a_transpose():
    assert said(SQUARE.T, SQUARE) == "the transpose of what it should be"
    stack = RNG.standard_normal((5, 4, 4))
    assert said(np.swapaxes(stack, 1, 2), stack, cotangent_axis=True) == "the transpose of what it should be"
    assert said(np.zeros((3, 4)), np.zeros((4, 3))) == "the transpose?"
    want = RNG.standard_normal((5, 4, 3))
    mixed = np.swapaxes(want, 1, 2).reshape(want.shape)
    assert said(mixed, want, cotangent_axis=True) == "the transpose of what it should be, reshaped"


def test_the_axis_of_cotangents_is_not_turned():
    stack = RNG.standard_normal((5, 5))  # five cotangents of five elements
    assert said(stack.T, stack, cotangent_axis=True) == ""
    assert said(np.zeros((5, 3)), np.zeros((3, 5)), cotangent_axis=True) == ""


def test_another_shape_is_no_pattern():
    assert said(np.zeros(4), np.zeros((4, 3))) == ""
    assert said(np.zeros(3), np.zeros(4)) == ""


@pytest.mark.parametrize(
    ("axis", "index", "shown"), [(0, [0], "0"), (0, [4], "4"), (1, [3], "3"), (2, [0], "0"), (1, [0, 2], "0, 2")]
)
def test_dropped_along_an_axis(axis, index, shown):
    got = WANT.copy()
    got[(slice(None),) * axis + (index,)] = 0
    assert said(got) == f"zero at index {shown} of axis {axis}, right elsewhere: dropped?"


def test_the_axis_of_cotangents_is_not_searched():
    got = WANT.copy()
    got[0] = 0
    assert said(got, cotangent_axis=True).kind != "drop"


def test_axes_are_those_of_the_argument():
    got = WANT.copy()
    got[:, 2] = 0
    assert said(got, cotangent_axis=True) == "zero at index 2 of axis 0, right elsewhere: dropped?"
    assert said(np.roll(WANT, 1, 1), cotangent_axis=True) == "shifted by 1 along axis 0"


def test_the_end_of_a_shift_need_not_come_round():
    got = np.roll(WANT, 1, 1)
    got[:, 0] = 0
    assert said(got, cotangent_axis=True) == "shifted by 1 along axis 0"


def test_a_few_elements_may_have_a_pattern():
    got = WANT.copy()
    got[:, 1, 2] *= -1
    assert said(got, cotangent_axis=True) == "the sign is wrong, at [1, 2] only"
    got[:, 1, 2] *= -1.01
    assert said(got, cotangent_axis=True) == "1.01 times what it should be, at [1, 2] only"
    got[:, 1, 2] = 0
    assert said(got, cotangent_axis=True) == "zero at [1, 2], right elsewhere: dropped?"


def test_with_a_single_output_one_element_shows_no_factor():
    # Its cotangents are multiples of each other: whatever is linear in them has some factor.
    want = np.array([1.5, -0.7, 0.1, 1, 0])[:, None] * RNG.standard_normal(6)
    got = want.copy()
    got[:, 2] *= 1.37
    assert said(got, want, cotangent_axis=True, single_output=True) == ""
    assert said(got, want, cotangent_axis=True) == "1.37 times what it should be, at [2] only"
    got[:, 3] *= 1.37
    assert said(got, want, cotangent_axis=True, single_output=True) == "1.37 times what it should be, at [2:4] only"


def test_many_dropped_rows_are_shortened():
    want = RNG.standard_normal((20, 3))
    got = want.copy()
    got[:8] = 0
    assert said(got, want) == "zero at index 0, 1, 2, 3, 4, ... of axis 0, right elsewhere: dropped?"


def test_dropped_and_otherwise_wrong_is_no_dropped_row():
    got = WANT + RNG.standard_normal(WANT.shape)
    got[:, 0] = 0
    assert said(got) == ""


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [1, -1])
def test_shifted(axis, shift):
    assert said(np.roll(WANT, shift, axis)) == f"shifted by {shift} along axis {axis}"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_reversed(axis):
    assert said(np.flip(WANT, axis)) == f"reversed along axis {axis}"


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_rounded_to_a_coarser_dtype(name):
    rounded = WANT.astype(jnp.dtype(name)).astype(np.float32)
    text = said(rounded, bound=2 * U * np.abs(WANT))
    assert text == f"every value is one of {name}: is it cast to {name} and back?" and text.kind == "precision"


@pytest.mark.parametrize(("off", "name"), [(2.0**-12, "TF32 or float16"), (2.0**-8, "bfloat16")])
def test_errors_that_look_like_a_lower_precision(off, name):
    noisy = WANT * (1 + off * RNG.uniform(-1, 1, WANT.shape))
    text = said(noisy, bound=2 * U * np.abs(WANT))
    assert text == f"off as rounding to {name} would have it: lower precision used?" and text.kind == "precision"


def test_the_right_values_in_another_dtype():
    got = WANT.astype(jnp.bfloat16)
    text = diagnose(got, WANT, 4 * U * np.abs(WANT), np.float32)
    assert text == "the values are right, as far as bfloat16 holds them" and text.kind == "precision"
    assert diagnose(-got, WANT, 4 * U * np.abs(WANT), np.float32) == "the sign is wrong"


def test_it_survives_pickling():
    assert pickle.loads(pickle.dumps(said(-WANT))).kind == "sign" and Diagnosis() == ""


def test_bfloat16_is_no_lower_precision_for_bfloat16():
    noise = 1 + 0.02 * RNG.standard_normal(WANT.shape)
    assert "precision" not in said(WANT * noise, dtype=jnp.bfloat16)


def test_of_what_is_not_finite_the_row_says_where():
    got = -WANT.copy()
    got[0, 0, 0] = np.nan
    assert said(got) == ""
    want = WANT.copy()
    want[0, 0, 0] = np.inf
    assert said(-WANT, want, bound=np.abs(WANT) * U) == ""


def test_complex_and_whole_numbers_have_no_pattern_yet():
    assert diagnose(-WANT.astype(np.complex64), WANT.astype(np.complex128), np.abs(WANT) * U, np.complex64) == ""
    assert diagnose(np.array([3, 5]), np.array([3, 4]), np.zeros(2), np.int32) == ""


def test_noise_has_no_pattern():
    assert said(WANT + RNG.standard_normal(WANT.shape), sizes={3, 4, 5}, cotangent_axis=True) == ""


def test_one_wrong_element_has_no_pattern():
    got = WANT.copy()
    got[1, 2, 0] += 1
    assert said(got, sizes={3, 4, 5}) == ""


def test_no_figures_at_all():
    assert said(np.ones(4), np.zeros(4)) == ""
