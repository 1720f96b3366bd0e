"""A probe: one question that is asked of an evaluated rule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..verdict.comparison import Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding


@dataclass(frozen=True)
class Probe:
    """A name, and the function that asks.

    look: from the Evaluation to what it found: findings, and the `outcome` of any further Comparison.
    """

    name: str
    look: Callable[[Evaluation], Iterable[Finding | Outcome]]
