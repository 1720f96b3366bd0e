"""Functions and arguments that a command line names as `package.module:name`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .terminal import refuse


def make_importable() -> None:
    """Puts the current folder on the path, which the command starts without.

    It comes last: a file in it, `torch.py` say, hides no module of Python's and none that is installed.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def function_named(option: str, name: str) -> Callable[..., Any]:
    """The function; refuses, naming the option, what cannot be imported or called."""
    found = _named(option, name)
    if not callable(found):
        refuse(f"{option}: expected a function, but {name} is of type {type(found).__name__}")
    return found


def arguments_named(option: str, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments: a tuple or a list, or a pair of a tuple and a dict, or a function giving one.

    Refuses, naming the option, what cannot be imported or is something else.
    """
    given = value_named(option, name)
    match given:
        case list():
            return tuple(given), {}
        case (tuple(args), dict(kwargs)):
            return args, kwargs
        case tuple():
            return given, {}
    expected = "a tuple or list of arguments, or (a tuple of arguments, a dict of keyword arguments)"
    refuse(f"{option}: expected {expected}, but {name} gives {type(given).__name__}")


def value_named(option: str, name: str, made_by: Callable[[Any], bool] = callable) -> Any:
    """What is named, or where that is a function, what it returns without arguments.

    made_by: whether what is named is such a function. Refuses, naming the option, what cannot be imported or raises.
    """
    from pullback.parity.case.exits import exit_described
    from pullback.parity.case.progress import step

    given = _named(option, name)
    if made_by(given):
        step(f"{option}, {name}()")
        try:
            given = given()
        except Exception as error:
            refuse(f"{option}: {name}() raised {type(error).__name__}: {error}")
        except SystemExit as error:
            refuse(f"{option}: {name}() ended Python ({exit_described(error)})")
    return given


def pair_named(option: str, name: str) -> tuple[Any, Any]:
    """A pair: one thing for jax and one for torch, or a function of no arguments that makes both.

    Refuses, naming the option, what cannot be imported or is something else.
    """
    given = value_named(option, name)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        refuse(f"{option}: expected a pair, one for jax and one for torch, but {name} gives {type(given).__name__}")
    return given[0], given[1]


def _named(option: str, name: str) -> Any:
    from pullback.parity.case.progress import step
    from pullback.parity.case.saved_values import import_by_name

    step(f"{option}, importing {name}")
    try:
        return import_by_name(name)
    except ImportError as error:
        refuse(f"{option}: {error}{_hidden(name)}")


def _hidden(name: str) -> str:
    """Says that the current folder has a module of this name too, where another one was taken; "" else."""
    package = name.partition(":")[0].partition(".")[0]
    file = getattr(sys.modules.get(package), "__file__", None)
    here = [path for path in (Path(f"{package}.py"), Path(package)) if path.exists()]
    if not (package and here and file) or Path(file).resolve().is_relative_to(Path.cwd()):
        return ""
    return f" ({package} is {file}: what is installed comes before {here[0]} in the current folder; rename yours)"
