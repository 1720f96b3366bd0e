"""Second derivatives through the rule: reverse over reverse, and forward over reverse."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..case.arguments import is_float
from ..case.in_jax import InJax
from ..case.leaves import Leaves, as_numpy, widened
from ..verdict.comparison import Comparison, Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line


def _bars(run: InJax, leaves: Sequence[Any], diff: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    fun = run.traced(leaves)

    def floats(*diff: Any) -> list[Any]:
        return [leaf for leaf in jax.tree.leaves(fun(*run.filled(leaves, diff))) if is_float(leaf)]

    return jax.vjp(floats, *diff)[1]([c[0] for c in cotangents])


def reverse_over_reverse(run: InJax, leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
    """d <bar(x), t> / dx: the Hessian of <cotangent 0, f> times t."""

    def along(*diff: Any) -> Any:
        bars = _bars(run, leaves, diff, cotangents)
        return sum(
            jnp.vdot(t.astype(jnp.float32), b.astype(jnp.float32)) if t.dtype.itemsize < 4 else jnp.vdot(t, b)
            for t, b in zip(tangents, bars, strict=True)
        )

    diff = [leaves[i] for i in run.wrt]
    grads = jax.grad(along, tuple(range(len(diff))))(*diff)
    return {f"{name}_bar": grad for name, grad in zip(run.names, grads, strict=True)}


def forward_over_reverse(run: InJax, leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
    """The same product by pushing t forward through the reverse pass."""
    diff = [leaves[i] for i in run.wrt]
    _, pushed = jax.jvp(lambda *diff: _bars(run, leaves, diff, cotangents), tuple(diff), tuple(tangents))
    return {f"{name}_bar": tangent for name, tangent in zip(run.names, pushed, strict=True)}


SECOND = {"grad of grad": reverse_over_reverse, "forward over reverse": forward_over_reverse}


def second_findings(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    """Both, against the float64 second derivative of what jax derives; a note where the rule does not define one."""
    case, diff = evaluation.case, evaluation.case.arguments.diff
    rng = np.random.default_rng(case.seed)
    tangents = [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in diff]
    args = (*case.args, tangents)
    got = {who: _both(run, args) for who, run in case.in_jax.items()}
    oracle = jax.jit(functools.partial(reverse_over_reverse, case.plain))
    with jax.enable_x64(True):
        want = _or_error(lambda: as_numpy(oracle(*widened(args))))
    # Without a reference the rule's own arithmetic says what rounding may do: another form of the same maths, as jax
    # would derive it, may lose fewer digits.
    twin = functools.partial(reverse_over_reverse, case.rule if case.reference is None else case.reference)
    compared = Comparison("", args, {}, twin, lambda *_: want, case.dtype, product_u=case.product_u)
    for name in SECOND:
        problem = next((x for x in (got["rule"][name], want) if isinstance(x, Exception)), None)
        if problem is not None:
            yield Finding("transformations", name, "note", f"not defined: {first_line(problem)}")
            continue
        yield replace(
            compared,
            name=f"{case.prefix}{name}",
            implementations={who: functools.partial(_given, both[name]) for who, both in got.items()},
            dtypes={f"{n}_bar": leaf.dtype for n, leaf in zip(case.arguments.diff_names, diff, strict=True)},
            second_opinion=False,
            columns=case.columns,
            bounds_from=lambda: compared.bounds,  # of both, from one walk
        ).outcome


def _both(run: InJax, args: Any) -> dict[str, Any]:
    """The two second derivatives, compiled together; one after the other, leaves or error, where one of them raises."""
    try:
        return jax.jit(lambda *args: {name: second(run, *args) for name, second in SECOND.items()})(*args)
    except Exception:
        jitted = {name: jax.jit(functools.partial(second, run)) for name, second in SECOND.items()}
        return {name: _or_error(second, *args) for name, second in jitted.items()}


def _or_error(run: Callable[..., Any], *args: Any) -> Any:
    try:
        return run(*args)
    except Exception as error:
        return error


def _given(leaves: Any, *_: Any) -> Leaves:
    if isinstance(leaves, Exception):
        raise leaves
    return leaves
