"""Arguments and functions in a file: values as JSON and arrays, functions by the name under which they are imported."""

import importlib
import operator
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .exits import exit_described

ARRAYS: tuple[type, ...] = (jax.Array, np.ndarray, np.generic)


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
    if isinstance(value, ARRAYS) and not jnp.issubdtype(value.dtype, jax.dtypes.extended) and not value.dtype.hasobject:
        array, key = np.asarray(value), f"array{len(arrays)}"
        foreign = array.dtype.isbuiltin == 2  # NumPy's file format does not know bfloat16 and its like: their bits
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


def decode(node: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    ((kind, content),) = ((kind, content) for kind, content in node.items() if kind not in ("dtype", "impl"))
    if kind == "array":
        array = arrays[content]
        return (array.view(jnp.dtype(node["dtype"])) if node["dtype"] else array)[()]
    if kind == "random key":
        return jax.random.wrap_key_data(decode(content, arrays), impl=node["impl"])
    if kind == "value":
        return content
    if kind == "function":
        return import_by_name(content)
    if kind == "dict":
        return {key: decode(item, arrays) for key, item in content.items()}
    return {"tuple": tuple, "list": list}[kind](decode(item, arrays) for item in content)
