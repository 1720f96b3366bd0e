import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.verdict.coarser import coarser_arithmetic, rounded_to

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((24, 16)), RNG.standard_normal((16, 12))
U = 2.0**-24


def rounded(array, dtype):
    return array.astype(jnp.dtype(dtype)).astype(np.float64)


def held(got, want, dtype=np.float32):
    return rounded_to(got, want, 4 * U * np.abs(want), dtype)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_values_that_a_coarser_dtype_holds(name):
    assert held(rounded(X, name), X) == name


def test_float32_values_in_float64():
    assert rounded_to(rounded(X, np.float32), X, 1e-15 * np.abs(X), np.float64) == "float32"


def test_one_value_may_be_enough_and_one_in_float16_is_not():
    assert held(rounded(X[0, :1], "bfloat16"), X[0, :1]) == "bfloat16"
    few = X[0, :2].astype(np.float16).astype(np.float64)
    assert rounded_to(rounded(few, "bfloat16"), few, 2.0**-11 * np.abs(few), np.float16) == "", "six bits are chance"
    many = X.astype(np.float16).astype(np.float64)
    assert rounded_to(rounded(many, "bfloat16"), many, 2.0**-11 * np.abs(many), np.float16) == "bfloat16"


def test_other_values_that_are_held_are_no_rounding():
    assert held(2 * rounded(X, "bfloat16"), X) == ""
    assert held(np.round(X), X) == ""


def test_whole_numbers_are_held_by_themselves():
    whole = np.arange(1.0, 9)
    assert held(whole, whole) == ""


def looks(got, want, bound, stacked=False, dtype=np.float32):
    return coarser_arithmetic(got, want, bound, dtype, stacked)


PRODUCT = X @ W
BOUND = 16 * U * (np.abs(X) @ np.abs(W))


def test_rounded_operands():
    assert "bfloat16" in looks(rounded(X, "bfloat16") @ W, PRODUCT, BOUND) + looks(
        rounded(X, "bfloat16") @ rounded(W, "bfloat16"), PRODUCT, BOUND / 8
    )
    assert looks(rounded(X, np.float16) @ W, PRODUCT, BOUND) == "TF32 or float16"


def test_what_is_right_is_not_coarse():
    assert looks(PRODUCT + 0.3 * BOUND, PRODUCT, BOUND) == ""


def test_a_shift_of_everything_is_no_rounding():
    assert looks(PRODUCT + 1e-3, PRODUCT, BOUND) == ""
    assert looks(PRODUCT * 1.001, PRODUCT, BOUND) == ""


def test_a_smooth_function_of_the_value_is_no_rounding():
    x = RNG.uniform(-2, 2, 300)
    want = np.sinh(x)
    got = want + 4e-4 * np.sin(5 * x) * np.abs(want)
    noise = want + 4e-4 * RNG.choice([-1, 1], 300) * RNG.uniform(0, 1, 300) * np.abs(want)
    bound = 4 * U * np.abs(want)
    assert looks(got, want, bound) == "" and looks(noise, want, bound) == "TF32 or float16"


def test_a_rounded_cotangent_of_a_single_output():
    one = RNG.standard_normal(6)
    cotangents = np.array([1.2345678, -0.7654321, -0.2962964, 1, 0])
    want = cotangents[:, None] * one
    got = rounded(cotangents, "bfloat16")[:, None] * one
    bound = 16 * U * np.abs(want)
    assert looks(got, want, bound, stacked=True) != ""
    assert looks(got * 1.001, want, bound, stacked=True) == "", "ones need no rounding"


def test_nothing_but_zeros():
    assert looks(np.ones((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))) == ""
