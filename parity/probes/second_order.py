"""Second derivatives through the rule: reverse over reverse, and forward over reverse."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..case.arguments import is_float
from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, as_numpy
from ..verdict.comparison import Comparison, Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line

GRAD_OF_GRAD, FORWARD_OVER_REVERSE = "grad of grad", "forward over reverse"


def _bars(run: InJax, leaves: Sequence[Any], diff: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    fun = run.traced(leaves)

    def floats(*diff: Any) -> list[Any]:
        return [leaf for leaf in jax.tree.leaves(fun(*run.filled(leaves, diff))) if is_float(leaf)]

    return jax.vjp(floats, *diff)[1]([c[0] for c in cotangents])


def reverse_over_reverse(run: InJax) -> Callable[..., Leaves]:
    """`(leaves, cotangents, tangents) -> d <bar(x), t> / dx`: the Hessian of <cotangent 0, f> times t."""

    def second(leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
        def along(*diff: Any) -> Any:
            bars = _bars(run, leaves, diff, cotangents)
            return sum(
                jnp.vdot(t.astype(jnp.float32), b.astype(jnp.float32)) if t.dtype.itemsize < 4 else jnp.vdot(t, b)
                for t, b in zip(tangents, bars, strict=True)
            )

        diff = [leaves[i] for i in run.wrt]
        grads = jax.grad(along, tuple(range(len(diff))))(*diff)
        return {f"{name}_bar": grad for name, grad in zip(run.names, grads, strict=True)}

    return second


def forward_over_reverse(run: InJax) -> Callable[..., Leaves]:
    """The same product by pushing t forward through the reverse pass."""

    def second(leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
        diff = [leaves[i] for i in run.wrt]
        _, pushed = jax.jvp(lambda *diff: _bars(run, leaves, diff, cotangents), tuple(diff), tuple(tangents))
        return {f"{name}_bar": tangent for name, tangent in zip(run.names, pushed, strict=True)}

    return second


SECOND = {GRAD_OF_GRAD: reverse_over_reverse, FORWARD_OVER_REVERSE: forward_over_reverse}


def second_findings(evaluation: Evaluation) -> Iterator[Finding | Outcome]:
    """Both, against the float64 second derivative of what jax derives; a note where the rule does not define one."""
    case = evaluation.case
    rng = np.random.default_rng(case.seed)
    tangents = [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in case.arguments.diff]
    args = (*case.args, tangents)
    rule = _both(case.rule, args)
    try:
        want: Leaves | Exception = _in_double(reverse_over_reverse(case.plain), args)
    except Exception as error:
        want = error
    compared = None
    for name in SECOND:
        problem = rule[name] if isinstance(rule[name], Exception) else want
        if isinstance(problem, Exception):
            yield Finding("transformations", name, "note", f"not defined: {first_line(problem)}")
            continue
        others = {who: _both(run, args) for who, run in case.in_jax.items() if who != "rule"}
        implementations = {who: _given(leaves[name]) for who, leaves in ({"rule": rule} | others).items()}
        one = compared
        compared = _comparison(case, name, args, implementations, want)
        if one is not None:
            compared.bounds_from = lambda one=one: one.bounds
        yield compared.outcome


def _comparison(case: Case, name: str, args: Any, implementations: dict[str, Any], want: Any) -> Comparison:
    # Without a reference the rule's own arithmetic says what rounding may do: another form of the same maths, as jax
    # would derive it, may lose fewer digits.
    twin = case.rule if case.reference is None else case.reference
    return Comparison(
        f"{case.prefix}{name}",
        args,
        implementations,
        reverse_over_reverse(twin),
        lambda *_: want,
        case.dtype,
        dtypes={f"{n}_bar": leaf.dtype for n, leaf in zip(case.arguments.diff_names, case.arguments.diff, strict=True)},
        product_u=case.product_u,
        second_opinion=False,
        columns=case.columns,
    )


def _both(run: InJax, args: Any) -> dict[str, Leaves | Exception]:
    """The two second derivatives, compiled together; one after the other where one of them raises."""
    try:
        both = jax.jit(lambda *args: {name: second(run)(*args) for name, second in SECOND.items()})(*args)
        return {name: as_numpy(leaves) for name, leaves in both.items()}
    except Exception:
        found: dict[str, Leaves | Exception] = {}
        for name, second in SECOND.items():
            try:
                found[name] = as_numpy(jax.jit(second(run))(*args))
            except Exception as error:
                found[name] = error
        return found


def _in_double(second: Callable[..., Leaves], args: Any) -> Leaves:
    wide = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), args)
    with jax.enable_x64(True):
        return as_numpy(jax.jit(second)(*wide))


def _given(leaves: Leaves | Exception) -> Callable[..., Leaves]:
    """An implementation that gives what was computed, or raises what was raised."""

    def give(*_: Any) -> Leaves:
        if isinstance(leaves, Exception):
            raise leaves
        return leaves

    return give
