"""What a capsule says, each part of it checked to be what `save_capsule` writes, before anything is imported or run."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .saved_file import read_saved
from .saved_values import CapsuleError, parts_of

SCHEMA = 1
ROLES = ("rule", "reference", "torch")
INPUTS = ("args", "kwargs", "torch_kwargs", "cotangents")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


OPTIONS: dict[str, Callable[[Any], bool]] = {
    "static_argnums": lambda value: isinstance(value, list) and all(map(_is_whole, value)),
    "nondiff": _is_texts,
    "checks": _is_texts,
    "dtypes": lambda value: value is None or _is_texts(value),
    "trusted": _is_text_or_none,
    "arithmetic": _is_text_or_none,
    "allow_unjudged": lambda value: isinstance(value, bool),
    "precision": _is_text_or_none,
    "seed": _is_whole,
}
"""The options of `check` that a capsule keeps, and what each may be."""


@dataclass(frozen=True)
class SavedRun:
    """A failing run, as a file has it."""

    path: str
    functions: dict[str, str]
    """Role (rule, reference, torch) -> `package.module:name`."""
    inputs: dict[str, Any]
    """args, kwargs, torch_kwargs, cotangents: values as `encode` writes them."""
    options: dict[str, Any]
    here: dict[str, str | bool | None]
    """Versions and flags of where it was saved."""
    failed: list[str]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def named(self) -> dict[str, str]:
        """What each function is for -> its name; those among the arguments, too."""
        named = dict(self.functions)
        for each, node in self.inputs.items():
            names = dict.fromkeys(content for kind, content in parts_of(node) if kind == "function")
            named |= {f"in {each}" + (f" ({i})" if i else ""): name for i, name in enumerate(names)}
        return named


def read_run(path: str | os.PathLike[str]) -> SavedRun:
    """The run in the capsule at path. Imports nothing. Raises CapsuleError, naming the path."""
    text, arrays = read_saved(path)
    try:
        contents = json.loads(text)
        json.dumps(contents, ensure_ascii=False).encode()  # no half characters, which could not be shown
        schema = contents["schema"]
        if not _is_whole(schema) or schema < 1:
            raise ValueError("no schema")
        if schema > SCHEMA:
            raise CapsuleError(f"{path} has schema {schema}, newer than {SCHEMA}: update pullback to read it")
        parts = {part: contents[part] for part in ("functions", "inputs", "options", "here", "failed")}
        run = SavedRun(str(path), arrays=arrays, **parts)
        wrong = _what_is_wrong(run)
    except CapsuleError:
        raise
    except Exception as error:  # RecursionError and MemoryError too
        raise CapsuleError(f"{path} is a damaged capsule") from error
    if wrong is not None:
        raise CapsuleError(f"{path} is a damaged capsule: {wrong}")
    return run


def _what_is_wrong(run: SavedRun) -> str | None:
    """The end of a sentence, or None. Raises an error of any kind for what is no capsule at all."""
    functions, inputs, options = dict(run.functions), dict(run.inputs), dict(run.options)
    if "rule" not in functions:
        return "it names no rule"
    if not set(functions) <= set(ROLES) or not _is_texts(list(functions.values())):
        return "its functions are not those of a run"
    if "args" not in inputs or not set(inputs) <= set(INPUTS):
        return "its inputs are not those of a run"
    if inputs["args"].keys() != {"tuple"}:
        return "its arguments are no tuple"
    for name in ("kwargs", "torch_kwargs"):
        if name in inputs and inputs[name] != {"value": None} and inputs[name].keys() != {"dict"}:
            return f"its {name} are no dict"
    used = Counter(name for node in inputs.values() for kind, name in parts_of(node) if kind == "array")
    if used != Counter(run.arrays.keys()):
        return "its arrays are not those of its arguments"
    for name, value in options.items():
        if name not in OPTIONS or not OPTIONS[name](value):
            return f"its option {ascii(name)[:80]} cannot be as it is"
    flags = [value for value in dict(run.here).values() if not isinstance(value, (str, bool, type(None)))]
    if flags or not _is_texts(run.failed) or not isinstance(run.here["x64"], bool):
        return "what it says of the place where it was saved cannot be read"
    return None
