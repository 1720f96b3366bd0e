"""What the check of a whole net says and costs, in a process of its own."""

import resource
import time
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from pullback import parity

from . import nets
from .large import large
from .nets import Net


def all_nets(only: Iterable[str] = ()) -> list[nets.Net]:
    """The nets whose name holds one of the words; those whose libraries are not installed are said to be missing."""
    words = list(only)
    found = [*nets.resnets(), *large()]
    try:
        found += nets.transformers()
    except ImportError as error:
        print(f"equimo's ViT against timm's is left out: {error}.")
    return [net for net in found if not words or any(word in net.name for word in words)]


def of_net(name: str, framework: str) -> tuple[bool, str, float, float, float]:
    """For a process of its own: whether the report is as it should be, what it said, and what it cost."""
    warnings.simplefilter("ignore")
    (net,) = [each for each in all_nets([name]) if (each.name, each.framework) == (name, framework)]
    cost = checked(net)
    first = cost.report.first_divergence
    if net.where:
        right = first is not None and first.path == net.where and net.hint in first.hint
    else:
        right = cost.report.ok
    return right, str(first or ""), cost.seconds, cost.megabytes, cost.of_the_original


class Cost(NamedTuple):
    """What a check took, beside one forward and backward of the original in float32."""

    report: Any
    seconds: float
    megabytes: float
    of_the_original: float


def checked(net: Net) -> Cost:
    """The report, and what it cost; to be run in a process of its own, whose peak is the check's."""
    model, first = (
        net.original(),
        [torch.from_numpy(np.moveaxis(x, -1, 1) if x.shape[-1] == 3 else x) for x in net.inputs],
    )
    before = peak()
    model(*first).sum().backward()
    alone = peak() - before
    del model
    start, begun = peak(), time.perf_counter()
    report = parity.check_model(net.port(), net.original(), net.inputs)
    return Cost(report, time.perf_counter() - begun, max(peak() - start, 0), alone)


def peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
