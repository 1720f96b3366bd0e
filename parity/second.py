"""Second derivatives through the rule: reverse over reverse, and forward over reverse."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .check import Check, Outcome, run_check
from .finding import Finding, first_line
from .result import Leaves, as_numpy
from .subject import is_float
from .trial import Trial


def _bars(flat: Callable[..., Any], diff: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    def floats(*diff: Any) -> list[Any]:
        return [leaf for leaf in jax.tree.leaves(flat(*diff)) if is_float(leaf)]

    return jax.vjp(floats, *diff)[1]([c[0] for c in cotangents])


def reverse_over_reverse(names: Sequence[str], flat: Callable[..., Any]) -> Callable[..., Leaves]:
    """d <bar(x), t> / dx: the Hessian of <cotangent, f> times t."""

    def run(diff: Any, cotangents: Any, tangents: Any) -> Leaves:
        def along(*diff: Any) -> Any:
            bars = _bars(flat, diff, cotangents)
            return sum(
                jnp.vdot(t.astype(jnp.float32), b.astype(jnp.float32)) if t.dtype.itemsize < 4 else jnp.vdot(t, b)
                for t, b in zip(tangents, bars, strict=True)
            )

        grads = jax.grad(along, tuple(range(len(diff))))(*diff)
        return {f"{name}_bar": grad for name, grad in zip(names, grads, strict=True)}

    return run


def forward_over_reverse(names: Sequence[str], flat: Callable[..., Any]) -> Callable[..., Leaves]:
    """The same product by pushing t forward through the reverse pass."""

    def run(diff: Any, cotangents: Any, tangents: Any) -> Leaves:
        _, pushed = jax.jvp(lambda *diff: _bars(flat, diff, cotangents), tuple(diff), tuple(tangents))
        return {f"{name}_bar": tangent for name, tangent in zip(names, pushed, strict=True)}

    return run


def second_derivatives(trial: Trial) -> tuple[list[Outcome], list[Finding]]:
    """Both, against the float64 second derivative of what jax derives; a note where the rule does not define one."""
    rng = np.random.default_rng(trial.seed)
    tangents = [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in trial.subject.diff]
    args = (*trial.args, tangents)
    names = trial.subject.names
    plain = reverse_over_reverse(names, trial.flat_plain)
    # Without a reference the rule's own arithmetic says what rounding may do: another form of the same maths, as jax
    # would derive it, may lose fewer digits.
    twin = plain if trial.reference is not None else reverse_over_reverse(names, trial.flat_rule)
    outcomes, findings = [], []
    for name, second in (("grad of grad", reverse_over_reverse), ("forward over reverse", forward_over_reverse)):
        try:
            jax.jit(second(names, trial.flat_rule))(*args)
            oracle = trial.in_double(plain, compiled=True)
            oracle(*args)
        except Exception as error:
            findings.append(Finding("transformations", name, "note", f"not defined: {first_line(error)}"))
            continue
        who = {"rule": second(names, trial.flat_rule)}
        if trial.reference is not None:
            who["reference"] = second(names, trial.subject.flat(trial.reference))
        dtypes = {f"{n}_bar": leaf.dtype for n, leaf in zip(names, trial.subject.diff, strict=True)}
        check = Check(name, args, who, {}, twin, oracle, as_numpy, dtypes, second_opinion=False)
        outcomes.append(run_check(check, trial.dtype, trial.product_u))
    return outcomes, findings
