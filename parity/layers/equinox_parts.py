"""The parts of an equinox module: the modules in it, and what its batch norms keep beside it."""

from collections.abc import Iterator
from typing import Any

from .marks import STATISTICS


def batch_norms(equinox: Any, module: Any) -> Iterator[tuple[str, Any]]:
    """Each batch norm's path, and where in the state its mean and variance are."""
    for path, part in parts(equinox, module, ""):
        if isinstance(part, equinox.nn.BatchNorm):
            yield path, part.ema_state_index if part.mode == "ema" else part.batch_state_index


def statistics(equinox: Any, module: Any, state: Any) -> dict[str, Any]:
    """The running statistics that equinox keeps beside the module, by the names that torch has for them."""
    return {
        f"{path}.{name}".lstrip("."): array
        for path, index in batch_norms(equinox, module)
        for name, array in zip(STATISTICS, state.get(index), strict=True)
    }


def parts(equinox: Any, part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A module and those in its fields, lists and dicts, each with its path."""
    if isinstance(part, equinox.Module):
        yield path, part
        inside = vars(part).items()
    elif isinstance(part, (list, tuple)):
        inside = enumerate(part)
    elif isinstance(part, dict):
        inside = part.items()
    else:
        return
    for name, each in inside:
        yield from parts(equinox, each, f"{path}.{name}" if path else str(name))
