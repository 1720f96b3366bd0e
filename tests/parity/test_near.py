import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity import assert_near, assert_near_zero


@pytest.mark.parametrize(
    "a", [0, 9e-4, -9e-4, np.zeros((2, 3)), jnp.float32(1e-4), torch.tensor([1e-4, -1e-4]), np.ones((0, 3))]
)
def test_near_zero(a):
    assert_near_zero(a)


@pytest.mark.parametrize(
    ("a", "tol", "message"),
    [
        (0.001, 1e-3, r"not near zero: a is 0.001, and \|a\| must be below tol = 0.001"),
        (jnp.float32(-0.0058), 1e-3, r"not near zero: a is -0.0058, and"),
        (float("nan"), 1e9, r"not near zero: a is nan"),
        (-np.inf, 1e9, r"not near zero: a is -inf"),
        (
            np.asarray([[0, 0.2], [-0.3, 0.1]]),
            0.15,
            r"not near zero: 2 of 4 elements; at \[1, 0\] a is -0.3, and \|a\|",
        ),
        (torch.tensor([0.0, float("nan")], requires_grad=True), 1.0, r"1 of 2 elements; at \[1\] a is nan"),
    ],
)
def test_not_near_zero(a, tol, message):
    with pytest.raises(AssertionError, match=message):
        assert_near_zero(a, tol)


PAIRS = [
    (1.0, 1.0009),
    (np.float32(3), 3),
    (jnp.ones((2, 2)), np.ones((2, 2)) + 1e-4),
    (torch.ones(2, dtype=torch.bfloat16), jnp.ones(2, jnp.bfloat16)),
    (torch.ones(2, requires_grad=True) * 2, np.full(2, 2.0)),
    ([(1.0, np.ones(2))], [(1.0, jnp.ones(2))]),
    (np.inf, np.inf),
    (np.ones(0), np.ones(0)),
    ([(1.0, None)], [(1.0, None)]),
]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_near(a, b):
    assert_near(a, b)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (1.0, 1.1, r"not near: a is 1 and b 1.1, 0.1 apart; 0.00111 is allowed \(atol 1e-05 \+ rtol 0.001 of \|b\|\)"),
        (np.asarray([1.0, 2, 3]), np.asarray([1.0, 2.5, 3]), r"1 of 3 elements; at \[1\] a is 2 and b 2.5, 0.5 apart"),
        # The worst is the one furthest beyond what is allowed, not the largest difference.
        (np.asarray([1000.0, 1.0]), np.asarray([1000.9, 1.5]), r"1 of 2 elements; at \[1\] a is 1 and b 1.5"),
        (float("nan"), float("nan"), "not near: a is nan and b nan, nan apart"),
        (np.inf, -np.inf, "not near: a is inf and b -inf, inf apart"),
        (1.0, np.inf, "not near: a is 1 and b inf, inf apart"),
        ([(1.0, 2.0)], [(1.0, 3.0)], r"not near: a\[0\]\[1\] is 2 and b\[0\]\[1\] 3, 1 apart"),
        ([(1.0, 2.0)], [(1.0,)], "not alike: a is PyTreeDef"),
        (np.ones((3, 1)), np.ones(3), r"not alike: a has shape \(3, 1\), b \(3,\)"),
        (np.ones(2), [1.0, 1.0], "not alike: a is PyTreeDef"),
        (np.ones(3), 1.0, r"not alike: a has shape \(3,\), b \(\)"),
    ],
)
def test_not_near(a, b, message):
    with pytest.raises(AssertionError, match=message):
        assert_near(a, b)


def test_tolerances():
    assert_near(1.0, 1.1, atol=0.11, rtol=0.0)
    assert_near(100.0, 101.0, rtol=0.01)
    with pytest.raises(AssertionError, match=r"atol 0 \+ rtol 0.001"):
        assert_near(0.0, 1e-6, atol=0.0)


@pytest.mark.parametrize("a", ["x", np.asarray(["x"]), 1j, None, [(np.ones((2, 3)), np.ones(2))]])
def test_what_is_no_number(a):
    with pytest.raises(
        TypeError, match=r"a must be a real number or an array of them; got (str|ndarray|complex|NoneType|l)"
    ):
        assert_near_zero(a)


def test_what_is_no_number_in_a_tree():
    with pytest.raises(TypeError, match=r"b\[0\] must be a real number or an array of them; got str"):
        assert_near([1.0], ["x"])
