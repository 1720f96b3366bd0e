import equinox
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from pullback import parity


def test_a_right_transformer_agrees_and_each_wrong_one_is_wrong_first_where_it_is(nets):
    original = nets.randomized(nets.Transformer())
    report = parity.check_model(nets.PortedTransformer(), original, (nets.IDS,))
    assert report.ok and report.first_divergence is None and report.exit_code == 0
    assert report.pairs["b1.up"] == "blocks.1.wide" and report.pairs["b0"] == "blocks.0"
    assert max(step.deviation.budget for step in report.steps) <= 1

    report = parity.check_model(nets.PortedTransformer(second=(("tanh", True),)), original, (nets.IDS,))
    first = report.first_divergence
    assert first is not None and (first.path, first.before) == ("b1.down", "b1.up") and report.exit_code == 1
    assert first.hint == "gelu(approximate=True), where the original has gelu"
    forward = {step.place.path for step in report.steps if not step.ok and not step.place.backward}
    assert forward == {"b1.down"}, "what comes after is right, given the original's own values"

    report = parity.check_model(nets.PortedTransformer(second=(("eps", 1e-6),)), original, (nets.IDS,))
    first = report.first_divergence
    assert first is not None and (first.path, first.step.what) == ("b1.ln2", "output")
    assert first.hint == "eps=1e-06, where the original has 1e-05"


def test_a_picture_with_its_channels_last(nets):
    original = nets.randomized(nets.Picture())
    assert parity.check_model(nets.PortedPicture(), original, (nets.IMAGES,)).ok
    first = parity.check_model(nets.PortedPicture(channels_first=False), original, (nets.IMAGES,)).first_divergence
    assert first is not None and (first.path, first.step.what) == ("out", "input") and "another order" in first.hint
    first = parity.check_model(nets.PortedPicture(same=True), original, (nets.IMAGES,)).first_divergence
    assert first is not None and first.path == "one" and "SAME" in first.hint


def test_a_gradient_that_is_wrong_behind_a_right_forward_is_found_backward(nets):
    port = nets.Dense(between=lambda x: nn.relu(nets.halved_gradient(x)))
    report = parity.check_model(port, nets.linear_layers(), (nets.ROWS,))
    first = report.first_divergence
    assert first is not None and first.path == "first" and first.step.what == "gradient of the output"
    assert all(step.ok for step in report.steps if not step.place.backward)
    assert parity.check_model(port, nets.linear_layers(), (nets.ROWS,), grads=False).ok


def test_equinox_and_nnx_and_a_function(nets):
    class Batched(equinox.Module):
        net: equinox.nn.MLP

        def __call__(self, x):
            return jax.vmap(self.net)(x)

    original = nets.linear_layers()
    port = Batched(equinox.nn.MLP(6, 3, 8, 1, key=jax.random.key(0)))
    report = parity.check_model(port, original, (nets.ROWS,))
    assert report.ok and report.pairs["net.layers.1"] == "2"

    class Net(nnx.Module):
        def __init__(self):
            self.one, self.two = nnx.Linear(6, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 3, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.two(nnx.relu(self.one(x)))

    assert parity.check_model(Net(), original, (nets.ROWS,)).ok

    def forward(params, x):
        (w1, b1), (w2, b2) = params
        return jnp.maximum(x @ w1 + b1[None], 0) @ w2 + b2[None]

    params = parity.from_state_dict(original.state_dict())
    report = parity.check_model((forward, params), original, (nets.ROWS,))
    assert report.ok and {"gradient of 0.0", "gradient of 1.1"} <= {step.what for step in report.steps}
    wrong = parity.check_model((lambda p, x: forward(p, x) * 2, params), original, (nets.ROWS,)).first_divergence
    assert wrong is not None and wrong.hint == "2 times the original's"


def test_values_that_are_given_are_the_ports_own(nets):
    original = nets.linear_layers()
    variables = nets.Dense().init(jax.random.key(0), nets.ROWS)
    report = parity.check_model((nets.Dense(), variables), original, (nets.ROWS,))
    assert report.exit_code == 1 and "first.kernel" in report.weights_differ
    assert report.first_divergence is not None and report.first_divergence.path == "first"
    assert parity.check_model((nets.Dense(), variables), original, (nets.ROWS,), weights="torch").ok


def test_bfloat16_is_judged_within_its_own_rounding(nets):
    variables = nets.Dense().init(jax.random.key(0), nets.ROWS)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    rows = nets.ROWS.astype(jnp.bfloat16)
    report = parity.check_model((nets.Dense(), half), nets.linear_layers(), (rows,), weights="torch")
    assert report.dtype == "bfloat16" and [step for step in report.steps if step.dtype == "bfloat16"]
    assert all(step.ok for step in report.steps if step.dtype == "bfloat16")


def test_bad_input_is_one_clear_error(nets):
    original = nets.linear_layers()
    with pytest.raises(TypeError, match="the original comes second"):
        parity.check_model(original, nets.Dense(), (nets.ROWS,))
    with pytest.raises(TypeError, match=r"original must be a torch.nn.Module; got Dense"):
        parity.check_model(nets.Dense(), nets.Dense(), (nets.ROWS,))
    with pytest.raises(ValueError, match='weights must be "torch" or "port"'):
        parity.check_model(nets.Dense(), original, (nets.ROWS,), weights="jax")
    with pytest.raises(
        ValueError, match=r"Only the port has second.kernel, second.bias. Only the original has 1.weight"
    ):
        parity.check_model(
            nets.Dense(), torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 4)), (nets.ROWS,)
        )


def test_the_original_is_left_as_it_was(nets):
    original = nets.linear_layers()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    parity.check_model(nets.Dense(), original, (nets.ROWS,))
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in original.parameters())
    assert not any(module._forward_hooks for module in original.modules())
    assert np.isfinite(nets.ROWS).all()


def test_an_output_of_another_shape_or_one_that_is_left_out_is_no_agreement(nets):
    params = parity.from_state_dict(nets.linear_layers().state_dict())

    def forward(params, x):
        (w1, b1), (w2, b2) = params
        return jnp.maximum(x @ w1 + b1[None], 0) @ w2 + b2[None]

    report = parity.check_model((lambda p, x: forward(p, x)[:, :2], params), nets.linear_layers(), (nets.ROWS,))
    assert report.exit_code == 1
    assert "its shape is (5, 2), and the original's (5, 3)" in str(report.first_divergence)

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets.linear_layers()

        def forward(self, x):
            y = self.net(x)
            return y, y.sum()

    report = parity.check_model((forward, params), Twice(), (nets.ROWS,))
    assert report.exit_code == 3 and report.unmapped["original"] == ["output 1"]


def test_a_batch_norm_in_train_mode_starts_from_the_statistics_before_the_run(nets):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchNorm(use_running_average=False, epsilon=1e-5, momentum=0.9)(nn.Dense(3)(x))

    original = nets.randomized(torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3))).train()
    mean = original[1].running_mean.clone()
    report = parity.check_model(Net(), original, (nets.ROWS,))
    # flax stores the biased variance, torch the unbiased one: that is noted, and all else agrees.
    assert report.ok and {"updated running mean", "updated running variance"} <= {step.what for step in report.steps}
    assert len(report.notes) == 1
    assert torch.equal(original[1].running_mean, mean)
