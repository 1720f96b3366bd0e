"""The rule under jax's transformations: each must give what the plain call gives, bit for bit or within the bound."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..case.case import Case
from ..case.leaves import Leaves, as_numpy, same_bits
from ..roundoff.products import local_device
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.rows import apart
from .one_program import Part, Run, in_one_program

Transformed = Callable[[Any, Any], Leaves]  # `(leaves, cotangents) -> named leaves`, inside jax


def make_two_devices() -> None:
    """Two devices of one CPU, so that sharding can be tried; nothing where jax has counted its devices already."""
    with contextlib.suppress(RuntimeError):
        if jax.config.jax_num_cpu_devices < 2:  # pyright: ignore[reportAttributeAccessIssue]
            jax.config.update("jax_num_cpu_devices", 2)


def transformation_parts(evaluation: Evaluation) -> dict[str, Part]:
    """What has to be compiled for it."""
    slices = _Slices(evaluation)
    parts: dict[str, Part] = {name: (run, slices.args) for name, run in slices.transformed.items()}
    return parts | {"donated buffers": (evaluation.case.rule.run, evaluation.case.args)}


def transformation_findings(evaluation: Evaluation, runs: dict[str, Run] | None = None) -> Iterator[Finding]:
    """eager, twice, vmap, scan, checkpoint, donated buffers, sharded; and that the inputs are left alone.

    runs: the compiled parts, and maybe others.
    """
    case, bounds = evaluation.case, evaluation.values.allowed_to("rule")
    if (error := evaluation.values.raised.get("rule")) is not None:
        yield Finding("transformations", case.name, "FAIL", f"raised {first_line(error)} in a plain call already")
        return
    base = evaluation.values.got["rule"]
    before = [leaf.copy() for leaf in case.arguments.leaves]
    slices = _Slices(evaluation)
    runs = in_one_program(transformation_parts(evaluation)) if runs is None else runs
    variants: dict[str, Callable[[], Leaves]] = {
        "jit, a second time": lambda: case.rule(*case.args),
        "eager": lambda: case.rule.eager(*case.args),
        "donated buffers": runs["donated buffers"],
        "sharded": lambda: _sharded(case),
    }
    for name, variant in variants.items():
        yield _tried(name, lambda variant=variant, name=name: _against(name, base, as_numpy(variant()), bounds))
    for name in slices.transformed:
        yield _tried(name, lambda name=name: slices.judged(name, as_numpy(runs[name]())))
    same = all(same_bits(a, b) for a, b in zip(before, case.arguments.leaves, strict=True))
    text = "left as they were" if same else "changed by the call"
    yield Finding("transformations", "inputs", "pass" if same else "FAIL", text)


class _Skip(Exception):
    pass


def _tried(name: str, judge: Callable[[], Finding]) -> Finding:
    try:
        return judge()
    except _Skip as skip:
        return Finding("transformations", name, "skipped", str(skip))
    except Exception as error:
        return Finding("transformations", name, "FAIL", f"raised {first_line(error)}")


def _against(name: str, base: Leaves, got: Leaves, bounds: Leaves) -> Finding:
    difference = apart(base, got, bounds)
    if difference is None:
        return Finding("transformations", name, "pass", "bitwise equal")
    if name.startswith("jit") or difference.share > 1:
        return Finding("transformations", name, "FAIL", difference.text)
    text = f"within the bound ({difference.leaf}: {difference.share:.0%} of it)"
    return Finding("transformations", name, "pass", text)


class _Slices:
    """The rule at three sets of arguments at once, each with another cotangent: a rule may not mix them up.

    The arguments as they are; 7/8 of them; and their elements moved on by one place, so that other gates are on. The
    pullback is not vmapped over cotangents on top of that: a vmap inside could hide what the outer one does.
    """

    def __init__(self, evaluation: Evaluation):
        self.evaluation, self.rule = evaluation, evaluation.case.rule
        own = evaluation.case.arguments.leaves
        smaller = [np.asarray(leaf * leaf.dtype.type(0.875)) for leaf in own]
        moved = [np.roll(leaf.ravel(), 1).reshape(leaf.shape) for leaf in own]
        self._each = own, smaller, moved
        self.cotangents = [c[: len(self._each), None] for c in evaluation.case.cotangents]
        self.args = [np.stack(leaves) for leaves in zip(*self._each, strict=True)], self.cotangents
        checkpointed = functools.partial(self.rule.run_under, jax.checkpoint)
        self.transformed: dict[str, Transformed] = {
            "vmap": jax.vmap(self.rule.run_one_by_one),
            "scan": _scan(self.rule.run_one_by_one),
            "checkpoint": _scan(checkpointed),
        }

    def judged(self, name: str, got: Leaves) -> Finding:
        """Each slice against a plain call at its own arguments."""
        shares = []
        for i, leaves in enumerate(self._each):
            base = self.evaluation.values.got["rule"] if i == 0 else self._plain(i)
            slice_of = {leaf: stack[i] for leaf, stack in got.items()}
            expected = {leaf: x[i : i + 1] if leaf.endswith("_bar") else x for leaf, x in base.items()}
            if apart(expected, slice_of, {}) is None:
                continue
            bounds = self.evaluation.values.allowed_to("rule") if i == 0 else self._bounds(i, leaves)
            bounds = {leaf: x[i : i + 1] if leaf.endswith("_bar") and i == 0 else x for leaf, x in bounds.items()}
            finding = _against(name, expected, slice_of, bounds)
            if finding.status == "FAIL":
                return replace(finding, text=f"slice {i}: {finding.text}")
            shares.append(finding.text)
        return Finding("transformations", name, "pass", max(shares, default="bitwise equal"))

    @functools.cache  # noqa: B019
    def _plain(self, i: int) -> Leaves:
        return self.rule(self._each[i], self.evaluation.case.cotangents)

    def _bounds(self, i: int, leaves: Any) -> Leaves:
        """How far two runs of the rule may be apart there: its own arithmetic, as coarse as it makes it."""
        evaluation = self.evaluation
        run = evaluation.case.plain if evaluation.of_rule is None else self.rule
        args = leaves, [c[i] for c in self.cotangents]
        return evaluation.exactly(("slice", i), run.run_one_by_one, args, evaluation.allowed_dtype).errors


def _scan(one: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *stacked: jax.lax.scan(lambda carry, x: (carry, one(*x)), None, stacked)[1]


def _sharded(case: Case) -> Leaves:
    leaves = case.arguments.leaves
    devices = jax.local_devices(backend=local_device().platform)
    if len(devices) < 2:
        raise _Skip("one device only; JAX_NUM_CPU_DEVICES=2 makes two of a CPU")
    leading = {leaf.shape[0] for leaf in leaves if leaf.ndim and leaf.shape[0] % 2 == 0}
    if not leading:
        raise _Skip("no input has an even first axis to divide")
    # Auto: the compiler finds the rest of the sharding; on explicit axes the rule would have to name it.
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,), devices=devices[:2])
    divided, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("rows",), ()))
    rows = leaves[0].shape[:1] if {*leaves[0].shape[:1]} & leading else (max(leading),)
    placed = [jax.device_put(leaf, divided if leaf.shape[:1] == rows else everywhere) for leaf in leaves]
    return case.rule.compiled(placed, jax.device_put(case.cotangents, everywhere))
