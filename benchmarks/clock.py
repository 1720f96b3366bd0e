"""The clock: calls take turns, round after round, so that what disturbs the machine disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

SHORT = 5e-3
"""Seconds: a call below is repeated inside a round, until the repeats together take FILL seconds."""
FILL = 20e-3
PAUSE = 5e-3
"""Seconds between two calls, not timed: the threads of one library spin for a while before they give the cores back."""
WARMED = 0.3
"""Seconds: a call below is also made once off the clock in each round, to wake its own library's threads."""


class Call(NamedTuple):
    """What is timed: `run(*prepare())`, of which only `run` is on the clock. It returns when its work is done."""

    run: Callable[..., Any]
    prepare: Callable[[], tuple] | None = None
    """Fresh arguments for one call, for a call that uses its arguments up."""


class Times(NamedTuple):
    """Milliseconds of one call, over the rounds."""

    median: float
    least: float
    most: float
    spread: float
    """Half the distance between the quartiles, as a part of the median; unlike most, no one slow round decides it."""

    @classmethod
    def of(cls, seen: Sequence[float]) -> "Times":
        """The times of these rounds."""
        low, median, high = statistics.quantiles(seen, n=4, method="inclusive") if len(seen) > 1 else 3 * [*seen]
        return cls(median, min(seen), max(seen), (high - low) / median / 2)


def in_turn(calls: Sequence[Call], rounds: int) -> list[Times]:
    """The times of each call. Each is run twice first: to warm up, and to see how often it must be repeated."""
    repeats, warmed = [], []
    for call in calls:
        _seconds(call, 1)
        took = _seconds(call, 1)
        warmed.append(took < WARMED)
        repeats.append(1 if took >= SHORT else round(FILL / max(took, FILL / 1000)))
    seen: list[list[float]] = [[] for _ in calls]
    for round_ in range(rounds):
        for place in range(len(calls)):
            which = (place + round_) % len(calls)  # nobody always comes after the same one
            time.sleep(PAUSE)
            if warmed[which]:
                _seconds(calls[which], 1)
            seen[which].append(1e3 * _seconds(calls[which], repeats[which]))
    return [Times.of(times) for times in seen]


def _seconds(call: Call, repeats: int) -> float:
    """Seconds per call."""
    total = 0.0
    if call.prepare is None:
        start = time.perf_counter()
        for _ in range(repeats):
            call.run()
        total = time.perf_counter() - start
    else:
        for _ in range(repeats):
            args = call.prepare()
            start = time.perf_counter()
            call.run(*args)
            total += time.perf_counter() - start
    return total / repeats
