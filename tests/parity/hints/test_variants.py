import jax
import numpy as np
import pytest
import torch

from pullback.parity.hints.variants import variants_of

F = torch.nn.functional
X = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 6, 6)))


def found(layer, words):
    """The one variant whose name holds these words."""
    (call,) = [call for name, call in variants_of(layer.double()) if words in name]
    return call


def test_settings():
    layer = torch.nn.LayerNorm(6)
    torch.testing.assert_close(found(layer, "eps=1e-06")(X), F.layer_norm(X, (6,), layer.weight, layer.bias, 1e-6))
    pool = torch.nn.AvgPool2d(2, 2, 1)
    torch.testing.assert_close(found(pool, "count_include_pad=False")(X), F.avg_pool2d(X, 2, 2, 1, False, False))
    assert pool.count_include_pad  # a variant is a copy


def test_the_unbiased_variance_and_an_eps_outside_of_the_root():
    layer = torch.nn.LayerNorm(6)
    centred = X - X.mean(-1, keepdim=True)
    torch.testing.assert_close(found(layer, "unbiased")(X), centred / (X.var(-1, keepdim=True) + 1e-5).sqrt())
    std = X.std(-1, keepdim=True, correction=0)
    torch.testing.assert_close(found(layer, "outside")(X), centred / (std + 1e-5))
    torch.testing.assert_close(found(torch.nn.RMSNorm(6, eps=1e-5), "mean subtracted")(X), F.layer_norm(X, (6,)))


@pytest.mark.parametrize("training", [True, False])
def test_the_other_mode_of_a_batch_norm(training):
    layer = torch.nn.BatchNorm2d(4).train(training)
    want = F.batch_norm(X, torch.zeros(4).double(), torch.ones(4).double(), training=not training)
    torch.testing.assert_close(found(layer, "mode")(X), want)


def test_padding_same_is_longer_on_the_far_side():
    layer = torch.nn.Conv2d(4, 3, 3, stride=2, padding=1)
    want = F.conv2d(F.pad(X, [0, 1, 0, 1]), layer.double().weight, layer.bias, 2)
    torch.testing.assert_close(found(layer, "SAME")(X), want)
    pool = torch.nn.MaxPool2d(3, 2, 1)
    torch.testing.assert_close(found(pool, "SAME")(X), F.max_pool2d(F.pad(X, [0, 1, 0, 1], value=-np.inf), 3, 2))
    torch.testing.assert_close(found(pool, "the average")(X), F.avg_pool2d(X, 3, 2, 1))
    assert not [name for name, _ in variants_of(torch.nn.Conv2d(4, 3, 3, padding=1)) if "SAME" in name]


def test_attention_without_its_scale_its_biases_or_its_mask():
    layer = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    x, mask = X[0], torch.ones(6, 6, dtype=torch.bool).triu(1)
    grown = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    grown.load_state_dict(layer.state_dict())
    with torch.no_grad():
        grown.in_proj_weight[:6] *= 3**0.5
        grown.in_proj_bias[:6] *= 3**0.5
    want = grown(x, x, x, attn_mask=mask)[0]
    torch.testing.assert_close(found(layer, "not scaled")(x, mask)[0], want)
    torch.testing.assert_close(found(layer, "without the mask")(x, mask)[0], layer(x, x, x)[0])
    without = torch.nn.MultiheadAttention(6, 2, bias=False, batch_first=True).double()
    assert [name for name, _ in variants_of(without) if "bias" in name] == []


def test_a_picture_that_is_smoothed_before_it_is_made_smaller():
    layer = torch.nn.Upsample(scale_factor=0.5, mode="bilinear")
    with jax.enable_x64(True):
        want = jax.image.resize(X.numpy(), (2, 4, 3, 3), "bilinear")
    variants = dict(variants_of(layer))
    np.testing.assert_allclose(variants["antialias=True, where the original has False"](X), want, atol=1e-12)
    assert "mode=bicubic, where the original has bilinear" in variants


def test_gates_in_another_order():
    cell, x, h = torch.nn.GRUCell(4, 5), X[0, 0, :3, :4], X[0, 1, :3, :5]
    found(cell, "z, r, n")(x, h)
    with torch.no_grad():
        swapped = torch.nn.GRUCell(4, 5).double()
        for name, array in cell.named_parameters():
            r, z, n = array.chunk(3)
            getattr(swapped, name).copy_(torch.cat([z, r, n]))
    torch.testing.assert_close(found(cell, "z, r, n")(x, h), swapped(x, h))
    assert len([name for name, _ in variants_of(torch.nn.LSTMCell(4, 5)) if "gates" in name]) == 23
