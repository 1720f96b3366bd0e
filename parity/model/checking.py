"""Is my port right, and which layer is the first that is not? Two whole models, layer by layer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..case.exits import refusing_exit
from ..case.progress import step as progress
from ..layers.calls import Calls
from ..layers.inputs import as_arrays
from ..layers.marks import LOSS, Place
from ..layers.port import Port, take_apart
from ..layers.selection import chosen
from ..roundoff.bounded import Rounding
from ..verdict.deviation import Deviation, deviation_of
from ..verdict.rows import APPROXIMATED
from ..weights.alignment import Alignment
from ..weights.conventions import biased_variance, note_on_variances
from ..weights.counterparts import Counterparts
from ..weights.layout import as_the_original_has_it
from ..weights.matched import check_match
from .left_out import as_asked, counterparts, only_one_side_has, raised, raised_forward, raised_midway
from .model_report import ModelReport, Step
from .steps import Met, ran, walked
from .training import updates


@refusing_exit()
def check_model(
    port: Any,
    original: Any,
    inputs: Sequence[Any],
    *,
    original_inputs: Sequence[Any] | None = None,
    weights: str | None = None,
    match: Mapping[str, str] | None = None,
    grads: bool = True,
    loss: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    steps: int = 0,
    optimizer: tuple[Any, Callable[..., Any]] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    original_kwargs: Mapping[str, Any] | None = None,
    frozen: str | Iterable[str] = (),
    intended_stop: str | Iterable[str] = (),
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
    grads: whether gradients are compared too, for random cotangents of the outputs (`seed`), or those of the loss.
    loss: `(in jax, in torch)`: two functions of the model's output, compared as its last layer.
    steps, optimizer: so many training steps are compared, with `(optax transformation, function of the parameters that
    makes a torch optimizer)`. The port's is given the original's parameters and gradients.
    kwargs, original_kwargs: keyword arguments of the two calls (`{"train": False}`, say).

    Raises TypeError for what is no port, no torch module or no tuple of arrays; ValueError for inputs without elements,
    for names that fit nothing, where a model cannot be called with its inputs, and, with both lists, where parameters
    cannot be carried over; ImportError without torch. A layer that raises after others have run is reported, with what
    was found before it.
    """
    from ..layers.original import Original
    from .guesses import hints_of, hints_of_gradients  # with torch, which nothing else needs

    inputs = as_arrays("inputs", inputs)
    taken = take_apart(port, inputs, kwargs or {})
    if (steps > 0) != (optimizer is not None) or (steps and not grads):
        raise ValueError("steps and optimizer go together, and need grads: the steps are made of gradients")
    if weights not in (None, "torch", "port"):
        raise ValueError(f'weights must be "torch" or "port"; got {weights!r}')
    keep = weights == "port" or (weights is None and taken.given)
    model = Original(original)
    given = [as_the_original_has_it(x, model.channels) for x in inputs]
    if original_inputs is not None:
        given = list(as_arrays("original_inputs", original_inputs))
    last = "" if loss is None else LOSS
    taken = taken if loss is None else taken.with_loss(loss[0])
    progress("the port's trace")
    apart = {name for names in chosen("frozen", frozen, taken.params).values() for name in names}
    calls, options = Calls(), dict(original_kwargs or {})
    traced = calls.traced(taken.run, taken.params, inputs)
    grads = grads and calls.raised is None
    cotangents = _drawn(len(calls.outputs), seed) if loss is None else lambda ys: [np.ones(y.shape) for y in ys]
    check_match(match or {}, taken, calls, model)
    progress("the original's run")
    recording = model.run(given, options, cotangents if grads else None, None if loss is None else loss[1])
    grads = grads and not recording.raised and not recording.raised_on_the_way_back
    both = counterparts(taken, calls, model, recording, match or {}, keep, inputs)
    align = Alignment(taken.framework, both, recording)
    stops = chosen("intended_stop", intended_stop, (*filter(None, both.layers), *taken.params))
    exact, dtype = Rounding(np.float64, inside=False), _coarsest(both.params.values())

    progress("the way forward, layer by layer")
    forward = walked(traced, (both.exact, *inputs), align.found, exact)
    found = _judged(forward.met, align)
    found, notes = _by_convention(found, forward.met, both)
    wrong = {step.place: forward.met[step.place].value for step in found if not step.ok}
    found += raised_forward(calls)
    rounded = _in_dtype(traced, (both.params, *inputs), forward.met, align, dtype)
    closed, args = None, ()
    if grads:
        progress("the way back, layer by layer")
        bars = [align.known(Place(last, "out", i, 0, True)) for i in range(len(both.layers[last].outputs))]
        args = both.params, list(inputs), [None if bar is None else bar.astype(dtype) for bar in bars]
        try:
            closed = _pullback(taken, bars, args)
        except Exception as error:
            found.append(raised(Place(last, "out", 0, 0, True), error))
    if closed is not None:
        back = walked(closed, (both.exact, *args[1:]), align.found, exact)
        found += _judged({place: met for place, met in back.met.items() if place.backward}, align)
        found += _of_parameters(both, back.outputs)
        rounded += [step for step in _in_dtype(closed, args, back.met, align, dtype) if step.place.backward]
    if steps and optimizer is not None and grads:
        progress("the training steps")
        bars = [value for place, value in recording.values.items() if place[:2] == (last, "out") and place.backward]
        trained = model.train(given, options, bars, None if loss is None else loss[1], optimizer[1], steps)
        found += updates(both, trained, optimizer[0])
    kept = as_asked(found + rounded, align if closed is not None else None, apart, stops)
    return ModelReport(
        framework=taken.framework,
        steps=kept.steps,
        pairs=both.pairs,
        classes={path: called.kind for path, called in both.layers.items()},
        original=model.kind(""),
        order=list(dict.fromkeys(calls.begun)),
        unmapped=only_one_side_has(both, recording, last if grads else None),
        weights_differ=both.differing,
        hints=hints_of(list(forward.met), wrong, both, align) | hints_of_gradients(found, both) | kept.hints,
        notes=[*notes, *kept.notes, *raised_midway(calls, recording)],
        dtype=dtype.name,
    )


def _drawn(count: int, seed: int) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """Random cotangents for as many outputs as the port has, and zeros for others; float32 has these numbers too."""
    rng = np.random.default_rng(seed)

    def draw(outputs: list[np.ndarray]) -> list[np.ndarray]:
        return [rng.standard_normal(y.shape).astype(np.float32) * (i < count) for i, y in enumerate(outputs)]

    return draw


def _judged(met: Mapping[Place, Met], align: Alignment) -> list[Step]:
    """Is it the same function? In float64, where both sides round, and numbers are typed with so many digits."""
    steps = []
    for place, found in met.items():
        if (want := align.known(place)) is not None:
            steps.append(_step(place, "float64", found.value, want, _allowed(found, want)))
        elif place in align.unfit:
            problem = f"its shape is {found.value.shape}, and the original's {align.unfit[place]}"
            steps.append(Step(place, "float64", Deviation(problem=problem), (), np.nan, np.nan))
    return steps


def _by_convention(steps: list[Step], met: Mapping[Place, Met], both: Counterparts) -> tuple[list[Step], list[str]]:
    """The steps, with those that differ by a convention of the port's library judged by it, and what to say of it."""
    judged, places = [], []
    for step in steps:
        place = step.place
        known = None if step.ok else both.recording.values.get(place._replace(path=both.pairs.get(place.path, "")))
        if known is not None and (kept := biased_variance(both, place, known)) is not None:
            by_it = _step(place, step.dtype, met[place].value, kept, _allowed(met[place], kept))
            step, places = (by_it, [*places, place]) if by_it.ok else (step, places)
        judged.append(step)
    return judged, note_on_variances(both, places)


def _in_dtype(closed: Any, args: Any, met: Mapping[Place, Met], align: Alignment, dtype: Any) -> list[Step]:
    """The steps as jax computes them in that dtype, each within its bound."""
    if dtype == np.float64:
        return []
    known = {place: align.known(place) for place in met}
    theirs = {place: x for place, x in known.items() if x is not None and x.shape == met[place].value.shape}
    forced = {place: value.astype(dtype) if value.dtype.kind == "f" else value for place, value in theirs.items()}
    want = walked(closed, args, lambda place, _: _widened(forced.get(place)), Rounding(dtype))
    got = ran(closed, args, forced)
    shared = [place for place in want.met if place in forced]
    return [_step(p, dtype.name, got.met[p].value, want.met[p].value, want.met[p].error) for p in shared]


def _pullback(port: Port, bars: Sequence[Any], args: Any) -> Any:
    """The trace of the gradients, of the parameters by name and then of the inputs, for these cotangents."""

    def run(params: Any, inputs: Any, bars: Any) -> Any:
        frozen = {name: params[name] for name in port.frozen}
        diff = {name: value for name, value in params.items() if name not in frozen}
        floats = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.inexact)]

        def of(diff: Any, some: Any) -> list[Any]:
            given = dict(enumerate(inputs)) | dict(zip(floats, some, strict=True))
            leaves = jax.tree.leaves(port.run({**diff, **frozen}, Calls(), *given.values()))
            return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]

        ys, pull = jax.vjp(of, diff, [inputs[i] for i in floats])
        return pull([jnp.zeros_like(y) if bar is None else bar for y, bar in zip(ys, bars, strict=True)])

    return jax.make_jaxpr(run)(*args)


def _of_parameters(both: Counterparts, outputs: Sequence[Met]) -> list[Step]:
    """The gradients of the parameters, sorted by name as jax gives them."""
    steps = []
    for name, met in zip(sorted(set(both.params) - both.port.frozen), outputs, strict=False):
        want = both.gradient(name)
        if want is not None:
            path = both.owner(name) or ""
            place = Place(path, name.removeprefix(f"{path}."), 0, 0, True)
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
    return Step(place, dtype, deviation, index, *values, zero=not np.any(got))


def _coarsest(arrays: Iterable[Any]) -> Any:
    dtypes = [jnp.asarray(a).dtype for a in arrays]
    return max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).eps), default=jnp.dtype(np.float32))


def _widened(value: np.ndarray | None) -> np.ndarray | None:
    return None if value is None else value.astype(np.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value
