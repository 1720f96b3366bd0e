"""The variables of a flax linen module: those that are given, or new ones."""

import contextlib
from collections.abc import Mapping
from typing import Any

import jax


def variables_of(nn: Any, module: Any, given: Any, inputs: Any, kwargs: Any) -> dict[str, Any]:
    """Dicts of arrays, by the kind of variable (`params`, ...).

    nn: flax.linen. given: None for new ones. Raises ValueError for parameters that stand there without their kind.
    """
    variables = _initialized(nn, module, inputs, kwargs) if given is None else given
    tree = {name: plain(part) for name, part in dict(variables).items()}
    if tree and not {"params", "batch_stats"}.intersection(tree):
        raise ValueError(
            f'the variables of the port have no "params", but {", ".join(tree)}: give {{"params": params}}'
        )
    return tree


def _initialized(nn: Any, module: Any, inputs: Any, kwargs: Any) -> Any:
    """The variables that linen makes; where a layer raises, those of the layers before it."""

    def until_it_raises(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path:
            return call(*args, **kwargs)
        with contextlib.suppress(Exception):  # the trace meets it again, and says so
            return call(*args, **kwargs)

    with contextlib.suppress(Exception):
        return module.init(jax.random.key(0), *inputs, **kwargs)
    with nn.intercept_methods(until_it_raises):
        return module.init(jax.random.key(0), *inputs, **kwargs)


def plain(tree: Any) -> Any:
    """Dicts and arrays, of what flax may have wrapped them in."""
    if isinstance(tree, Mapping):
        return {name: plain(part) for name, part in tree.items()}
    return getattr(tree, "value", tree)
