"""Is my port right, and which layer is the first that is not? Two whole models, layer by layer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..roundoff.bounded import Rounding
from ..verdict.deviation import deviation_of
from ..verdict.rows import APPROXIMATED
from .guesses import between, looks_like, variant_of
from .layout import as_the_original_has_it, fitting
from .marks import Place
from .model_report import ModelReport, Step
from .original import Original, Recording
from .pairing import KIND_OF, Unit, argument_order, containers, paired
from .port import Calls, Port, take_apart
from .steps import Met, ran, walked
from .weights import Source, in_the_ports_layout, same_numbers

COUNTERS = ("num_batches_tracked",)
"""Buffers that only count calls."""


def check_model(
    port: Any,
    original: Any,
    inputs: Sequence[Any],
    *,
    original_inputs: Sequence[Any] | None = None,
    weights: str | None = None,
    match: Mapping[str, str] | None = None,
    grads: bool = True,
    kwargs: Mapping[str, Any] | None = None,
    original_kwargs: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ModelReport:
    """Holds a port in jax against the torch module that it was made from, layer by layer, gradients included.

    Every layer of the port is fed the original's own input, and on the way back the original's own cotangent. So a
    layer that is wrong is told from one that inherits an error, and `report.first_divergence` is where the port is
    wrong, not where it shows. First in float64: is it the same function? Then in the dtype of the port's parameters,
    each element within a bound that is derived from the operations of that one step.

    port: a flax module (linen or nnx), an equinox module, `(flax linen module, its variables)`, or `(function, its
    parameters)`, called as `function(parameters, *inputs)`. Layers are modules whose `__call__` runs; of a function
    there is one.
    original: the torch.nn.Module. It is copied; its mode (`train` or `eval`) is kept, but for dropout, which is off.
    inputs: the port's arguments, arrays of any shape. Where the original begins with a convolution and they have their
    channels last, it gets them with channels second.
    original_inputs: the original's own arguments, where they are others.
    weights: "torch" carries the original's parameters and statistics over to the port, by the kind, size and order of
    layers; "port" takes the port's as they are. Default: "port" where values are given beside the module, else "torch".
    match: which layers are each other's, where kind, size and order do not tell: `{"block{i}": "enc.layers.{i}"}`.
    grads: whether gradients are compared too, for random cotangents of the outputs (`seed`).
    kwargs, original_kwargs: keyword arguments of the two calls (`{"train": False}`, say).

    Raises TypeError for what is no port or no torch module; ValueError, with both lists, where parameters cannot be
    carried over; ImportError without torch. What the port or the original itself raises is passed on.
    """
    inputs = tuple(np.asarray(x) for x in inputs)
    taken = take_apart(port, inputs, kwargs or {})
    if weights not in (None, "torch", "port"):
        raise ValueError(f'weights must be "torch" or "port"; got {weights!r}')
    model = Original(original)
    given = list(inputs) if original_inputs is None else [np.asarray(x) for x in original_inputs]
    if original_inputs is None:
        given = [as_the_original_has_it(x, _channels(model)) for x in given]
    rng = np.random.default_rng(seed)
    cotangents = (lambda ys: [rng.standard_normal(y.shape).astype(np.float32) for y in ys]) if grads else None
    recording = model.run(given, dict(original_kwargs or {}), cotangents)
    return _Comparison(taken, model, recording, inputs, match or {}, weights, grads).report()


def _channels(model: Original) -> int | None:
    """How many channels the first convolution takes; None if the original has none."""
    parts = (part for part in model.parts.values() if hasattr(part, "in_channels"))
    first = next(parts, None)
    return None if first is None else int(first.in_channels)


class _Comparison:
    def __init__(
        self, port: Port, original: Original, recording: Recording, inputs: Any, match: Any, weights: Any, grads: bool
    ):
        self.port, self.original, self.recording, self.inputs, self.grads = port, original, recording, inputs, grads
        self.calls = Calls()
        self.traced = jax.make_jaxpr(lambda params, *args: port.run(params, self.calls, *args))(port.params, *inputs)
        self.layers = {called.path: called for called in self.calls.ended}
        self.pairs = self._pairs(match)
        self.sources, self.unmapped = self._sources()
        self.layouts: dict[Place, tuple[int, ...]] = {}
        self.usual: list[tuple[int, ...]] = []
        keep = weights == "port" or (weights is None and port.given)
        self.params = dict(port.params) if keep else self._with_the_originals()
        self.weights_differ = self._differing() if keep else []
        self.exact = self._unrounded()

    # Which is which.

    def _pairs(self, match: Mapping[str, str]) -> dict[str, str]:
        ours = _units(
            [(c.path, c.kind) for c in self.calls.ended], {k: np.size(v) for k, v in self.port.params.items()}
        )
        called = [(path, self.original.kind(path)) for path, _ in self.recording.order]
        state = self.original.state
        sizes = {name: array.size for name, array in state.items() if name.rpartition(".")[2] not in COUNTERS}
        theirs = _units(called, sizes)
        pairs = paired(ours, theirs, match)
        whole = containers(list(self.layers), [path for path, _ in called], pairs)
        return {**whole, **pairs}

    def _sources(self) -> tuple[dict[str, Source], tuple[list[str], list[str]]]:
        """How each parameter of the port comes from the original's, and what only one side has."""
        found: dict[str, Source] = {}
        state, used = self.original.state, set()
        for name, value in self.port.params.items():
            path = self._owner(name)
            if path is not None:
                other, kind = self.pairs[path], KIND_OF[self.layers[path].kind]
                source = self._by_layout(kind, other, _within(name, path), np.shape(value), self.layers[path].settings)
                if source(state, True) is not None:
                    found[name] = source
                    used |= {f"{other}.{key}" if other else key for key in _under(state, other)}
            if name not in found and self.port.given and (fit := same_numbers(np.asarray(value), state, used)):
                found[name] = fit.source
                used.add(fit.name)
        ours = [name for name in self.port.params if name not in found]
        theirs = [name for name in state if name not in used and name.rpartition(".")[2] not in COUNTERS]
        return found, (ours, theirs)

    @staticmethod
    def _by_layout(kind: str, other: str, name: str, shape: tuple[int, ...], layer: Any) -> Source:
        return lambda arrays, summed: in_the_ports_layout(kind, _under(arrays, other), name, shape, layer, summed)

    def _owner(self, name: str) -> str | None:
        """The paired layer whose parameter this is."""
        paths = [path for path in self.pairs if self._is_unit(path) and (not path or name.startswith(f"{path}."))]
        return max(paths, key=len, default=None)

    def _is_unit(self, path: str) -> bool:
        return self.layers[path].kind in KIND_OF

    def _with_the_originals(self) -> dict[str, Any]:
        ours, theirs = self.unmapped
        if ours:
            raise ValueError(
                "the original's weights cannot be carried over whole. Only the port has "
                f"{', '.join(ours)}. Only the original has {', '.join(theirs) or 'nothing'}. Say which layers "
                'are each other\'s with match={"layer of the port": "layer of the original"}, or give the port its '
                'values and weights="port".'
            )
        state = self.original.state
        values = {name: source(state, True) for name, source in self.sources.items()}
        return {name: jnp.asarray(values[name], jnp.asarray(v).dtype) for name, v in self.port.params.items()}

    def _differing(self) -> list[str]:
        """Parameters of the port that are not the original's, rounded to their dtype."""
        state = self.original.state
        own = {name: np.asarray(value) for name, value in self.params.items()}
        return [
            name
            for name, source in self.sources.items()
            if not np.array_equal(own[name], np.asarray(source(state, True)).astype(own[name].dtype))
        ]

    def _unrounded(self) -> dict[str, Any]:
        """The parameters as the original has them in float64: the sum of two biases is rounded in the port."""
        state = self.original.state
        same = {name: source(state, True) for name, source in self.sources.items() if name not in self.weights_differ}
        return {name: same.get(name, value) for name, value in self.params.items()}

    # One step at a time.

    def report(self) -> ModelReport:
        exact = Rounding(np.float64, inside=False)
        first = walked(self.traced, (self.exact, *self.inputs), self._given, exact)
        steps = self._judged(first.met)
        dtype = _coarsest(self.params.values())
        if self.grads:
            names = sorted(set(self.params) - self.port.frozen)
            closed, args = self._pullback(dtype)
            whole = walked(closed, (self.exact, *args[1:]), self._given, exact)
            backward = {place: met for place, met in whole.met.items() if place.backward}
            steps += self._judged(backward) + self._of_parameters(names, whole.outputs)
        steps += self._in_dtype(self.traced, (self.params, *self.inputs), first.met, dtype)
        if self.grads:
            inside = self._in_dtype(closed, args, whole.met, dtype)
            steps += [step for step in inside if step.place.backward]
        return ModelReport(
            framework=self.port.framework,
            steps=steps,
            pairs={path: self.pairs[path] for path in self.layers if path in self.pairs},
            kinds={path: (self.layers[path].kind, self.original.kind(other)) for path, other in self.pairs.items()},
            order=list(dict.fromkeys(self.calls.begun)),
            unmapped={"port": self.unmapped[0], "original": self.unmapped[1]},
            weights_differ=self.weights_differ,
            hints=self._hints(steps, first.met),
            classes={path: called.kind for path, called in self.layers.items()},
            dtype=dtype.name,
        )

    def _hints(self, steps: Sequence[Step], met: Mapping[Place, Met]) -> dict[Place, str]:
        """What each wrong step of the way forward looks like, in float64."""
        found: dict[Place, str] = {}
        last: np.ndarray | None = None  # what the step began with: the original's value at the mark before
        for step in steps:
            place = step.place
            if place.backward or step.dtype != "float64":
                continue
            port, theirs = met[place].value, self._theirs(place)
            assert theirs is not None
            if not step.ok and port.shape == theirs.shape:
                found[place] = looks_like(port, theirs)
                if place.role == "in" and last is not None:
                    found[place] = between(last, port, theirs) or found[place]
                if place.role == "out":
                    other = self.pairs[place.path]
                    inputs = [self.recording.values[p] for p in self.recording.leaves(other, "in", place.call)]
                    found[place] = variant_of(self.original.parts[other], inputs, port) or found[place]
            last = theirs
        return found

    def _given(self, place: Place, ours: np.ndarray) -> np.ndarray | None:
        """The original's value at a mark, in the port's layout, which is found on the way forward."""
        theirs = self._their_array(place)
        if theirs is None:
            return None
        key = place._replace(backward=False)
        if key not in self.layouts:
            if place.backward or (layout := fitting(theirs, ours, self.usual)) is None:
                return None
            self.layouts[key] = layout
            if theirs.ndim >= 3 and layout not in self.usual:
                self.usual.insert(0, layout)
        value = theirs.transpose(self.layouts[key])
        return value if value.shape == ours.shape else None

    def _theirs(self, place: Place) -> np.ndarray | None:
        """The same, of a place whose layout is known."""
        theirs, layout = self._their_array(place), self.layouts.get(place._replace(backward=False))
        return None if theirs is None or layout is None else theirs.transpose(layout)

    def _their_array(self, place: Place) -> np.ndarray | None:
        other = self.pairs.get(place.path)
        if other is None:
            return None
        ours, theirs = self._count(place), len(self.recording.leaves(other, place.role, place.call))
        if ours != theirs and place.backward:
            return None  # one side has one array where the other has several: their cotangents are sums of others
        called = self.layers[place.path]
        order = argument_order(self.port.framework, KIND_OF.get(called.kind, ""), place.role)
        leaf = min(order[place.leaf] if place.leaf < len(order) else place.leaf, theirs - 1)
        return self.recording.values.get(Place(other, place.role, leaf, place.call, place.backward))

    def _count(self, place: Place) -> int:
        called = self.layers[place.path]
        return len(called.inputs if place.role == "in" else called.outputs)

    def _judged(self, met: Mapping[Place, Met]) -> list[Step]:
        """Is it the same function? In float64, where both sides round, and numbers are typed with so many digits."""
        steps = []
        for place, found in met.items():
            if (want := self._theirs(place)) is not None:
                steps.append(_step(place, "float64", found.value, want, _allowed(found, want)))
        return steps

    def _in_dtype(self, closed: Any, args: Any, met: Mapping[Place, Met], dtype: Any) -> list[Step]:
        """The steps as jax computes them in that dtype, each within its bound."""
        if dtype == np.float64:
            return []
        theirs = {place: value for place in met if (value := self._theirs(place)) is not None}
        forced = {place: value.astype(dtype) if value.dtype.kind == "f" else value for place, value in theirs.items()}
        want = walked(closed, args, lambda place, ours: _widened(forced.get(place)), Rounding(dtype))
        got = ran(closed, args, forced)
        return [
            _step(place, dtype.name, got.met[place].value, found.value, found.error)
            for place, found in want.met.items()
            if place in forced
        ]

    def _pullback(self, dtype: Any) -> tuple[Any, Any]:
        """The trace of the gradients, of the parameters by name and then of the inputs, and its arguments."""
        bars = [self._theirs(Place("", "out", i, 0, True)) for i in range(len(self.layers[""].outputs))]

        def run(params: Any, inputs: Any, bars: Any) -> Any:
            frozen = {name: params[name] for name in self.port.frozen}
            diff = {name: value for name, value in params.items() if name not in frozen}
            floats = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]

            def of(diff: Any, some: Any) -> list[Any]:
                given = dict(enumerate(inputs)) | dict(zip(floats, some, strict=True))
                leaves = jax.tree.leaves(self.port.run({**diff, **frozen}, Calls(), *given.values()))
                return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]

            ys, pull = jax.vjp(of, diff, [inputs[i] for i in floats])
            return pull([jnp.zeros_like(y) if bar is None else bar for y, bar in zip(ys, bars, strict=True)])

        args = self.params, list(self.inputs), [None if bar is None else bar.astype(dtype) for bar in bars]
        return jax.make_jaxpr(run)(*args), args

    def _of_parameters(self, names: list[str], outputs: list[Met]) -> list[Step]:
        steps = []
        for name, met in zip(names, outputs, strict=False):
            want = self.sources[name](self.recording.grads, False) if name in self.sources else None
            if want is not None:
                path = self._owner(name) or ""
                place = Place(path, _within(name, path), 0, 0, True)
                steps.append(_step(place, "float64", met.value, want, _allowed(met, want)))
        return steps


def _allowed(met: Met, want: np.ndarray) -> np.ndarray:
    """In float64: both sides round, and both may have typed constants and approximations."""
    return 2 * met.error + APPROXIMATED * np.max(np.abs(want), initial=0, where=np.isfinite(want))


def _step(place: Place, dtype: str, got: Any, want: Any, bound: Any) -> Step:
    bound = np.zeros(want.shape) if want.dtype.kind in "bui" else bound
    deviation = deviation_of(got, want, bound, got.dtype)
    index = deviation.index if deviation.problem is None else deviation.budget_index
    alike = got.shape == want.shape and got.size
    values = (float(got[index]), float(want[index])) if alike else (np.nan, np.nan)
    return Step(place, dtype, deviation, index, *values)


def _coarsest(arrays: Iterable[Any]) -> Any:
    dtypes = [jnp.asarray(a).dtype for a in arrays]
    return max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).eps), default=jnp.dtype(np.float32))


def _units(calls: Sequence[tuple[str, str]], sizes: Mapping[str, int]) -> list[Unit]:
    """The layers that are paired as a whole, in order of their first call: known kinds, and none inside another."""
    known = {path: KIND_OF[kind] for path, kind in calls if kind in KIND_OF}
    units = []
    for path, kind in known.items():
        if any(other != path and (not other or path.startswith(f"{other}.")) for other in known):
            continue
        own = {_within(name, path): size for name, size in sizes.items() if not path or name.startswith(f"{path}.")}
        # A bias may be there on one side only, or be the sum of two: that is said later, and is no other layer.
        units.append(Unit(path, kind, sum(n for name, n in own.items() if not re.search("bias|mean|var", name))))
    return units


def _under(arrays: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {_within(name, path): array for name, array in arrays.items() if not path or name.startswith(f"{path}.")}


def _within(name: str, path: str) -> str:
    return name.removeprefix(f"{path}.") if path else name


def _widened(value: np.ndarray | None) -> np.ndarray | None:
    return None if value is None else value.astype(np.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value
