"""The step on eight devices: the values of one device, and one all-reduce of the gradients."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from pullback.data import load_mnist
from pullback.functional import forward_and_backward, fused_forward_and_backward, init_mlp
from pullback.parallel import (
    make_mesh,
    shard_batch,
    shard_params,
    sharded_forward_and_backward,
    sharded_value_and_grad,
)
from pullback.parity.case.leaves import as_numpy
from pullback.parity.lesson import in_jax, in_torch
from pullback.parity.lesson.mnist import batch
from pullback.parity.lesson.result import grad_leaves
from pullback.parity.verdict.comparison import Comparison

pytestmark = pytest.mark.eight_devices

MESHES = [(8, 1), (4, 2), (2, 4), (1, 8), (3, 2)]
LESSON, DEEP = (784, 64, 1), (20, 16, 8, 3)
MEAN, STD = np.float32(33.3), np.float32(78.6)


def arguments(n, sizes, dtype: Any = np.float32):
    rng = np.random.default_rng(n)
    params = [(np.asarray(w), 0.1 * rng.standard_normal(w.shape[1])) for w, _ in init_mlp(jax.random.key(0), sizes)]
    if sizes == LESSON:
        x, targ = batch(load_mnist("sample").train, rng.choice(4000, n, replace=False), np.dtype(np.float32))
    else:
        x, targ = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
    return jax.tree.map(lambda a: np.asarray(a).astype(dtype), (params, x, targ))


def on_mesh(data, model, x_bar=True, **options):
    """The step of the whole batch, filled up and masked: x_bar is that of its rows."""
    mesh = make_mesh(data, model)
    of_mesh = sharded_forward_and_backward if x_bar else sharded_value_and_grad
    step = jax.jit(functools.partial(of_mesh, mesh, **options))

    def run(params, x, targ):
        loss, grads, *bars = step(shard_params(mesh, params), *shard_batch(mesh, x, targ))
        return loss, grads, *(np.asarray(bar)[: len(x)] for bar in bars)

    return run


def leaves(result):
    loss, grads, *bars = result
    return as_numpy({"loss": loss} | grad_leaves(grads) | dict(zip(["x_bar"], bars, strict=False)))


def hold(args, dtype, steps, twin, oracle):
    """Each leaf of each of steps, within the bound that is derived from the twin."""
    rows = Comparison("sharded", args, steps, twin, oracle, dtype, leaves).rows
    assert rows and all(row.ok for row in rows), [row.deviations for row in rows if not row.ok]


@pytest.mark.parametrize("sizes, n", [(LESSON, 61), (LESSON, 3), (DEEP, 61), (DEEP, 3)])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_within_the_derived_bound(dtype, sizes, n):
    """Of 61 rows the last device has fewer, of 3 rows some devices have none."""
    steps = {f"{mesh}": on_mesh(*mesh, tile_rows=None if sizes == LESSON else 5) for mesh in MESHES}
    hold(
        arguments(n, sizes, dtype),
        dtype,
        steps,
        lambda *args: in_jax.net_twin(*args)[1:],
        lambda *args: in_torch.in_double(in_torch.net_autograd)(*args)[1:],
    )


@pytest.mark.parametrize("n", [61, 3])
def test_uint8_within_the_derived_bound(n):
    """As in tests/functional/test_fused.py: the oracle normalizes first, the bound is the folded arithmetic's."""
    params, _, targ = arguments(n, LESSON)
    pixels = load_mnist("sample").train.images[:n]

    def folded(params, x, targ):
        (w, b), last = params
        shift = jnp.broadcast_to(((MEAN / STD) * jnp.sum(w, axis=0)), b.shape)
        return in_jax.twin_loss([(w / STD, b - shift), last], x, targ)

    def of_pixels(mesh):
        step = on_mesh(*mesh, x_bar=False, mean=MEAN, std=STD)
        return lambda params, x, targ: step(params, x.astype(np.uint8), targ)

    hold(
        (params, pixels.astype(np.float32), targ),
        np.float32,
        {f"{mesh}": of_pixels(mesh) for mesh in MESHES},
        jax.value_and_grad(folded),
        lambda p, x, t: in_torch.in_double(in_torch.net_autograd)(p, (x.astype(np.float64) - MEAN) / STD, t)[1:3],
    )


@pytest.mark.parametrize("tile_rows", [None, 3])
@pytest.mark.parametrize("mesh", MESHES)
def test_a_sum_of_whole_numbers_is_exact(whole, mesh, tile_rows):
    args = whole(61, DEEP)
    want: Any = fused_forward_and_backward(*jax.tree.map(jnp.asarray, args), reduction="sum")
    assert np.any(want[2]), "a dead net proves nothing"
    chex.assert_trees_all_equal(on_mesh(*mesh, reduction="sum", tile_rows=tile_rows)(*args), want)


@pytest.mark.parametrize("mesh", [(8, 1), (4, 2), (1, 8)])
def test_a_mask_of_ones_own(whole, mesh):
    """Rows are left out, anywhere: the step is that of the others. (8 of them, so that their mean is exact.)"""
    params, x, targ = whole(24, (20, 16, 1))
    kept = np.zeros(24, bool)
    kept[[0, 1, 2, 3, 9, 17, 18, 23]] = True
    there = make_mesh(*mesh)
    x_there, targ_there, _ = shard_batch(there, x, targ)
    mask = jax.device_put(kept, NamedSharding(there, PartitionSpec("data")))
    step = functools.partial(sharded_forward_and_backward, there)
    result: Any = jax.jit(step)(shard_params(there, params), x_there, targ_there, mask)
    want: Any = forward_and_backward(params, jnp.asarray(x[kept]), jnp.asarray(targ[kept]))
    chex.assert_trees_all_equal((result[0], result[1], result[2][kept]), want)
    assert np.any(want[2]) and not np.any(result[2][~kept])


def test_without_a_mask_all_rows_count(whole):
    params, x, targ = whole(64, (20, 16, 1))
    mesh = make_mesh()
    step = jax.jit(functools.partial(sharded_value_and_grad, mesh))
    result: Any = step(shard_params(mesh, params), *shard_batch(mesh, x, targ)[:2])
    chex.assert_trees_all_equal(result, forward_and_backward(params, jnp.asarray(x), jnp.asarray(targ))[:2])


def compiled(mesh, args, mask=True, x_bar=False, **options):
    params, x, targ = args
    there = (shard_params(mesh, params), *shard_batch(mesh, x, targ))
    step = sharded_forward_and_backward if x_bar else sharded_value_and_grad
    return jax.jit(functools.partial(step, mesh, **options)).lower(*there[: 3 + mask]).compile()


GRADS = ["f32[16,20]", "f32[16,1]", "f32[8,16]", "f32[8,1]", "f32[3,8]", "f32[3,1]"]
"""Of DEEP, as the step adds them up: w transposed, b a column."""


@pytest.mark.parametrize(
    "x_bar, tile_rows, mask", [(1, None, 1), (0, None, 0), (0, 8, 1), (0, 3, 1), (1, 3, 0), (0, 1, 1)]
)
def test_by_data_there_is_one_all_reduce(collectives, x_bar, tile_rows, mask):
    """Of the loss, the count and the gradients, after the last of 1, 1, 3 or 8 microbatches."""
    step = compiled(make_mesh(), arguments(64, DEEP), mask, x_bar=bool(x_bar), tile_rows=tile_rows)
    ((kind, shapes, where),) = collectives(step)
    assert kind == "all-reduce" and where.startswith("ENTRY")
    # Without a mask the number of rows is a constant, and the compiler need not add it up.
    assert sorted(shapes) in (sorted([*GRADS, "f32[]"]), sorted([*GRADS, "f32[]", "f32[]"]))


@pytest.mark.parametrize("tile_rows", [None, 3])
@pytest.mark.parametrize("data, model", [(4, 2), (2, 4), (1, 8)])
def test_by_model_too_only_activations_are_sent_more(collectives, data, model, tile_rows):
    """The net is two pairs of layers: in each tile the outputs of both going forward, one bar between them going back.

    The gradients of the parts of the weights that a device has are added up along data, all at once.
    """
    sizes, rows = (20, 16, 8, 32, 4), 64 // data
    step = compiled(make_mesh(data, model), arguments(64, sizes), tile_rows=tile_rows, x_bar=True)
    tiles = [rows] if tile_rows is None else [3, rows % 3]  # the scan's body, and the last tile
    expected = [[f"f32[{units},{tile}]"] for tile in tiles for units in (8, 4, 8)]
    expected.append([f"f32[{rows},20]"])  # x_bar
    if data > 1:
        parts = [f"f32[{16 // model},20]", f"f32[{16 // model},1]", f"f32[8,{16 // model}]", "f32[8,1]"]
        parts += [f"f32[{32 // model},8]", f"f32[{32 // model},1]", f"f32[4,{32 // model}]", "f32[4,1]"]
        expected.append(sorted([*parts, "f32[]", "f32[]"]))
    found = collectives(step)
    assert {one.kind for one in found} == {"all-reduce"}
    assert sorted(sorted(one.shapes) for one in found) == sorted(expected)


def test_the_readable_one_is_divided_by_the_compiler_alone(collectives, whole):
    mesh, args = make_mesh(), whole(64, (20, 16, 8, 4))
    there = (shard_params(mesh, args[0]), *shard_batch(mesh, *args[1:])[:2])
    step = jax.jit(forward_and_backward)
    ((kind, shapes, _),) = collectives(step.lower(*there).compile())
    assert kind == "all-reduce" and len(shapes) == 1 + 6
    want = forward_and_backward(*jax.tree.map(jnp.asarray, args))
    chex.assert_trees_all_equal(step(*there)[:2], want[:2])


def test_a_device_holds_only_its_part_of_a_wide_layer():
    mesh, (params, x, targ) = make_mesh(2, 4), arguments(8, DEEP)
    there = shard_params(mesh, params)
    _, grads = jax.jit(functools.partial(sharded_value_and_grad, mesh))(there, *shard_batch(mesh, x, targ))
    parts = [(20, 4), (4,), (4, 8), (8,), (8, 3), (3,)]
    for tree in (there, grads):
        for leaf, part in zip(jax.tree.leaves(tree), parts, strict=True):
            assert [shard.data.shape for shard in leaf.addressable_shards] == [part] * 8
    assert [leaf.sharding for leaf in jax.tree.leaves(grads)] == [leaf.sharding for leaf in jax.tree.leaves(there)]


def test_exported_for_all_platforms_it_gives_the_same_on_eight_devices():
    mesh, (params, x, targ) = make_mesh(4, 2), arguments(61, DEEP)
    there = (shard_params(mesh, params), *shard_batch(mesh, x, targ))
    step = jax.jit(functools.partial(sharded_forward_and_backward, mesh))
    exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(*there)
    assert exported.nr_devices == 8 and exported.platforms == ("cpu", "cuda", "tpu")
    again = jax.export.deserialize(exported.serialize())
    chex.assert_trees_all_equal(again.call(*there), step(*there))


def test_what_is_refused(as_a_user, whole):
    mesh, (params, x, targ) = make_mesh(), whole(61, DEEP)
    text = "sharded_value_and_grad: the mesh's data axis, 8, must divide x's rows; got 61. shard_batch and shard_order"
    with pytest.raises(ValueError, match=re.escape(text)):
        sharded_value_and_grad(mesh, params, jnp.asarray(x), jnp.asarray(targ))
    there = shard_batch(mesh, x, targ)
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum'; got 'none'"):
        sharded_value_and_grad(mesh, params, *there, reduction="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=re.escape("the first axis of params[0]'s w must match the last axis of x")):
        sharded_value_and_grad(mesh, params[1:], *there)
    with pytest.raises(TypeError, match=re.escape("mask must be an array of bools; got float32[")):
        sharded_value_and_grad(mesh, params, *there[:2], there[2].astype(jnp.float32))
    old: Any = sharded_value_and_grad
    with pytest.raises(
        TypeError, match=re.escape("returns (loss, grads); for x_bar too, call sharded_forward_and_back")
    ):
        old(mesh, params, *there, x_bar=True)
    with pytest.raises(ValueError, match="sharded_forward_and_backward: the mesh's data axis, 8, must divide x's rows"):
        sharded_forward_and_backward(mesh, params, jnp.asarray(x), jnp.asarray(targ))
