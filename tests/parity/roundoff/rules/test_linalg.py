"""Factorizations, and what is made of them: LAPACK's results and their derivatives lie inside."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import pytest

from pullback.parity.roundoff.bounded import Rounding, exact
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.rules.linalg import BACKWARD, backward
from pullback.parity.roundoff.sampling import spreads

RNG = np.random.default_rng(0)


def matrix(n, condition):
    q, p = (np.linalg.qr(RNG.standard_normal((n, n)))[0] for _ in range(2))
    return ((q * np.geomspace(1, 1 / condition, n)) @ p.T).astype(np.float32)


def symmetric(n, condition):
    q = np.linalg.qr(RNG.standard_normal((n, n)))[0]
    a = (q * np.geomspace(1, 1 / condition, n)) @ q.T
    return ((a + a.T) / 2).astype(np.float32)


def tall(n, condition):
    return matrix(n, condition)[:, : n // 2]


def gradient(fun, cotangent=jnp.ones_like):
    return lambda a: jax.vjp(fun, a)[1](jax.tree.map(cotangent, fun(a)))[0]


def numbered(x):
    return jnp.arange(1.0, x.size + 1, dtype=x.dtype).reshape(x.shape)


def cholesky(a):
    return jnp.linalg.cholesky(a, symmetrize_input=False)


def singular_values(a):
    return jnp.linalg.svd(a, compute_uv=False)


def log_determinant(a):
    return jnp.linalg.slogdet(a)[1]


FUNCTIONS = {
    "cholesky": (cholesky, symmetric),
    "gradient of cholesky": (gradient(cholesky, numbered), symmetric),
    "inverse": (jnp.linalg.inv, matrix),
    "gradient of the inverse": (gradient(jnp.linalg.inv, numbered), matrix),
    "log determinant": (log_determinant, matrix),
    "gradient of the log determinant": (gradient(log_determinant), matrix),
    "qr": (jnp.linalg.qr, matrix),
    "qr of a tall matrix": (jnp.linalg.qr, tall),
    "gradient of qr": (gradient(lambda a: jnp.linalg.qr(a)[1], numbered), matrix),
    "eigenvalues": (jnp.linalg.eigvalsh, symmetric),
    "eigenvectors": (jnp.linalg.eigh, symmetric),
    "gradient of eigenvectors": (gradient(jnp.linalg.eigh, numbered), symmetric),
    "singular values": (singular_values, matrix),
    "singular vectors": (lambda a: jnp.linalg.svd(a, full_matrices=False), matrix),
    "gradient of singular values": (gradient(singular_values, numbered), tall),
    "pseudo-inverse": (jnp.linalg.pinv, tall),
    "gradient of the pseudo-inverse": (gradient(jnp.linalg.pinv), tall),
    "triangular": (lambda a: jsl.solve_triangular(a, jnp.ones((len(a), 2), a.dtype), lower=True), matrix),
    "least squares": (lambda a: jnp.linalg.lstsq(a, jnp.ones(len(a), a.dtype))[0], tall),
    "exponential": (jsl.expm, matrix),
}


@pytest.mark.parametrize("condition", [2, 1e3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_lie_inside_and_bounds_are_sharp(name, condition):
    fun, make = FUNCTIONS[name]
    for n in (4, 9):
        a = make(n, condition)
        got = jax.tree.leaves(jax.jit(fun)(a))
        carried = rounding_bounds(fun, a, dtype=np.float32)
        assert carried.fallbacks == carried.opaque == ()
        closed = jax.make_jaxpr(fun)(a)
        with np.errstate(all="ignore"):
            sampled = spreads(Rounding(np.float32), closed, [exact(a)])
        values, errors = jax.tree.leaves(carried.values), jax.tree.leaves(carried.errors)
        for leaf, value, bound, spread in zip(got, values, errors, sampled, strict=True):
            off, largest = np.abs(np.asarray(leaf, np.float64) - value), np.abs(value).max()
            assert (off <= bound).all() and (off <= spread.error).all()
            assert np.median(np.minimum(bound, spread.error)) < 5e-5 * condition * largest


def test_vectors_have_the_signs_that_the_library_chooses():
    for seed in range(6):
        a = np.random.default_rng(seed).standard_normal((8, 8)).astype(np.float32)
        a = a + a.T
        for fun in (jnp.linalg.eigh, lambda a: jnp.linalg.svd(a, full_matrices=False)):
            got, want = jax.tree.leaves(jax.jit(fun)(a)), jax.tree.leaves(rounding_bounds(fun, a, dtype=np.float32))
            for leaf, value in zip(got, want, strict=False):
                np.testing.assert_allclose(leaf, value, atol=1e-3 * np.abs(value).max())


def test_equal_eigenvalues_have_no_bound_for_their_vectors():
    twice = np.diag([1, 1, 3]).astype(np.float32)
    vectors = rounding_bounds(lambda a: jnp.linalg.eigh(a * 1.1), twice, dtype=np.float32)
    values_off, vectors_off = vectors.errors
    assert np.isfinite(values_off).all() and np.isinf(vectors_off[:, :2]).any()


def test_another_pivot_has_no_bound():
    near = np.array([[1, 2], [1 - 2.0**-23, 3]], np.float32)
    factors = lambda a: jax.lax.linalg.lu(a * np.float32(1.1))  # noqa: E731
    got = rounding_bounds(factors, near, dtype=np.float32)
    assert np.isinf(got.errors[0]).all()
    clear = rounding_bounds(factors, np.array([[1, 2], [0.5, 3]], np.float32), dtype=np.float32)
    assert clear.errors[0].max() < 1e-5 and (clear.errors[1] == 0).all()


def test_complex_matrices_and_batches():
    z = (RNG.standard_normal((3, 4, 4)) + 1j * RNG.standard_normal((3, 4, 4))).astype(np.complex64)
    hermitian = z @ np.conj(z.swapaxes(-1, -2)) + 4 * np.eye(4, dtype=np.complex64)
    for fun, a in ((cholesky, hermitian), (jnp.linalg.eigvalsh, hermitian), (jnp.linalg.inv, z)):
        want = rounding_bounds(fun, a, dtype=np.float32, sampled=True)
        off = np.abs(np.asarray(jax.jit(fun)(a), want.values.dtype) - want.values)
        assert (off <= want.errors).all() and want.errors.max() < 1e-3 * np.abs(want.values).max()


def test_what_is_moved_is_in_proportion_to_what_is_rounded():
    a = symmetric(5, 10)
    for name, fun in (("cholesky", cholesky), ("eigh", jnp.linalg.eigh)):
        inner = jax.make_jaxpr(fun)(a)
        while not any(eqn.primitive.name == name for eqn in inner.eqns):
            (inner,) = [eqn.params["jaxpr"] for eqn in inner.eqns if "jaxpr" in eqn.params]
        (eqn,) = [eqn for eqn in inner.eqns if eqn.primitive.name == name]
        moves = [
            backward(Rounding(dtype, inside=False), eqn, [a.astype(np.float64)]) for dtype in (np.float64, np.float32)
        ]
        assert name in BACKWARD and moves[0] is not None and moves[1] is not None
        np.testing.assert_allclose(moves[0][0] * 2.0**29, moves[1][0])
    assert backward(Rounding(np.float32), jax.make_jaxpr(jnp.sin)(a).eqns[0], [a]) is None
