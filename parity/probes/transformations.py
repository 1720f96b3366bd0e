"""The rule under jax's transformations: each must give what the plain call gives, bit for bit or within the bound."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ..case.case import Case
from ..case.in_jax import InJax
from ..case.leaves import Leaves, as_numpy
from ..roundoff.products import local_device
from ..verdict.evaluation import Evaluation
from ..verdict.finding import Finding, first_line
from ..verdict.rows import apart

Transformed = Callable[[Any, Any], Leaves]  # `(leaves, cotangents) -> named leaves`, inside jax


def make_two_devices() -> None:
    """Two devices of one CPU, so that sharding can be tried; nothing where jax has counted its devices already."""
    with contextlib.suppress(RuntimeError):
        if jax.config.jax_num_cpu_devices < 2:  # pyright: ignore[reportAttributeAccessIssue]
            jax.config.update("jax_num_cpu_devices", 2)


def transformation_findings(evaluation: Evaluation) -> Iterator[Finding]:
    """eager, twice, vmap, scan, checkpoint, donated buffers, sharded; and that the inputs are left alone."""
    case, bounds = evaluation.case, evaluation.values.allowed_to("rule")
    if (error := evaluation.values.raised.get("rule")) is not None:
        yield Finding("transformations", case.name, "FAIL", f"raised {first_line(error)} in a plain call already")
        return
    base = evaluation.values.got["rule"]
    before = [leaf.copy() for leaf in case.arguments.leaves]
    checkpointed = functools.partial(case.rule.run_under, jax.checkpoint)
    inside = {"vmap": _mapped(case.rule, jax.vmap), "scan": _mapped(case.rule, _scan), "checkpoint": checkpointed}
    variants: dict[str, Callable[[], Leaves]] = {
        "jit, a second time": lambda: case.rule(*case.args),
        "eager": lambda: case.rule.eager(*case.args),
        **_compiled_together(inside, case.args),
        "donated buffers": lambda: _donated(case),
        "sharded": lambda: _sharded(case),
    }
    for name, variant in variants.items():
        try:
            yield _against(name, base, as_numpy(variant()), bounds, exact=name.startswith("jit"))
        except _Skip as skip:
            yield Finding("transformations", name, "skipped", str(skip))
        except Exception as error:
            yield Finding("transformations", name, "FAIL", f"raised {first_line(error)}")
    same = all(np.array_equal(a, b) for a, b in zip(before, case.arguments.leaves, strict=True))
    text = "left as they were" if same else "changed by the call"
    yield Finding("transformations", "inputs", "pass" if same else "FAIL", text)


class _Skip(Exception):
    pass


def _against(name: str, base: Leaves, got: Leaves, bounds: Leaves, exact: bool) -> Finding:
    difference = apart(base, got, bounds)
    if difference is None:
        return Finding("transformations", name, "pass", "bitwise equal")
    if exact or difference.share > 1:
        return Finding("transformations", name, "FAIL", difference.text)
    text = f"within the bound ({difference.leaf}: {difference.share:.0%} of it)"
    return Finding("transformations", name, "pass", text)


def _compiled_together(transformed: dict[str, Transformed], args: Any) -> dict[str, Callable[[], Leaves]]:
    """All of them in one compilation; where that raises, one by one, so that it is known which."""
    try:
        found = jax.jit(lambda *args: {name: run(*args) for name, run in transformed.items()})(*args)
    except Exception:
        return {name: functools.partial(jax.jit(run), *args) for name, run in transformed.items()}
    return {name: lambda leaves=found[name]: leaves for name in transformed}


def _mapped(run: InJax, over: Callable[..., Any]) -> Transformed:
    """The same inputs, a different cotangent in each slice: maps over the cotangents' axis."""

    def mapped(leaves: Sequence[Any], cotangents: Sequence[Any]) -> Leaves:
        count = len(cotangents[0])
        stacked = [jnp.stack([leaf] * count) for leaf in leaves], [c[:, None] for c in cotangents]
        found = over(lambda one: run.run(*one))(stacked)
        return {name: leaf[:, 0] if name.endswith("_bar") else leaf[0] for name, leaf in found.items()}

    return mapped


def _scan(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda stacked: jax.lax.scan(lambda carry, x: (carry, one(x)), None, stacked)[1]


def _donated(case: Case) -> Leaves:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some donated buffers were not usable")
        return jax.jit(case.rule.run, donate_argnums=(0, 1))(*jax.tree.map(jnp.array, case.args))


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
