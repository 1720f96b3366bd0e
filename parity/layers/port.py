"""The port: whatever framework it is written in, a function of named parameters and inputs, with its layers marked."""

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from .calls import Calls
from .equinox_parts import batch_norms, parts, statistics
from .marks import LOSS, STATISTICS, mark
from .trees import flattened, nested
from .variables import plain, variables_of

PATH = "_path_in_the_port"
"""An attribute of the modules of an nnx port while it runs."""


@dataclass(frozen=True)
class Port:
    """A model in jax, taken apart."""

    framework: str
    params: dict[str, Any]
    """`block1.fc1.kernel` -> its values: parameters, and what is state (running statistics)."""
    frozen: frozenset[str]
    """Which of them are state, and get no gradient."""
    run: Callable[..., Any]
    """`run(params, calls, *inputs) -> outputs`: marks the layers, and notes their calls."""
    given: bool
    """Whether the user gave the values beside the model, and means them."""

    def with_loss(self, loss: Callable[..., Any]) -> "Port":
        """The same with a loss of the model's output as its last layer, and as its only output."""

        def run(params: Any, calls: Calls, *inputs: Any) -> Any:
            return calls.marked(loss, LOSS, loss, (self.run(params, calls, *inputs),), {})

        return replace(self, run=run)


def take_apart(port: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Port:
    """The port of any kind that is understood. Raises TypeError for what is none of them, or has no values."""
    taken = _taken_apart(port, inputs, kwargs)
    for name, value in taken.params.items():
        if isinstance(value, jax.ShapeDtypeStruct):
            raise TypeError(f"{name} of the port is a shape without values: make the port, or give it zeros")
    return taken


def _taken_apart(port: Any, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Port:
    nn, nnx = _loaded("flax.linen"), _loaded("flax.nnx")
    equinox = _loaded("equinox")
    is_pair = isinstance(port, tuple) and len(port) == 2
    module, values = port if is_pair else (port, None)
    if isinstance(module, type):
        raise TypeError(f"port is the class {module.__name__}, and no model yet: make one, {module.__name__}(...)")
    if nn is not None and isinstance(module, nn.Module):
        return _linen(nn, module, values, inputs, kwargs)
    if nnx is not None and isinstance(module, nnx.Module):
        return _nnx(nnx, module, kwargs)
    if equinox is not None and isinstance(module, equinox.Module):
        if values is None or isinstance(values, equinox.nn.State):
            return _equinox(equinox, module, values, kwargs)
    if is_pair and callable(module):
        return _function(module, values, kwargs)
    known = (
        "a flax module, an equinox module, (flax module, its variables), (equinox module, its state) "
        "or (function, its parameters)"
    )
    missing = [name for name in ("flax", "equinox") if importlib.util.find_spec(name) is None]
    install = f". Not installed here: {' and '.join(missing)} (pip install {' '.join(missing)})" if missing else ""
    raise TypeError(f"port must be {known}; got {_described(port)}{install}")


def _described(port: Any) -> str:
    if isinstance(port, tuple):
        return f"a tuple of {', '.join(type(each).__name__ for each in port)}"
    is_torch = type(port).__module__.startswith("torch") or hasattr(port, "state_dict")
    return type(port).__name__ + (" (the original comes second)" if is_torch else "")


def _loaded(name: str) -> Any:
    """The module, where somebody has imported it: else there is none of its models."""
    return sys.modules.get(name)


def _linen(nn: Any, module: Any, variables: Any, inputs: Any, kwargs: Any) -> Port:
    given = variables is not None
    if module.scope is not None:
        module, bound = module.unbind()
        variables, given = (bound, True) if variables is None else (variables, True)
    tree = variables_of(nn, module, variables, inputs, kwargs)
    params = flattened(tree.get("params", {}))
    state = {name: part for name, part in tree.items() if name != "params"}
    frozen = flattened(state)

    def run(values: dict[str, Any], calls: Calls, *args: Any) -> Any:
        def interceptor(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            return calls.marked(context.module, ".".join(context.module.path), call, args, kwargs)

        rebuilt = {"params": nested({name: values[name] for name in params})}
        for name, part in nested({f"{kind}.{name}": values[name] for name, kind in kinds.items()}).items():
            rebuilt[name] = part
        with nn.intercept_methods(interceptor):
            y, updated = module.apply(rebuilt, *args, mutable=list(state), **kwargs)
        _mark_statistics(calls, flattened(plain(updated.get("batch_stats", {}))))
        return y

    kinds = {name.partition(".")[2]: name.partition(".")[0] for name in frozen}
    values = {**params, **{name.partition(".")[2]: leaf for name, leaf in frozen.items()}}
    return Port("flax linen", values, frozenset(kinds), run, given)


def _nnx(nnx: Any, module: Any, kwargs: Any) -> Port:
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    named = [(".".join(map(str, path)), leaf) for path, leaf in nnx.to_flat_state(params)]
    other = [(".".join(map(str, path)), leaf) for path, leaf in nnx.to_flat_state(rest)]
    arrays = {name: leaf.get_value() for name, leaf in [*named, *other]}
    values = {name: leaf for name, leaf in arrays.items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}

    def run(values: dict[str, Any], calls: Calls, *args: Any) -> Any:
        def filled(state: Any, pairs: Any) -> Any:
            replaced = [(path, leaf.replace(values.get(name, leaf.get_value()))) for (path, leaf), (name, _) in
                        zip(nnx.to_flat_state(state), pairs, strict=True)]  # fmt: skip
            return nnx.from_flat_state(replaced)

        rebuilt = nnx.merge(graph, filled(params, named), filled(rest, other))
        parts = list(nnx.iter_modules(rebuilt))
        for path, part in parts:  # nnx's transformations (scan, remat) run copies, which keep what an attribute says
            if "__call__" in _names(type(part)):
                setattr(part, PATH, ".".join(map(str, path)))
        with _calls_marked(lambda part: getattr(part, PATH, None), [part for _, part in parts], calls):
            y = rebuilt(*args, **kwargs)
        updated = nnx.to_flat_state(nnx.state(rebuilt, nnx.BatchStat))
        _mark_statistics(calls, {".".join(map(str, path)): leaf.get_value() for path, leaf in updated})
        return y

    frozen = frozenset(name for name, _ in other if name in values)
    return Port("flax nnx", values, frozen, run, False)


def _equinox(equinox: Any, module: Any, state: Any, kwargs: Any) -> Port:
    arrays, static = equinox.partition(module, equinox.is_inexact_array)
    leaves, tree = jax.tree_util.tree_flatten_with_path(arrays)
    params = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    names = list(params)  # jax sorts a dict
    kept = {} if state is None else statistics(equinox, module, state)

    def run(values: dict[str, Any], calls: Calls, *args: Any) -> Any:
        rebuilt = equinox.combine(jax.tree.unflatten(tree, [values[name] for name in names]), static)
        found = dict(parts(equinox, rebuilt, ""))
        paths = {id(part): path for path, part in found.items()}
        given = jax.tree.map(lambda x: x, state)  # equinox lets a state be set once
        for path, index in batch_norms(equinox, module):
            if given is not None:
                given = given.set(index, tuple(values[f"{path}.{name}".lstrip(".")] for name in STATISTICS))
        with _calls_marked(lambda part: paths.get(id(part)), list(found.values()), calls):
            if given is None:
                return rebuilt(*args, **kwargs)
            y, updated = rebuilt(*args, given, **kwargs)
        _mark_statistics(calls, statistics(equinox, module, updated))
        return y

    return Port("equinox", {**params, **kept}, frozenset(kept), run, False)


def _function(fun: Callable[..., Any], params: Any, kwargs: Any) -> Port:
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    values = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    names = list(values)  # jax sorts a dict

    def run(values: dict[str, Any], calls: Calls, *args: Any) -> Any:
        rebuilt = jax.tree.unflatten(tree, [values[name] for name in names])
        return calls.marked(fun, "", functools.partial(fun, rebuilt, **kwargs), args, {})

    return Port("function", values, frozenset(), run, True)


@contextlib.contextmanager
def _calls_marked(path_of: Callable[[Any], str | None], parts: list[Any], calls: Calls) -> Iterator[None]:
    """While this is open, the `__call__` of each part's class marks its arrays; a part that is not known is let be."""
    own = {type(part): type(part).__call__ for part in parts if "__call__" in _names(type(part))}

    def watching(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            path = path_of(self)
            if path is None:
                return call(self, *args, **kwargs)
            return calls.marked(self, path, functools.partial(call, self), args, kwargs)

        return watched

    try:
        for kind, call in own.items():
            type.__setattr__(kind, "__call__", watching(call))
        yield
    finally:
        for kind, call in own.items():
            type.__setattr__(kind, "__call__", call)


def _mark_statistics(calls: Calls, updated: dict[str, Any]) -> None:
    """Marks what the batch norms have made of their running statistics."""
    order = {path: i for i, path in enumerate(calls.counts)}
    for name in sorted(updated, key=lambda name: order.get(name.rpartition(".")[0], -1)):
        path, _, last = name.rpartition(".")
        role = STATISTICS.get({"mean": "running_mean", "var": "running_var"}.get(last, last))
        if role is not None:
            calls.statistics.append(mark(updated[name], path, role, 0, 0))


def _names(kind: type) -> set[str]:
    return {name for base in kind.__mro__ if base is not object for name in vars(base)}
