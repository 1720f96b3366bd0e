import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.kink_sides import conventions

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
