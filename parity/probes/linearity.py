"""Whether a rule's backward is linear in the cotangent. No oracle is needed for that."""

import numpy as np

from ..case.leaves import Leaves
from ..verdict.finding import Finding


def linearity_findings(names: list[str], leaves: Leaves, bounds: Leaves) -> list[Finding]:
    """Cotangent 2 is cotangent 0 + twice cotangent 1, and cotangent 4 is zero (case/cotangents.py).

    names: of the arguments. leaves: the rule's. bounds: how far off each element may be.
    """
    findings = []
    for name in names:
        bar, bound = (np.asarray(x[f"{name}_bar"], np.float64) for x in (leaves, bounds))
        if bar.shape != bound.shape or not bar.size:
            continue
        with np.errstate(all="ignore"):
            off = np.abs(bar[2] - bar[0] - 2 * bar[1])
            off = np.where(off == 0, 0, off / (bound[0] + 2 * bound[1] + bound[2]))
        share = float(np.max(np.where(np.isnan(off), np.inf, off)))
        ok = share <= 1 and not bar[4].any()
        text = f"linear in the cotangent, {share:.0%} of what rounding allows"
        if not ok:
            text = (
                "not zero for a zero cotangent"
                if bar[4].any()
                else f"not linear in the cotangent: {share:.3g} bounds off"
            )
        findings.append(Finding("linearity", f"{name}_bar", "pass" if ok else "FAIL", text))
    return findings
