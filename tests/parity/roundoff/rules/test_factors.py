"""The formulas, held against what really comes of a matrix that is moved."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from pullback.parity.roundoff.rules.factors import FACTORS

RNG = np.random.default_rng(0)
N, MOVED = 5, 1e-6


def eqn(**params):
    return SimpleNamespace(params=params)


def lu(a):
    factors: Any = scipy.linalg.lu(a, p_indices=True)
    order, low, up = factors
    return [np.tril(low, -1) + up, np.arange(len(a)), np.argsort(order)]


def eigh(a):
    values, vectors = np.linalg.eigh(np.tril(a) + np.tril(a, -1).T)
    return [vectors * np.sign(vectors[0]), values]


def svd(a):
    u, values, vh = np.linalg.svd(a, full_matrices=False)
    sign = np.sign(u[0])
    return [values, u * sign, vh * sign[:, None]]


def qr(a):
    q, r = np.linalg.qr(a)
    sign = np.sign(np.diag(r))
    return [q * sign, r * sign[:, None]]


def solve(a, b):
    return [scipy.linalg.solve_triangular(np.tril(a), b, lower=True)]


TRIANGULAR = {"left_side": True, "lower": True, "transpose_a": False, "unit_diagonal": False}
GENERAL = RNG.standard_normal((N, N)) + 2 * np.eye(N)
POSITIVE = GENERAL @ GENERAL.T + np.eye(N)
CASES = {
    "triangular_solve": (solve, [GENERAL, RNG.standard_normal((N, 2))], TRIANGULAR),
    "cholesky": (lambda a: [np.linalg.cholesky(np.tril(a) + np.tril(a, -1).T)], [POSITIVE], {}),
    "lu": (lu, [GENERAL], {}),
    "qr": (qr, [GENERAL[:, :3]], {}),
    "eigh": (eigh, [POSITIVE], {"lower": True}),
    "svd": (svd, [GENERAL[:, :3]], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_factors_move_no_further(name):
    factors, inputs, params = CASES[name]
    outputs, sizes = factors(*inputs), [MOVED * np.abs(x) * RNG.uniform(0, 1, x.shape) for x in inputs]
    with np.errstate(all="ignore"):
        reach = FACTORS[name](eqn(**params), inputs, sizes, outputs)
    furthest = [np.zeros(np.shape(output)) for output in outputs]
    for _ in range(300):
        signs = [RNG.choice([-1, 1], x.shape) for x in inputs]
        moved = factors(*[x + s * size for x, s, size in zip(inputs, signs, sizes, strict=True)])
        gaps = [np.abs(m - output) for m, output in zip(moved, outputs, strict=True)]
        furthest = [np.maximum(far, gap) for far, gap in zip(furthest, gaps, strict=True)]
    for far, bound in zip(furthest, reach, strict=True):
        assert (far <= bound * (1 + 1e-6) + 1e-14).all()
        # Of 300 random signs, the worst comes within a factor of ten of the bound.
        assert np.linalg.norm(bound) <= 10 * np.linalg.norm(far) + 1e-14


@pytest.mark.parametrize("name", CASES)
def test_what_may_be_singular_has_no_bound(name):
    factors, inputs, params = CASES[name]
    with np.errstate(all="ignore"):
        reach = FACTORS[name](eqn(**params), inputs, [10 * np.abs(x) for x in inputs], factors(*inputs))
    with_bound = [np.isfinite(np.asarray(each, float)).all() for each in reach if np.asarray(each).dtype.kind == "f"]
    assert not all(with_bound)
