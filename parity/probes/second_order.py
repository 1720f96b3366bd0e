"""Second derivatives through the rule: reverse over reverse, and forward over reverse."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..case.arguments import is_float
from ..case.in_jax import InJax
from ..case.leaves import Leaves, widened
from ..roundoff.bounds import Bounds
from ..verdict.arithmetic import judge_rule
from ..verdict.comparison import Comparison, Outcome
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.maths import negligible
from ..verdict.rows import SECOND as NAMES
from .one_program import Part, Run, in_one_program
from .other_dtypes import only_judged


def _bars(run: InJax, leaves: Sequence[Any], diff: Sequence[Any], cotangents: Sequence[Any]) -> Any:
    fun = run.traced(leaves)

    def floats(*diff: Any) -> list[Any]:
        return [leaf for leaf in jax.tree.leaves(fun(*run.filled(leaves, diff))) if is_float(leaf)]

    return jax.vjp(floats, *diff)[1]([c[0] for c in cotangents])


def reverse_over_reverse(run: InJax, leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
    """d <bar(x), t> / dx: the Hessian of <cotangent 0, f> times t."""

    def along(*diff: Any) -> Any:
        bars = _bars(run, leaves, diff, cotangents)
        return sum(_product(t, b) for t, b in zip(tangents, bars, strict=True))

    diff = [leaves[i] for i in run.wrt]
    grads = jax.grad(along, tuple(range(len(diff))))(*diff)
    return {f"{name}_bar": grad for name, grad in zip(run.names, grads, strict=True)}


def _product(t: Any, bar: Any) -> Any:
    """The sum of t bar, in float32 at least; of complex numbers the real part."""
    wide = np.promote_types(t.dtype, np.float32)  # jax's own raises where promotion is strict
    return jnp.sum(t.astype(wide) * bar.astype(wide)).real


def forward_over_reverse(run: InJax, leaves: Any, cotangents: Any, tangents: Any) -> Leaves:
    """The same product by pushing t forward through the reverse pass."""
    diff = [leaves[i] for i in run.wrt]
    _, pushed = jax.jvp(lambda *diff: _bars(run, leaves, diff, cotangents), tuple(diff), tuple(tangents))
    return {f"{name}_bar": tangent for name, tangent in zip(run.names, pushed, strict=True)}


SECOND = dict(zip(NAMES, (reverse_over_reverse, forward_over_reverse), strict=True))


def second_parts(evaluation: Evaluation) -> dict[str, Part]:
    """What has to be compiled for it."""
    args = _args(evaluation)
    return {name: (functools.partial(second, evaluation.case.rule), args) for name, second in SECOND.items()}


def _args(evaluation: Evaluation) -> Any:
    rng = np.random.default_rng(evaluation.case.seed)
    diff = evaluation.case.arguments.diff
    return *evaluation.case.args, [np.asarray(rng.standard_normal(leaf.shape)).astype(leaf.dtype) for leaf in diff]


def second_findings(evaluation: Evaluation, runs: dict[str, Run] | None = None) -> Iterator[Finding | Outcome]:
    """Both, against the float64 second derivative of what jax derives; a note where the rule does not define one.

    runs: the compiled parts, and maybe others.
    """
    case, diff, args = evaluation.case, evaluation.case.arguments.diff, _args(evaluation)
    runs = in_one_program(second_parts(evaluation)) if runs is None else runs
    try:
        # Without a reference the rule's own arithmetic says what rounding may do: another form of the same maths, as
        # jax would derive it, may lose fewer digits.
        plain = functools.partial(reverse_over_reverse, case.plain)
        exact = evaluation.exactly("second", plain, args)
        twin = plain if case.reference is not None else functools.partial(reverse_over_reverse, case.rule)
        bounds = evaluation.exactly("second twin", twin, args, evaluation.allowed_dtype)
    except Exception as error:
        for name in SECOND:
            yield Finding("transformations", name, "note", f"not defined: {first_line(error)}")
        return
    for name in SECOND:
        try:
            got = runs[name]()
        except Exception as error:
            yield Finding("transformations", name, "note", f"not defined: {first_line(error)}")
            continue
        compared = Comparison(
            f"{case.prefix}{name}",
            args,
            {"rule": lambda *_, got=got: got},
            plain,
            lambda *_: exact.values,
            case.dtype,
            dtypes={f"{n}_bar": leaf.dtype for n, leaf in zip(case.arguments.diff_names, diff, strict=True)},
            second_opinion=False,
            columns=case.columns,
            bounds_from=lambda: bounds,
        )
        if compared.fails("rule"):
            _judge(evaluation, compared, args, exact)
        yield from only_judged(compared.outcome, "transformations", name)


def _judge(evaluation: Evaluation, compared: Comparison, args: Any, exact: Bounds) -> None:
    """By exact values whether the rule's second derivative is right, and by its own arithmetic what it may lose."""
    case, rule = evaluation.case, functools.partial(reverse_over_reverse, evaluation.case.rule)
    try:
        mine = evaluation.exactly("second rule", rule, args)
    except Exception:
        return
    room = negligible(case, evaluation.want)
    tangents = zip(case.arguments.diff_names, widened(args[2]), strict=True)
    sizes = [np.sum(np.abs(t)) * np.max(room[f"{name}_bar"], initial=0) for name, t in tangents]
    for argument, x in zip(case.arguments.diff_names, widened(case.arguments.diff), strict=True):
        name, largest = f"{argument}_bar", float(np.max(np.abs(x), initial=0))
        gap = np.abs(mine.values[name] - exact.values[name])
        nothing = sum(sizes) / largest if largest else 0.0  # as in `negligible`
        if np.all(gap <= mine.errors[name] + exact.errors[name] + nothing):
            compared.beside = compared.beside | {name: gap}
    compared.widen("rule", None)
    judge_rule(
        evaluation,
        compared,
        set(compared.beside),
        lambda inside: evaluation.exactly("second rule", rule, args, evaluation.allowed_dtype, inside).errors,
    )
