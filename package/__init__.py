"""Hand-written gradients in JAX that can be read, are proven right, and run fast."""

import importlib
from typing import TYPE_CHECKING

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
