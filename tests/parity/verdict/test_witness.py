"""Torch in float64 as a witness; what choose_oracle makes of it is in test_oracle.py."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle
from pullback.parity.verdict.witness import (
    OWN_PRIMAL,
    differ_by_more,
    plain_name,
    same_but_for_approximation,
    same_but_for_constants,
    torch_rows,
)

X = np.array([0.3, -1.25, 2], np.float32)


def evaluation(fun, theirs, x: Any = X, reference=None):
    return Evaluation(take_up(fun, (x,), torch=theirs, reference=reference))


def wrong(rows):
    return {row.leaf for row in rows if not row.ok}


def test_rows_are_held_by_float64s_bounds_and_what_is_given_beside():
    it = evaluation(jnp.sin, lambda x: torch.sin(x) * (1 + 1e-7))
    assert wrong(torch_rows(it)) == {"y", "y (primal)", "x_bar"}
    room = {name: np.full(leaf.shape, 1e-5) for name, leaf in it.want.items()}
    assert wrong(torch_rows(it, room)) == set() and wrong(differ_by_more(it)) == set()
    assert wrong(differ_by_more(evaluation(jnp.sin, lambda x: torch.sin(x) * 1.0001))) == {"y", "y (primal)", "x_bar"}


def test_the_plain_functions_name():
    assert plain_name(evaluation(jnp.sin, torch.sin)) == OWN_PRIMAL
    assert plain_name(evaluation(jnp.sin, torch.sin, reference=jnp.sin)) == "reference"


def series(x):
    """exp(x), by as many terms as the dtype asks for."""
    terms = 8 if x.dtype == jnp.float32 else 30
    return sum(x**k / float(np.prod(np.arange(1.0, k + 1))) for k in range(1, terms)) + 1.0


def test_an_approximation_for_float32_is_told_from_a_mistake():
    x = np.array([0.3, -0.25, 0.2], np.float32)
    it = evaluation(series, torch.exp, x)
    excuse = same_but_for_approximation(it, torch_rows(it))
    assert excuse.startswith(f"torch and {OWN_PRIMAL} agree when it is traced in float64; in float32 it is an approx")
    mistaken = evaluation(lambda x: series(x) * 1.00001, torch.exp, x)
    assert same_but_for_approximation(mistaken, torch_rows(mistaken)) == ""
    # More than float32 rounds is no approximation for float32.
    coarse = evaluation(series, torch.exp, 4 * x)
    assert same_but_for_approximation(coarse, torch_rows(coarse)) == ""
    assert all(row.ok for row in choose_oracle(it).values.rows)


@pytest.mark.parametrize(("off", "right"), [(3e-8, True), (1e-6, False)])
def test_constants_of_float32(off, right):
    it = evaluation(lambda x: x / 6, lambda x: x * (1 + off) / 6)
    assert bool(same_but_for_constants(it, torch_rows(it))) == right


def test_float64_arguments_have_no_constants_of_float32():
    with jax.enable_x64(True):
        it = evaluation(lambda x: x / 6, lambda x: x * (1 + 3e-8) / 6, X.astype(np.float64))
        assert same_but_for_constants(it, torch_rows(it)) == ""
