"""The check on the check: the mutation score of every rule, and how often a right run is called wrong.

    make mutants

Wrong rules: each is planted with every error of parity/mutation/planted_errors.py, and `parity.mutants` says which were
caught, and how many of each kind the diagnosis calls by their name (parity/mutation/names.py). Right runs: the whole
net in six implementations, seeded, in float32 and bfloat16, with 1 to 50,000 rows and 1 to 512 hidden units (both drawn
evenly on a logarithmic scale); none may fail. Rows beyond those of the data set are drawn from it again. And 100 random
deep graphs, with errors planted above the floors that are stated for them (benchmarks/graphs.py). Exit code 0 if every
error that is one is caught and no right run fails.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import track

from pullback import parity
from pullback.benchmarks import graphs
from pullback.data import load_mnist
from pullback.functional import (
    avg_pool2d,
    conv2d,
    fused_mlp_loss,
    init_mlp,
    leaky_relu,
    lin,
    linear_cross_entropy,
    log_softmax,
    max_pool2d,
    mlp_loss,
    mse,
    relu,
    shifted_relu,
    softmax_cross_entropy,
)
from pullback.parity.lesson import in_jax
from pullback.parity.lesson.mnist import batch, draw_params, net_comparison


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def tiled_mlp_loss(params, x, targ):
    """In two tiles of the rows below."""
    return fused_mlp_loss(params, x, targ, 4)


def smoothed_losses(logits, labels):
    """With an ignored row, and a cotangent for each of the others."""
    return softmax_cross_entropy(logits, labels, -100, 0.25, "none")


def twin_smoothed_losses(logits, labels):
    return in_jax.twin_softmax_cross_entropy(logits, labels, -100, 0.25, "none")


def tiled_losses(x, w, b, labels):
    """In tiles that divide neither the rows nor the classes below."""
    return linear_cross_entropy(x, w, b, labels, reduction="none", tile_bytes=24)


def twin_losses(x, w, b, labels):
    return in_jax.twin_linear_cross_entropy(x, w, b, labels, reduction="none")


def mutation_scores() -> list[parity.MutationScore]:
    # relu: a first element and first and last rows that are on, so that what happens to them shows; and zeros.
    x = normal(0, 6, 5)
    gates = np.concatenate([np.abs(x[:1]), np.zeros((1, 5), np.float32), x, np.abs(x[-1:])])
    params = [(np.asarray(w), normal(9, w.shape[1])) for w, _ in init_mlp(jax.random.key(0), (7, 5, 1))]
    image, labels = normal(12, 2, 4, 6, 3), np.asarray([0, 6, -100, 2, 2], np.int32)
    image[0, 0, 0, 0] = image[-1, -1, -1, -1] = 2.7  # the first and the last element win their windows
    subjects = [
        (lin, (normal(1, 6, 5), normal(2, 5, 4), normal(3, 4)), in_jax.twin_lin),
        (lin, (normal(1, 5, 5), normal(2, 5, 5), normal(3, 5)), in_jax.twin_lin),  # square: transposes fit
        (relu, (gates,), in_jax.twin_relu),
        (shifted_relu, (gates, np.float32(-0.3)), in_jax.twin_shifted_relu),
        (leaky_relu, (gates, np.float32(-0.3)), in_jax.twin_leaky_relu),
        (conv2d, (normal(10, 2, 5, 5, 3), normal(11, 3, 2, 3, 4), normal(12, 4)), in_jax.twin_conv2d),
        (max_pool2d, (image,), in_jax.twin_max_pool2d),
        (avg_pool2d, (image,), in_jax.twin_avg_pool2d),
        (log_softmax, (normal(13, 5, 7),), in_jax.twin_log_softmax),
        (softmax_cross_entropy, (normal(13, 5, 7), labels), in_jax.twin_softmax_cross_entropy),
        (smoothed_losses, (normal(13, 5, 7), labels), twin_smoothed_losses),
        (tiled_losses, (normal(14, 5, 3), normal(15, 3, 7), normal(16, 7), labels), twin_losses),
        (mse, (normal(4, 6, 1), normal(5, 6)), in_jax.twin_mse),
        (mlp_loss, (params, normal(6, 6, 7), normal(7, 6)), in_jax.twin_loss),
        (tiled_mlp_loss, (params, normal(6, 6, 7), normal(7, 6)), in_jax.twin_loss),
    ]
    return [
        parity.mutants(rule, *args, reference=reference) for rule, args, reference in track(subjects, "wrong rules")
    ]


def naming(scores: Sequence[parity.MutationScore]) -> list[str]:
    """One line for each kind of error: how many of those planted its diagnosis calls by their name."""
    kinds = dict.fromkeys(kind for score in scores for kind in score.names)
    sums = {kind: np.sum([score.names.get(kind, (0, 0)) for score in scores], axis=0) for kind in kinds}
    return [
        f"diagnosis of {kind}: {right} of {all_} named so ({right / all_:.0%})" for kind, (right, all_) in sums.items()
    ]


def right_runs(count: int) -> list[str]:
    """One line for each right run that failed."""
    rng = np.random.default_rng(0)
    train = load_mnist("sample").train
    failed = []
    for seed in track(range(count), "right runs"):
        n, hidden = (int(round(np.exp(rng.uniform(0, np.log(top))))) for top in (50_000, 512))
        dtype = np.dtype((jnp.float32, jnp.bfloat16)[seed % 2])
        with jax.default_matmul_precision("highest"):
            x, targ = batch(train, rng.choice(len(train.images), n), dtype)
            outcome = net_comparison(draw_params(seed, (784, hidden, 1), rng, dtype), x, targ, dtype).outcome
        wrong = [f"{row.leaf} ({row.worst[0]})" for row in outcome.rows if not row.ok]
        if wrong or not (outcome.oracle_budget or 0) <= 1:
            failed.append(f"n={n} hidden={hidden} {dtype} seed={seed}: {', '.join(wrong) or 'oracle'}")
    return failed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=200, help="how many right runs (default 200)")
    options.add_argument("--graphs", type=int, default=100, help="how many random graphs (default 100)")
    given = options.parse_args()
    runs = given.runs
    scores = mutation_scores()
    failed = right_runs(runs)
    deep = graphs.tallies(given.graphs)
    for score in scores:
        print(score)
    caught, survived = sum(len(s.caught) for s in scores), sum(len(s.survivors) for s in scores)
    print(f"wrong rules: {caught} of {caught + survived} caught")
    print("\n".join(naming(scores)))
    print("\n".join(failed) + ("\n" if failed else "") + f"right runs: {len(failed)} of {runs} called wrong")
    sys.exit(bool(survived or failed or not graphs.report(deep)))


if __name__ == "__main__":
    main()
