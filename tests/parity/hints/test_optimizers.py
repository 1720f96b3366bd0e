import jax
import numpy as np
import optax
import pytest
import torch

from pullback.parity.hints.optimizers import step_like

RNG = np.random.default_rng(0)
START, GRADS = RNG.standard_normal(5), list(RNG.standard_normal((3, 5)) * 1e-3)


def by_torch(kind, **settings):
    """The group's settings, and the parameter before each step."""
    param = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = kind([param], **settings)
    before = []
    for grad in GRADS:
        before.append(param.detach().numpy().copy())
        param.grad = torch.from_numpy(grad)
        optimizer.step()
    return {"kind": kind.__name__, **optimizer.param_groups[0]}, before, param.detach().numpy() - before[-1]


def by_optax(tx, before):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        state, change = tx.init(before[0]), None
        for grad, param in zip(GRADS, before, strict=True):
            change, state = tx.update(grad, state, param)
        return np.asarray(change)


ADAM, ADAMW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD
DECAYED = {"lr": 1e-3, "weight_decay": 0.1}


@pytest.mark.parametrize(("kind", "settings", "tx", "said"), [
    (ADAM, DECAYED, optax.adamw(1e-3, weight_decay=0.1), "a weight decay that is decoupled"),
    (ADAMW, DECAYED, optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-3)), "a weight decay that is coupled"),
    (ADAMW, DECAYED, optax.adam(1e-3), "no weight decay"),
    (ADAM, {"eps": 1e-6}, optax.adam(1e-3, eps=0, eps_root=1e-6), "eps inside of the root"),
    (ADAM, {}, optax.adam(1e-3, eps_root=1e-8), "eps=1e-08 inside of the root, beside the one outside"),
    (ADAM, {}, optax.adam(1e-3, eps=1e-6), "eps=1e-06, where the original has 1e-08"),
    (ADAM, {}, optax.adam(1e-3, b2=0.99), "b2=0.99, where the original has 0.999"),
    (SGD, {"lr": 0.1, "momentum": 0.9}, optax.sgd(0.1), "no momentum"),
    (SGD, {"lr": 0.1, "momentum": 0.9}, optax.sgd(0.1, 0.9, nesterov=True), "nesterov=True"),
    (SGD, {"lr": 0.1, "momentum": 0.9}, optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)),
     "a momentum whose new gradient"),
])  # fmt: skip
def test_an_optimizer_of_optax_against_torchs(kind, settings, tx, said):
    group, before, _ = by_torch(kind, **settings)
    assert step_like(group, GRADS, before, by_optax(tx, before)).startswith(said)


@pytest.mark.parametrize("kind", [ADAM, ADAMW, SGD])
def test_by_hand_it_is_torchs(kind):
    group, before, change = by_torch(kind, **DECAYED)
    assert step_like(group | {"weight_decay": 0.2}, GRADS, before, change * 0 + 7) == ""
    other = {"Adam": "AdamW", "AdamW": "Adam"}.get(kind.__name__)
    if other:  # the variant with the other decay is the optimizer itself
        assert step_like(group | {"kind": other}, GRADS, before, change).startswith("a weight decay that is")


def test_no_correction_of_the_bias():
    group, before, _ = by_torch(ADAM)
    tx = optax.chain(optax.scale_by_adam(), optax.scale(-1e-3))
    m = v = np.zeros(5)
    for grad in GRADS:
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad * grad
    assert step_like(group, GRADS, before, -1e-3 * m / (np.sqrt(v) + 1e-8)) == "no correction of the bias"
    early = -1e-3 * m / (1 - 0.9**3) * np.sqrt(1 - 0.999**3) / (np.sqrt(v) + 1e-8)
    assert step_like(group, GRADS, before, early) == "eps added before the correction of the bias"
    assert step_like({}, GRADS, before, by_optax(tx, before)) == ""
