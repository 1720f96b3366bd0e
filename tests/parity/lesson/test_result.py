import numpy as np

from pullback.parity import Result
from pullback.parity.lesson.result import result_leaves


def test_every_leaf_has_a_name():
    one = np.ones(1)
    leaves = result_leaves(Result(one, 2 * one, [(3 * one, 4 * one), (5 * one, 6 * one)], 7 * one))
    assert {name: float(leaf[0]) for name, leaf in leaves.items()} == {
        "output": 1, "loss": 2, "w1": 3, "b1": 4, "w2": 5, "b2": 6, "x_bar": 7,
    }  # fmt: skip
