"""What a compiled function sends between devices, and whole numbers, of which every sum is exact."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest


class Collective(NamedTuple):
    kind: str
    shapes: list[str]
    """Of one device, as HLO writes them: `f32[8,16]`."""
    where: str
    """The computation that it stands in: `ENTRY ...`, or the body of a loop."""


def collectives_in(compiled: Any) -> list[Collective]:
    found, where = [], ""
    for line in compiled.as_text().splitlines():
        where = line if re.match(r"(ENTRY )?%\S+ \(", line) else where
        kinds = "all-reduce|all-gather|reduce-scatter|collective-permute|collective-broadcast|all-to-all"
        match = re.search(rf"= (.*?) ({kinds})(?:-start)?\(", line)
        if match:
            found.append(Collective(match[2], re.findall(r"\w+\[[\d,]*\]", match[1]), where))
    return found


@pytest.fixture
def collectives() -> Callable[[Any], list[Collective]]:
    return collectives_in


def whole_numbers(n: int, sizes: tuple[int, ...]) -> tuple[Any, np.ndarray, np.ndarray]:
    """`(params, x, targ)` of float32: forward and backward, summed over up to 100 rows, are exact."""
    rng = np.random.default_rng(9)
    weights = list(zip(sizes[:-1], sizes[1:], strict=True))
    params = [
        (jnp.asarray(rng.integers(-1, 2, w), "float32"), jnp.asarray(rng.integers(-2, 3, w[1]), "float32"))
        for w in weights
    ]
    x, targ = rng.integers(-2, 3, (n, sizes[0])), rng.integers(0, 10, (n, sizes[-1]))
    return params, x.astype(np.float32), targ.astype(np.float32)


@pytest.fixture
def whole() -> Callable[[int, tuple[int, ...]], tuple[Any, np.ndarray, np.ndarray]]:
    return whole_numbers


@pytest.fixture(scope="session")
def worker() -> list[str]:
    """The script that one process of many runs."""
    return [str(Path(__file__).parent / "worker.py")]
