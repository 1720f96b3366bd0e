"""Figures, and lines of text, as people read them."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

NO_BOUND = 1e100  # a budget beyond it is an error where nothing is rounded, and so nothing allowed


def figure(value: float) -> str:
    """0, 0.5, 12, 3e-8: one or two digits."""
    if value == 0 or not math.isfinite(value):
        return "-" if value else "0"
    return f"{value:.1f}" if 0.05 <= value < 10 else f"{value:.0f}" if 10 <= value < 1000 else _power(value)


def percent(share: float) -> str:
    """63%, and from 100 times on 3e5×."""
    if not math.isfinite(share):
        return "-"
    if share >= NO_BOUND:
        return "inf"
    return f"{share:.0%}" if share < 100 else f"{_power(share)}×"


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def times(budget: float) -> str:
    """How far off a number is that is off by so many bounds."""
    if not math.isfinite(budget) or budget >= NO_BOUND:
        return "nothing is rounded there, so no rounding explains it"
    shown = f"{budget:.3g}" if budget < 10 else f"{budget:,.0f}" if budget < 10_000 else _power(budget)
    if shown == "1":
        return "a little farther off than rounding explains"
    return f"{shown} times as far off as rounding explains"


def told_apart(got: Any, right: Any, others: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
    """Numbers with as many digits as tell the first two apart: two digits of their difference, if there are."""
    gap, size = abs(got - right), max(abs(got), abs(right))
    with_gap = math.isfinite(gap) and gap > 0
    digits = math.floor(math.log10(size)) - math.floor(math.log10(gap)) + 2 if with_gap else 6
    digits = min(17, max(4, digits))
    got, right, *rest = (f"{value:#.{digits}g}" if value else "0" for value in (got, right, *others.values()))
    return got, right, dict(zip(others, rest, strict=True))


def numbered(index: tuple[int, ...]) -> str:
    """`[3, 7]`."""
    return f"[{', '.join(map(str, index))}]"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def hung(head: str, text: str, width: int) -> list[str]:
    """`text` behind `head`, in lines of `width`, those after the first indented as far; no word is broken."""
    room = max(width - len(head), 24)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]
