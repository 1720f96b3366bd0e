"""Hand-written gradients in JAX that can be read, are proven right, and run fast."""

import sys

# While `python -m pullback.parity` looks for that module, argv begins with -m. Python has put the current folder first
# on the path, and before anything else is imported it goes: a `json.py` or a `torch.py` there would run.
_started = sys.orig_argv[-len(sys.argv)].removeprefix("-m") if sys.argv[:1] == ["-m"] else ""
if _started.split(".")[0] == __name__ and not sys.flags.safe_path:
    del sys.path[0]
if _started == f"{__name__}.parity":  # which imports jax before it comes to the command
    from pullback.signals import listen

    listen()

import importlib  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from pullback import data as data
    from pullback import functional as functional
    from pullback import parallel as parallel
    from pullback import parity as parity

    __version__: str

__all__ = ["__version__", "data", "functional", "parallel", "parity"]


def __getattr__(name: str) -> object:
    """The version, or a package in this one, which is imported when it is asked for first."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pullback")
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
