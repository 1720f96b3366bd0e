import gzip
import hashlib
import math
import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullback.data import DataError, decode, load_mnist
from pullback.data.decode import IDX_SHAPES, SAMPLE, decode_idx, decode_pickle, decode_sample, find_idx, read_idx


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), max_size=3), st.booleans())
def test_idx_round_trip(tmp_path, idx, shape, zipped):
    array = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    np.testing.assert_array_equal(read_idx(path, tuple(shape)), array, strict=True)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", r"is no IDX file of uint8: it starts with b'', expected"),
        (b"<!DOCTYPE html>", r"is no IDX file of uint8: it starts with b'<!DO'"),
        (b"\0\0\x0d\x02\0\0\0\2\0\0\0\3" + b"\1" * 24, "is no IDX file of uint8"),
        (b"\0\0\x08\x02\0\0\0\x01", "ends inside its header"),
        (
            b"\0\0\x08\x02\0\0\0\2\0\0\0\3" + b"\1" * 5,
            r"should hold 6 bytes of data for its shape \(2, 3\); it holds 5",
        ),
        (b"\0\0\x08\x02\0\0\0\2\0\0\0\3" + b"\1" * 7, "it holds more"),
        (b"\0\0\x08\x02\0\0\0\3\0\0\0\2" + b"\1" * 6, r"has shape \(3, 2\), expected \(2, 3\)"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff\1", r"has shape \(4294967295, 4294967295\), expected"),
        (b"\0\0\x08\x01\0\0\0\6" + b"\1" * 6, "has 1-dimensional data, expected 2-dimensional"),
        (b"\0\0\x08\x00\1", "has 0-dimensional data, expected 2-dimensional"),
        (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"\1", "has 65-dimensional data, expected 2-dimensional"),
        (b"\0\0\x08\xff" + b"\0\0\0\0" * 255, "has 255-dimensional data, expected 2-dimensional"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_is_no_idx(tmp_path, raw, message, zipped):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    with pytest.raises(DataError, match=f"images .*{message}"):
        read_idx(path, (2, 3))


@pytest.mark.parametrize("harm", ["cut short", "bit flipped", "bad header"])
def test_a_damaged_gzip_is_noticed(tmp_path, idx, harm):
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
        read_idx(path, (5000,))


@pytest.mark.parametrize("name", IDX_SHAPES)
def test_shapes_other_than_mnist(stripes, tmp_path, idx, name):
    """So images and labels are of one number, too."""
    shape = IDX_SHAPES[name]
    for path in stripes.iterdir():
        if path.stem != name:
            (tmp_path / path.name).symlink_to(path)
    assert find_idx(tmp_path) is None
    (tmp_path / name).write_bytes(idx(np.zeros((shape[0] - 1, *shape[1:]), np.uint8)))
    paths = find_idx(tmp_path)
    assert paths is not None
    message = re.escape(f"{name} has shape {(shape[0] - 1, *shape[1:])}, expected {shape}")
    with pytest.raises(DataError, match=message):
        decode_idx(paths)


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_label_is_a_digit(stripes, tmp_path, arrays, idx, name):
    for path in stripes.iterdir():
        if path.stem != name:
            (tmp_path / path.name).symlink_to(path)
    labels = arrays[name].copy()
    labels[-1] = 10
    (tmp_path / name).write_bytes(idx(labels))
    with pytest.raises(DataError, match=rf"{name} has the label 10 in row {len(labels) - 1}. A label is a digit"):
        load_mnist(tmp_path)
    labels[-1] = 9
    (tmp_path / name).write_bytes(idx(labels))
    data = load_mnist(tmp_path)
    assert (data.test if "t10k" in name else data.valid).labels[-1] == 9


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


@pytest.mark.parametrize("harm", ["bit flipped", "cut short", "missing"])
def test_an_installed_sample_that_is_damaged(tmp_path, monkeypatch, harm):
    raw = bytearray(SAMPLE.read_bytes())
    raw[len(raw) // 2] ^= 1
    if harm != "missing":
        (tmp_path / "sample.npz").write_bytes(raw if harm == "bit flipped" else raw[:1000])
    monkeypatch.setattr(decode, "SAMPLE", tmp_path / "sample.npz")
    with pytest.raises(
        DataError, match="sample.npz(, the embedded sample, is damaged. Install pullback again| does not)"
    ):
        load_mnist("sample")


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
    mnist = load_mnist("cache")
    known = {(row.tobytes(), int(label)) for row, label in zip(*mnist.train, strict=True)}
    train, valid, _ = decode_sample()
    assert all(
        (row.tobytes(), int(label)) in known for split in (train, valid) for row, label in zip(*split, strict=True)
    )


def test_sample_is_small_and_has_its_licence(root):
    assert (root / "data" / "sample.npz").stat().st_size < 1_000_000
    assert "CC BY-SA 3.0" in (root / "data" / "SAMPLE-LICENSE.md").read_text()
