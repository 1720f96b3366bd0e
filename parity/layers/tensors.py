"""What a torch module takes and returns: tensors, in tuples, lists, dicts and dataclasses."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from ..case.torch_arrays import torch


def mapped(tree: Any, each: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The tree with its tensors replaced; what is neither tensor, tuple, list, dict nor dataclass is let be."""
    if isinstance(tree, torch.Tensor):
        return each(tree)
    if isinstance(tree, dict):
        in_order = sorted(tree) if all(isinstance(name, str) for name in tree) else tree  # as jax orders them
        found = {name: mapped(tree[name], each) for name in in_order}
        ordered = {name: found[name] for name in tree}
        return ordered if type(tree) is dict else type(tree)(**ordered)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        copied = copy.copy(tree)
        for each_field in dataclasses.fields(tree):
            object.__setattr__(copied, each_field.name, mapped(getattr(tree, each_field.name), each))
        return copied
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[mapped(part, each) for part in tree])
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(part, each) for part in tree)
    return tree


def leaves(tree: Any) -> list[torch.Tensor]:
    """The tensors, in the order of `mapped`."""
    found: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        found.append(x)
        return x

    mapped(tree, note)
    return found
