import gzip
import hashlib
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullback.data import DataError
from pullback.data.decode import decode_idx, decode_pickle, decode_sample, find_idx, read_idx


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans())
def test_idx_round_trip(tmp_path, shape, zipped):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"is no IDX file of uint8: it starts with b'', expected"),
        (b"<!DOCTYPE html>", r"is no IDX file of uint8: it starts with b'<!DO'"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "is no IDX file of uint8"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends inside its header"),
        (idx(np.ones((2, 3), np.uint8))[:-1], r"should hold 6 bytes of data for its shape \(2, 3\); it holds 5"),
        (idx(np.ones((2, 3), np.uint8)) + b"\0", r"it holds 7"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff\x01", r"should hold 18,446,744,065,119,617,025 bytes"),
    ],
)
def test_a_file_that_is_no_idx(tmp_path, raw, message):
    path = tmp_path / "images"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=f"images.*{message}"):
        read_idx(path)


@pytest.mark.parametrize("harm", ["cut short", "bit flipped", "bad header"])
def test_a_damaged_gzip_is_noticed(tmp_path, harm):
    raw = bytearray(gzip.compress(idx(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))))
    if harm == "cut short":
        raw = raw[:-20]
    elif harm == "bit flipped":
        raw[-5] ^= 1  # in the CRC: what is read is right, and still not to be trusted
    else:
        raw[2] = 0
    path = tmp_path / "images.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"images.gz is damaged: .* Delete it and fetch it again"):
        read_idx(path)


def test_shapes_other_than_mnist(tmp_path):
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / name).write_bytes(idx(np.zeros((3, 28, 28) if "images" in name else 3, np.uint8)))
    paths = find_idx(tmp_path)
    assert paths is not None
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has shape \(3, 28, 28\), expected \(60000, 28, 28\)"):
        decode_idx(paths)
    paths[-1].unlink()
    assert find_idx(tmp_path) is None


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_executed(tmp_path):
    path, crater = tmp_path / "mnist.pkl.gz", tmp_path / "crater"
    path.write_bytes(gzip.compress(pickle.dumps(Bomb(str(crater)))))
    with pytest.raises(DataError, match=r"mnist.pkl.gz is not the known mnist.pkl.gz: the sha256 of its content is"):
        decode_pickle(path)
    assert not crater.exists()


def test_sample():
    train, valid, test = decode_sample()
    assert [split.images.shape for split in (train, valid, test)] == [(4000, 784), (1000, 784), (0, 784)]
    assert all(split.images.dtype == split.labels.dtype == np.uint8 for split in (train, valid, test))
    assert np.bincount(train.labels).tolist() == [400] * 10 and np.bincount(valid.labels).tolist() == [100] * 10
    rows = {row.tobytes() for split in (train, valid) for row in split.images}
    assert len(rows) == 5000, "train and valid share no image"
    digest = hashlib.sha256(
        train.images.tobytes() + valid.images.tobytes() + train.labels.tobytes() + valid.labels.tobytes()
    )
    assert digest.hexdigest() == "909f44b10aa890920c5cb0cfa436b3dfe5a8081f5f9b76f923f5c9a464e36648"


def test_sample_is_mnist(full_mnist):
    from pullback.data import load_mnist

    mnist = load_mnist("cache")
    known = {(row.tobytes(), int(label)) for row, label in zip(*mnist.train, strict=True)}
    train, valid, _ = decode_sample()
    assert all(
        (row.tobytes(), int(label)) in known for split in (train, valid) for row, label in zip(*split, strict=True)
    )


def test_sample_is_small_and_has_its_licence(root):
    assert (root / "data" / "sample.npz").stat().st_size < 1_000_000
    assert "CC BY-SA 3.0" in (root / "data" / "SAMPLE-LICENSE.md").read_text()
