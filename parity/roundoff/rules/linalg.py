"""Rounding rules: triangular systems, and the factorizations of a matrix.

Such an algorithm is backward stable: what it computes is exact for a matrix that is off by a few roundings (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002: chapters 8 to 10 and 19; for eigenvalues and singular
values LAPACK Users' Guide, 3rd ed. 1999, chapter 4). `backward` says by how much. How far that moves the results is
perturbation theory, to first order and widened beyond it: the condition of the matrix, or the gaps between its
eigenvalues, is in each bound. Samples (sampling.py) move the matrix itself: their factors still belong together.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bounded import Bounded, Reals, Rounding, Rule, error_of, is_real
from ..estimates import fallback, in_double, in_its_own
from .factors import FACTORS, largest_singular, times, triangle

STABLE = 4.0
"""Roundings of the matrix, times the root of its size, for which the results are exact. LAPACK's were measured."""
VECTORS = {"eigh": (0, None), "svd": (1, 2), "qr": (0, 1)}
"""Which outputs have columns, and which have rows, that may be turned by a factor of size 1 together."""


def _rule(name: str) -> Rule:
    factors = FACTORS[name]

    def rule(rounding: Rounding, eqn: Any, *inputs: Bounded) -> Any:
        if not _is_plain(name, eqn):
            return fallback(rounding, eqn, *inputs)
        arrays = [x.value for x in inputs]
        values = _turned_alike(eqn, arrays, in_double(eqn, *arrays))
        outputs = [Bounded(value, None) for value in values]
        if not rounding.values_only:
            moves = backward(rounding, eqn, arrays) or []
            errors = [error_of(x) + move for x, move in zip(inputs, moves, strict=True)]
            reaches = factors(eqn, arrays, errors, values)
            outputs = [_result(rounding, *each) for each in zip(eqn.outvars, values, reaches, strict=True)]
        return outputs if eqn.primitive.multiple_results else outputs[0]

    return rule


def _turned_alike(eqn: Any, arrays: list[Reals], values: list[Reals]) -> list[Reals]:
    """The factors in float64, with the signs that the library chooses in the equation's own dtype."""
    columns, rows = VECTORS.get(eqn.primitive.name, (None, None))
    if columns is None or len(values) <= columns or not all(np.isfinite(array).all() for array in arrays):
        return values
    own = in_its_own(eqn, *arrays)
    along = (np.conj(values[columns]) * own[columns]).sum(-2, keepdims=True)
    with np.errstate(all="ignore"):
        sign = np.where(np.abs(along) > 0, along / np.abs(along), 1)
    turned = [*values]
    turned[columns] = values[columns] * sign
    if rows is not None:
        k = min(values[rows].shape[-2], sign.shape[-1])
        sign = np.conj(np.swapaxes(sign, -1, -2))[..., :k, :]
        turned[rows] = np.concatenate([values[rows][..., :k, :] * sign, values[rows][..., k:, :]], -2)
    return turned


def _result(rounding: Rounding, var: Any, value: Reals, reach: Reals) -> Bounded:
    if not is_real(var.aval.dtype):
        return Bounded(value, reach if np.any(reach) else None)
    error = np.where(np.isnan(reach), np.inf, reach) + stored(rounding, var, value)
    return Bounded(value, np.where(np.isfinite(value), error, 0))


def stored(rounding: Rounding, var: Any, value: Reals) -> Reals:
    """What an output itself is rounded by."""
    return 2 * rounding.u_of(var.aval.dtype) * np.abs(value) if is_real(var.aval.dtype) else np.zeros(np.shape(value))


def backward(rounding: Rounding, eqn: Any, values: list[Reals]) -> list[Reals] | None:
    """By how much each element of each input may be moved: results are as good as exact ones for inputs so moved.

    None for what is no factorization, or one of a kind that is not dealt with here.
    """
    if eqn.primitive.name not in BACKWARD or not _is_plain(eqn.primitive.name, eqn):
        return None
    matrix = values[0]
    u = rounding.u_of(eqn.outvars[0].aval.dtype)
    with np.errstate(all="ignore"):
        sizes = BACKWARD[eqn.primitive.name](eqn, matrix)
    size = STABLE * np.sqrt(max(matrix.shape[-2:], default=1)) * u * sizes
    return [np.where(np.isfinite(size), size, 0), *[np.zeros(np.shape(other)) for other in values[1:]]]


def _is_plain(name: str, eqn: Any) -> bool:
    """Whether the formulas below are for this call."""
    rows, columns = eqn.invars[0].aval.shape[-2:]
    if name == "lu":
        return rows == columns
    if name == "qr":
        return rows >= columns and not eqn.params.get("pivoting", False) and len(eqn.outvars) == 2
    return name != "svd" or eqn.params.get("subset_by_index") is None


def _of_product(eqn: Any, matrix: Reals) -> Reals:
    """|L| |U|, in the order of the matrix's rows."""
    both, _, order = in_double(eqn, matrix)
    n = matrix.shape[-1]
    product = times(np.tril(both, -1) + np.eye(n), np.triu(both))
    return np.take_along_axis(product, np.argsort(order, -1)[..., None], -2)


def _of_diagonal(eqn: Any, matrix: Reals) -> Reals:
    """|L| |L^H| is at most the root of the product of two diagonal elements."""
    root = np.sqrt(np.abs(np.diagonal(matrix, 0, -2, -1)))
    return root[..., :, None] * root[..., None, :]


def _of_columns(eqn: Any, matrix: Reals) -> Reals:
    return np.broadcast_to(np.sqrt((np.abs(matrix) ** 2).sum(-2, keepdims=True)), matrix.shape)


def _of_norm(eqn: Any, matrix: Reals) -> Reals:
    """Spread over the elements, so that the whole has the norm of the matrix."""
    return np.broadcast_to(largest_singular(matrix) / np.sqrt(max(matrix.shape[-2:])), matrix.shape)


BACKWARD: dict[str, Callable[[Any, Reals], Reals]] = {
    "triangular_solve": lambda eqn, matrix: np.abs(triangle(eqn, matrix)),
    "cholesky": _of_diagonal,
    "lu": _of_product,
    "qr": _of_columns,
    "eigh": _of_norm,
    "svd": _of_norm,
}
RULES: dict[str, Rule] = {name: _rule(name) for name in FACTORS}
