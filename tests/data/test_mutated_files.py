"""Files with something changed in them: an error, or the array that the bytes say; and no pickle is ever executed."""

import ast
import collections
import gzip
import os
import pickle
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pullback.data import DataError, load_mnist
from pullback.data.cache import IDX_FILES
from pullback.data.decode import PICKLE_NAME, read_idx

SHAPE = (6, 4, 4)


def rewrite(path: Path, raw: bytes) -> None:
    """In a new file: a disk flushes one that is cut to nothing and written again, which takes 3 ms."""
    path.unlink(missing_ok=True)
    path.write_bytes(raw)


def mutated(rng: random.Random, raw: bytes) -> bytes:
    """One to three changes of the kinds that disks, networks and editors make."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(9):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at] = rng.randrange(256)
            case 2:
                del out[at:]
            case 3:
                del out[at : at + rng.randint(1, 40)]
            case 4:
                out[at:at] = rng.randbytes(rng.randint(1, 40))
            case 5:
                out += rng.choice([b"\0", rng.randbytes(9), raw])
            case 6 if out:
                out[: min(16, len(out))] = rng.randbytes(min(16, len(out)))
            case 7:
                size = rng.randint(1, 64)
                out[at : at + size] = bytes(len(out[at : at + size]))
            case 8 if len(out) > 8:
                field = rng.randrange(2) * 4
                out[field : field + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
    return bytes(out)


def test_mutated_idx_files(tmp_path, idx):
    """`pytest -s` prints how many. What gzip wraps has a checksum, so there only the right array may come."""
    array = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    plain = idx(array)
    path, rng, came = tmp_path / "file", random.Random(0), collections.Counter()
    for number in range(4000):
        zipped = bool(number % 2)
        source = gzip.compress(plain, mtime=0) if zipped else plain
        raw = mutated(rng, source)
        rewrite(path, raw)
        try:
            read = read_idx(path, SHAPE)
        except DataError as error:
            assert str(error).startswith(str(path)) and str(error).isprintable()
            came["refused"] += 1
            continue
        came["the array"] += 1
        if raw[:2] == b"\x1f\x8b":
            np.testing.assert_array_equal(read, array, strict=True)
        else:
            assert raw == b"\0\0\x08\x03" + struct.pack(">3I", *SHAPE) + read.tobytes() and read.shape == SHAPE
    print(f"{came.total():,} IDX files mutated: {dict(came)}")
    assert came["refused"] > 3000 and came["the array"] > 100


def test_mutated_files_in_the_cache(empty_cache, stripes, publish, arrays):
    """No byte of a file in the cache can differ: every mutation is refused, by the name of the file."""
    files = {path.name: path.read_bytes() for path in stripes.iterdir()}
    publish(files)
    empty_cache.mkdir()
    for path in stripes.iterdir():
        (empty_cache / path.name).symlink_to(path)
    train = load_mnist("cache").train
    np.testing.assert_array_equal(train.images.reshape(-1, 28, 28), arrays["train-images-idx3-ubyte"][:50_000])
    rng, count = random.Random(1), 0
    while count < 1000:
        name = rng.choice(list(files))
        if (raw := mutated(rng, files[name])) == files[name]:
            continue
        path = empty_cache / name
        rewrite(path, raw)
        with pytest.raises(DataError, match=f"{name} is not the published file"):
            load_mnist("cache")
        path.unlink()
        path.symlink_to(stripes / name)
        count += 1
    print(f"{count:,} files of the cache mutated: all refused")


def test_mutated_folders(tmp_path, stripes, arrays):
    """A folder of the user's has no published sums: there gzip's own must do, and every shape must be MNIST's."""
    rng, came = random.Random(2), collections.Counter()
    for path in stripes.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for _ in range(40):
        name = rng.choice(list(IDX_FILES))
        path = tmp_path / name
        rewrite(path, mutated(rng, (stripes / name).read_bytes()))
        try:
            data = load_mnist(tmp_path)
        except DataError as error:
            assert str(path) in str(error)
            came["refused"] += 1
        else:
            np.testing.assert_array_equal(data.test.images.reshape(-1, 28, 28), arrays["t10k-images-idx3-ubyte"])
            np.testing.assert_array_equal(data.train.labels, arrays["train-labels-idx1-ubyte"][:50_000])
            came["the arrays"] += 1
        path.unlink()
        path.symlink_to(stripes / name)
    print(f"{came.total()} files of a folder mutated: {dict(came)}")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_mutated_pickles_are_not_executed(tmp_path):
    crater, path, rng = tmp_path / "crater", tmp_path / PICKLE_NAME, random.Random(3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        plain = pickle.dumps(((Bomb(str(crater)), np.zeros(9)), [1.0] * 20), protocol)
        for number in range(200):
            raw = mutated(rng, gzip.compress(plain) if number % 2 else plain) if number > 1 else plain
            rewrite(path, raw)
            with pytest.raises(DataError, match="mnist.pkl.gz"):
                load_mnist(path if number % 3 else tmp_path)
            assert not crater.exists()
    print(f"{200 * (pickle.HIGHEST_PROTOCOL + 1):,} pickles with a call in them mutated: none executed")


def test_nothing_in_data_can_execute_a_pickle(root):
    for path in (root / "data").glob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & {"pickle", "_pickle", "dill", "joblib", "marshal", "shelve"}
        assert "allow_pickle=True" not in path.read_text()


def test_memory_is_flat(tmp_path, idx):
    """A thousand files read, right and wrong: nothing is kept of them."""
    plain = idx(np.zeros((100, 28, 28), np.uint8))
    path, rng = tmp_path / "file", random.Random(4)

    def read(times: int) -> None:
        for _ in range(times):
            rewrite(path, rng.choice([plain, gzip.compress(mutated(rng, plain), 1)]))
            try:
                read_idx(path, (100, 28, 28))
            except DataError:
                pass

    read(100)
    tracemalloc.start()
    read(100)
    before = tracemalloc.get_traced_memory()[0]
    read(1000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"1,000 files read: {grown:,} bytes more than before")
    assert grown < 50_000
