"""A rule that nobody can be compared with: neither a reference, nor torch, nor jax's derivative of its own forward."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..case.stripping import custom_rules
from .evaluation import Evaluation
from .rows import ALONE, Row
from .slopes import agrees, slope_of


def is_alone(evaluation: Evaluation) -> bool:
    """Whether the rule's cotangents are held against nothing but themselves.

    So it is where a custom rule could not be taken out of the rule's own primal, or jax cannot differentiate that.
    """
    case = evaluation.case
    if case.reference is not None or case.torch is not None:
        return False
    return bool(custom_rules(case.plain.traced(case.arguments.leaves).jaxpr))


def without_a_witness(evaluation: Evaluation, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows; a cotangent that is alone is not judged unless the measured slope of the forward stands by it."""
    alone = is_alone(evaluation)
    for row in rows:
        if alone and row.ok and row.leaf.endswith("_bar") and not _has_witness(evaluation, row.leaf):
            reason = f"{ALONE}, and the slope of its forward does not stand by it"
            row = replace(row, unjudged=math.prod(row.shape), reason=reason)
        yield row


def _has_witness(evaluation: Evaluation, leaf: str) -> bool:
    name = leaf.removesuffix("_bar")
    if evaluation.of_rule is None:
        return False
    try:
        slope = evaluation.slopes[name]
    except Exception:  # the forward cannot be run alone
        return False
    return slope.is_clear and agrees(slope_of(evaluation.of_rule.values, name, slope), slope)
