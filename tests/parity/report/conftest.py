"""Rows that are right and wrong, for the tests of reports."""

import numpy as np
import pytest

from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.rows import compare


@pytest.fixture
def outcome():
    """`outcome(rows, **changes)`: what a comparison with these rows comes to."""

    def make(rows, **changes):
        parts = {"gates": 10, "kinks": 3, "kink_at": ((1, 2),), "oracle_budget": 0.5, "fallbacks": ()}
        return Outcome(rows, **(parts | changes))

    return make


@pytest.fixture
def rows():
    """One leaf right, one wrong, and an implementation that raised."""
    want = {"w1": np.ones((2, 2)), "b1": np.ones(2)}
    bounds = {"w1": np.full((2, 2), 1e-6), "b1": np.full(2, 1e-6)}
    right = {name: leaf.astype(np.float32) for name, leaf in want.items()}
    wrong = right | {"w1": np.array([[1, 1], [1.5, 1]], np.float32)}
    got = {"by hand": right, "custom_vjp": wrong}
    return compare("net", got, want, bounds, dict.fromkeys(want, np.float32), {"torch": "RuntimeError: out of memory"})


@pytest.fixture
def passing():
    want, bounds = {"y": np.ones(2)}, {"y": np.full(2, 1e-6)}
    return compare("net", {"ours": {"y": np.ones(2, np.float32)}}, want, bounds, {"y": np.float32})
