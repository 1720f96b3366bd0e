"""Is my port right, and which layer is the first that is not? Two whole models, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..roundoff.bounded import Rounding
from ..verdict.deviation import deviation_of
from ..verdict.rows import APPROXIMATED
from .layout import as_the_original_has_it, fitting
from .marks import Place
from .model_report import ModelReport, Step
from .original import Original, Recording
from .pairing import KIND_OF, Unit, containers, paired
from .port import Called, Calls, Port, take_apart
from .steps import Met, Walk, ran, walked
from .weights import in_the_ports_layout

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
        self.carried, self.unmapped = self._carried()
        self.layouts: dict[Place, tuple[int, ...]] = {}
        self.usual: list[tuple[int, ...]] = []
        keep = weights == "port" or (weights is None and port.given)
        self.params = dict(port.params) if keep else self._with_the_originals()
        self.weights_differ = self._differing() if keep else []

    # Which is which.

    def _pairs(self, match: Mapping[str, str]) -> dict[str, str]:
        ours = _units([(c.path, c.kind) for c in self.calls.ended], {k: np.size(v) for k, v in self.port.params.items()})
        called = [(path, self.original.kind(path)) for path, _ in self.recording.order]
        state = self.original.state
        sizes = {name: array.size for name, array in state.items() if name.rpartition(".")[2] not in COUNTERS}
        theirs = _units(called, sizes)
        pairs = paired(ours, theirs, match)
        whole = containers(list(self.layers), [path for path, _ in called], pairs)
        return {**whole, **pairs}

    def _carried(self) -> tuple[dict[str, np.ndarray], tuple[list[str], list[str]]]:
        """Each parameter of the port with the original's values, and what only one side has."""
        found, state, used = {}, self.original.state, set()
        for name, value in self.port.params.items():
            path = self._owner(name)
            if path is None:
                continue
            other, kind = self.pairs[path], KIND_OF.get(self.layers[path].kind, "")
            own = _under(state, other)
            array = in_the_ports_layout(kind, own, _within(name, path), np.shape(value), self.layers[path].settings)
            if array is not None:
                found[name] = array
                used |= {f"{other}.{key}" if other else key for key in own}
        ours = [name for name in self.port.params if name not in found]
        theirs = [name for name in state if name not in used and name.rpartition(".")[2] not in COUNTERS]
        return found, (ours, theirs)

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
                "the original's weights cannot be carried over whole. Without a counterpart in the port: "
                f"{', '.join(theirs) or 'nothing'}. Without one in the original: {', '.join(ours)}. Say which layers are "
                'each other\'s with match={"a layer of the port": "a layer of the original"}, or give the port its own '
                'values and weights="port".'
            )
        return {name: jnp.asarray(self.carried[name], np.asarray(v).dtype) for name, v in self.port.params.items()}

    def _differing(self) -> list[str]:
        """Parameters of the port that are not the original's, more than their dtype explains."""
        found = []
        for name, want in self.carried.items():
            value = np.asarray(self.params[name])
            if not np.array_equal(value, want.astype(value.dtype)):
                found.append(name)
        return found

    # One step at a time.

    def report(self) -> ModelReport:
        args = self.params, *self.inputs
        exact = Rounding(np.float64, inside=False)
        first = walked(self.traced, args, self._given, exact)
        steps = self._judged(first, "float64", 2.0, APPROXIMATED)
        dtype = np.result_type(*[np.asarray(v).dtype for v in self.params.values()]) if self.params else np.float32
        forced = {place: value for place in first.met if (value := self._theirs(place)) is not None}
        steps += self._in_dtype(self.traced, args, forced, jnp.dtype(dtype))
        if self.grads:
            steps += self._backward(args, forced, jnp.dtype(dtype))
        return ModelReport(
            framework=self.port.framework,
            steps=steps,
            pairs={path: self.pairs[path] for path in self.layers if path in self.pairs},
            kinds={path: (self.layers[path].kind, self.original.kind(other)) for path, other in self.pairs.items()},
            order=list(dict.fromkeys(self.calls.begun)),
            unmapped={"port": self.unmapped[0], "original": self.unmapped[1]},
            weights_differ=self.weights_differ,
        )

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
        ours = [self._count(place), len(self.recording.leaves(other, place.role, place.call))]
        if ours[0] != ours[1] and place.backward:
            return None  # one side has one array where the other has several: their cotangents are sums of others
        leaf = min(place.leaf, ours[1] - 1)
        return self.recording.values.get(Place(other, place.role, leaf, place.call, place.backward))

    def _count(self, place: Place) -> int:
        called: Called = self.layers[place.path]
        return len(called.inputs if place.role == "in" else called.outputs)

    def _in_dtype(self, closed: Any, args: Any, forced: dict[Place, np.ndarray], dtype: Any) -> list[Step]:
        """The steps as jax computes them in that dtype, each within its bound."""
        if dtype == np.float64:
            return []
        rounded = {p: v.astype(dtype) if v.dtype.kind == "f" else v for p, v in forced.items()}
        want = walked(closed, args, lambda place, ours: _widened(rounded.get(place)), Rounding(dtype))
        got = ran(closed, args, rounded)
        steps = []
        for place, met in want.met.items():
            if place in forced and place in got.met:
                steps.append(_step(place, dtype.name, got.met[place].value, met.value, met.error, self.layers))
        return steps

    def _judged(self, walk: Walk, dtype: str, times: float, relative: float) -> list[Step]:
        steps = []
        for place, met in walk.met.items():
            want = self._theirs(place)
            if want is None:
                continue
            bound = times * met.error + relative * np.max(np.abs(want), initial=0, where=np.isfinite(want))
            steps.append(_step(place, dtype, met.value, want, bound, self.layers))
        return steps

    def _backward(self, args: Any, forced: dict[Place, np.ndarray], dtype: Any) -> list[Step]:
        params, *inputs = args
        diff = {name: value for name, value in params.items() if name not in self.port.frozen}
        rest = {name: value for name, value in params.items() if name in self.port.frozen}
        outs = [Place("", "out", i, 0) for i in range(len(self.layers[""].outputs))]
        bars = [self._theirs(place._replace(backward=True)) for place in outs]

        def run(diff: Any, rest: Any, inputs: Any, bars: Any) -> Any:
            floats = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]

            def of(diff: Any, some: Any) -> list[Any]:
                given = list(inputs)
                for i, x in zip(floats, some, strict=True):
                    given[i] = x
                leaves = jax.tree.leaves(self.port.run({**diff, **rest}, Calls(), *given))
                return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]

            ys, pull = jax.vjp(of, diff, [inputs[i] for i in floats])
            return pull([jnp.zeros_like(y) if b is None else b.astype(y.dtype) for y, b in zip(ys, bars, strict=True)])

        shaped = [None if b is None else jnp.asarray(b, dtype) for b in bars]
        all_args = diff, rest, list(inputs), shaped
        closed, shapes = jax.make_jaxpr(run, return_shape=True)(*all_args)
        exact = Rounding(np.float64, inside=False)
        all_args = diff, rest, list(inputs), [None if b is None else np.asarray(b) for b in shaped]
        first = walked(closed, all_args, self._given, exact)
        back = {p: m for p, m in first.met.items() if p.backward}
        steps = self._judged(Walk(back, []), "float64", 2.0, APPROXIMATED)
        names = list(shapes[0])
        steps += self._of_parameters(names, first.outputs[: len(names)])
        return steps

    def _of_parameters(self, names: list[str], found: list[Met]) -> list[Step]:
        steps = []
        for name, met in zip(sorted(names), found, strict=True):
            path = self._owner(name)
            if path is None or name not in self.carried:
                continue
            kind, layer = KIND_OF[self.layers[path].kind], self.layers[path].settings
            own = _under(self.recording.grads, self.pairs[path])
            want = in_the_ports_layout(kind, own, _within(name, path), met.value.shape, layer, summed=False)
            if want is None:
                continue
            bound = 2 * met.error + APPROXIMATED * np.max(np.abs(want), initial=0)
            place = Place(path, _within(name, path), 0, 0, True)
            steps.append(_step(place, "float64", met.value, want, bound, self.layers))
        return steps


def _step(place: Place, dtype: str, got: Any, want: Any, bound: Any, layers: Mapping[str, Called]) -> Step:
    if want.dtype.kind in "bui":
        bound = np.zeros(want.shape)
    wanted = got.dtype
    deviation = deviation_of(got, want, bound, wanted, None, False)
    index = deviation.index if deviation.problem is None else deviation.budget_index
    values = (float(got[index]), float(want[index])) if got.shape == want.shape and got.size else (np.nan, np.nan)
    size = float(np.max(np.abs(want), initial=0))
    return Step(place, dtype, deviation, index, *values, size)


def _units(calls: Sequence[tuple[str, str]], sizes: Mapping[str, int]) -> list[Unit]:
    """The layers that are paired as a whole, in order of their first call: known kinds, and none inside another."""
    known = {path: KIND_OF[kind] for path, kind in calls if kind in KIND_OF}
    units = []
    for path, kind in known.items():
        if any(other != path and (not other or path.startswith(f"{other}.")) for other in known):
            continue
        size = sum(n for name, n in sizes.items() if not path or name.startswith(f"{path}."))
        units.append(Unit(path, kind, size))
    return units


def _under(arrays: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {_within(name, path): array for name, array in arrays.items() if not path or name.startswith(f"{path}.")}


def _within(name: str, path: str) -> str:
    return name.removeprefix(f"{path}.") if path else name


def _widened(value: np.ndarray | None) -> np.ndarray | None:
    return None if value is None else value.astype(np.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value
