"""Random deep graphs: norms, attention, softmax, products and running sums, as people stack them.

    python -m pullback.benchmarks.graphs --graphs 100

Each graph is a function of x [tokens, width] and some weights, 1 to 16 blocks deep, in float32 or bfloat16. Its value
and gradients, compiled or operation by operation, are held against the bounds that `parity.check` makes. Printed: how
many were called wrong, how many leaves could not be judged, how many planted errors were caught, and how far true
errors lie out in the distribution of the samples (roundoff/sampling.py).
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from pullback.parity.case.case import take_up
from pullback.parity.roundoff.bounded import Rounding, exact
from pullback.parity.roundoff.sampling import AMPLIFIED, FACTOR, spreads
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle
from pullback.parity.verdict.rows import compare

TOKENS, WIDTH, HEADS, DEEPEST = 6, 16, 2, 16


def layer_norm(x: Any, _: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)


def rms_norm(x: Any, _: Any) -> Any:
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def feed_forward(x: Any, w: Any) -> Any:
    return x + jax.nn.gelu(layer_norm(x, w) @ w, approximate=False)


def attention(x: Any, w: Any) -> Any:
    heads = (layer_norm(x, w) @ w).reshape(len(x), HEADS, -1)
    scores = jnp.einsum("qhd,khd->hqk", heads, heads) * heads.shape[-1] ** -0.5
    causal = np.tril(np.ones((len(x), len(x)), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -1e30), axis=-1)
    return x + jnp.einsum("hqk,khd->qhd", weights, heads).reshape(x.shape)


def gates(x: Any, w: Any) -> Any:
    return x * jax.nn.sigmoid(x @ w)


def product(x: Any, w: Any) -> Any:
    return rms_norm(x @ w, w)


def soft(x: Any, _: Any) -> Any:
    return x + jax.nn.softmax(x, axis=-1)


def running_sum(x: Any, _: Any) -> Any:
    return rms_norm(jnp.cumsum(x, axis=0), _)


BLOCKS: list[Callable[[Any, Any], Any]] = [layer_norm, rms_norm, feed_forward, attention, gates, product, soft]
BLOCKS += [running_sum]


def graph(seed: int) -> tuple[Callable[..., Any], list[np.ndarray], int]:
    """A function of x and its weights, those arguments in float32, and its depth."""
    rng = np.random.default_rng(seed)
    depth = int(round(np.exp(rng.uniform(0, np.log(DEEPEST)))))
    blocks = [BLOCKS[i] for i in rng.integers(0, len(BLOCKS), depth)]
    shared = [rng.standard_normal((WIDTH, WIDTH)) / 4 for _ in range(2)]
    x = rng.standard_normal((TOKENS, WIDTH))

    def fun(x: Any, *weights: Any) -> Any:
        for i, block in enumerate(blocks):
            x = block(x, weights[i % 2])
        return x

    return fun, [np.asarray(a, np.float32) for a in (x, *shared)], depth


class Tally(NamedTuple):
    """What was found on one graph."""

    wrong: list[str]
    unjudged: list[str]
    planted: int
    caught: int
    out: np.ndarray  # the error of every element that has one, in standard deviations of its samples


def tally(seed: int, dtype: Any) -> Tally:
    """One graph, compiled or operation by operation, with errors planted in each of its leaves."""
    fun, arrays, depth = graph(seed)
    evaluation = Evaluation(take_up(fun, tuple(np.asarray(jnp.asarray(a, dtype)) for a in arrays)))
    choose_oracle(evaluation)
    case, want, allowed = evaluation.case, evaluation.want, evaluation.rounding(evaluation.case.plain).errors
    leaves = case.rule(*case.args) if seed % 4 < 2 else case.rule.eager(*case.args)
    dtypes = {name: leaf.dtype for name, leaf in leaves.items()}
    name = f"seed={seed} depth={depth} {np.dtype(dtype)}"
    rows = compare(name, {"rule": leaves}, want, allowed, dtypes)
    planted = caught = 0
    for row in rows:
        if row.unjudged:
            continue
        for spoiled in _spoiled(leaves[row.leaf].astype(np.float64), want[row.leaf], allowed[row.leaf], row.floor):
            planted += 1
            wrong = {"rule": leaves | {row.leaf: spoiled.astype(leaves[row.leaf].dtype)}}
            found = compare(name, wrong, want, allowed, dtypes)
            caught += any(not each.ok for each in found)
    sigma = deviations(evaluation, dtype)
    sigmas = [sigma[leaf] for leaf in leaves]
    off = [np.abs(leaf.astype(np.float64) - want[name]) for name, leaf in leaves.items()]
    out = np.concatenate(
        [np.ravel(o / np.maximum(s, 1e-300))[np.ravel(o > 0)] for o, s in zip(off, sigmas, strict=True)]
    )
    wrong = [f"{name}: {row.leaf}" for row in rows if not row.ok]
    return Tally(wrong, [f"{name}: {row.leaf}" for row in rows if row.unjudged], planted, caught, out)


def deviations(evaluation: Evaluation, dtype: Any) -> dict[str, np.ndarray]:
    """The standard deviation of each element's samples, undoing that they are drawn larger."""
    case = evaluation.case
    closed, shapes = evaluation.program(case.plain)
    with np.errstate(all="ignore"):
        found = spreads(Rounding(dtype), closed, [exact(leaf) for leaf in jax.tree.leaves(case.args)])
    return jax.tree.unflatten(jax.tree.structure(shapes), [x.error / (AMPLIFIED * FACTOR) for x in found])


def _spoiled(leaf: np.ndarray, want: np.ndarray, bound: np.ndarray, floor: float | None) -> list[np.ndarray]:
    """The leaf with errors above the floor that the report states, and without an element that is above its own."""
    if floor is None or not np.isfinite(floor):
        return []
    room = 1.02 * floor
    spoiled = [leaf * (1 + room), leaf * (1 - room)]
    clear = np.argwhere(np.abs(want) > 2 * bound)
    if len(clear):
        spoiled.append(leaf.copy())
        spoiled[-1][tuple(clear[len(clear) // 2])] = 0
    return spoiled


def tallies(count: int) -> dict[str, list[Tally]]:
    """So many graphs, by dtype."""
    found: dict[str, list[Tally]] = {"float32": [], "bfloat16": []}
    for seed in track(range(count), "random graphs"):
        name = list(found)[seed % 2]
        found[name].append(tally(seed, jnp.dtype(name)))
    return found


def report(found: dict[str, list[Tally]]) -> bool:
    """Prints what was found; whether nothing was called wrong, everything planted was caught, and float32 judged."""
    fine = True
    for dtype, each in ((dtype, each) for dtype, each in found.items() if each):
        wrong, unjudged = [x for t in each for x in t.wrong], [x for t in each for x in t.unjudged]
        planted, caught = sum(t.planted for t in each), sum(t.caught for t in each)
        out = np.concatenate([t.out for t in each])
        beyond = ", ".join(f"{np.count_nonzero(out > k):,} beyond {k}" for k in (2, 3, 4, 5, 6))
        for line in [*(f"{line} is called wrong" for line in wrong), *(f"{line} is not judged" for line in unjudged)]:
            print(line)
        print(
            f"{dtype}: {len(wrong)} leaves of {len(each)} graphs called wrong, {len(unjudged)} not judged; "
            f"{caught} of {planted} planted errors caught. "
            f"Of {out.size:,} errors, in standard deviations of their samples: {beyond}; the largest {out.max():.2f}"
        )
        fine = fine and not wrong and caught == planted and not (unjudged and dtype == "float32")
    return fine


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--graphs", type=int, default=100, help="how many graphs (default 100)")
    sys.exit(not report(tallies(options.parse_args().graphs)))


if __name__ == "__main__":
    main()
