"""What is compiled only to be tried: one program for all of it, since compiling is most of what a check costs."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from ..roundoff.products import local_device

Part: TypeAlias = tuple[Callable[..., Any], Any]  # a function inside jax, and its arguments
Run: TypeAlias = Callable[[], Any]  # gives a part's result, or raises what it raises

QUICKLY = {"xla_backend_optimization_level": 0}
"""How XLA is to compile it on a CPU: half of the time, and nobody waits for its runs."""


def in_one_program(parts: dict[str, Part]) -> dict[str, Run]:
    """All parts in one compilation, whose arguments are donated; where that raises, one by one.

    A part that raises while it is traced raises when it is called, and nobody else does.
    """
    raised: dict[str, Exception] = {}

    def together(args: dict[str, Any]) -> dict[str, Any]:
        raised.clear()
        found = {}
        for name, (fun, _) in parts.items():
            try:
                found[name] = fun(*args[name])
            except Exception as error:
                raised[name] = error
        return found

    try:
        found = _donating(together, {name: args for name, (_, args) in parts.items()})
    except Exception:
        return {name: functools.partial(_donating, fun, *args) for name, (fun, args) in parts.items()}
    return {name: functools.partial(_given, raised.get(name), found.get(name)) for name in parts}


def _donating(fun: Callable[..., Any], *args: Any) -> Any:
    options = QUICKLY if local_device().platform == "cpu" else None
    run = jax.jit(fun, donate_argnums=tuple(range(len(args))), compiler_options=options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some donated buffers were not usable")
        return run(*jax.device_put(args))


def _given(error: Exception | None, result: Any) -> Any:
    if error is not None:
        raise error
    return result
