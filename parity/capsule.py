"""A failing run in one file, to be re-run elsewhere.

The file is an .npz: the arrays, and one JSON text with all the rest. It holds no code and no pickles, but names of
functions, which a replay imports and calls: replay what you trust, as you would run it.
"""

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
from .case.saved_values import ARRAYS, CapsuleError, decode, encode, import_by_name, name_of
from .probes.probe import Probe
from .report.report import Report
from .verdict.evaluation import Trusted

SCHEMA = 1
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

    Raises CapsuleError for a function that cannot be imported by name (a lambda, one in another function or __main__),
    for an argument that is no array, random key, number, text or function, nor a tuple, list or dict of them, and for a
    probe of your own; OSError if the file cannot be written.
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
    contents = {
        "schema": SCHEMA,
        "functions": names,
        "inputs": {name: encode(value, name, arrays) for name, value in inputs.items()},
        "options": options,
        "here": _here(),
        "failed": _failures(report),
    }
    buffer = io.BytesIO()
    arrays["capsule"] = np.array(json.dumps(contents))
    np.savez_compressed(buffer, **arrays)
    write_whole(Path(path), buffer.getvalue())


def replay(path: str | os.PathLike[str]) -> Report:
    """Import the functions that the capsule at path names and check them again: same arguments, seed, precision, x64.

    The report's `about` says what failed then, and which versions and flags have changed.

    Raises CapsuleError for a file that is no capsule, a damaged one, one of a newer schema, and for a function that
    cannot be imported here; and what `check` raises.
    """
    contents, arrays = _read(path)
    try:
        _ = contents["functions"]["rule"]  # the others need not be there
        functions = _import_all(contents["functions"])
        inputs = {name: decode(node, arrays) for name, node in contents["inputs"].items()}
        options, then, failures = contents["options"], contents["here"], contents["failed"]
        precision, x64 = then["matmul precision"], then["x64"]
    except ImportError as error:
        raise CapsuleError(f"{path} needs what is not here: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CapsuleError(f"{path} is a damaged capsule") from error
    with jax.default_matmul_precision(precision), jax.enable_x64(x64):
        report, now = _run(functions, inputs, options), _here()
    changed = "; ".join(f"{n} was {then.get(n)}, is {now.get(n)}" for n in then | now if then.get(n) != now.get(n))
    about = {"failed then": "; ".join(failures[:3]) or "nothing", "changed": changed or "nothing"}
    return dataclasses.replace(report, about=report.about | about)


def _import_all(names: dict[str, str]) -> dict[str, Any]:
    return {role: import_by_name(name) for role, name in names.items()}


def _run(functions: dict[str, Any], inputs: dict[str, Any], options: dict[str, Any]) -> Report:
    named = functions | inputs | options
    return check(named.pop("rule"), *named.pop("args"), **named)


def _first_rows(inputs: dict[str, Any], report: Report, run: Callable[[dict[str, Any]], Report]) -> tuple[Any, Report]:
    """The inputs cut to their first rows, and the report on those; the given ones if small, or if others fail then."""
    arrays = [leaf for leaf in jax.tree.leaves(inputs) if isinstance(leaf, ARRAYS)]
    total, leading = sum(leaf.nbytes for leaf in arrays), arrays[0].shape[:1]  # a report is on at least one
    if total <= SLICE or not leading:
        return inputs, report

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


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The JSON part and the arrays. Raises CapsuleError."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        contents = json.loads(str(arrays.pop("capsule")))
        newer = contents["schema"] > SCHEMA
    except OSError as error:
        raise CapsuleError(f"cannot read the capsule {path}: {error.strerror or error}") from error
    except Exception as error:
        raise CapsuleError(f"{path} is no capsule, or a damaged one") from error
    if newer:
        raise CapsuleError(f"{path} has schema {contents['schema']}, newer than {SCHEMA}: update pullback to read it")
    return contents, arrays
