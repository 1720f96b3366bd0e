import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.diagnosis import diagnose

RNG = np.random.default_rng(0)
WANT = RNG.standard_normal((5, 4, 3))
SQUARE = RNG.standard_normal((4, 4))
U = 2.0**-24


def said(got, want=WANT, dtype=np.float32, bound=None, **options):
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
    assert said(1.25 * WANT, sizes={3}) == "1.25 times what it should be, everywhere"
    assert said(-3 * WANT, sizes={3}) == "-3 times what it should be, everywhere"
    assert said(1.001 * WANT) == "1.001 times what it should be, everywhere"


def test_zeros():
    assert said(np.zeros_like(WANT)) == "all zeros: is it dropped, or None returned for it?"


def test_an_ignored_cotangent():
    got = np.broadcast_to(WANT[:1], WANT.shape)
    text = "the same for every cotangent: the rule ignores its incoming cotangent"
    assert said(got, cotangent_axis=True) == text
    assert said(got) != text, "without an axis of cotangents there is none to ignore"
    same = np.broadcast_to(WANT[:1], WANT.shape)
    assert said(2 * same, same, cotangent_axis=True).startswith("twice"), "as it should be"


def test_a_transpose():
    assert said(SQUARE.T, SQUARE) == "the transpose of what it should be"
    stack = RNG.standard_normal((5, 4, 4))
    assert said(np.swapaxes(stack, 1, 2), stack, cotangent_axis=True) == "the transpose of what it should be"
    assert said(np.zeros((3, 4)), np.zeros((4, 3))) == "the transpose?"


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
    assert "axis 0" not in said(got, cotangent_axis=True)


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


@pytest.mark.parametrize(
    ("bits", "name"), [(11, "TF32 or float16"), (8, "bfloat16")], ids=["11 bits kept", "8 bits kept"]
)
def test_a_lower_precision(bits, name):
    mantissa, exponent = np.frexp(WANT)
    rounded = np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent)
    expected = f"outside the bound of float32, inside that of {name}: lower precision used?"
    assert said(rounded, bound=2 * U * np.abs(WANT)) == expected


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
