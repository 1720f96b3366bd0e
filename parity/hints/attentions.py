"""Attention that is written by hand, between three linear layers and the next: which settings give these numbers?"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..case.torch_arrays import to_numpy, to_torch, torch

CLOSE = 1e-6
"""Relative to the largest."""


class Setting(NamedTuple):
    """How the heads attend."""

    heads: int
    scale: str
    causal: bool
    width_first: bool
    """Whether an axis of the model's width is split into (width of a head, heads), and not the other way round."""


def attention_between(layers: Sequence[np.ndarray], port: np.ndarray, original: np.ndarray) -> str:
    """What the port does otherwise; "" if it is not that, or if there is no attention.

    layers: the outputs of the linear layers before, [batch, tokens, width]: query, key and value, or all in one.
    """
    port, original = (x.reshape(*x.shape[:2], -1) if x.ndim == 4 else x for x in (port, original))  # heads apart
    parts = _query_key_value(layers, original)
    if parts is None or port.shape != original.shape:
        return ""
    theirs = ours = None
    for setting, y in _attentions(*parts):
        theirs = setting if theirs is None and _close(y, original) else theirs
        ours = setting if ours is None and _close(y, port) else ours
    if theirs is None or ours is None or ours == theirs:
        return ""
    said = {
        "heads": f"{ours.heads} heads, where the original has {theirs.heads}",
        "scale": f"scores {ours.scale}, where the original has them {theirs.scale}",
        "causal": "tokens that see later ones" if theirs.causal else "tokens that see no later ones",
        "width_first": "heads that are split along the other axis",
    }
    differing = [name for name in Setting._fields if getattr(ours, name) != getattr(theirs, name)]
    return f"attention with {' and '.join(said[name] for name in differing)}"


def _query_key_value(layers: Sequence[np.ndarray], original: np.ndarray) -> list[np.ndarray] | None:
    if original.ndim != 3 or not layers:
        return None
    width = original.shape[-1]
    if layers[-1].shape[-1] == 3 * width and layers[-1].ndim == 3:
        return np.split(layers[-1], 3, -1)
    three = list(layers[-3:])
    return three if len(three) == 3 and all(x.ndim == 3 and x.shape[-1] == width for x in three) else None


def _attentions(*parts: np.ndarray) -> Iterator[tuple[Setting, np.ndarray]]:
    query, key, value = (to_torch(np.asarray(x, np.float64)) for x in parts)
    width, square = query.shape[-1], query.shape[1] == key.shape[1]
    for heads in (h for h in range(1, min(width, 64) + 1) if width % h == 0):
        scales = {
            "divided by the root of the width of a head": (width // heads) ** -0.5,
            "that are not scaled": 1.0,
            "divided by the root of the whole width": width**-0.5,
            "divided by the width of a head": heads / width,
        }
        for width_first, causal in itertools.product((False, True), (False, True) if square else (False,)):
            q, k, v = (_heads(x, heads, width_first) for x in (query, key, value))
            for said, scale in scales.items():
                scores = q @ k.transpose(-1, -2) * scale
                if causal:
                    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
                    scores = scores.masked_fill(later, -torch.inf)
                y = scores.softmax(-1) @ v
                y = y.permute(0, 2, 3, 1) if width_first else y.transpose(1, 2)
                yield Setting(heads, said, causal, width_first), to_numpy(y.flatten(2))


def _heads(x: Any, heads: int, width_first: bool) -> Any:
    """[batch, heads, tokens, width of a head]."""
    if width_first:
        return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= CLOSE * np.max(np.abs(b), initial=1e-300))
