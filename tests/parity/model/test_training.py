import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from pullback import parity

TARGETS = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def as_optax_has_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check(nets, tx, factory, **options):
    return parity.check_model(
        nets.Dense(), nets.linear_layers(), (nets.ROWS,), steps=3, optimizer=(tx, factory), **options
    )


def test_the_same_optimizer_agrees_step_by_step(nets):
    report = check(nets, optax.adam(1e-3), lambda params: torch.optim.Adam(params, 1e-3))
    assert report.ok, report
    changes = [step for step in report.steps if step.what.startswith("change of")]
    assert len(changes) == 3 * 4 and changes[-1].what.endswith("in step 3")
    assert max(step.deviation.budget for step in changes) < 1
    momentum = check(nets, optax.sgd(0.1, momentum=0.9), lambda params: torch.optim.SGD(params, 0.1, momentum=0.9))
    assert momentum.ok, momentum


@pytest.mark.parametrize(
    ("tx", "decay", "hint"),
    [
        (optax.adam(1e-3, eps=1e-6), 0.0, "eps=1e-06, where the original has 1e-08"),
        (optax.adam(1e-3, b2=0.99), 0.0, "b2=0.99, where the original has 0.999"),
        (optax.adamw(1e-3, weight_decay=1e-2), 1e-2, "a weight decay that is decoupled"),
        (optax.adam(1e-3, eps_root=1e-8), 0.0, "eps=1e-08 inside of the root"),
    ],
    ids=["eps", "b2", "decoupled decay", "eps inside the root"],
)
def test_another_optimizer_is_found_by_the_first_parameter_that_it_changes_otherwise(nets, tx, decay, hint):
    report = check(nets, tx, lambda params: torch.optim.Adam(params, 1e-3, weight_decay=decay))
    first = report.first_divergence
    assert first is not None and first.path == "first" and first.step.what.startswith("change of ")
    assert "The optimizer was given the original's own parameters and gradients." in str(first)
    assert first.hint.startswith(hint)


def test_a_loss_for_both_sides_is_compared_as_the_last_layer(nets):
    def in_jax(y):
        return jnp.mean((y - TARGETS) ** 2)

    def in_torch(y):
        return torch.nn.functional.mse_loss(y, torch.from_numpy(TARGETS).double())

    optimizer = optax.sgd(0.1), lambda params: torch.optim.SGD(params, 0.1)
    report = check(nets, *optimizer, loss=(in_jax, in_torch))
    assert report.ok and "(loss)" in report.order, report
    first = check(nets, *optimizer, loss=(lambda y: 2 * in_jax(y), in_torch)).first_divergence
    assert first is not None and (first.path, first.step.what) == ("(loss)", "output")
    assert first.hint == "2 times the original's"


def test_steps_and_optimizer_go_together(nets):
    with pytest.raises(ValueError, match="steps and optimizer go together"):
        parity.check_model(nets.Dense(), nets.linear_layers(), (nets.ROWS,), steps=2)
