"""The rule under jax's transformations: each must give what the plain call gives, bit for bit or within the bound."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .finding import Finding, first_line
from .precision import local_device
from .result import Leaves, as_numpy
from .trial import Trial


def make_two_devices() -> None:
    """Two devices of one CPU, so that sharding can be tried; nothing where jax has counted its devices already."""
    with contextlib.suppress(RuntimeError):
        if jax.config.jax_num_cpu_devices < 2:  # pyright: ignore[reportAttributeAccessIssue]
            jax.config.update("jax_num_cpu_devices", 2)


def transformation_findings(trial: Trial, bounds: Leaves) -> list[Finding]:
    """eager, twice, vmap, scan, checkpoint, donated buffers, sharded; and that the inputs are left alone."""
    run = trial.in_jax(trial.flat_rule)
    before = [leaf.copy() for leaf in trial.subject.diff]
    try:
        base = as_numpy(jax.jit(run)(*trial.args))
    except Exception as error:
        return [Finding("transformations", trial.name, "FAIL", f"raised {first_line(error)} in a plain call already")]
    variants: dict[str, Callable[[], Leaves]] = {
        "jit, a second time": lambda: jax.jit(run)(*trial.args),
        "eager": lambda: run(*jax.tree.map(jnp.asarray, trial.args)),
        "vmap": lambda: _mapped(trial, lambda one, stacked: jax.vmap(one)(stacked)),
        "scan": lambda: _mapped(trial, lambda one, stacked: jax.lax.scan(lambda c, s: (c, one(s)), None, stacked)[1]),
        "checkpoint": lambda: jax.jit(trial.in_jax(jax.checkpoint(trial.flat_rule)))(*trial.args),
        "donated buffers": lambda: _donated(run, trial),
        "sharded": lambda: _sharded(run, trial),
    }
    findings = []
    for name, variant in variants.items():
        try:
            findings.append(_against(name, base, as_numpy(variant()), bounds, exact=name.startswith("jit")))
        except _Skip as skip:
            findings.append(Finding("transformations", name, "skipped", str(skip)))
        except Exception as error:
            findings.append(Finding("transformations", name, "FAIL", f"raised {first_line(error)}"))
    same = all(np.array_equal(a, b) for a, b in zip(before, trial.subject.diff, strict=True))
    text = "left as they were" if same else "changed by the call"
    findings.append(Finding("transformations", "inputs", "pass" if same else "FAIL", text))
    return findings


class _Skip(Exception):
    pass


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Bitwise equal, but that one NaN is like another."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.all((a == b) | ((a != a) & (b != b))))


def _against(name: str, base: Leaves, got: Leaves, bounds: Leaves, exact: bool) -> Finding:
    worst, where = 0.0, ""
    for leaf, want in base.items():
        if leaf not in got or same_bits(got[leaf], want):
            continue
        if got[leaf].shape != want.shape or got[leaf].dtype != want.dtype:
            text = f"{leaf} is {got[leaf].dtype}{list(got[leaf].shape)}, not {want.dtype}{list(want.shape)}"
            return Finding("transformations", name, "FAIL", text)
        with np.errstate(all="ignore"):
            # Both are rounded, hence twice the bound.
            ratio = np.abs(got[leaf].astype(np.float64) - want.astype(np.float64)) / (2 * bounds[leaf])
        share = float(np.max(np.where(np.isnan(ratio), np.inf, ratio)))
        if share > worst or not where:
            worst, where = share, leaf
    if not where:
        return Finding("transformations", name, "pass", "bitwise equal")
    if exact or worst > 1:
        return Finding("transformations", name, "FAIL", f"{where} differs, {worst:.0%} of what rounding allows")
    return Finding("transformations", name, "pass", f"within the bound ({where}: {worst:.0%} of it)")


def _mapped(trial: Trial, over: Callable[..., Any]) -> Leaves:
    """The same inputs, a different cotangent in each slice: maps over the cotangents' axis."""
    count = len(trial.cotangents[0])
    stacked = [np.stack([leaf] * count) for leaf in trial.subject.diff], [c[:, None] for c in trial.cotangents]
    run = trial.in_jax(trial.flat_rule)
    leaves = jax.jit(lambda stacked: over(lambda one: run(*one), stacked))(stacked)
    return {name: leaf[:, 0] if name.endswith("_bar") else leaf[0] for name, leaf in leaves.items()}


def _donated(run: Callable[..., Leaves], trial: Trial) -> Leaves:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some donated buffers were not usable")
        return jax.jit(run, donate_argnums=(0, 1))(*jax.tree.map(jnp.array, trial.args))


def _sharded(run: Callable[..., Leaves], trial: Trial) -> Leaves:
    devices = jax.local_devices(backend=local_device().platform)
    if len(devices) < 2:
        raise _Skip("one device only; JAX_NUM_CPU_DEVICES=2 makes two of a CPU")
    leading = {leaf.shape[0] for leaf in trial.subject.diff if leaf.ndim and leaf.shape[0] % 2 == 0}
    if not leading:
        raise _Skip("no input has an even first axis to divide")
    # Auto: the compiler finds the rest of the sharding; on explicit axes the rule would have to name it.
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,), devices=devices[:2])
    rows = trial.subject.diff[0].shape[0] if trial.subject.diff[0].ndim else 0
    rows = rows if rows in leading else max(leading)

    def place(leaf: np.ndarray) -> jax.Array:
        divided = leaf.ndim > 0 and leaf.shape[0] == rows
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec("rows") if divided else PartitionSpec()))

    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(run)([place(leaf) for leaf in trial.subject.diff], jax.device_put(trial.cotangents, everywhere))
