import numpy as np
import pytest

from pullback.parity.lesson.operators import operator_comparisons

RNG = np.random.default_rng(0)


def normal(*shape):
    return np.asarray(RNG.standard_normal(shape)).astype(np.float32)


INPUTS = {
    "lin": {"x": normal(6, 5), "w": normal(5, 4), "b": normal(4)},
    "relu": {"x": normal(6, 4)},
    "mse": {"output": normal(6, 1), "targ": normal(6)},
}


def checks():
    alone = operator_comparisons(INPUTS, lambda shape: normal(*shape), np.dtype(np.float32))
    return {comparison.name: comparison for comparison in alone}


@pytest.mark.parametrize("name", ["lin", "relu", "relu at 0", "mse"])
def test_every_op_agrees_in_six_implementations(name):
    rows = checks()[name].rows
    assert [row.leaf for row in rows] == ["y", *(f"{argument}_bar" for argument in arguments(name))]
    assert all(row.ok and len(row.deviations) == 6 for row in rows)


def arguments(name):
    return INPUTS[name.split()[0]]


def test_cotangents_are_random_and_not_one():
    for check in checks().values():
        cotangent = check.args[1]
        assert cotangent.dtype == np.float32 and not np.any(cotangent == 1)
        assert cotangent.size == 1 or cotangent.std() > 0.3


def test_relu_is_checked_at_both_zeros():
    ((x,), _) = checks()["relu at 0"].args
    assert not x.any() and np.signbit(x).any() and not np.signbit(x).all()


def test_too_many_and_missing_cotangents_are_said():
    leaves = checks()["relu"].naming
    y = np.ones(3, np.float32)
    assert list(leaves((y, y, y))) == ["y", "x_bar", "extra 0"]
    assert list(leaves((y, None))) == ["y"]
