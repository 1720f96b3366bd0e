"""From many numbers to fewer, or to as many in another order."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import torch
from jax import lax

from .entry import EXACT, Entry, cancelling, entry, mask, near_ties, normal, positive, sized

ORDINARY = normal()
LARGE = sized(1e3, 1e4)
SMALL = sized(1e-6, 1e-4)
TIES = {"ordinary": ORDINARY, "near_kinks": near_ties(), "large": LARGE}
SPREAD = {"ordinary": ORDINARY, "near_kinks": near_ties(), "badly_conditioned": normal(shift=30), "large": LARGE}
SUMS = {"ordinary": ORDINARY, "badly_conditioned": cancelling(), "large": LARGE, "small": SMALL}
PRODUCTS = {
    "ordinary": sized(0.3, 3),
    "near_kinks": sized(1e-3, 1),
    "large": sized(10, 100),
    "small": sized(1e-3, 1e-2),
}


def rows(fun: Callable[..., Any], *more: Any, **options: Any) -> Callable[..., Any]:
    """fun along the last axis."""
    return lambda x: fun(x, *more, axis=-1, **options)


def of_rows(fun: Callable[..., Any], *more: Any, **options: Any) -> Callable[..., Any]:
    """The same of torch, without the indices that it may return."""

    def run(x: torch.Tensor) -> torch.Tensor:
        found = fun(x, *more, dim=-1, **options)
        return found if isinstance(found, torch.Tensor) else found[0]

    return run


def average(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (x * weights).sum(-1) / weights.sum(-1)


def minmax(x: torch.Tensor) -> torch.Tensor:
    return x.amax(-1) - x.amin(-1)


def median(x: torch.Tensor) -> torch.Tensor:
    return torch.quantile(x, 0.5, dim=-1)


def slices(x: Any) -> Any:
    """The same function of neighbours, by jnp.gradient."""
    return jnp.gradient(x, axis=-1)


def norms() -> list[Entry]:
    norm, of_torch = jnp.linalg.norm, torch.linalg.vector_norm
    return [
        entry("jnp.linalg.norm, 2", rows(norm), of_rows(of_torch), ordinary=ORDINARY, large=LARGE, small=SMALL),
        entry(
            "jnp.linalg.norm, 1", rows(norm, 1), of_rows(of_torch, 1), ordinary=ORDINARY, near_kinks=SMALL, large=LARGE
        ),
        entry("jnp.linalg.norm, 3", rows(norm, 3), of_rows(of_torch, 3), ordinary=ORDINARY, large=LARGE, small=SMALL),
        entry("jnp.linalg.norm, inf", rows(norm, jnp.inf), of_rows(of_torch, torch.inf), **TIES),
        entry(
            "jnp.linalg.vector_norm",
            rows(jnp.linalg.vector_norm, ord=2.5),
            of_rows(of_torch, 2.5),
            ordinary=ORDINARY,
            small=SMALL,
        ),
    ]


def running() -> list[Entry]:
    return [
        entry("jnp.cumsum", rows(jnp.cumsum), of_rows(torch.cumsum), **SUMS),
        entry("jnp.cumprod", rows(jnp.cumprod), of_rows(torch.cumprod), **PRODUCTS),
        entry(
            "jax.lax.cumsum, reverse", lambda x: lax.cumsum(x, 1, True), lambda x: x.flip(1).cumsum(1).flip(1), **SUMS
        ),
        entry("jax.lax.cummax", lambda x: lax.cummax(x, 1), lambda x: torch.cummax(x, 1)[0], **TIES),
        entry("jax.lax.cummin", lambda x: lax.cummin(x, 1), lambda x: torch.cummin(x, 1)[0], **TIES),
        entry(
            "jax.lax.cumlogsumexp",
            lambda x: lax.cumlogsumexp(x, 1),
            lambda x: torch.logcumsumexp(x, 1),
            ordinary=ORDINARY,
            near_kinks=near_ties(),
            badly_conditioned=normal(scale=30),
        ),
        entry("jnp.diff", rows(jnp.diff), of_rows(torch.diff), ordinary=ORDINARY, near_kinks=near_ties(), large=LARGE),
        entry(
            "jnp.gradient", slices, lambda x: torch.gradient(x, dim=-1)[0], ordinary=ORDINARY, near_kinks=near_ties()
        ),
        entry("jnp.trapezoid", jnp.trapezoid, lambda x: torch.trapezoid(x), **SUMS),
        entry("jnp.unwrap", jnp.unwrap, None, ordinary=normal(scale=3), small=SMALL),
    ]


def in_order() -> list[Entry]:
    return [
        entry("jnp.sort", rows(jnp.sort), of_rows(torch.sort), **TIES),
        entry("jax.lax.top_k", lambda x: lax.top_k(x, 3)[0], lambda x: torch.topk(x, 3)[0], **TIES),
        entry(
            "jax.lax.approx_max_k", lambda x: lax.approx_max_k(x, 3)[0], lambda x: torch.topk(x, 3)[0], EXACT, **TIES
        ),
        entry("jnp.partition", lambda x: jnp.partition(x, 3)[:, 3], lambda x: torch.kthvalue(x, 4)[0], **TIES),
        entry("jnp.median", rows(jnp.median), median, EXACT, **TIES),
        entry("jnp.median, even", lambda x: jnp.median(x[:, :6], axis=-1), lambda x: median(x[:, :6]), EXACT, **TIES),
        entry("jnp.quantile", rows(jnp.quantile, 0.3), of_rows(torch.quantile, 0.3), EXACT, **TIES),
        entry("jnp.percentile", rows(jnp.percentile, 85), of_rows(torch.quantile, 0.85), EXACT, **TIES),
        entry("jnp.nanmedian", rows(jnp.nanmedian), median, EXACT, **TIES),
        entry(
            "jax.lax.sort_key_val",
            lambda keys, values: lax.sort_key_val(keys, values)[1],
            lambda keys, values: values.gather(-1, keys.argsort(-1)),
            ordinary=(ORDINARY, ORDINARY),
            near_kinks=(near_ties(), ORDINARY),
        ),
    ]


def entries() -> list[Entry]:
    return (
        norms()
        + running()
        + in_order()
        + [
            entry("jnp.sum", rows(jnp.sum), of_rows(torch.sum), **SUMS),
            entry("jnp.mean", rows(jnp.mean), of_rows(torch.mean), **SUMS),
            entry(
                "jnp.mean, where",
                lambda x, keep: jnp.mean(x, axis=-1, where=keep),
                lambda x, keep: torch.where(keep, x, 0).sum(-1) / keep.sum(-1),
                ordinary=(ORDINARY, mask()),
                badly_conditioned=(cancelling(), mask()),
            ),
            entry("jnp.var", rows(jnp.var), of_rows(torch.var, correction=0), **SPREAD),
            entry("jnp.var, ddof", rows(jnp.var, ddof=1), of_rows(torch.var), **SPREAD),
            entry("jnp.std", rows(jnp.std), of_rows(torch.std, correction=0), **SPREAD),
            entry("jnp.prod", rows(jnp.prod), of_rows(torch.prod), **PRODUCTS),
            entry("jnp.max", rows(jnp.max), of_rows(torch.max), **TIES),
            entry("jnp.min", rows(jnp.min), of_rows(torch.min), **TIES),
            entry("jnp.ptp", rows(jnp.ptp), minmax, **TIES),
            entry("jnp.nansum", rows(jnp.nansum), of_rows(torch.nansum), **SUMS),
            entry("jnp.nanmax", rows(jnp.nanmax), of_rows(torch.max), **TIES),
            entry("jnp.nanstd", rows(jnp.nanstd), of_rows(torch.std, correction=0), **SPREAD),
            entry(
                "jnp.average",
                lambda x, weights: jnp.average(x, axis=-1, weights=weights),
                average,
                ordinary=(ORDINARY, positive(0.1, 2)),
                badly_conditioned=(cancelling(), positive(0.1, 2)),
            ),
            entry(
                "jnp.cov", jnp.cov, torch.cov, EXACT, ordinary=ORDINARY, badly_conditioned=normal(shift=30), small=SMALL
            ),
            entry(
                "jnp.corrcoef",
                jnp.corrcoef,
                torch.corrcoef,
                EXACT,
                ordinary=ORDINARY,
                badly_conditioned=normal(shift=30),
            ),
        ]
    )
