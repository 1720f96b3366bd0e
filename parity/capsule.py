"""A failing run in one file, to be re-run elsewhere.

The file is an .npz: the arrays, and one JSON text with all the rest. It holds no code and no pickles, but names of
functions, which a replay imports and calls: only those in modules that you allow (`case/saved_names.py`).
"""

import contextlib
import dataclasses
import io
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pullback.files import write_whole

from ._check import CHECKS, check
from .case.exits import refusing_exit
from .case.saved_file import TEXT, refuse_too_large
from .case.saved_names import NotAllowed, as_modules, find_allowed, refuse_never
from .case.saved_run import SCHEMA, SavedRun, read_run
from .case.saved_values import ARRAYS, CapsuleError, decode, encode, import_by_name, name_of, parts_of
from .probes.probe import Probe
from .report.report import Report
from .verdict.evaluation import Trusted

SLICE = 1_000_000  # bytes of arrays; of more, the first rows are kept if they fail alike


def save_capsule(
    path: str | os.PathLike[str],
    report: Report,
    rule: Callable[..., Any] | str,
    args: Sequence[Any],
    *,
    reference: Callable[..., Any] | str | None = None,
    torch: Callable[..., Any] | str | None = None,
    kwargs: dict[str, Any] | None = None,
    torch_kwargs: dict[str, Any] | None = None,
    static_argnums: Sequence[int] = (),
    nondiff: Sequence[str] = (),
    cotangents: Any = None,
    checks: Sequence[str | Probe] = CHECKS,
    dtypes: Sequence[str] | None = None,
    trusted: Trusted = None,
    arithmetic: str | None = None,
    allow_unjudged: bool = False,
    precision: str | None = None,
    seed: int = 0,
) -> None:
    """Write the run `report = check(rule, *args, ...)` to the file `path`, whole or not at all.

    Arguments as for `check`; a function also as the text `package.module:function`. Arrays of more than SLICE bytes are
    cut to the first rows (those that share the first one's leading axis), if the check fails with the same culprits.

    Raises CapsuleError for a function that cannot be imported by name (a lambda, one in another function or __main__)
    or that no replay runs (one of Python's own, `math.sin` say), for an argument that is no array, random key, number,
    text or function, nor a tuple, list or dict of them, for a probe of your own, and for arguments that are too large
    (268 million bytes of arrays, 4 million characters of the rest); OSError if the file cannot be written.
    """
    given = {"rule": rule, "reference": reference, "torch": torch}
    names = {role: name_of(role, function) for role, function in given.items() if function is not None}
    if own := [probe.name for probe in checks if isinstance(probe, Probe)]:
        raise CapsuleError(f"checks: a probe of your own ({own[0]}) cannot be saved: give names only")
    inputs = {"args": tuple(args), "kwargs": kwargs, "torch_kwargs": torch_kwargs, "cotangents": cotangents}
    listed = {"static_argnums": static_argnums, "checks": checks, "dtypes": dtypes}
    options: dict[str, Any] = {name: None if given is None else list(given) for name, given in listed.items()}
    options["nondiff"] = [nondiff] if isinstance(nondiff, str) else list(nondiff)
    options |= {"trusted": trusted, "arithmetic": arithmetic, "allow_unjudged": allow_unjudged}
    options |= {"precision": precision, "seed": seed}
    inputs, report = _first_rows(inputs, report, lambda cut: _run(_import_all(names), cut, options))
    arrays: dict[str, Any] = {}
    encoded = {name: encode(value, name, arrays) for name, value in inputs.items()}
    refuse_never(names.values())
    refuse_never(name for node in encoded.values() for kind, name in parts_of(node) if kind == "function")
    contents = {
        "schema": SCHEMA,
        "functions": names,
        "inputs": encoded,
        "options": options,
        "here": _here(),
        "failed": _failures(report),
    }
    buffer, text = io.BytesIO(), json.dumps(contents)
    refuse_too_large(text, list(arrays.values()))
    arrays[TEXT] = np.array(text)
    np.savez_compressed(buffer, **arrays)
    write_whole(Path(path), buffer.getvalue())


def replay(path: str | os.PathLike[str], allow: str | Sequence[str] = ()) -> Report:
    """Import the functions that the capsule at path names and check them again: same arguments, seed, precision, x64.

    allow: the modules whose functions may be imported and called, and packages with all that is in them: "my_ops".
    Importing a module runs its code. Functions of arrays in `pullback.functional`, `jax.numpy`, `jax.lax`, `jax.nn`,
    `jax.scipy`, `jax.random` and `torch.nn.functional` need no such word. Never called are Python's own modules, and
    the functions of jax, NumPy and torch that read or write files.

    The report's `about` says what failed then, and which versions and flags have changed.

    Raises CapsuleError for a file that is no capsule, a damaged or too large one, one of a newer schema, for functions
    that are not allowed (it lists them) and for one that cannot be imported here; ValueError for what `allow` cannot
    be; and what `check` raises.
    """
    run, modules = read_run(path), as_modules(allow)
    try:
        return replay_run(run, modules)
    except NotAllowed as error:
        listed = ", ".join(f"{role} {name}" for role, name in run.named.items())
        again = f"replay(path, allow={[*modules, *error.modules]})"
        raise CapsuleError(
            f"{path} names functions, which a replay imports and calls: {listed}. Not allowed so far: {error}. If you "
            f"trust them: {again}"
        ) from None


def replay_run(run: SavedRun, allow: Sequence[str]) -> Report:
    """As `replay`, of what `read_run` has read. Raises NotAllowed, before it imports anything."""
    path, options, then = run.path, run.options, run.here
    try:
        with refusing_exit():  # of a module that is imported
            functions = find_allowed(run.named.values(), allow)
    except NotAllowed:
        raise
    except ImportError as error:
        raise CapsuleError(f"{path} needs what is not here: {error}") from error
    except CapsuleError as error:
        raise CapsuleError(f"{path}: {error}") from error
    with contextlib.ExitStack() as settings:
        try:
            inputs = {name: decode(node, run.arrays, functions) for name, node in run.inputs.items()}
            settings.enter_context(jax.default_matmul_precision(then["matmul precision"]))
            settings.enter_context(jax.enable_x64(then["x64"]))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CapsuleError(f"{path} is a damaged capsule") from error
        roles = {role: functions[name] for role, name in run.functions.items()}
        report, now = _run(roles, inputs, options), _here()
    changed = "; ".join(f"{n} was {then.get(n)}, is {now.get(n)}" for n in then | now if then.get(n) != now.get(n))
    about = {"failed then": "; ".join(run.failed[:3]) or "nothing", "changed": changed or "nothing"}
    return dataclasses.replace(report, about=report.about | about)


def modules_to_allow(run: SavedRun) -> tuple[str, ...]:
    """The modules to allow for a replay of this run, which was made in this process: it imports its functions."""
    modules: tuple[str, ...] = ()
    while True:
        try:
            find_allowed(run.named.values(), modules)
            return modules
        except NotAllowed as error:
            modules += error.modules


def _import_all(names: dict[str, str]) -> dict[str, Any]:
    return {role: import_by_name(name) for role, name in names.items()}


def _run(functions: dict[str, Any], inputs: dict[str, Any], options: dict[str, Any]) -> Report:
    named = functions | inputs | options
    return check(named.pop("rule"), *named.pop("args"), **named)


def _first_rows(inputs: dict[str, Any], report: Report, run: Callable[[dict[str, Any]], Report]) -> tuple[Any, Report]:
    """The inputs cut to their first rows, and the report on those; the given ones if small, or if others fail then."""
    arrays = [leaf for leaf in jax.tree.leaves(inputs) if isinstance(leaf, ARRAYS)]
    total = sum(leaf.nbytes for leaf in arrays)
    if total <= SLICE or not arrays[0].shape:
        return inputs, report
    leading = arrays[0].shape[:1]

    def shares(leaf: Any) -> bool:
        return isinstance(leaf, ARRAYS) and leaf.shape[:1] == leading

    shared = sum(leaf.nbytes for leaf in arrays if shares(leaf))
    rows = max(1, leading[0] * (SLICE - (total - shared)) // max(1, shared))
    cut = jax.tree.map(lambda leaf: leaf[:rows] if shares(leaf) else leaf, inputs)
    try:
        again = run(cut)
    except Exception:
        return inputs, report  # the shorter arguments do not go together
    alike = (again.exit_code, again.culprits) == (report.exit_code, report.culprits)
    return (cut, again) if alike and not again.ok else (inputs, report)


def _here() -> dict[str, Any]:
    """Versions and flags that a result may depend on."""
    installed = filter(find_spec, ("jax", "jaxlib", "numpy", "torch", "pullback"))
    here = {"python": platform.python_version()} | {name: version(name) for name in installed}
    flags = {"matmul precision": "jax_default_matmul_precision", "x64": "jax_enable_x64"}
    here |= {name: getattr(jax.config, flag) for name, flag in flags.items()}
    return here | {name: text for name, text in os.environ.items() if name == "XLA_FLAGS" or name.startswith("JAX_")}


def _failures(report: Report) -> list[str]:
    """What failed, a line each."""
    wrong = [(row, who, d.problem) for row in report.rows for who, d in row.deviations.items() if d.problem]
    lines = [f"{row.check} {row.leaf}: {who} {row.diagnosis.get(who, problem)}" for row, who, problem in wrong]
    return lines + [f"{f.check} {f.about}: {f.text}" for f in report.findings if f.status == "FAIL"]
