import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parallel import make_mesh, shard_batch, shard_order


class Disk:
    """An array that keeps which rows were read."""

    def __init__(self, array):
        self.array, self.read = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        assert isinstance(index, slice) and index.step is None
        self.read += range(*index.indices(len(self.array)))
        return self.array[index]


def rows_of(n, width=3):
    x = np.arange(n * width, dtype=np.uint8).reshape(n, width)
    return x, np.arange(1, n + 1, dtype=np.float32)


@pytest.mark.eight_devices
@pytest.mark.parametrize("data, model", [(8, 1), (4, 2), (1, 8), (3, 2)])
@pytest.mark.parametrize("n", [64, 61, 8, 3, 1])
def test_rows_in_order_then_zeros_that_are_masked(n, data, model):
    x, targ = rows_of(n)
    x_there, targ_there, mask = shard_batch(make_mesh(data, model), x, targ)
    each = -(-n // data)
    assert x_there.shape == (each * data, 3) and targ_there.shape == mask.shape == (each * data,)
    assert x_there.dtype == np.uint8 and targ_there.dtype == np.float32 and mask.dtype == np.bool_
    for there, rows in ((x_there, x), (targ_there, targ), (mask, np.ones(n, bool))):
        np.testing.assert_array_equal(there, np.concatenate([rows, np.zeros_like(rows, shape=there.shape)[n:]]))
        assert {shard.data.shape[0] for shard in there.addressable_shards} == {each}
        assert len({shard.index[0].start for shard in there.addressable_shards}) == data


@pytest.mark.eight_devices
@pytest.mark.parametrize("n", [64, 61, 3])
def test_each_row_is_read_once(n):
    """Though on this mesh two devices hold it."""
    x, targ = map(Disk, rows_of(n))
    shard_batch(make_mesh(4, 2), x, targ)
    assert sorted(x.read) == sorted(targ.read) == list(range(n))


@pytest.mark.eight_devices
def test_a_memory_map(tmp_path):
    x, targ = rows_of(13)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    there, _, mask = shard_batch(make_mesh(), mapped, targ)
    np.testing.assert_array_equal(np.asarray(there)[np.asarray(mask)], x)


def test_one_device_needs_no_filling_up():
    x, targ = rows_of(7)
    for there, rows in zip(shard_batch(make_mesh(1), x, targ), (x, targ, np.ones(7)), strict=True):
        np.testing.assert_array_equal(there, rows)


@pytest.mark.parametrize(
    "x, targ, shapes",
    [
        (np.zeros((4, 3)), np.zeros(5), "(4, 3) and (5,)"),
        (np.zeros((0, 3)), np.zeros(0), "(0, 3) and (0,)"),
        (np.zeros((4, 3)), np.float32(0), "(4, 3) and ()"),
        ([[1.0]], np.zeros(1), "() and (1,)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(x, targ, shapes):
    with pytest.raises(ValueError, match=re.escape(f"the same rows, at least 1; got {shapes}")):
        shard_batch(make_mesh(1), x, targ)


def places(order, mask, n, devices) -> list[int]:
    """The rows of the whole data that an epoch visits, from what each device's order says of its own."""
    each, visited = -(-n // devices), []
    for k in range(devices):
        mine, real = (np.split(np.asarray(a), devices, axis=1)[k] for a in (order, mask))
        assert mine.min() >= 0 and mine.max() < each
        visited += (k * each + mine[real]).tolist()
    return visited


@pytest.mark.eight_devices
@pytest.mark.parametrize("n", [64, 61, 3])
@pytest.mark.parametrize("data, model, batch", [(8, 1, 16), (4, 2, 8), (3, 2, 12), (8, 1, 800)])
def test_an_epoch_visits_every_row_once(n, data, model, batch):
    mesh = make_mesh(data, model)
    order, mask = shard_order(mesh, n, batch, 0)
    each, share = -(-n // data), batch // data
    assert order.shape == mask.shape == (-(-each // share), batch)
    assert jnp.issubdtype(order.dtype, jnp.integer) and mask.dtype == np.bool_
    assert sorted(places(order, mask, n, data)) == list(range(n))
    assert {shard.data.shape for shard in order.addressable_shards} == {(len(order), share)}


@pytest.mark.eight_devices
def test_a_seed_is_an_order_and_each_device_has_its_own():
    mesh = make_mesh()
    first, again, other = (np.asarray(shard_order(mesh, 800, 80, seed)[0]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    mine = [column.tobytes() for column in np.split(first, 8, axis=1)]
    assert len(set(mine)) == 8 and all(np.any(np.diff(np.split(first, 8, axis=1)[k].ravel()) != 1) for k in range(8))


WRONG: Any = [
    ({"n": 0}, "shard_order: n must be an integer of at least 1; got 0"),
    ({"n": 8.0}, "shard_order: n must be an integer of at least 1; got 8.0"),
    ({"batch": 0}, "shard_order: batch must be an integer of at least 1; got 0"),
    ({"seed": -1}, "shard_order: seed must be an integer of at least 0; got -1"),
    ({"batch": 12}, "shard_order: the mesh's data axis, 8, must divide batch; got batch = 12"),
]


@pytest.mark.eight_devices
@pytest.mark.parametrize("wrong, text", WRONG)
def test_an_order_that_cannot_be_is_refused(wrong, text, as_a_user):
    with pytest.raises(ValueError, match=re.escape(text)):
        shard_order(make_mesh(), **({"n": 64, "batch": 16, "seed": 0} | wrong))


def test_numbers_of_steps_are_not_those_of_devices():
    order, mask = shard_order(make_mesh(1), 10, 4, 0)
    assert jax.process_count() == 1 and order.shape == (3, 4) and int(np.sum(mask)) == 10
