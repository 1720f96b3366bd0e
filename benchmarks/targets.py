"""What the library sets out to reach, and whether this run reached it."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

# Workloads as they stand in the JSON: title -> rows.
Results = dict[str, list[dict[str, Any]]]

VG, FUSED, EAGER, COMPILE = "jit(value_and_grad)", "fused_value_and_grad", "torch eager", "torch.compile"
LESSON, WITH_X_BAR, EPOCH = "lesson", "lesson, x_bar", "epoch, batch 64"


class Target(NamedTuple):
    """A figure of the results, and what it should be."""

    what: str
    limit: float
    at_least: bool
    """Whether the limit is the least that will do, or the most."""
    unit: str
    reached: Callable[[Results], float | None]


def _row(results: Results, title: str, name: str) -> dict[str, Any]:
    return next((row for row in results.get(title, []) if row["name"] == name), {})


def _times_as_fast(title: str, ours: str, theirs: str) -> Callable[[Results], float | None]:
    def reached(results: Results) -> float | None:
        a, b = (_row(results, title, name).get("median_ms") for name in (ours, theirs))
        return None if a is None or b is None else b / a

    return reached


def _figure(title: str, name: str, key: str) -> Callable[[Results], float | None]:
    return lambda results: _row(results, title, name).get(key)


def _temporary(results: Results) -> list[float]:
    titles = [title for title in results if title.startswith("rows, ")]
    return [_row(results, title, FUSED)["temporary_mb"] for title in titles]


def _most_temporary(results: Results) -> float | None:
    return max(_temporary(results), default=None)


def _growth(results: Results) -> float | None:
    """The most over that of 50,000 rows: a batch that is one tile needs less."""
    least = _row(results, "rows, 50,000", FUSED).get("temporary_mb")
    return None if least is None else max(_temporary(results)) / least


def _second_compile(results: Results) -> float | None:
    first, second = (
        _row(results, f"cold, {FUSED}", start).get("compile_ms")
        for start in ("first start, empty cache", "second start")
    )
    return None if first is None or second is None else second / first


TARGETS = (
    Target(f"lesson: {VG}", 1.4, True, "×", _times_as_fast(LESSON, FUSED, VG)),
    Target(f"lesson: {EAGER}", 2.2, True, "×", _times_as_fast(LESSON, FUSED, EAGER)),
    Target(f"lesson: {COMPILE}", 2.0, True, "×", _times_as_fast(LESSON, FUSED, COMPILE)),
    Target("lesson: share of the floor", 0.7, True, "", _figure(LESSON, FUSED, "share_of_floor")),
    Target(f"lesson with x_bar: {VG}", 1.3, True, "×", _times_as_fast(WITH_X_BAR, FUSED, VG)),
    Target(f"lesson with x_bar: {EAGER}", 1.7, True, "×", _times_as_fast(WITH_X_BAR, FUSED, EAGER)),
    Target(
        "step, batch 64: overhead over an empty call", 1.2, False, "×", _figure("step, batch 64", FUSED, "of_empty")
    ),
    Target("epoch, batch 64: torch loop", 5.0, True, "×", _times_as_fast(EPOCH, "sgd_epoch", "torch loop")),
    Target("epoch, batch 64: jit per step", 3.0, True, "×", _times_as_fast(EPOCH, "sgd_epoch", "jit per step")),
    Target(f"wide: {VG}", 1.0, True, "×", _times_as_fast("wide", FUSED, VG)),
    Target(f"wide: {EAGER}", 1.5, True, "×", _times_as_fast("wide", FUSED, EAGER)),
    Target("rows: most temporary memory", 16.0, False, " MB", _most_temporary),
    Target("rows: temporary memory over that at 50,000 rows", 1.01, False, "×", _growth),
    Target("cold: second compile over the first", 0.5, False, "×", _second_compile),
)


def verdicts(results: Results, platform: str) -> list[dict[str, Any]]:
    """For each target and kind of device: `reached` and "met", "missed" or "not measured"."""
    lines = []
    for device in ("cpu", "gpu", "tpu"):
        here = device == platform
        lines += [
            _verdict(target, device, target.reached(results) if here and target else None)
            for target in _of(device, here)
        ]
    return lines


def _of(device: str, here: bool) -> Iterable[Target | None]:
    # A device that is not here is one line, not one for each target.
    return TARGETS if here or device == "cpu" else (None,)


def _verdict(target: Target | None, device: str, reached: float | None) -> dict[str, Any]:
    if target is None:
        return {"device": device, "what": "all targets", "limit": "", "reached": None, "verdict": "not measured"}
    verdict = "not measured"
    if reached is not None:
        verdict = "met" if (reached >= target.limit if target.at_least else reached <= target.limit) else "missed"
    return {
        "device": device,
        "what": target.what,
        "limit": f"{'≥' if target.at_least else '≤'} {target.limit:g}{target.unit}",
        "reached": reached,
        "verdict": verdict,
    }
