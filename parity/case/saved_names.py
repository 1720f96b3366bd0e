"""Which of the functions that a capsule names may run. Before one is allowed to, its module is not even imported.

Without a word of the user: functions of arrays, in modules that hold nothing else. With it: what is in the modules that
the user names. Never: Python's own modules, and functions that read or write files, or load code.
"""

import functools
import re
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .saved_values import CapsuleError, import_by_name

OF_ARRAYS = (
    *("pullback.functional", "pullback.parity.lesson.in_jax", "pullback.parity.lesson.in_torch"),
    *("jax.numpy", "jax.lax", "jax.nn", "jax.scipy", "jax.random", "torch.nn.functional"),
)
"""Modules whose public functions run without being allowed, and so do NumPy's types of numbers (`numpy:float32`)."""

_LOAD_CODE = {"__main__", "cloudpickle", "dill", "joblib", "pip", "pkg_resources", "setuptools"}
_ARRAY_PACKAGES = {"jax", "jaxlib", "numpy", "scipy", "torch"}
_FILES = re.compile(
    r"(load|save|read|write|open|from_?file|from_?regex|genfromtxt|memmap|DataSource|import_|hub$)", re.I
)
_NAME = re.compile(r"([^\W\d]\w*\.)*[^\W\d]\w*:([^\W\d]\w*\.)*[^\W\d]\w*")


class NotAllowed(CapsuleError):
    """A capsule names functions that nobody has allowed. modules: those that would have to be allowed as well."""

    def __init__(self, message: str, modules: Sequence[str]):
        super().__init__(message)
        self.modules = tuple(modules)


def as_modules(allow: str | Iterable[str]) -> tuple[str, ...]:
    """The modules and packages that the user allows. Raises ValueError for one that never is."""
    modules = (allow,) if isinstance(allow, str) else tuple(allow)
    for module in modules:
        if not isinstance(module, str) or not _NAME.fullmatch(f"{module}:f"):
            raise ValueError(f"allow: expected the name of a module or a package, such as my_ops; got {module!r}")
        if why := _never(f"{module}:f"):
            raise ValueError(f"allow: {module} is never allowed, because {why}")
    return modules


def refuse_never(names: Iterable[str]) -> None:
    """Raises CapsuleError for a name that may not be in a capsule."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise CapsuleError(f"expected package.module:function, got {ascii(name[:80])}")
        if why := _never(name):
            raise CapsuleError(f"a capsule cannot name {name}, because {why}")


def find_allowed(names: Iterable[str], allow: Sequence[str]) -> dict[str, Any]:
    """The functions, by their names. Imports nothing before all names are allowed.

    Raises CapsuleError for what never is, NotAllowed, ImportError for what is not here.
    """
    names = list(dict.fromkeys(names))
    refuse_never(names)
    if missing := [name for name in names if not _is_allowed(name, allow)]:
        modules = list(dict.fromkeys(name.partition(":")[0] for name in missing))
        raise NotAllowed(", ".join(missing), modules)
    return {name: _find(name, allow) for name in names}


def _find(name: str, allow: Sequence[str]) -> Any:
    """The function. On the way to it, and where it was defined, no module may be that is not allowed."""
    module, _, path = name.partition(":")
    found = None
    for end in range(1, len(parts := path.split(".")) + 1):
        found = import_by_name(f"{module}:{'.'.join(parts[:end])}")
        if isinstance(found, ModuleType):
            _check_home(name, f"{found.__name__}:{parts[-1]}", allow)
        elif callable(found):
            _check_home(name, f"{_home(found)}:{getattr(found, '__name__', parts[-1])}", allow)
    if isinstance(found, ModuleType) or not callable(found):
        raise CapsuleError(f"a capsule cannot name {name}, because it is no function")
    return found


def _check_home(name: str, home: str, allow: Sequence[str]) -> None:
    """`my_rules:sin` may be something of another module: of its package, or of jax, torch, ..., it may be."""
    if why := _never(home):
        raise CapsuleError(f"a capsule cannot name {name}, because that is {home}: {why}")
    package = home.partition(":")[0].split(".")[0]
    known = _ARRAY_PACKAGES | {module.split(".")[0] for module in (name.partition(":")[0], *allow)}
    if package not in known and not _is_allowed(home, ()):
        raise NotAllowed(f"{name}, which is {home}", [package])


def _home(found: Any) -> str:
    """The module in which a function, a class or a callable object was defined."""
    while isinstance(found, functools.partial):
        found = found.func
    owner, module = getattr(found, "__self__", None), getattr(found, "__module__", None)
    if module is None and owner is not None:  # a method of something written in C
        module = getattr(owner, "__module__", None) or type(owner).__module__
    return module if isinstance(module, str) else type(found).__module__


def _is_allowed(name: str, allow: Sequence[str]) -> bool:
    module, _, path = name.partition(":")
    if any(_is_inside(module, each) for each in allow):
        return True
    if module == "numpy":
        return isinstance(found := getattr(np, path, None), type) and issubclass(found, np.generic)
    public = not any(part.startswith("_") for part in path.split("."))
    return public and any(_is_inside(module, each) for each in OF_ARRAYS)


def _is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _never(name: str) -> str | None:
    """Why the user cannot allow it, as the end of a sentence; None if it can be allowed."""
    module, _, path = name.partition(":")
    package, last = module.split(".")[0], path.split(".")[-1]
    if package in sys.stdlib_module_names:
        return f"{package} is a part of Python itself, and its functions are not functions of arrays"
    if package in _LOAD_CODE:
        return f"{package} runs code that it is given"
    if package == "pullback" and not any(_is_inside(module, each) for each in OF_ARRAYS):
        return "this part of pullback reads and writes files"
    if package in _ARRAY_PACKAGES and _FILES.match(last):
        return "it reads or writes files, or loads code"
    if any(part.startswith("__") for part in (*module.split("."), *path.split("."))):
        return "names with two underscores are Python's own"
    return None
