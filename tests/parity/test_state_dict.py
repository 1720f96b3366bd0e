from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from pullback.functional import forward_and_backward, init_mlp, mlp
from pullback.parity import assert_near, from_state_dict, to_state_dict


def module(*sizes, bias=True, dtype=torch.float32) -> Any:
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out, bias, dtype=dtype), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def rows(*shape):
    return np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_from_torch():
    net = module(6, 6, 1)  # square: no shape would tell a transpose
    params = from_state_dict(net.state_dict())
    assert [tuple(leaf.shape for leaf in jax.tree.leaves(wb)) for wb in params] == [((6, 6), (6,)), ((6, 1), (1,))]
    np.testing.assert_array_equal(params[0][0], net[0].weight.detach().numpy().T)
    np.testing.assert_array_equal(params[0][1], net[0].bias.detach().numpy())
    x = rows(5, 6)
    assert_near(mlp(params, jnp.asarray(x)), net(torch.from_numpy(x)), rtol=1e-5, atol=1e-6)


def test_to_torch():
    params, net = init_mlp(jax.random.key(0), (6, 6, 1)), module(6, 6, 1)
    net.load_state_dict(to_state_dict(params))
    x = rows(5, 6)
    assert_near(net(torch.from_numpy(x)), mlp(params, jnp.asarray(x)), rtol=1e-5, atol=1e-6)


def test_gradients_side_by_side():
    params, net = init_mlp(jax.random.key(0), (6, 6, 1)), module(6, 6, 1)
    net.load_state_dict(to_state_dict(params))
    x, targ = rows(5, 6), rows(5)
    _, grads, _ = forward_and_backward(params, jnp.asarray(x), jnp.asarray(targ))
    nn.MSELoss()(net(torch.from_numpy(x)).squeeze(-1), torch.from_numpy(targ)).backward()
    for name, grad in to_state_dict(grads).items():
        assert_near(grad, net.get_parameter(name).grad, rtol=1e-5, atol=1e-6)


NAMED = nn.Sequential(OrderedDict(first=nn.Linear(4, 3), act=nn.ReLU(), inner=nn.Sequential(nn.Linear(3, 2))))


@pytest.mark.parametrize("net", [module(4, 3, 2), NAMED, nn.Linear(4, 3), module(4, 3, 2, bias=False)])
def test_round_trip_keeps_names_order_and_bits(net):
    state_dict = net.state_dict()
    back = to_state_dict(from_state_dict(state_dict), like=state_dict)
    assert list(back) == list(state_dict)
    for name, tensor in state_dict.items():
        assert torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype
    net.load_state_dict(back)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    params = from_state_dict(module(3, 2, dtype=dtype).state_dict())
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {str(dtype).removeprefix("torch.")}
    assert {leaf.dtype for leaf in to_state_dict(params).values()} == {dtype}


def test_float64_is_not_rounded_in_silence():
    state_dict = module(3, 2, dtype=torch.float64).state_dict()
    with pytest.raises(TypeError, match=r"0.bias is float64, which jax would round to float32: switch on jax_enable_x"):
        from_state_dict(state_dict)
    with jax.enable_x64(True):
        ((w, _),) = from_state_dict(state_dict)
        assert w.dtype == jnp.float64


def test_memory_of_its_own():
    net = module(3, 2)
    params = from_state_dict(net.state_dict())
    before = np.array(params[0][0])
    back = to_state_dict(params)
    with torch.no_grad():
        net[0].weight.zero_()
        back["0.weight"].zero_()
    np.testing.assert_array_equal(params[0][0], before)
    assert to_state_dict([(np.ones((2, 3)), None)])["0.weight"].is_contiguous()


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ({}, "state_dict: it is empty"),
        (nn.Conv2d(1, 2, 3).state_dict(), r"weight of shape \(2, 1, 3, 3\) belongs to no nn.Linear"),
        (nn.BatchNorm1d(3).state_dict(), r"weight of shape \(3,\) belongs to no nn.Linear"),
        ({"0.weight": torch.ones(2, 3), "0.scale": torch.ones(2)}, r"0.scale of shape \(2,\) belongs to no nn.Linear"),
        ({"0.weight": torch.ones(2, 3), "0.bias": torch.ones(3)}, r"0.bias must have shape \(2,\); got \(3,\)"),
        ({"0.weight": torch.ones(2, 3), "1.bias": torch.ones(2)}, "1.bias has no weight beside it"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2).half()}, "bias is float16, and weight float32: one dtype"),
        (
            {"0.weight": torch.ones(2, 3), "2.weight": torch.ones(1, 3)},
            "2.weight has fan_in 3, and 0.weight before it fan_out 2",
        ),
    ],
)
def test_what_is_no_chain_of_linear_layers(state_dict, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict(state_dict)


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        (nn.Linear(2, 2), r"state_dict must be what module.state_dict\(\) gives; got Linear"),
        ({"weight": np.ones((2, 2))}, "weight must be a floating-point tensor; got ndarray"),
        ({"weight": torch.ones(2, 2, dtype=torch.int8)}, "weight must be a floating-point tensor; got torch.int8"),
    ],
)
def test_what_is_no_state_dict(as_a_user, state_dict, message):
    with pytest.raises(TypeError, match=message):
        from_state_dict(state_dict)


@pytest.mark.parametrize(
    ("params", "like", "message"),
    [
        (None, None, r"params must be a list of \(w, b\); got NoneType"),
        ([np.ones((2, 3))], None, r"params\[0\] must be a pair \(w\[fan_in, fan_out\], .* or None\); got ndarray"),
        ([(np.ones(3), None)], None, r"params\[0\] must be a pair .*; got \(3,\) and None"),
        ([(None, np.ones(3))], None, r"params\[0\] must be a pair .*; got None and \(3,\)"),
        ([(np.ones((2, 3)), np.ones(7))], None, r"params\[0\] must be a pair .*; got \(2, 3\) and \(7,\)"),
        (
            [(np.ones((2, 3)), None), (np.ones((4, 1)), None)],
            None,
            r"params\[1\] must be a pair \(w\[3, .*got \(4, 1\)",
        ),
        ([(np.ones((2, 3)), None)], ["a.weight", "b.weight"], r"like has 2 layers \(a, b\), params 1"),
        ([(np.ones((2, 3)), None)], ["a.weight", "a.bias"], "only one of them has a.bias"),
        ([(np.ones((2, 3)), np.ones(3))], ["a.weight"], "only one of them has a.bias"),
    ],
)
def test_params_that_do_not_fit(as_a_user, params, like, message):
    with pytest.raises(ValueError, match=message):
        to_state_dict(params, like)
