"""Which checks of the survey are called wrong because jax or torch is: each is proven in docs/findings.md."""


def _kinds(function: str, kind: str, *dtypes: str) -> set[tuple[str, str, str]]:
    return {(function, kind, dtype) for dtype in dtypes}


BOTH = ("float32", "bfloat16")
KNOWN: dict[str, set[tuple[str, str, str]]] = {
    "digamma": _kinds("jsp.digamma", "near kinks", *BOTH),
    "i0": _kinds("jsp.i0", "at 0", *BOTH),
    "spence": _kinds("jsp.spence", "between 1 and 2", "float32"),
    "betaln": _kinds("jsp.betaln", "near 0", *BOTH),
    "bessel_jn": _kinds("jsp.bessel_jn", "between 4 and 8", *BOTH),
    "ndtr": _kinds("jsp.ndtr", "badly conditioned", "float32"),
}
"""The function's name on that page -> the checks: function, kind of arguments, dtype."""
