"""Which layer of the port is which of the original: by kind, size and order, and by the names that the user matches."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

KINDS = {
    "linear": ("Linear", "NonDynamicallyQuantizableLinear", "Dense", "DenseGeneral", "LinearGeneral"),
    "convolution": ("Conv", "Conv1d", "Conv2d", "Conv3d"),
    "transposed convolution": ("ConvTranspose", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    "embedding": ("Embedding", "Embed"),
    "layer norm": ("LayerNorm",),
    "rms norm": ("RMSNorm",),
    "group norm": ("GroupNorm",),
    "instance norm": ("InstanceNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    "batch norm": ("BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    "attention": ("MultiheadAttention", "MultiHeadAttention", "MultiHeadDotProductAttention", "SelfAttention"),
    "gru cell": ("GRUCell",),
    "lstm cell": ("LSTMCell", "OptimizedLSTMCell"),
    "rnn cell": ("RNNCell", "SimpleCell"),
    "prelu": ("PReLU",),
}
LIBRARIES = ("torch", "flax", "equinox")
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def kind_of(layer: Any) -> str:
    """What a layer is, by the name of its class in a library, or of the one in a library that it derives from.

    "" for anything else: somebody's own `Attention` may be anything, and the layers in it are paired one by one.
    """
    for base in type(layer).__mro__:
        if base.__name__ in _KIND_OF and base.__module__.partition(".")[0] in LIBRARIES:
            return _KIND_OF[base.__name__]
    return ""


class Unit(NamedTuple):
    """A layer that is paired as a whole."""

    path: str
    kind: str
    size: int
    """How many numbers its weights have, biases aside."""


def paired(ours: Sequence[Unit], theirs: Sequence[Unit], match: Mapping[str, str]) -> dict[str, str]:
    """Path in the port -> path in the original: as many as can be in the same order, with the likest names.

    Two fit if they are of one kind and size. match: patterns of paths, `{"block{i}": "enc.layers.{i}"}`; what lies
    under a path that one fits is paired with what lies under the path that it makes, and nothing else.
    Time is the product of the two lengths.
    """
    score = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, a in reversed(list(enumerate(ours))):
        for j, b in reversed(list(enumerate(theirs))):
            likeness = _likeness(a, b, match)
            both = 0.0 if likeness is None else 1 + likeness + score[i + 1][j + 1]
            score[i][j] = max(both, score[i + 1][j], score[i][j + 1])
    found, i, j = {}, 0, 0
    while i < len(ours) and j < len(theirs):
        likeness = _likeness(ours[i], theirs[j], match)
        if likeness is not None and score[i][j] == 1 + likeness + score[i + 1][j + 1]:
            found[ours[i].path] = theirs[j].path
            i, j = i + 1, j + 1
        elif score[i][j] == score[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _likeness(a: Unit, b: Unit, match: Mapping[str, str]) -> float | None:
    """Of their names, from 0 to 0.5, so that no likeness outweighs one more pair; None if they do not fit."""
    if a.kind != b.kind or a.size != b.size:
        return None
    asked = [path for path in (translated(a.path, *pattern) for pattern in match.items()) if path is not None]
    if asked and not any(b.path == path or b.path.startswith(f"{path}.") for path in asked):
        return None
    return difflib.SequenceMatcher(None, a.path, b.path).ratio() / 2


def translated(path: str, ours: str, theirs: str) -> str | None:
    """The start of the original's path for a path of the port that a pattern fits; None if it does not fit."""
    words = re.split(r"\{(\w+)\}", ours)
    pattern = "".join(re.escape(word) if i % 2 == 0 else f"(?P<{word}>[^.]+)" for i, word in enumerate(words))
    if fits := re.match(rf"{pattern}(?=\.|$)", path):
        return theirs.format(**fits.groupdict())
    return None


def containers(ours: Sequence[str], theirs: Sequence[str], pairs: Mapping[str, str]) -> dict[str, str]:
    """Layers that hold the same pairs of layers, and so are each other's; the innermost where several do."""

    def inside(path: str, units: Sequence[str]) -> frozenset[str]:
        return frozenset(unit for unit in units if unit == path or path == "" or unit.startswith(f"{path}."))

    held = {path: inside(path, list(pairs.values())) for path in theirs}
    found = {"": ""}
    for path in ours:
        mine = frozenset(pairs[unit] for unit in inside(path, list(pairs)))
        if path in pairs or not path or not mine:
            continue
        fitting = [other for other in held if other and held[other] == mine and other not in pairs.values()]
        if fitting:
            found[path] = max(fitting, key=len)
    return found


ORDERS = {
    ("gru cell", "in"): (1, 0),
    ("rnn cell", "in"): (1, 0),
    ("lstm cell", "in"): (2, 1, 0),
    ("lstm cell", "out"): (1, 0),
}


def argument_order(framework: str, kind: str, role: str) -> tuple[int, ...]:
    """Which of torch's arrays each of the port's is, where they come in another order; () where they do not.

    flax's cells take the state first, and of an lstm's state c comes before h.
    """
    return ORDERS.get((kind, role), ()) if framework.startswith("flax") else ()
