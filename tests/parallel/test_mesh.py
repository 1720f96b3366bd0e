import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from pullback.functional import mlp
from pullback.parallel import make_mesh, param_specs, shard_params

W, B = PartitionSpec(None, "model"), PartitionSpec("model")
BY_UNITS, BY_INPUTS, WHOLE = (W, B), (B, PartitionSpec()), (PartitionSpec(), PartitionSpec())


@pytest.mark.eight_devices
@pytest.mark.parametrize(
    "asked, shape",
    [
        ({}, (8, 1)),
        ({"model": 2}, (4, 2)),
        ({"model": 8}, (1, 8)),
        ({"data": 3, "model": 2}, (3, 2)),
        ({"data": 1}, (1, 1)),
    ],
)
def test_data_is_what_model_leaves_and_the_first_devices_are_taken(asked, shape):
    mesh = make_mesh(**asked)
    assert mesh.axis_names == ("data", "model") and mesh.devices.shape == shape
    assert list(mesh.devices.flat) == jax.devices()[: shape[0] * shape[1]]


@pytest.mark.eight_devices
def test_devices_of_ones_own():
    few = jax.devices()[2:6]
    assert set(make_mesh(model=2, devices=few).devices.flat) == set(few)


@pytest.mark.eight_devices
@pytest.mark.parametrize(
    "asked, text",
    [
        (
            {"data": 4, "model": 3},
            "make_mesh: data × model = 4 × 3 needs 12 devices; there are 8 (cpu). JAX_NUM_CPU_DEVICES=12 in the "
            "environment makes as many of a CPU",
        ),
        ({"model": 3}, "make_mesh: model must divide the number of devices, 8 (cpu); got model = 3"),
        ({"model": 16}, "make_mesh: model must divide the number of devices, 8 (cpu); got model = 16"),
        ({"data": 0}, "make_mesh: data must be a positive integer; got 0"),
        ({"model": -1}, "make_mesh: model must be a positive integer; got -1"),
        ({"data": 2.0}, "make_mesh: data must be a positive integer; got 2.0"),
        ({"model": True}, "make_mesh: model must be a positive integer; got True"),
        ({"model": None}, "make_mesh: model must be a positive integer; got None"),
        ({"devices": []}, "make_mesh: model must divide the number of devices, none; got model = 1"),
        ({"data": 1, "devices": []}, "make_mesh: data × model = 1 × 1 needs 1 devices; there are none"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(asked, text, as_a_user):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        make_mesh(**asked)


@pytest.mark.parametrize(
    "layers, specs",
    [
        (1, [WHOLE]),
        (2, [BY_UNITS, BY_INPUTS]),
        (3, [BY_UNITS, BY_INPUTS, WHOLE]),
        (4, [BY_UNITS, BY_INPUTS, BY_UNITS, BY_INPUTS]),
    ],
)
def test_layers_are_divided_in_pairs(layers, specs):
    assert param_specs([(jnp.zeros((4, 4)), jnp.zeros(4))] * layers) == specs
    assert param_specs([(jnp.zeros((4, 4)), None)] * layers) == [(w, None) for w, _ in specs]


@pytest.mark.eight_devices
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_params_lie_on_the_mesh_as_they_were(whole, kind, bias):
    params, x, _ = whole(8, (6, 4, 8, 5))
    params = [(kind(w), kind(b) if bias else None) for w, b in params]
    there: Any = shard_params(make_mesh(4, 2), params)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, there), jax.tree.map(np.asarray, params))
    for layer, specs in zip(there, param_specs(params), strict=True):
        assert [None if leaf is None else leaf.sharding.spec for leaf in layer] == list(specs)
    (w1, b1), (w2, _), (w3, _) = there
    for leaf, part, copies in ((w1, (6, 2), 4), (w2, (2, 8), 4), (w3, (8, 5), 8), *([(b1, (2,), 4)] if bias else [])):
        assert [shard.data.shape for shard in leaf.addressable_shards] == [part] * 8
        assert len({str(shard.index) for shard in leaf.addressable_shards}) == 8 // copies
    np.testing.assert_array_equal(mlp(there, jnp.asarray(x)), mlp(jax.tree.map(jnp.asarray, params), jnp.asarray(x)))


@pytest.mark.eight_devices
@pytest.mark.parametrize(
    "sizes, text",
    [
        ((4, 6, 4), "axis 1 of params[0]'s w; got w float32[4, 6]"),
        ((4, 8, 3, 6, 4), "axis 1 of params[2]'s w; got w float32[3, 6]"),
    ],
)
def test_a_layer_that_the_model_axis_does_not_divide_is_named(whole, sizes, text):
    params, *_ = whole(8, sizes)
    with pytest.raises(ValueError, match=re.escape(f"shard_params: the mesh's model axis, 4, must divide {text}")):
        shard_params(make_mesh(2, 4), params)


@pytest.mark.eight_devices
def test_a_layer_that_is_not_divided_may_have_any_size(whole):
    params, *_ = whole(8, (5, 8, 3, 7))
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, shard_params(make_mesh(1, 8), params)), params)
