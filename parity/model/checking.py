"""Is my port right, and which layer is the first that is not? Two whole models, layer by layer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..case.exits import refusing_exit
from ..case.progress import step as progress
from ..case.stripping import custom_rules
from ..layers.calls import Calls
from ..layers.inputs import as_arrays
from ..layers.marks import LOSS, Place
from ..layers.port import take_apart
from ..layers.selection import chosen
from ..weights.alignment import Alignment
from ..weights.conventions import note_on_variances
from ..weights.layout import as_the_original_has_it
from ..weights.matched import check_match
from ..weights.own_layout import Layouts
from .gradients import places_of_parameters, with_gradients
from .left_out import as_asked, counterparts, only_one_side_has, raised, raised_forward, raised_midway
from .model_report import ModelReport, Step
from .stepwise import Judged, Trace
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
    layout: Layouts | None = None,
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
    layout: parameters that lie otherwise than in the library's own layers: `{"**.query": f}`, where `f` makes the
    port's array, in its shape, of the original's; it may only move numbers, for gradients go through it too. `match`
    says which array of the original that is, where the layers are no pair.
    frozen: parameters that the port does not train (`["embed", "**.bias"]`): their gradients are not compared.
    intended_stop: layers after which, or in which, the port stops gradients on purpose, or parameters that get none.
    Where its gradient is 0 there, it is not compared, nor are those that this one would have gone on to; the report
    says which these are. A name that fits nothing is an error, and so is one that stops nothing.
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
    from ..hints.guesses import hints_of, hints_of_gradients  # with torch, which nothing else needs
    from ..layers.original import Original

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
    apart = {name for names in chosen("frozen", frozen, taken.params).values() for name in names}
    calls, options = Calls(), dict(original_kwargs or {})
    progress("the port's trace")
    forward = calls.traced(taken.run, taken.params, inputs)
    check_match(match or {}, taken, calls, model)
    grads = grads and calls.raised is None
    cotangents = _drawn(len(calls.outputs), seed) if loss is None else lambda ys: [np.ones(y.shape) for y in ys]
    progress("the original's run")
    recording = model.run(given, options, cotangents if grads else None, None if loss is None else loss[1])
    grads = grads and not recording.raised and not recording.raised_on_the_way_back
    both = counterparts(taken, calls, model, recording, match or {}, keep, inputs, layout or {})
    align, dtype = Alignment(taken.framework, both, recording), _coarsest(both.params.values())
    stops = chosen("intended_stop", intended_stop, (*filter(None, both.layers), *taken.params))
    args, exact = (both.params, *inputs), (both.exact, *inputs)
    judged, closed, late = Judged(), None, raised_forward(calls)
    if grads:
        try:
            closed = with_gradients(taken, args)
        except Exception as error:
            late = [raised(Place(last, "out", 0, 0, True), error)]
    if closed is None or custom_rules(forward):  # a rule's forward pass is another where gradients are asked for
        progress("the way forward, layer by layer")
        judged = Trace(forward, exact, args, dtype, both, align).judged()
    if closed is not None:
        progress("the way forward and back, layer by layer")
        places = places_of_parameters(both)
        wanted = {place: want for name, place in places.items() if (want := both.gradient(name)) is not None}
        put_in = [Place(last, "out", i, 0, True) for i in range(len(both.layers[last].outputs))]
        trace = Trace(closed, exact, args, dtype, both, align, dict(enumerate(places.values())), wanted)
        judged = judged.followed_by(trace.judged(put_in))
    judged.exact += late
    training: list[Step] = []
    hints_of_changes: dict[Place, str] = {}
    if steps and optimizer is not None and closed is not None:
        progress("the training steps")
        bars = [value for place, value in recording.values.items() if place[:2] == (last, "out") and place.backward]
        trained = model.train(given, options, bars, None if loss is None else loss[1], optimizer[1], steps)
        training, hints_of_changes = updates(both, trained, optimizer[0])
    kept = as_asked(judged.in_order(training), align if closed is not None else None, apart, stops)
    return ModelReport(
        framework=taken.framework,
        steps=kept.steps,
        pairs=both.pairs,
        classes={path: called.kind for path, called in both.layers.items()},
        original=model.kind(""),
        original_classes={path: model.kind(path) for path in both.pairs.values() if path in model.parts},
        order=list(dict.fromkeys(calls.begun)),
        unmapped=only_one_side_has(both, recording, last if grads else None),
        weights_differ=both.differing,
        hints=hints_of(judged.forward, judged.wrong, both, align)
        | hints_of_gradients([(step.place, step.index) for step in judged.exact if not step.ok], both)
        | hints_of_changes
        | kept.hints,
        notes=[*note_on_variances(both, judged.by_convention), *kept.notes, *raised_midway(calls, recording)],
        dtype=dtype.name,
    )


def _drawn(count: int, seed: int) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """Random cotangents for as many outputs as the port has, and zeros for others; float32 has these numbers too."""
    rng = np.random.default_rng(seed)

    def draw(outputs: list[np.ndarray]) -> list[np.ndarray]:
        return [rng.standard_normal(y.shape).astype(np.float32) * (i < count) for i, y in enumerate(outputs)]

    return draw


def _coarsest(arrays: Iterable[Any]) -> Any:
    dtypes = [jnp.asarray(a).dtype for a in arrays]
    return max(dtypes, key=lambda dtype: float(jnp.finfo(dtype).eps), default=jnp.dtype(np.float32))
