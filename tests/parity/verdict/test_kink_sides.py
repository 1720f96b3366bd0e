import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.parity.case.case import take_up
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.kink_sides import conventions
from pullback.parity.verdict.oracle import choose_oracle

X = np.array([[0, 1, -2], [3, 3, 0.5]], np.float32)

# Where torch and jax differ: the elements of x_bar, the same for every cotangent.
CASES = {
    "abs at 0": (jnp.abs, torch.abs, [[1, 0, 0], [0, 0, 0]]),
    "a limit": (lambda x: jnp.clip(x, -2, 3), lambda x: torch.clamp(x, -2, 3), [[0, 0, 1], [1, 1, 0]]),
    "no tie": (lambda x: jnp.clip(x, -9, 9), lambda x: torch.clamp(x, -9, 9), None),
    "the same side": (lambda x: jnp.where(x > 0, x, 0), torch.relu, None),
    "a mistake": (lambda x: x * x, lambda x: 2 * x * x, None),
    "a mistake elsewhere": (jnp.abs, lambda x: x.abs() + (x > 2) * x, [[1, 0, 0], [0, 0, 0]]),
    "a guard": (
        lambda x: jnp.where(x > 0, jnp.log(x), 0),
        lambda x: torch.where(x > 0, torch.log(x.clamp(min=1e-30)), 7 * x),
        None,
    ),
}


TIES = np.array([[2, 1, 2, 2, 0.5], [3, 3, 3, 3, 3]], np.float32)


def one_of_them(x):
    """torch's maximum gives all of the cotangent to one of the equal numbers, and jax's an equal share to each."""
    return x.max(-1).values


def spread_wrong(x):
    return x.max(-1).values + 0.25 * x.sum(-1)


@pytest.mark.parametrize(
    ("fun", "in_torch", "excused"),
    [
        (lambda x: jnp.max(x, -1), one_of_them, [[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]]),
        (lambda x: jnp.sort(x, -1), lambda x: x.sort(-1, descending=True).values.flip(-1), [[1, 0, 1, 1, 0], [1] * 5]),
        (lambda x: jnp.max(x, -1) + 0.25 * x.sum(-1), spread_wrong, [[1, 0, 1, 1, 0], [1] * 5]),
    ],
)
def test_more_than_two_equal_numbers(fun, in_torch, excused):
    found = conventions(Evaluation(take_up(fun, (TIES,), torch=in_torch)))
    where = (found["x_bar"] > 0).any(0)
    assert where.any() and not np.any(where & ~np.asarray(excused, bool))
    evaluation = Evaluation(take_up(fun, (TIES,), torch=in_torch))
    choose_oracle(evaluation)
    assert all(row.ok for row in evaluation.values.rows)


def test_a_share_that_no_order_gives_is_no_convention():
    """Of equal numbers one may have all of the cotangent, or none; twice of it none may have."""
    evaluation = Evaluation(take_up(lambda x: jnp.max(x, -1), (TIES,), torch=lambda x: 2 * one_of_them(x)))
    found, theirs = conventions(evaluation)["x_bar"], evaluation.torch_in_double["x_bar"]
    doubled = np.abs(theirs[0]) > 0
    assert doubled.sum() == 2 and not np.any(found[:, doubled]) and np.any(found[:, ~doubled])


def test_a_formula_with_a_kink_of_a_smooth_function_has_one_right_derivative():
    """relu(x) - relu(-x) is x, and its gradient at 0 is 0 in jax where 1 is right. That is no convention."""

    def straight(x):
        return jax.nn.relu(x) - jax.nn.relu(-x)

    x = np.array([0, 1, 2], np.float32)
    evaluation = Evaluation(take_up(straight, (x,), torch=lambda x: 1 * x))
    assert conventions(evaluation) == {}
    report = parity.check(straight, x, torch=lambda x: 1 * x, checks=["values"])
    assert report.exit_code == 1, report


@pytest.mark.parametrize("name", CASES)
def test_who_takes_which_side(name):
    fun, in_torch, where = CASES[name]
    found = conventions(Evaluation(take_up(fun, (X,), torch=in_torch)))
    if where is None:
        assert found == {}
    else:
        assert set(found) == {"x_bar"}
        np.testing.assert_array_equal((found["x_bar"] > 0).any(0), np.asarray(where, bool))


def test_without_torch_or_with_one_that_raises_there_is_nothing_to_compare():
    def broken(x):
        raise RuntimeError("no")

    assert conventions(Evaluation(take_up(jnp.abs, (X,)))) == {}
    assert conventions(Evaluation(take_up(jnp.abs, (X,), torch=broken))) == {}


def test_a_random_key_is_no_number_to_be_parted():
    def noisy(x, key):
        return jnp.max(x, -1) + 0 * jax.random.normal(key, x.shape[:1])

    evaluation = Evaluation(take_up(noisy, (TIES, jax.random.key(0)), torch=lambda x, key: one_of_them(x)))
    assert np.any(conventions(evaluation)["x_bar"])
