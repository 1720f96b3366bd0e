"""The epoch on eight devices: that of one device whose order is the same."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.data import load_mnist
from pullback.functional import init_mlp, sgd_epoch
from pullback.parallel import make_mesh, shard_batch, shard_order, shard_params, sharded_sgd_epoch

pytestmark = pytest.mark.eight_devices

MESHES = [(8, 1), (4, 2), (1, 8), (3, 2)]


def on_mesh(mesh, args, order, mask, lr: Any, **options):
    params, x, targ = args
    there = (shard_params(mesh, params), *shard_batch(mesh, x, targ)[:2])
    return jax.jit(functools.partial(sharded_sgd_epoch, mesh))(*there, order, lr, mask=mask, **options)


def of_all_rows(mesh, n, order):
    """The same order, for one device that holds all rows."""
    data = mesh.shape["data"]
    device = np.arange(order.shape[1]) // (order.shape[1] // data)
    return np.asarray(order) + (-(-n // data) * device)[None].astype(np.int32)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("n, batch", [(48, 24), (45, 24), (3, 24)])
def test_one_step_of_a_sum_of_whole_numbers_is_exact(whole, mesh, n, batch):
    """lr is the number of rows in the step, by which the mean divides, so the update is exact too."""
    mesh, (params, x, targ) = make_mesh(*mesh), whole(n, (20, 16, 8, 4))
    order, mask = shard_order(mesh, n, batch, 1)
    order, mask = order[:1], mask[:1]
    kept = of_all_rows(mesh, n, order)[np.asarray(mask)]
    # A count that is a power of two divides exactly, so leave out rows until it is one.
    size = 2 ** int(np.log2(len(kept)))
    cut = np.cumsum(np.asarray(mask)).reshape(mask.shape) <= size
    mask = jax.device_put(np.asarray(mask) & cut, mask.sharding)
    got, losses = on_mesh(mesh, (params, x, targ), order, mask, 0.5)
    want, of_one = sgd_epoch(params, jnp.asarray(x), jnp.asarray(targ), kept[None, :size], 0.5)
    chex.assert_trees_all_equal((got, losses), (want, of_one))
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(params), strict=True))


@pytest.mark.parametrize("mesh", MESHES)
def test_an_epoch_of_uint8_is_that_of_one_device(mesh):
    """61 rows, so that the last step is smaller than the others, and on the last device smaller still.

    Each step multiplies a rounding error by what the net's curvature makes of it: no bound is derived for that. The
    distance walked is 1e4 times what is allowed here.
    """
    images, labels = load_mnist("sample").train
    x, targ, mesh = images[:61], labels[:61].astype(np.float32), make_mesh(*mesh)
    params, moments = init_mlp(jax.random.key(0), (784, 64, 1)), {"mean": 33.3, "std": 78.6}
    order, mask = shard_order(mesh, 61, 24, 0)
    got, losses = on_mesh(mesh, (params, x, targ), order, mask, 1e-3, **moments)
    one = params
    for k, (rows, here) in enumerate(zip(of_all_rows(mesh, 61, order), np.asarray(mask), strict=True)):
        one, (loss,) = sgd_epoch(one, jnp.asarray(x), jnp.asarray(targ), rows[here][None], 1e-3, **moments)
        np.testing.assert_allclose(losses[k], loss, rtol=1e-4)
    assert len(losses) == len(order) >= 3
    for leaf, want, start in zip(*map(jax.tree.leaves, (got, one, params)), strict=True):
        want = np.asarray(want)
        assert np.abs(np.asarray(leaf) - want).max() <= 1e-4 * np.abs(want - np.asarray(start)).max()


def lowered(mesh, whole, sizes=(20, 16, 8, 4), batch=16, **jit):
    params, x, targ = whole(64, sizes)
    there = (shard_params(mesh, params), *shard_batch(mesh, x, targ)[:2])
    order, mask = shard_order(mesh, 64, batch, 0)
    return jax.jit(functools.partial(sharded_sgd_epoch, mesh), **jit).lower(*there, order, 0.1, mask=mask)


def test_by_data_there_is_one_all_reduce_a_step(collectives, whole):
    compiled = lowered(make_mesh(), whole).compile()
    ((kind, shapes, where),) = collectives(compiled)
    assert kind == "all-reduce" and not where.startswith("ENTRY")
    (body,) = re.findall(r" while\(.*body=(%[\w.-]+)", compiled.as_text() or "")
    assert where.startswith(f"{body} (")
    parts = ["f32[16,20]", "f32[16,1]", "f32[8,16]", "f32[8,1]", "f32[4,8]", "f32[4,1]"]
    assert sorted(shapes) == sorted([*parts, "f32[]", "f32[]"])


@pytest.mark.parametrize("data, model", [(4, 2), (2, 4)])
def test_by_model_too_only_activations_are_sent_more(collectives, whole, data, model):
    """Of two pairs of layers: the output of each going forward, the bar between them going back."""
    found = collectives(lowered(make_mesh(data, model), whole, (20, 16, 8, 32, 4)).compile())
    assert {one.kind for one in found} == {"all-reduce"}
    small = sorted(one.shapes for one in found if len(one.shapes) == 1)
    assert small == sorted([[f"f32[{units},{16 // data}]"] for units in (8, 4, 8)])
    (grads,) = [one.shapes for one in found if len(one.shapes) > 1]
    assert f"f32[{16 // model},20]" in grads and len(grads) == 8 + 2


def test_params_may_be_donated(whole):
    mesh, (params, x, targ) = make_mesh(4, 2), whole(64, (20, 16, 8))
    there, kept = shard_params(mesh, params), shard_params(mesh, params)
    rows, (order, mask) = shard_batch(mesh, x, targ)[:2], shard_order(mesh, 64, 16, 0)
    epoch = functools.partial(sharded_sgd_epoch, mesh)
    got, _ = jax.jit(epoch, donate_argnums=0)(there, *rows, order, 0.01, mask=mask)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(there)), "then the epoch needs params twice"
    chex.assert_trees_all_equal(got, jax.jit(epoch)(kept, *rows, order, 0.01, mask=mask)[0])
    assert [leaf.sharding for leaf in jax.tree.leaves(got)] == [leaf.sharding for leaf in jax.tree.leaves(kept)]


def test_what_is_refused(as_a_user, whole):
    mesh, (params, x, targ) = make_mesh(), whole(61, (20, 16, 8))
    order, mask = shard_order(mesh, 61, 16, 0)
    there = shard_batch(mesh, x, targ)[:2]
    text = "sharded_sgd_epoch: the mesh's data axis, 8, must divide x's rows; got 61."
    with pytest.raises(ValueError, match=re.escape(text)):
        sharded_sgd_epoch(mesh, params, jnp.asarray(x), jnp.asarray(targ), order, 0.1)
    text = "sharded_sgd_epoch: the mesh's data axis, 8, must divide order's second axis; got 15."
    with pytest.raises(ValueError, match=re.escape(text)):
        sharded_sgd_epoch(mesh, params, *there, order[:, :15], 0.1)
    with pytest.raises(TypeError, match="order must be an array of integers"):
        sharded_sgd_epoch(mesh, params, *there, order.astype(jnp.float32), 0.1)
    with pytest.raises(TypeError, match="lr must be a real number"):
        sharded_sgd_epoch(mesh, params, *there, order, jnp.ones(2), mask=mask)
