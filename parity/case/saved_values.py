"""Arguments and functions in a file: values as JSON and arrays, functions by the name under which they are imported."""

import importlib
import operator
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .exits import exit_described

ARRAYS: tuple[type, ...] = (jax.Array, np.ndarray, np.generic)
_KINDS = "biufcSUmM"  # of dtypes that NumPy's file format keeps without a pickle; no records
_DEEPEST = 64  # trees of arguments within trees


class CapsuleError(ValueError):
    """A run that cannot be put in a capsule, or a capsule that cannot be re-run."""


def import_by_name(name: str) -> Any:
    """What `package.module:name` names. Raises ImportError, in one sentence, if there is no such thing."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ImportError(f"expected package.module:function, got {name!r}")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".removesuffix(": ")
        raise ImportError(f"cannot import {module}: {said}") from error
    except SystemExit as error:
        raise ImportError(f"cannot import {module}: it ends Python ({exit_described(error)})") from error
    try:
        return operator.attrgetter(path)(found)
    except AttributeError as error:
        raise ImportError(f"there is no {path} in {module}") from error


def name_of(role: str, function: Any) -> str:
    """`package.module:name`, under which `function` can be imported. Raises CapsuleError if there is no such name."""
    if isinstance(function, str):
        return function
    module = getattr(function, "__module__", None) or "builtins"
    qualname = getattr(function, "__qualname__", type(function).__name__)
    if module == "__main__":
        raise CapsuleError(f"{role} {qualname} is defined in __main__: move it to a module, which a replay can import")
    # `op = custom_vjp(_op)` carries the name of _op: only the thing itself will do.
    for name in (qualname, *(n for n, value in vars(sys.modules.get(module, object)).items() if value is function)):
        try:
            if import_by_name(f"{module}:{name}") is function:
                return f"{module}:{name}"
        except ImportError:
            pass
    raise CapsuleError(f"{role} {module}.{qualname} has no name to import it by: define it at the top of a module")


def encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A value as JSON, with its arrays put into `arrays`. Raises CapsuleError, naming the argument."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = encode(jax.random.key_data(value), name, arrays)
        return {"random key": data, "impl": str(jax.random.key_impl(value))}
    if isinstance(value, ARRAYS) and _can_be_kept(value.dtype):
        array, key = np.asarray(value), f"array{len(arrays)}"
        foreign = _is_foreign(array.dtype)  # NumPy's file format does not know bfloat16 and its like: their bits
        arrays[key] = array.view(f"u{array.itemsize}") if foreign else array
        return {"array": key, "dtype": array.dtype.name if foreign else None}
    if value is None or type(value) in (bool, int, float, str):
        return {"value": value}
    if type(value) in (tuple, list):
        return {type(value).__name__: [encode(item, f"{name}[{i}]", arrays) for i, item in enumerate(value)]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {key: encode(item, f"{name}[{key!r}]", arrays) for key, item in value.items()}}
    if callable(value):
        return {"function": name_of(name, value)}
    kinds = "arrays, random keys, numbers, text, functions, None, and tuples, lists and dicts of them"
    raise CapsuleError(f"{name} is a {type(value).__name__}: a capsule takes {kinds}")


def _is_foreign(dtype: np.dtype) -> bool:
    return dtype.isbuiltin == 2


def _can_be_kept(dtype: Any) -> bool:
    return not jnp.issubdtype(dtype, jax.dtypes.extended) and (_is_foreign(dtype) or dtype.kind in _KINDS)


def parts_of(node: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The names of the arrays and of the functions in a value that `encode` wrote: ("array", "array0"), ...

    Raises ValueError for what `encode` would not have written.
    """
    if not isinstance(node, dict) or depth > _DEEPEST:
        raise ValueError("no value of a capsule")
    match list(node.items()):
        case [("array", str(name)), ("dtype", None | str())]:
            yield "array", name
        case [("random key", content), ("impl", str())]:
            yield from parts_of(content, depth + 1)
        case [("function", str(name))]:
            yield "function", name
        case [("value", None | bool() | int() | float() | str())]:
            pass
        case [("tuple" | "list", list(items))]:
            for item in items:
                yield from parts_of(item, depth + 1)
        case [("dict", dict(items))]:
            for item in items.values():
                yield from parts_of(item, depth + 1)
        case _:
            raise ValueError("no value of a capsule")


def decode(node: dict[str, Any], arrays: Mapping[str, np.ndarray], functions: Mapping[str, Any]) -> Any:
    """The value that `encode` wrote as `node`. functions: those that `parts_of` names, by their names."""
    kind, content = next(iter(node.items()))
    if kind == "array":
        return _as_it_was(arrays[content], node["dtype"])
    if kind == "random key":
        return jax.random.wrap_key_data(decode(content, arrays, functions), impl=node["impl"])
    if kind == "value":
        return content
    if kind == "function":
        return functions[content]
    if kind == "dict":
        return {key: decode(item, arrays, functions) for key, item in content.items()}
    return {"tuple": tuple, "list": list}[kind](decode(item, arrays, functions) for item in content)


def _as_it_was(array: np.ndarray, foreign: str | None) -> Any:
    if foreign is not None:
        dtype = jnp.dtype(foreign)
        if not _is_foreign(dtype) or array.dtype != np.dtype(f"u{dtype.itemsize}"):
            raise ValueError(f"no bits of {foreign}")
        array = array.view(dtype)
    return array[()]
