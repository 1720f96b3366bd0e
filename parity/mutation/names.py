"""What each planted error should be called, where a diagnosis has a name for it."""

NAMES = {
    "doubled": "factor",
    "halved": "factor",
    "times 1.001": "factor",
    "times 1.0003": "factor",
    "first element off by 1%": "factor",
    "a mean over rows for a sum": "factor",
    "a sum over rows for a mean": "factor",
    "n for n - 1": "factor",
    "forward times 1.001": "factor",
    "sign flipped": "sign",
    "transposed": "transpose",
    "zero": "drop",
    "None": "drop",
    "first element dropped": "drop",
    "first row dropped": "drop",
    "last row dropped": "drop",
    "last column dropped": "drop",
    "shifted by a row": "shift",
    "shifted by a column": "shift",
    "rows reversed": "reversal",
    "columns reversed": "reversal",
    "ignores the cotangent": "cotangent ignored",
    "rounded to bfloat16": "precision",
    "of dtype bfloat16": "precision",
    "takes the cotangent in bfloat16": "precision",
    "residual in bfloat16": "precision",
    "forward in bfloat16": "precision",
}
"""Planted error, as in planted_errors.py -> the kind of diagnosis (verdict/diagnosis.py) that names it."""
NAMELESS = "no name of its own"


def right_name(error: str) -> str:
    """What a planted error should be called; "" where a diagnosis has no name for it.

    error: as `plant_all` calls it, with the leaf that it is in: `x_bar doubled`, `residual in bfloat16 of x`.
    """
    kinds = [
        kind for kind in NAMES if error == kind or error.endswith(f"_bar {kind}") or error.startswith(f"{kind} of ")
    ]
    return NAMES[kinds[0]] if kinds else ""


def tally(said: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Kind -> how many of its planted errors were called that, and of how many.

    said: planted error -> the kinds that its diagnoses name, joined; "" for none. Errors that no kind is right for
    count under NAMELESS, as rightly named where nothing was said.
    """
    found: dict[str, tuple[int, int]] = dict.fromkeys([*dict.fromkeys(NAMES.values()), NAMELESS], (0, 0))
    for error, kind in said.items():
        right = right_name(error)
        good, all_ = found[right or NAMELESS]
        found[right or NAMELESS] = good + (kind == right), all_ + 1
    return {kind: counts for kind, counts in found.items() if counts[1]}
