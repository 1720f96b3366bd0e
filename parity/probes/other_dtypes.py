"""The same values with every argument in another dtype."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from ..case.leaves import widened
from ..verdict.comparison import Comparison, Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line


def dtype_findings(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    """The comparison in each dtype; a note where the arguments do not fit in it, or nobody runs in it."""
    for dtype in evaluation.dtypes:
        with np.errstate(over="ignore"):
            other = evaluation.cast(jnp.dtype(dtype))
        arguments = other.case.arguments
        named = zip(arguments.names, widened(arguments.leaves), strict=True)
        far = [name for name, leaf in named if not np.isfinite(leaf).all()]
        if far:
            yield Finding("dtypes", dtype, "skipped", f"{far[0]} does not fit in it")
            continue
        try:
            with other.case.x64:
                outcome = other.values.outcome
        except Exception as error:
            yield Finding("dtypes", dtype, "note", f"does not run in it: {first_line(error)}")
            continue
        problems = [deviation.problem or "" for row in outcome.rows for deviation in row.deviations.values()]
        if all(problem.startswith("raised") for problem in problems):
            yield Finding("dtypes", dtype, "skipped", f"nobody runs in it: rule {problems[0]}")
            continue
        yield outcome
        yield from unjudged(other.values)


def unjudged(values: Comparison) -> Iterator[Finding]:
    """Elements that nothing can be said of are counted, not hidden."""
    for name, bound in values.allowed.items():
        if count := int(np.count_nonzero(np.isinf(bound))):
            text = f"{count} of {bound.size} elements are not judged: beyond its range, or a quotient by what may be 0"
            yield Finding("values", f"{np.dtype(values.dtype).name} {name}", "note", text)
