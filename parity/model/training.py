"""Training steps: the port's optimizer is given the original's parameters and gradients, and must change them alike."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..hints.optimizers import step_like
from ..layers.marks import Place
from ..roundoff.bounds import rounding_bounds
from ..verdict.deviation import deviation_of
from ..verdict.rows import APPROXIMATED
from ..weights.counterparts import Counterparts
from .model_report import Step

if TYPE_CHECKING:
    from ..layers.original import Trained


class Optimizers(NamedTuple):
    """The two that should do the same."""

    port: Any
    """An optax transformation: `init(params)` and `update(grads, state, params)`."""
    original: Any
    """A function of the parameters that makes a torch optimizer of them."""


def updates(both: Counterparts, trained: "Sequence[Trained]", optimizer: Any) -> tuple[list[Step], dict[Place, str]]:
    """How each step changes each parameter, in float64, and what those that differ look like.

    The optimizer's state is the port's own, of the gradients so far. The change is compared and not the parameter,
    which is a thousand times as large.
    """
    names = [name for name in both.sources if name not in both.port.frozen]
    steps: list[Step] = []
    hints: dict[Place, str] = {}
    past: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}
    with jax.enable_x64(True):
        state: Any = None
        for number, step in enumerate(trained):
            before, after = (_mapped(both, names, arrays, True) for arrays in (step.before, step.after))
            grads = _mapped(both, names, step.grads, False)
            known = {name: array for name, array in before.items() if name in grads}
            state = optimizer.init(known) if number == 0 else state
            found = rounding_bounds(optimizer.update, grads, state, known, dtype=np.float64)
            (changes, state), (errors, _) = found.values, found.errors
            for name in grads:
                want = after[name] - before[name]
                # The original's change is a difference of two parameters, each rounded.
                bound = (
                    2 * errors[name] + APPROXIMATED * np.max(np.abs(want), initial=0) + 2.0**-52 * np.abs(after[name])
                )
                deviation = deviation_of(changes[name], want, bound, np.dtype(np.float64))
                index = deviation.index if deviation.problem is None else deviation.budget_index
                path = both.owner(name) or ""
                place = Place(path, f"change of {name.removeprefix(f'{path}.')} in step {number + 1}", 0, number)
                steps.append(Step(place, "float64", deviation, index, float(changes[name][index]), float(want[index])))
                past[name].append((grads[name], before[name]))
                if deviation.problem is not None:
                    seen = [list(each) for each in zip(*past[name], strict=True)]
                    hints[place] = step_like(step.settings, seen[0], seen[1], np.asarray(changes[name]))
    return steps, hints


def _mapped(both: Counterparts, names: Sequence[str], arrays: Mapping[str, np.ndarray], summed: bool) -> dict[str, Any]:
    found = {name: both.sources[name](arrays, summed) for name in names}
    return {name: np.asarray(array, np.float64) for name, array in found.items() if array is not None}
