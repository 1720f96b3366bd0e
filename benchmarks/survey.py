"""Rules that nobody here wrote: custom rules of jax and optax held against torch, one row each.

`python benchmarks/survey.py [--json FILE] [--only NAME]`. It exits 0 whatever it finds: the table is the result.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import numpy as np
import optax
import torch
from rich.console import Console
from rich.table import Table

from pullback import parity
from pullback.parity.case.stripping import custom_rules
from pullback.parity.probes.probe import PROBES

WIDTH = 150


@dataclass(frozen=True)
class Case:
    """A public function, its counterpart in torch, and what both are called with."""

    name: str
    rule: Callable[..., Any]
    torch: Callable[..., Any]
    args: tuple[Any, ...]
    checks: Sequence[str] = tuple(PROBES)


def cases() -> list[Case]:
    """Functions with a custom rule, and after them some often named ones that may have none."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((5, 7), np.float32) * 2 for _ in range(2))
    positive, more = (np.abs(a) + np.float32(0.1) for a in (x, y))
    share = (1 / (1 + np.exp(-y))).astype(np.float32)
    distribution = (positive / positive.sum(-1, keepdims=True)).astype(np.float32)
    square = well_conditioned(5)
    tall = rng.standard_normal((6, 4), np.float32)
    nn, special, linalg = torch.nn.functional, torch.special, torch.linalg
    return [
        Case("jax.nn.relu", jax.nn.relu, torch.relu, (x,)),
        Case("jax.nn.relu6", jax.nn.relu6, nn.relu6, (4 * x,)),
        Case("jax.nn.hard_swish", jax.nn.hard_swish, nn.hardswish, (2 * x,)),
        Case("jax.nn.softplus", jax.nn.softplus, nn.softplus, (x,)),
        Case("jax.nn.log_sigmoid", jax.nn.log_sigmoid, nn.logsigmoid, (x,)),
        Case("jax.nn.mish", jax.nn.mish, nn.mish, (x,)),
        Case("jnp.logaddexp", jnp.logaddexp, torch.logaddexp, (x, y)),
        Case("jnp.logaddexp2", jnp.logaddexp2, torch.logaddexp2, (x, y)),
        Case("jnp.sinc", jnp.sinc, torch.sinc, (x,)),
        Case("jsp.xlogy", jsp.xlogy, special.xlogy, (x, more)),
        Case("jsp.xlog1py", jsp.xlog1py, special.xlog1py, (x, more)),
        Case("jsp.entr", jsp.entr, special.entr, (positive,)),
        Case("jsp.kl_div", jsp.kl_div, torch_kl_div, (positive, more)),
        Case("jsp.log_ndtr", jsp.log_ndtr, special.log_ndtr, (2 * x,)),
        Case("jnp.linalg.slogdet", slogdet, torch_slogdet, (square,)),
        # No special values: jax's pinv of a matrix with an infinity never returns (LAPACK's SVD, on CPU).
        Case(
            "jnp.linalg.pinv",
            jnp.linalg.pinv,
            linalg.pinv,
            (tall,),
            [name for name in PROBES if name != "kinks"],
        ),
        Case(
            "optax.sigmoid_binary_cross_entropy",
            optax.sigmoid_binary_cross_entropy,
            lambda logits, labels: nn.binary_cross_entropy_with_logits(logits, labels, reduction="none"),
            (x, share),
        ),
        Case(
            "optax.safe_softmax_cross_entropy",
            optax.safe_softmax_cross_entropy,
            lambda logits, labels: -(labels * nn.log_softmax(logits, -1)).sum(-1),
            (x, distribution),
        ),
        Case("optax.log_cosh", optax.log_cosh, torch_log_cosh, (x, y)),
        Case("jax.nn.logsumexp", lambda x: jax.nn.logsumexp(x, -1), lambda x: torch.logsumexp(x, -1), (x,)),
        Case("jax.nn.gelu", lambda x: jax.nn.gelu(x, approximate=False), nn.gelu, (x,)),
        Case("jax.nn.silu", jax.nn.silu, nn.silu, (x,)),
        Case("jnp.linalg.inv", jnp.linalg.inv, linalg.inv, (square,)),
        Case("jnp.linalg.cholesky", jnp.linalg.cholesky, torch_cholesky, (square,)),
    ]


def well_conditioned(n: int) -> np.ndarray:
    """Symmetric, with eigenvalues 1 to 2: condition number 2, up to rounding."""
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))
    matrix = (q * np.linspace(1, 2, n)) @ q.T
    return ((matrix + matrix.T) / 2).astype(np.float32)


def slogdet(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    sign, log = jnp.linalg.slogdet(a)
    return sign, log


def torch_slogdet(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sign, log = torch.linalg.slogdet(a)
    return sign, log


def torch_cholesky(a: torch.Tensor) -> torch.Tensor:
    """jax takes the symmetric part of its argument first (symmetrize_input), torch does not."""
    return torch.linalg.cholesky((a + a.mT) / 2)


def torch_kl_div(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """p log(p / q) - p + q, as scipy defines it; torch's own kl_div takes log p and leaves out the rest."""
    return -torch.special.entr(p) - torch.special.xlogy(p, q) - p + q


def torch_log_cosh(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    error = predictions - targets
    return torch.logaddexp(error, -error) - np.log(2)


def surveyed(case: Case) -> dict[str, Any]:
    """One row of the table, as plain data."""
    start = time.perf_counter()
    row: dict[str, Any] = {"function": case.name, "rules": custom_rules(jax.make_jaxpr(case.rule)(*case.args))}
    try:
        report = parity.check(case.rule, *case.args, torch=case.torch, checks=case.checks)
    except Exception as error:  # a row says so, and the survey goes on
        row |= {"verdict": "ERROR", "said": [f"parity.check raised {type(error).__name__}: {error}"]}
        return row
    own = [r for r in report.rows if r.check == case.args[0].dtype.name]
    shares = [d.budget for r in own for d in r.deviations.values() if np.isfinite(d.budget)]
    floors = [r.floor for r in own if r.leaf.endswith("_bar") and r.floor]
    return row | {
        "verdict": "PASS" if report.ok else "FAIL",
        "culprits": report.culprits,
        "worst_share_of_bound": max(shares, default=None),
        "floor": max(floors, default=None),
        "said": disagreements(report),
        "seconds": round(time.perf_counter() - start, 1),
    }


def disagreements(report: parity.Report) -> list[str]:
    """Where somebody says something else, and what makes the bound weaker."""
    where: dict[str, list[str]] = {}
    for row in report.rows:
        for who, deviation in row.deviations.items():
            if deviation.problem and not row.leaf.endswith("(primal)"):
                raised = deviation.problem.startswith("raised")
                place = row.check if raised else f"{row.check} {row.leaf} ({deviation.budget:.2g} bounds)"
                where.setdefault(f"{who} {short(deviation.problem)}", []).append(place)
    for finding in report.findings:
        if finding.status == "FAIL" or (finding.check == "kinks" and "differ" in finding.text):
            where.setdefault(f"{finding.check}: {short(finding.text)}", []).append(finding.about)
    said = [f"{what}: {', '.join(dict.fromkeys(places))}" for what, places in where.items()]
    if report.oracle_budget is not None and not report.oracle_budget <= 1:
        said.append(f"the oracle and a second float64 computation differ by {report.oracle_budget:.2g} bounds")
    if report.fallbacks:
        said.append(f"bound estimated for {', '.join(report.fallbacks)}")
    return said


def short(text: str) -> str:
    return text if len(text) <= 90 else text[:87] + "..."


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("function", "rules it carries", "verdict", "wrong", "of bound", "notices", "who says something else"):
        table.add_column(title, overflow="fold", justify="right" if title in ("of bound", "notices") else "left")
    for row in rows:
        share, floor = row.get("worst_share_of_bound"), row.get("floor")
        rules = dict.fromkeys(rule.replace("custom_", "") for rule in row["rules"])
        table.add_row(
            row["function"],
            ", ".join(rules) or "none",
            row["verdict"],
            ", ".join(row.get("culprits", [])) or "-",
            "-" if share is None else f"{share:.0%}",
            "-" if floor is None else f"{floor:.0e}",
            "; ".join(row["said"]) or "-",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there too")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="only these functions")
    options = parser.parse_args()
    console = Console(width=WIDTH, highlight=False, markup=False)
    rows = [surveyed(case) for case in cases() if not options.only or case.name in options.only]
    console.print(table_of(rows))
    device = jax.devices()[0]
    names = ("jax", "torch", "optax", "pullback")
    versions = {name: version(name) for name in names}
    about = {"versions": versions, "python": platform.python_version(), "device": device.device_kind}
    console.print(
        "\nof bound, notices: of the float32 leaves, the largest share of its bound that anybody uses, and the largest "
        "floor of a cotangent.\n" + ", ".join(f"{k} {v}" for k, v in versions.items()) + f", Python "
        f"{platform.python_version()}, on {device.platform} ({device.device_kind})"
    )
    if options.json:
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
