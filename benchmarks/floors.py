"""Errors planted in the cotangents of a right rule, and whether its bounds tell them.

Each is planted in the leaves that the rule gave, in place of a rule that is traced and compiled anew. What moves an
element by more than two bounds lies above the floor that the report states, and must be caught.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.rows import compare

ONES = 3
"""Which of the drawn cotangents is all ones (case/cotangents.py)."""


class Found(NamedTuple):
    """What came of one planted error."""

    kind: str
    leaf: str
    above: bool  # it moves an element by more than two bounds
    caught: bool


def _element(leaf: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    """With the element of middling size changed, of the first cotangent."""
    spoiled = leaf.copy()
    first = spoiled[0].reshape(-1)
    at = np.argsort(np.abs(first))[len(first) // 2]
    first[at] = change(first[at])
    spoiled[0] = first.reshape(spoiled[0].shape)
    return spoiled


def _noise(leaf: np.ndarray) -> np.ndarray:
    largest = np.max(np.abs(leaf), initial=0, where=np.isfinite(leaf))
    return leaf + 1e-4 * largest * np.random.default_rng(0).choice([-1.0, 1.0], leaf.shape)


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "times 1.001": lambda leaf: leaf * 1.001,
    "times 1.00001": lambda leaf: leaf * 1.00001,
    "an element dropped": lambda leaf: _element(leaf, lambda x: 0.0),
    "a sign flipped": lambda leaf: _element(leaf, lambda x: -x),
    "noise of 1e-4": _noise,
    "through bfloat16": lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float64),
    "cotangent ignored": lambda leaf: np.broadcast_to(leaf[ONES], leaf.shape),
}


def planted(evaluation: Evaluation) -> Iterator[Found]:
    """One for each kind of error in each cotangent leaf that is judged, and is not wrong already."""
    values, column = evaluation.values, evaluation.case.columns.get("rule", "rule")
    leaves, want, allowed = values.got["rule"], values.want, values.allowed_to("rule")
    sound = {row.leaf for row in values.rows if row.deviations[column].problem is None and not row.unjudged}
    for name in leaves:
        leaf = leaves[name]
        if not name.endswith("_bar") or name not in sound or leaf.dtype.kind == "c" or not leaf.size:
            continue
        bounds, dtypes = {name: allowed[name]}, {name: leaf.dtype}
        double = leaf.astype(np.float64)
        for kind, spoil in KINDS.items():
            with np.errstate(all="ignore"):
                spoiled = spoil(double).astype(leaf.dtype)
                moved = np.abs(spoiled.astype(np.float64) - double)
            if not np.any(moved > 0):
                continue  # it changes nothing: a leaf of zeros has no sign
            rows = compare("planted", {"rule": {name: spoiled}}, {name: want[name]}, bounds, dtypes)
            yield Found(kind, name, bool(np.any(moved > 2 * allowed[name])), not rows[0].ok)
