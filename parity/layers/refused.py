"""Modules that cannot be run as the original."""

from typing import Any

from ..case.torch_arrays import torch


def refuse_what_cannot_be_run(module: Any) -> None:
    """Raises TypeError for what is no module with layers, ValueError for one without values."""
    if isinstance(module, type) and issubclass(module, torch.nn.Module):
        raise TypeError(f"original is the class {module.__name__}, and no model yet: make one, {module.__name__}(...)")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"original must be a torch.nn.Module; got {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("original is a ScriptModule, whose layers cannot be watched: give the module it was made from")
    for name, array in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(array):
            raise ValueError(f"{name} of the original is made at its first call: call it once, before the check")
        if array.is_meta:
            raise ValueError(f"{name} of the original is on the meta device and has no values: load them first")
