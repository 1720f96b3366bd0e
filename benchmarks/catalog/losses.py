"""optax.losses."""

import math
from typing import Any

import jax
import numpy as np
import torch
from optax import losses as J
from torch.nn import functional as F

from .entry import EXACT, Draw, Entry, between, entry, near, near_ties, normal, shares, sized, whole

LARGE = sized(1e3, 1e4)
SMALL = sized(1e-6, 1e-4)
SHARE = between(0.05, 0.95)
LOG_SHARES: Draw = lambda rng: np.log(shares()(rng))  # noqa: E731
CLASSES = {
    "ordinary": (normal(), shares()),
    "badly_conditioned": (normal(scale=30), shares()),
    "large": (sized(1e2, 1e3), shares()),
}
LABELS = {
    "ordinary": (normal(), whole(0, 7, 5)),
    "near_kinks": (near_ties(), whole(0, 7, 5)),
    "large": (LARGE, whole(0, 7, 5)),
}
PAIRS = {"ordinary": (normal(), normal()), "large": (LARGE, LARGE), "small": (SMALL, SMALL)}


def signs(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.choice([-1, 1], (5, 7)), np.float32)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return -(labels * torch.log_softmax(logits, -1)).sum(-1)


def poly(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels) + 2 * (labels * (1 - torch.softmax(logits, -1))).sum(-1)


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 - p_t is of the label's other class."""
    p = torch.sigmoid(logits)
    other = p * (1 - labels) + (1 - p) * labels
    return other**2 * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def log_cosh(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    error = predictions - targets
    return torch.logaddexp(error, -error) - math.log(2)


def kl(log_p: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (torch.special.xlogy(targets, targets) - targets * log_p).sum(-1)


def multiclass_hinge(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    one_hot = F.one_hot(labels.long(), scores.shape[-1]).to(scores.dtype)
    return (scores + 1 - one_hot).amax(-1) - (scores * one_hot).sum(-1)


def multiclass_perceptron(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return scores.amax(-1) - scores.gather(-1, labels.long()[:, None])[:, 0]


def triplet(a: torch.Tensor, p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    def distance(x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(((a - x) ** 2).sum(-1) + 1e-6)

    return torch.relu(distance(p) - distance(n) + 1)


def ctc(logits: Any, labels: Any) -> Any:
    """Of two sequences without padding."""
    pads = np.zeros(logits.shape[:2], np.float32), np.zeros(labels.shape, np.float32)
    return J.ctc_loss(logits, pads[0].astype(logits.dtype), labels, pads[1].astype(logits.dtype))


def torch_ctc(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    frames, spoken = (torch.full((len(logits),), n) for n in (logits.shape[1], labels.shape[1]))
    log_p = torch.log_softmax(logits, -1).transpose(0, 1)
    return F.ctc_loss(log_p, labels.long(), frames, spoken, reduction="none")


def ranking(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels).mean()


def entries() -> list[Entry]:
    margins = {"ordinary": (normal(), signs), "near_kinks": (near(1, -1), signs), "large": (LARGE, signs)}
    shown = "optax.losses."
    return [
        entry(shown + "squared_error", J.squared_error, lambda x, y: (x - y) ** 2, **PAIRS),
        entry(shown + "l2_loss", J.l2_loss, lambda x, y: (x - y) ** 2 / 2, **PAIRS),
        entry(
            shown + "huber_loss",
            J.huber_loss,
            lambda x, y: F.huber_loss(x, y, reduction="none"),
            **{**PAIRS, "near_kinks": (near(2, -2), near(1, -1, off=1e-4))},
        ),
        entry(shown + "log_cosh", J.log_cosh, log_cosh, **PAIRS),
        entry(shown + "hinge_loss", J.hinge_loss, lambda x, y: torch.relu(1 - x * y), **margins),
        entry(
            shown + "perceptron_loss",
            J.perceptron_loss,
            lambda x, y: torch.relu(-x * y),
            **{**margins, "near_kinks": (near(0), signs)},
        ),
        entry(
            shown + "sigmoid_binary_cross_entropy",
            J.sigmoid_binary_cross_entropy,
            lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
            ordinary=(normal(scale=2), SHARE),
            badly_conditioned=(sized(10, 20), SHARE),
            large=(LARGE, SHARE),
        ),
        entry(
            shown + "sigmoid_focal_loss",
            J.sigmoid_focal_loss,
            focal,
            ordinary=(normal(), SHARE),
            badly_conditioned=(sized(5, 15), SHARE),
        ),
        entry(shown + "softmax_cross_entropy", J.softmax_cross_entropy, cross_entropy, **CLASSES),
        entry(shown + "safe_softmax_cross_entropy", J.safe_softmax_cross_entropy, cross_entropy, **CLASSES),
        entry(shown + "poly_loss_cross_entropy", J.poly_loss_cross_entropy, poly, **CLASSES),
        entry(
            shown + "softmax_cross_entropy_with_integer_labels",
            J.softmax_cross_entropy_with_integer_labels,
            lambda x, labels: F.cross_entropy(x, labels.long(), reduction="none"),
            **LABELS,
        ),
        entry(shown + "multiclass_hinge_loss", J.multiclass_hinge_loss, multiclass_hinge, EXACT, **LABELS),
        entry(
            shown + "multiclass_perceptron_loss", J.multiclass_perceptron_loss, multiclass_perceptron, EXACT, **LABELS
        ),
        entry(shown + "multiclass_sparsemax_loss", J.multiclass_sparsemax_loss, None, EXACT, **LABELS),
        entry(
            shown + "sparsemax_loss",
            lambda x, y: J.sparsemax_loss(x, y),
            None,
            ordinary=(normal(scale=2), whole(0, 2)),
            near_kinks=(near(-1, 1), whole(0, 2)),
        ),
        entry(
            shown + "kl_divergence",
            J.kl_divergence,
            kl,
            ordinary=(LOG_SHARES, shares()),
            large=(normal(scale=30), shares()),
        ),
        entry(
            shown + "kl_divergence_with_log_targets",
            J.kl_divergence_with_log_targets,
            lambda x, y: (torch.exp(y) * (y - x)).sum(-1),
            ordinary=(LOG_SHARES, LOG_SHARES),
            large=(normal(scale=10), LOG_SHARES),
        ),
        entry(
            shown + "generalized_kl_divergence",
            J.generalized_kl_divergence,
            lambda x, y: kl(x, y) + (torch.exp(x) - y).sum(-1),
            ordinary=(LOG_SHARES, shares()),
            large=(normal(scale=10), shares()),
        ),
        entry(shown + "cosine_similarity", J.cosine_similarity, lambda x, y: F.cosine_similarity(x, y, -1), **PAIRS),
        entry(
            shown + "cosine_distance",
            J.cosine_distance,
            lambda x, y: 1 - F.cosine_similarity(x, y, -1),
            ordinary=(normal(), normal()),
            badly_conditioned=(near(1), near(1)),
        ),
        entry(
            shown + "triplet_margin_loss",
            J.triplet_margin_loss,
            triplet,
            ordinary=(normal(), normal(), normal()),
            badly_conditioned=(near(1), near(1), near(1)),
        ),
        entry(shown + "dice_loss", J.dice_loss, None, ordinary=(normal(), shares()), large=(LARGE, shares())),
        entry(shown + "ranking_softmax_loss", J.ranking_softmax_loss, ranking, **CLASSES),
        entry(
            shown + "ctc_loss",
            ctc,
            torch_ctc,
            EXACT,
            ordinary=(normal(2, 6, 4), whole(1, 4, 2, 2)),
            large=(normal(2, 6, 4, scale=10), whole(1, 4, 2, 2)),
        ),
        entry(
            shown + "ntxent",
            lambda x: J.ntxent(x, np.array([0, 0, 1, 1, 2], np.int32)),
            None,
            EXACT,
            ordinary=normal(),
            badly_conditioned=normal(shift=3),
        ),
        entry(
            shown + "make_fenchel_young_loss",
            J.make_fenchel_young_loss(lambda scores, *_: jax.nn.logsumexp(scores)),
            lambda x, y: torch.logsumexp(x, -1) - (x * y).sum(-1),
            ordinary=(normal(), shares()),
            near_kinks=(near_ties(), shares()),
        ),
    ]
