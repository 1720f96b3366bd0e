"""What a wrong step looks like, by itself and in a report."""

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

from pullback.parity import check_model
from pullback.parity.hints.guesses import between, looks_like, statistic, variant_of

X = np.random.default_rng(0).standard_normal((5, 6))


def test_a_multiple_and_its_root():
    assert looks_like(3 * X, X) == "3 times the original's"
    assert looks_like(np.sqrt(8) * X, X) == "2.82843 times the original's (the root of 8)"
    assert looks_like(X / np.sqrt(8), X) == "0.353553 times the original's (1 / the root of 8)"
    assert looks_like(X[::-1], X).startswith("the original's numbers in another order")
    assert looks_like(X + 1, X) == "" and looks_like(X, X * 0) == ""


def test_the_function_between_two_layers():
    x = torch.from_numpy(X)
    gelu, tanh = (torch.nn.functional.gelu(x, approximate=form).numpy() for form in ("none", "tanh"))
    assert between(X, tanh, gelu) == "gelu(approximate=True), where the original has gelu"
    assert between(X, X, np.maximum(X, 0)) == "nothing, where the original has relu"
    assert between(X, X + 1, gelu) == ""


def test_the_variant_of_a_layer():
    layer = torch.nn.Linear(6, 6).double()
    port = (X @ layer.weight.detach().numpy()) + layer.bias.detach().numpy()
    assert variant_of(layer, [X], port) == "a transposed weight"
    assert variant_of(layer, [X], port + 1) == ""
    shuffled = port.ravel()[::-1].reshape(3, 10)
    assert variant_of(layer, [X], shuffled) == "" and variant_of(layer, [X], shuffled, ordered=True) != ""


BEFORE, MEAN, VAR, UNBIASED = np.full(6, 0.3), X.mean(0), X.var(0), X.var(0, ddof=1)


@pytest.mark.parametrize(("port", "said"), [
    (0.9 * BEFORE + 0.1 * VAR, "a share of 0.1 of the biased variance"),
    (0.1 * BEFORE + 0.9 * UNBIASED, "momentum: 0.9 of the batch's, where the original takes 0.1"),
    (0.99 * BEFORE + 0.01 * VAR, "momentum: 0.01 of the batch's of the biased variance"),
    (BEFORE, "no update"),
    (MEAN, ""),
])  # fmt: skip
def test_a_statistic_that_is_updated_otherwise(port, said):
    found = statistic(X, BEFORE, port, 0.9 * BEFORE + 0.1 * UNBIASED, 0.1)
    assert found.startswith(said) and bool(found) == bool(said)


class Pooled(nn.Module):
    count: bool

    @nn.compact
    def __call__(self, x):
        x = nn.avg_pool(nn.Dense(3)(x), (2,), (2,), ((1, 1),), count_include_pad=self.count)  # pyright: ignore
        return nn.Dense(2)(x)


class Pool(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.pool, self.two = torch.nn.Linear(4, 3), torch.nn.AvgPool1d(2, 2, 1), torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.two(self.pool(self.one(x).transpose(1, 2)).transpose(1, 2))


def first(report):
    assert report.first_divergence is not None and report.exit_code == 1
    return report.first_divergence


def test_a_pool_has_no_counterpart_and_is_named(nets):
    inputs = (np.random.default_rng(1).standard_normal((2, 6, 4)).astype(np.float32),)
    found = first(check_model(Pooled(False), nets.randomized(Pool()), inputs))
    assert found.path == "Dense_1" and found.hint.startswith("count_include_pad=False, where the original has True")
    with jax.numpy_dtype_promotion("standard"):  # flax divides by an integer
        assert check_model(Pooled(True), nets.randomized(Pool()), inputs).ok


def test_a_pool_before_numbers_in_another_order_is_not_blamed(nets):
    class Port(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.max_pool(nn.Conv(3, (1, 1))(x), (2, 2), (2, 2)).reshape(len(x), -1))

    layers = torch.nn.Conv2d(2, 3, 1), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    x = np.random.default_rng(1).standard_normal((2, 4, 4, 2)).astype(np.float32)
    found = first(check_model(Port(), nets.randomized(torch.nn.Sequential(*layers)), (x,), grads=False))
    assert found.path == "Dense_0" and found.hint.startswith("the original's numbers in another order")


class Attention(torch.nn.Module):
    """Written by hand, with two heads."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(6, 6) for _ in range(4))

    def forward(self, x):
        q, k, v = (part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.o(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class PortedAttention(nn.Module):
    scale: float = 3**-0.5

    @nn.compact
    def __call__(self, x):
        q, k, v = (nn.DenseGeneral((2, 3), name=name)(x) for name in "qkv")
        y = nn.dot_product_attention(q * np.float32(self.scale * 3**0.5), k, v)
        return nn.DenseGeneral(6, axis=(-2, -1), name="o")(y)


def test_attention_by_hand(nets):
    original = nets.randomized(Attention())
    x = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)
    assert check_model(PortedAttention(), original, (x,), grads=False).ok
    found = first(check_model(PortedAttention(1.0), original, (x,), grads=False))
    assert found.path == "o" and found.hint.startswith("attention with scores that are not scaled")


def test_a_row_that_the_original_never_moves(nets):
    ids = np.array([[1, 0, 2]], np.int32)
    found = first(check_model(nn.Embed(4, 3), nets.randomized(torch.nn.Embedding(4, 3, padding_idx=0)), (ids,)))
    assert found.hint == "a gradient for row 0, which the original never moves (padding_idx=0)"


def test_a_batch_norm_in_train_mode(nets):
    x = X.astype(np.float32)
    net = nets.randomized(torch.nn.BatchNorm1d(6)).train()
    found = first(check_model(nn.BatchNorm(False, momentum=0.1), net, (x,)))
    assert found.step.place.role == "updated running mean" and found.hint.startswith("momentum: 0.9")


def test_an_output_of_another_shape_is_a_divergence():
    port = (lambda params, x: params["w"] * x[:, :2], {"w": np.float32(1)})
    found = first(check_model(port, torch.nn.ReLU(), (X.astype(np.float32),), weights="port"))
    assert "its shape is (5, 2), and the original's (5, 6)" in str(found) and "nan" not in str(found)
