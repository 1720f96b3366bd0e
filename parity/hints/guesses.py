"""What a wrong step looks like: the original's layer runs again in known variants, to see which gives the port's."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..case.torch_arrays import to_numpy, to_torch, torch
from ..layers.marks import LOSS, STATISTICS, Place
from ..weights.alignment import Alignment
from ..weights.counterparts import Counterparts
from ..weights.layout import permutations
from .attentions import attention_between
from .losses import loss_like
from .variants import variants_of

CLOSE = 1e-6
"""A variant is named if it is this near to the port's values, relative to the largest."""
SO_MANY = 8
"""Other outputs, and other calls, of the layer that a variant must give too."""

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": torch.nn.functional.gelu,
    "gelu(approximate=True)": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.relu,
    "relu6": torch.nn.functional.relu6,
    "leaky_relu(0.01)": torch.nn.functional.leaky_relu,
    "leaky_relu(0.2)": lambda x: torch.nn.functional.leaky_relu(x, 0.2),
    "elu": torch.nn.functional.elu,
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "hardswish": torch.nn.functional.hardswish,
    "softplus": torch.nn.functional.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "nothing": lambda x: x,
}


def hints_of(
    order: Sequence[Place], wrong: Mapping[Place, np.ndarray], both: Counterparts, align: Alignment
) -> dict[Place, str]:
    """What each wrong step of the way forward looks like, where that is known.

    order: the marks on the way forward. wrong: what the port computed at those that differ.
    """
    found: dict[Place, str] = {}
    last: np.ndarray | None = None  # what a step begins with: the original's value at the mark before
    for place in order:
        theirs = align.known(place)
        if theirs is None:
            continue
        if place in wrong and wrong[place].shape == theirs.shape:
            others = [each for each in order if each != place and each[:2] == place[:2] and each.role == "out"]
            known = [(each, wrong.get(each, align.known(each))) for each in others[:SO_MANY]]
            hint = _of_step(place, wrong[place], theirs, last, both, known)
            found[place] = hint or looks_like(wrong[place], theirs)
        last = theirs
    return found


def _of_step(
    place: Place,
    port: np.ndarray,
    theirs: np.ndarray,
    last: np.ndarray | None,
    both: Counterparts,
    others: Sequence[tuple[Place, np.ndarray | None]],
) -> str:
    other, hint = both.pairs[place.path], ""
    recording = both.recording
    if place.path == LOSS:
        logits = Place(LOSS, "in", 0)
        given, slopes = recording.values[logits], recording.values.get(logits._replace(backward=True))
        return loss_like(given, slopes, float(port), float(theirs)) if port.size == 1 else ""
    part = both.original.parts[other]
    if place.role in STATISTICS.values():
        name = next(name for name, role in STATISTICS.items() if role == place.role)
        before = both.state[f"{other}.{name}".lstrip(".")]
        (x,) = recording.arrays(other, "in", place.call)
        return statistic(x, before, port, theirs, part.momentum)
    if place.role == "out":
        inputs = {
            each.call: recording.arrays(other, "in", each.call) for each in (place, *[each for each, _ in others])
        }
        more = [(inputs[each.call], value) for each, value in others if value is not None]
        hint = variant_of(part, inputs[place.call], port, more=more)
    if port.dtype.kind in "iu" and len(shifts := set((port - theirs).flat)) == 1:
        shift = int(shifts.pop())
        return f"ids that are {abs(shift)} {'more' if shift > 0 else 'less'} than the original's"
    if not hint and last is not None:
        hint = between(last, port, theirs) or attention_between(_linear_before(both, place), port, theirs)
    for path, call in recording.order if place.role == "in" and not hint else ():
        same = path == other and call != place.call
        if same and any(_same_numbers(x, port, False) for x in recording.arrays(other, "in", call)):
            return f"what call {call} gets in the original, where this is call {place.call}: another order in time"
    return hint or _of_a_silent_layer(both, port, theirs)


def _linear_before(both: Counterparts, place: Place) -> list[np.ndarray]:
    """The outputs of the linear layers that the original calls before, as far as they have counterparts."""
    recording, here = both.recording, (both.pairs[place.path], place.call)
    paths = {other for path, other in both.pairs.items() if both.kinds[path] == "linear"}
    before = itertools.takewhile(lambda each: each != here, recording.order)
    return [recording.values[Place(path, "out", 0, call)] for path, call in before if path in paths]


def _of_a_silent_layer(both: Counterparts, port: np.ndarray, theirs: np.ndarray) -> str:
    """The variant of a layer that has no parameters, and so no counterpart: a pool, say, that came just before."""
    recording, paired = both.recording, set(both.pairs.values())
    ordered = np.sort(theirs, axis=None)
    if port.size == theirs.size and _close(np.sort(port, axis=None), ordered):
        return ""  # the numbers are right, so the layer is
    for path, call in recording.order:
        if path in paired or (out := recording.values.get(Place(path, "out", 0, call))) is None:
            continue
        if out.size == theirs.size and _close(np.sort(out, axis=None), ordered):
            inputs = recording.arrays(path, "in", call)
            if hint := variant_of(both.original.parts[path], inputs, port, ordered=True):
                return f"{hint} ({path})"
    return ""


def statistic(x: np.ndarray, before: np.ndarray, port: np.ndarray, theirs: np.ndarray, momentum: float | None) -> str:
    """What a running statistic looks like that a batch norm in train mode has updated otherwise.

    x: the batch norm's input, channels second. before, port, theirs: the statistic before, and as each has it after.
    """
    if not momentum:
        return ""
    batch, count = (theirs - (1 - momentum) * before) / momentum, x.size // x.shape[1]
    biased = batch * (count - 1) / count
    if _close(port, before):
        return "no update, as in eval mode"
    for statistic, said in (
        (batch, ""),
        (biased, " of the biased variance, where the original keeps the unbiased one"),
    ):
        with np.errstate(all="ignore"):
            share = float(np.median((port - before) / (statistic - before)))
        if np.isfinite(share) and _close(port, (1 - share) * before + share * statistic):
            if abs(share - momentum) < CLOSE:
                return f"a share of {share:.6g}{said}" if said else ""
            return (
                f"momentum: {share:.6g} of the batch's{said}, where the original takes {momentum:g} "
                f"(flax and equinox call that momentum={1 - momentum:g})"
            )
    return ""


def hints_of_gradients(wrong: Iterable[tuple[Place, tuple[int, ...]]], both: Counterparts) -> dict[Place, str]:
    """What wrong gradients of parameters look like, where that is known. wrong: each place with its worst index."""
    found = {}
    for place, index in wrong:
        part: Any = both.original.parts.get(both.pairs.get(place.path, ""))
        row = getattr(part, "padding_idx", None)
        if place.backward and row is not None and index[:1] == (row,):
            found[place] = f"a gradient for row {row}, which the original never moves (padding_idx={row})"
    return found


def looks_like(port: np.ndarray, original: np.ndarray) -> str:
    """What the port's array is of the original's: a multiple, the same numbers in another order, or ""."""
    size = float(np.max(np.abs(original), initial=0))
    if port.shape != original.shape or not size or original.dtype.kind != "f" or not np.isfinite(port).all():
        return ""
    factor = float(np.vdot(original, port) / np.vdot(original, original))
    if factor and abs(factor - 1) > CLOSE and _close(port, factor * original):
        return f"{factor:.6g} times the original's{_as_a_root(abs(factor))}"
    if _close(np.sort(port, axis=None), np.sort(original, axis=None)):
        return "the original's numbers in another order: an array that is reshaped or transposed otherwise"
    return ""


def _as_a_root(factor: float) -> str:
    """` (the root of 8)`, ` (1 / the root of 8)`, or "" where a factor is neither."""
    for under, square in (("", factor**2), ("1 / ", factor**-2)):
        if abs(square - round(square)) < 1e-5 and abs(square**0.5 - round(square**0.5)) > 1e-5:
            return f" ({under}the root of {round(square)})"
    return ""


def between(x: np.ndarray, port: np.ndarray, original: np.ndarray) -> str:
    """Which functions of the array before it, if any, the two are that should be one."""
    if x.shape != port.shape or x.dtype.kind != "f":
        return ""
    found = {name: to_numpy(fun(to_torch(x))) for name, fun in FUNCTIONS.items()}
    ours = next((name for name, y in found.items() if _close(y, port)), None)
    theirs = next((name for name, y in found.items() if _close(y, original)), None)
    if ours is None:
        return ""
    return ours + (f", where the original has {theirs}" if theirs else "")


def variant_of(
    layer: Any,
    inputs: Sequence[np.ndarray],
    port: np.ndarray,
    ordered: bool = False,
    more: Sequence[tuple[Sequence[np.ndarray], np.ndarray]] = (),
) -> str:
    """The variant of a torch layer that gives the port's output for these inputs; "" if none does.

    ordered: whether only the numbers count, in whatever order. more: other outputs and calls that it must give too.
    """
    for name, call in variants_of(layer):
        if all(_gives(call, each, y, ordered) for each, y in [(inputs, port), *more]):
            return name
    return ""


def _gives(call: Callable[..., Any], inputs: Sequence[np.ndarray], port: np.ndarray, ordered: bool) -> bool:
    try:
        with torch.no_grad():
            found = call(*[to_torch(x) for x in inputs])
    except Exception:
        return False  # it does not fit these inputs
    arrays = [y for y in (found if isinstance(found, tuple) else (found,)) if isinstance(y, torch.Tensor)]
    return any(_same_numbers(to_numpy(y), port, ordered) for y in arrays)


def _same_numbers(y: np.ndarray, port: np.ndarray, ordered: bool) -> bool:
    if y.size != port.size:
        return False
    if ordered:
        return _close(np.sort(y, axis=None), np.sort(port, axis=None))
    return any(y.transpose(p).shape == port.shape and _close(y.transpose(p), port) for p in permutations(y.ndim))


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.max(np.abs(a - b), initial=0) <= CLOSE * max(float(np.max(np.abs(b), initial=0)), 1e-300))
