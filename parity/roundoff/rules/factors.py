"""How far the factors of a matrix move when the matrix moves: perturbation theory, to first order and widened beyond.

Each takes the equation, its inputs, by how much each element of them may move, and the outputs; it gives by how much
each element of the outputs may. It is infinite where nothing is known: eigenvectors of equal eigenvalues, say.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bounded import Reals


def times(*matrices: Reals) -> Reals:
    """The product of their absolute values."""
    product = np.abs(matrices[0])
    for matrix in matrices[1:]:
        product = product @ np.abs(matrix)
    return product


def turned(matrix: Reals) -> Reals:
    return np.conj(np.swapaxes(matrix, -1, -2))


def _inverse(matrix: Reals) -> Reals:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


def _beyond_first_order(relative: Reals) -> Reals:
    """1 / (1 - r) for the norm r of a relative perturbation, infinite from 1 on."""
    norm = np.abs(relative).sum(-1).max(-1, initial=0)[..., None, None]
    return np.where(norm < 1, 1 / (1 - norm), np.inf)


def largest_singular(matrix: Reals) -> Reals:
    """Its size: the norm that singular values are measured in, bounded by Frobenius'."""
    return np.sqrt((np.abs(matrix) ** 2).sum((-1, -2), keepdims=True))


# Triangular systems: op(T) X = B, or X op(T) = B.


def triangle(eqn: Any, matrix: Reals) -> Reals:
    params = eqn.params
    triangle = np.tril(matrix) if params["lower"] else np.triu(matrix)
    if params["unit_diagonal"]:
        triangle = triangle - triangle * np.eye(matrix.shape[-1]) + np.eye(matrix.shape[-1])
    return triangle


def _solve(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """|dX| <= |T^-1| (|dT| |X| + |dB|) / (1 - |T^-1| |dT|)."""
    t, moved, x, b = triangle(eqn, inputs[0]), triangle(eqn, errors[0]), outputs[0], errors[1]
    if eqn.params["unit_diagonal"]:
        moved = moved * (1 - np.eye(moved.shape[-1]))
    if eqn.params["transpose_a"]:
        t, moved = np.swapaxes(t, -1, -2), np.swapaxes(moved, -1, -2)
    if not eqn.params["left_side"]:  # X T = B is T^T X^T = B^T
        t, moved, x, b = (np.swapaxes(each, -1, -2) for each in (t, moved, x, b))
    inverse = _inverse(t)
    reach = times(inverse, moved @ np.abs(x) + b) * _beyond_first_order(times(inverse, moved))
    return [reach if eqn.params["left_side"] else np.swapaxes(reach, -1, -2)]


# Factorizations.


def _cholesky(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """dL = L P(L^-1 dA L^-H), where P takes the lower triangle and half of the diagonal (Sun, BIT 31, 1991)."""
    low = outputs[0]
    moved = np.tril(errors[0]) + turned(np.tril(errors[0], -1))  # only that triangle is read
    inverse = _inverse(low)
    inner = times(inverse, moved, turned(inverse))
    half = np.tril(inner) * (1 - np.eye(low.shape[-1]) / 2)
    return [times(low, half) * _beyond_first_order(2 * inner)]


def _lu(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """dL = L low(L^-1 dA U^-1), dU = up(L^-1 dA U^-1) U. Where another pivot may be chosen there is no bound."""
    both, _, order = outputs
    n = both.shape[-1]
    low, up = np.tril(both, -1) + np.eye(n), np.triu(both)
    moved = np.take_along_axis(errors[0], order[..., None].astype(int), -2)
    inner = times(_inverse(low), moved, _inverse(up))
    widened = _beyond_first_order(inner)
    reach = (times(low, np.tril(inner, -1)) + times(np.triu(inner), up)) * widened
    pivots = (np.tril(np.abs(both), -1) + np.tril(reach, -1) >= 1).any((-1, -2)) & (errors[0] > 0).any((-1, -2))
    reach = np.where(pivots[..., None, None], np.inf, reach)
    doubt = np.where(pivots[..., None], n, 0)
    return [reach, np.broadcast_to(doubt, outputs[1].shape), np.broadcast_to(doubt, order.shape)]


def _qr(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """With C = Q^H dA R^-1: dR = (up(C) + low(C)^H) R and dQ = (dA R^-1 - Q C) + Q (low(C) - low(C)^H)."""
    q, r = outputs
    k = inputs[0].shape[-1]
    inverse = _inverse(r[..., :k, :])
    outside = times(errors[0], inverse)
    inner = times(turned(q[..., :k]), outside)
    below = np.tril(inner, -1)
    widened = _beyond_first_order(inner)
    r_reach = times(np.triu(inner) + turned(below), r[..., :k, :]) * widened
    q_reach = (outside + times(q[..., :k], inner + below + turned(below))) * widened
    if q.shape[-1] > k:  # the columns that complete Q are any orthonormal ones
        q_reach = np.concatenate([q_reach, np.full((*q.shape[:-1], q.shape[-1] - k), np.inf)], -1)
        r_reach = np.concatenate([r_reach, np.zeros((*r.shape[:-2], r.shape[-2] - k, k))], -2)
    return [q_reach, r_reach]


def _eigh(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """With C = V^H dA V: the eigenvalues move by C's diagonal, and dV = V (C / gaps)."""
    vectors, values = outputs
    part = np.tril if eqn.params.get("lower", True) else np.triu
    moved = part(errors[0]) + turned(part(errors[0]) * (1 - np.eye(values.shape[-1])))
    inner = times(turned(vectors), moved, vectors)
    inner = np.minimum(inner, largest_singular(moved))
    gaps = np.abs(values[..., :, None] - values[..., None, :]) - 2 * largest_singular(moved)
    reach = times(vectors, np.where(np.eye(values.shape[-1]) > 0, 0, inner / np.where(gaps > 0, gaps, 0)))
    return [np.where(reach < 1, reach, np.inf), np.diagonal(inner, 0, -2, -1)]


def _svd(eqn: Any, inputs: list[Reals], errors: list[Reals], outputs: list[Reals]) -> list[Reals]:
    """With C = U^H dA V: the singular values move by C's diagonal, and U and V by C over the gaps of their squares."""
    values = outputs[0]
    norm = largest_singular(errors[0])
    if len(outputs) == 1:
        return [np.broadcast_to(norm[..., 0], values.shape)]
    k, (u, vh) = values.shape[-1], outputs[1:]
    v, thin = turned(vh)[..., :k], u[..., :k]
    inner = np.minimum(times(turned(thin), errors[0], v), norm)
    squares = values**2
    gaps = np.abs(squares[..., :, None] - squares[..., None, :]) - 2 * norm * values.max(-1, initial=0)[..., None, None]
    gaps = np.where(np.eye(k) > 0, np.inf, np.where(gaps > 0, gaps, 0))
    row, column = values[..., None, :], values[..., :, None]
    u_turned = (inner * row + turned(inner) * column) / gaps
    v_turned = (inner * column + turned(inner) * row) / gaps
    smallest = np.where(values > norm[..., 0], values - norm[..., 0], 0)[..., None, :]
    u_outside = norm / smallest if u.shape[-2] > k else 0.0
    v_outside = norm / smallest if vh.shape[-1] > k else 0.0
    u_reach, v_reach = times(thin, u_turned) + u_outside, times(v, v_turned) + v_outside
    return [np.diagonal(inner, 0, -2, -1), _filled(u_reach, u), turned(_filled(v_reach, turned(vh)))]


def _filled(reach: Reals, vectors: Reals) -> Reals:
    """Infinite where vectors are any that complete an orthonormal basis, or no longer near the exact ones."""
    missing = vectors.shape[-1] - reach.shape[-1]
    reach = np.where(reach < 1, reach, np.inf)
    return np.concatenate([reach, np.full((*reach.shape[:-1], missing), np.inf)], -1) if missing else reach


FACTORS: dict[str, Callable[..., list[Reals]]] = {
    "triangular_solve": _solve,
    "cholesky": _cholesky,
    "lu": _lu,
    "qr": _qr,
    "eigh": _eigh,
    "svd": _svd,
}
