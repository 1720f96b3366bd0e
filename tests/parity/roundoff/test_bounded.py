"""What all rules share. Each file of rules has its own tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.roundoff.bounded import Bounded, Rounding, error_of, exact, is_real, most_alike, unit_roundoff


@pytest.mark.parametrize(
    ("dtype", "u"), [(jnp.float16, 2**-11), (jnp.bfloat16, 2**-8), (jnp.float32, 2**-24), (jnp.float64, 2**-53)]
)
def test_unit_roundoff(dtype, u):
    assert unit_roundoff(dtype) == u


@pytest.mark.parametrize(
    ("dtype", "smallest"),
    [(jnp.float16, 2**-24), (jnp.bfloat16, 2**-126), (np.float32, 2**-126), (np.float64, 2**-1022)],
)
def test_underflow(dtype, smallest):
    assert Rounding(dtype).underflow == smallest


def test_exact_is_float64_without_error():
    x = exact(np.array([1.5, -2], jnp.bfloat16))
    assert x.value.dtype == np.float64 and x.error is None
    assert exact(np.array([True])).value.dtype == bool
    assert exact(3, np.int32).value.dtype == np.int32
    assert exact(np.array([1j], np.complex64)).value.dtype == np.complex128
    key = jax.random.key(0)
    assert exact(key).value is key


def test_is_real():
    assert all(map(is_real, (np.float32, jnp.bfloat16, np.complex64))) and not any(map(is_real, (np.int32, np.bool_)))


def test_error_of_an_exact_value_is_zero():
    np.testing.assert_array_equal(error_of(exact(np.ones(2))), [0.0, 0.0])
    assert error_of(exact(np.array([True]))).dtype == bool
    assert error_of(Bounded(np.ones((2, 3)), np.array(1.0))).shape == (2, 3)


def equation(fun, x):
    return jax.make_jaxpr(fun)(x).jaxpr.eqns[0]


def test_rounded():
    u = 2.0**-24
    add = equation(lambda x: x + x, np.float32(1))
    rounding = Rounding(np.float32)
    assert rounding.rounded(add, np.float64(3), None).error == pytest.approx(3 * u)
    assert rounding.rounded(add, np.float64(3), np.float64(1)).error == pytest.approx(1 + 4 * u)
    assert rounding.rounded(add, np.float64(3), None, 5).error == pytest.approx(3 * ((1 + u) ** 5 - 1))
    # The coarser of the dtype under test and the jaxpr's.
    half = equation(lambda x: x + x, jnp.bfloat16(1))
    assert rounding.rounded(half, np.float64(1), None).error == pytest.approx(2.0**-8)
    assert Rounding(jnp.bfloat16).rounded(add, np.float64(1), None).error == pytest.approx(2.0**-8)
    # Infinity is not rounded, and neither are NaN, an exact 0 and whole numbers.
    np.testing.assert_array_equal(rounding.rounded(add, np.array([np.inf, np.nan, 0, -np.inf]), None).error, 0)
    np.testing.assert_array_equal(rounding.rounded(add, np.array([np.inf, np.nan]), np.array([3.0, 4.0])).error, [3, 4])
    assert rounding.rounded(add, np.float64(0), np.float64(1e-3)).error == pytest.approx(1e-3)
    assert rounding.rounded(add, np.float64(1e-50), None).error == pytest.approx(2.0**-126)
    assert rounding.rounded(equation(lambda n: n + n, np.int32(1)), np.array(7), None).error is None


def test_gates_are_counted():
    rounding = Rounding(np.float32)
    rounding.gate(np.array([True, False, False]))
    rounding.gate(np.array(True))
    assert (rounding.gates, rounding.kinks) == (4, 2)


def test_the_commonest_number_is_counted():
    x = np.array([[1.0, 2, 1, 3, 1], [0, 0, 0, 5, 6], [4, -4, 4, -4, 9]])
    np.testing.assert_array_equal(most_alike(x, (1,)), [3, 1, 2])
    np.testing.assert_array_equal(most_alike(x.T, (0,)), [3, 1, 2])
    assert most_alike(x, (0, 1)) == 3
    np.testing.assert_array_equal(most_alike(np.stack([x, x]), (0, 2)), [6, 2, 4])
    np.testing.assert_array_equal(most_alike(np.ones((2, 0)), (1,)), [1, 1])
    np.testing.assert_array_equal(most_alike(np.array([[np.nan, np.nan]]), (1,)), [1])


def test_numbers_within_a_step_are_alike():
    x = np.array([[1.0, 1.01, 1.02, 5.0, 0.0, 0.001], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(most_alike(x, (1,), 0.1), [3, 1])
    np.testing.assert_array_equal(most_alike(x.T, (0,), np.array([0.1, 100.0])), [3, 6])  # a step for each row
    np.testing.assert_array_equal(most_alike(10 * x, (1,), np.array([0.0, 0.1])), [1, 1])
    np.testing.assert_array_equal(most_alike(x, (1,), np.array([np.nan, np.inf])), [1, 1])  # no step at all
    assert most_alike(np.array([1 + 1j, 1.001 + 1j, 1 + 2j]), (0,), 0.1) == 2


def test_a_dtype_inside_counts_if_it_is_coarser_and_asked_for():
    for inside, u in ((True, 2.0**-8), (False, 2.0**-24)):
        rounding = Rounding(np.float32, inside=inside)
        assert rounding.u_of(jnp.bfloat16) == u and rounding.u_of(np.float64) == 2.0**-24
        assert rounding.underflow_of(jnp.float16) == (2.0**-24 if inside else 2.0**-126)
    half = equation(lambda x: x + x, jnp.bfloat16(1))
    assert Rounding(np.float32, inside=False).rounded(half, np.float64(1), None).error == pytest.approx(2.0**-24)


def test_arguments_are_exact_but_for_subnormal_ones():
    leaf = np.array([1.5, -1e-40], np.float32)
    assert Rounding(np.float32).argument(leaf[:1]).error is None
    np.testing.assert_array_equal(Rounding(np.float32).argument(leaf).error, [0, np.abs(leaf[1]).astype(np.float64)])
    assert Rounding(np.float64).argument(leaf).error is None, "float64 has that number"
    assert Rounding(np.float16).argument(np.array([1e-7], np.float16)).error is None, "these are not flushed"
    for whole in (np.array([3]), np.array([True]), jax.random.key(0)):
        assert Rounding(np.float32).argument(whole).error is None


def test_roundings_that_are_asked_the_same_have_the_same_key():
    asked = [{}, {"inside": False}, {"constants": False}, {"ties": True}, {"product_u": 0.1}]
    keys = {Rounding(dtype, **more).key for more in asked for dtype in (np.float32, jnp.bfloat16) for _ in "ab"}
    assert len(keys) == 10


def test_values_alone_have_no_error():
    rounding = Rounding(np.float32, product_u=0.1)
    rounding.values_only = True
    add = equation(lambda x: x + x, np.float32(1))
    x = exact(np.ones(2))
    assert rounding.rounded(add, x.value, None).error is None
    assert rounding.factor(x, np.dtype(np.float32)).error is None
