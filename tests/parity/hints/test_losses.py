import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from pullback import parity
from pullback.parity.hints.losses import loss_like

F = torch.nn.functional
LOGITS = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 5)))
LABELS = torch.tensor([1, 0, 4, 2, 2, 3])
SOME = torch.tensor([1, 0, -100, 2, -100, 3])


def likely(port, **settings):
    x = LOGITS.clone().requires_grad_(True)
    labels = settings.pop("labels", LABELS)
    loss = F.cross_entropy(x, labels, **settings)
    loss.backward()
    assert x.grad is not None
    return loss_like(LOGITS.numpy(), x.grad.numpy(), float(port), float(loss.detach()))


@pytest.mark.parametrize(("port", "settings", "said"), [
    ({"label_smoothing": 0.1}, {}, "label_smoothing=0.1, where the original has 0"),
    ({}, {"label_smoothing": 0.05}, "label_smoothing=0, where the original has 0.05"),
    ({"reduction": "sum"}, {}, "the sum, where the original takes the mean"),
    ({}, {"reduction": "sum"}, "the mean, where the original takes the sum"),
])  # fmt: skip
def test_smoothing_and_means(port, settings, said):
    assert likely(F.cross_entropy(LOGITS, LABELS, **port), **settings) == said
    assert likely(F.cross_entropy(LOGITS, LABELS, **settings), **settings) == ""


def test_rows_that_are_ignored():
    port = F.cross_entropy(LOGITS, SOME, reduction="sum") / 6
    assert likely(port, labels=SOME) == "the mean over all 6 rows, where the original leaves out those of ignore_index"
    assert likely(F.cross_entropy(LOGITS, SOME, label_smoothing=0.2), labels=SOME).startswith("label_smoothing=0.2")


def test_what_is_no_cross_entropy_is_not_named():
    assert loss_like(LOGITS.numpy(), LOGITS.numpy(), 2.0, 1.0) == ""
    assert loss_like(LOGITS.numpy(), None, 2.0, 1.0) == ""


def test_in_a_report(nets):
    labels = np.array([0, 2, 1, 1, 0])

    def smoothed(y):
        one_hot = jnp.eye(3, dtype=y.dtype)[labels]
        return jnp.mean(optax.softmax_cross_entropy(y, optax.smooth_labels(one_hot, 0.1)))

    loss = smoothed, lambda y: F.cross_entropy(y, torch.from_numpy(labels))
    report = parity.check_model(nets.Dense(), nets.linear_layers(), (nets.ROWS,), loss=loss)
    first = report.first_divergence
    assert first is not None and (first.path, first.step.what) == ("(loss)", "output")
    assert first.hint == "label_smoothing=0.1, where the original has 0"
