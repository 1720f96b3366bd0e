import os
import re
import shutil

import numpy as np
import pytest

from pullback.data import DataError, SampleDataWarning, cached_files, fetch, get_data, load_mnist, normalize
from pullback.data.cache import IDX_FILES
from pullback.data.decode import PICKLE_NAME, find_idx


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", ())


def test_sample():
    data = load_mnist("sample")
    assert data.source == "embedded sample of MNIST (4,000 train and 1,000 valid images, no test)"


def test_auto_falls_back_to_the_sample_and_says_so(empty_cache, offline):
    with pytest.warns(
        SampleDataWarning, match=r"no mirror.*the full set, with a network: pullback data --source download"
    ):
        data = load_mnist()
    assert data.source.startswith("embedded sample")
    assert cached_files() == []
    get_data()  # says nothing more: warnings are errors here


def said_of(folder) -> str:
    """What "auto" says when it falls back to the sample."""
    with pytest.warns(SampleDataWarning) as caught:
        assert load_mnist("auto").source.startswith("embedded sample")
    (warning,) = caught
    assert str(warning.message).isprintable()
    return str(warning.message).replace(str(folder), "CACHE")


@pytest.mark.parametrize("name", [*IDX_FILES, PICKLE_NAME])
@pytest.mark.parametrize("others", ["whole", "missing"])
def test_auto_says_which_cached_file_is_damaged(empty_cache, offline, stripes, publish, name, others):
    """Also where the rest of the files is not there, so that nothing could be loaded anyway."""
    publish({path.name: path.read_bytes() for path in stripes.iterdir()})
    empty_cache.mkdir()
    for path in stripes.iterdir() if others == "whole" and name != PICKLE_NAME else ():
        (empty_cache / path.name).symlink_to(path)
    (empty_cache / name).unlink(missing_ok=True)
    (empty_cache / name).write_bytes(b"damaged")
    assert re.match(
        rf"CACHE/{name} is not the published file: it has 7 bytes of [0-9,]+\. Delete it and fetch it again\. "
        "And no mirror of MNIST can be reached: using the embedded sample of 5,000 digits",
        said_of(empty_cache),
    )
    assert (empty_cache / name, False) in cached_files()


def test_auto_says_each_damaged_file(empty_cache, offline):
    empty_cache.mkdir()
    for name in IDX_FILES:
        (empty_cache / name).write_bytes(b"")
    said = said_of(empty_cache)
    assert all(f"CACHE/{name} is not the published file" in said for name in IDX_FILES)


WRONG = {
    "a named pipe": (os.mkfifo, "is a named pipe, not a file"),
    "a folder": (os.mkdir, "is a folder, not a file"),
    "a file that nobody may read": (lambda path: path.touch(0), "cannot be read: Permission denied"),
}


@pytest.mark.parametrize("case", WRONG)
def test_auto_with_something_else_in_the_cache(nobody, monkeypatch, offline, within, case):
    make, why = WRONG[case]
    monkeypatch.setenv("PULLBACK_DATA_DIR", str(nobody))
    make(nobody / "train-images-idx3-ubyte.gz")
    with within(5):
        assert f"CACHE/train-images-idx3-ubyte.gz {why}. And no mirror" in said_of(nobody)


def test_auto_with_no_place_for_a_cache(nobody, monkeypatch, offline):
    """A folder that may not be read, one that may only be read, and none."""
    for mode, why in [
        (0o000, "CACHE/train-images-idx3-ubyte.gz cannot be read: Permission denied"),
        (0o555, "the cache CACHE cannot be written: Permission denied"),
    ]:
        folder = nobody / str(mode)
        folder.mkdir(mode)
        monkeypatch.setenv("PULLBACK_DATA_DIR", str(folder))
        assert why in said_of(folder)
    monkeypatch.setenv("PULLBACK_DATA_DIR", "~nosuchuser")
    said = said_of(nobody)
    assert said.count("that user has no home") == 1 and "names another folder: using the embedded sample" in said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cache", r"the cache .*cache holds no MNIST; `pullback data --source download` fills it"),
        ("download", "no mirror of MNIST can be reached"),
        (
            "smaple",
            r"source must be 'auto', 'sample', 'cache', 'download', or the path of.*got 'smaple', which does not exist",
        ),
    ],
)
def test_a_source_that_was_asked_for_is_never_replaced(empty_cache, offline, source, message):
    with pytest.raises(DataError, match=message):
        load_mnist(source)


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds neither MNIST's four IDX files nor mnist.pkl.gz"):
        load_mnist(tmp_path)


def test_get_data():
    x_train, y_train, x_valid, y_valid = get_data("sample")
    assert (x_train.shape, x_valid.shape) == ((4000, 784), (1000, 784))
    assert x_train.dtype == x_valid.dtype == np.float32 and y_train.dtype == y_valid.dtype == np.int64
    assert x_train.max() == 0.99609375  # 255 / 256
    np.testing.assert_array_equal(x_train * 256, load_mnist("sample").train.images)


def test_normalize_uses_what_it_is_given():
    x_train, _, x_valid, _ = get_data("sample")
    mean, std = x_train.mean(), x_train.std()
    train, valid = normalize(x_train, mean, std), normalize(x_valid, mean, std)
    assert abs(train.mean()) < 1e-4 and abs(train.std() - 1) < 1e-4
    assert abs(valid.mean()) > 1e-4, "valid keeps its own mean, on train's scale"
    assert train.dtype == np.float32
    assert normalize(x_train, np.float64(mean), np.float64(std)).dtype == np.float32


@pytest.mark.parametrize(
    ("x", "mean", "std", "error", "message"),
    [
        (np.ones(3, np.uint8), 0.1, 0.3, TypeError, "normalize: x must be floating-point pixels, .*; got uint8"),
        (np.ones(3), 0.1, 0.0, ValueError, "normalize: std must be a positive number; got 0.0"),
        (np.ones(3), 0.1, np.nan, ValueError, "normalize: std must be a positive number; got nan"),
        (np.ones(3), np.nan, 1.0, ValueError, "normalize: mean must be finite; got nan"),
    ],
)
def test_normalize_refuses(as_a_user, x, mean, std, error, message):
    with pytest.raises(error, match=message):
        normalize(x, mean, std)


def idx_files(folder):
    paths = find_idx(folder)
    if paths is None:
        pytest.skip("the cache holds MNIST as a pickle, not as IDX files")
    return paths


def test_full_set(full_mnist):
    data = load_mnist("cache")
    assert data.source.startswith("full MNIST")
    assert [len(split.images) for split in data[:3]] == [50_000, 10_000, 10_000]
    x_train, _, x_valid, _ = get_data("cache")
    # The moments that the lesson's file has.
    assert (x_train.mean(), x_train.std()) == (np.float32(0.13044971), np.float32(0.30728984))
    np.testing.assert_allclose((x_valid.mean(), x_valid.std()), (0.1286519, 0.3049647), rtol=1e-6)


def test_idx_files_and_pickle_are_the_same_data(full_mnist):
    idx_files(full_mnist)
    if not (full_mnist / PICKLE_NAME).is_file():
        pytest.skip("needs the lesson's mnist.pkl.gz in the cache too")
    for ours, theirs in zip(load_mnist(full_mnist)[:3], load_mnist(full_mnist / PICKLE_NAME)[:3], strict=True):
        np.testing.assert_array_equal(ours.images, theirs.images, strict=True)
        np.testing.assert_array_equal(ours.labels, theirs.labels, strict=True)


def test_one_flipped_bit_in_the_cache(full_mnist, empty_cache):
    shutil.copytree(full_mnist, empty_cache, ignore=lambda *_: [PICKLE_NAME])
    path = idx_files(empty_cache)[1]
    path.chmod(0o600)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=rf"{path.name} is not the published file: its sha256 differs"):
        load_mnist("cache")


def test_other_data_of_that_form_is_not_called_mnist(full_mnist, tmp_path):
    shutil.copytree(full_mnist, tmp_path / "mine", ignore=lambda *_: [PICKLE_NAME])
    path = idx_files(tmp_path / "mine")[1]
    plain = path.with_suffix("")
    plain.write_bytes(b"\0\0\x08\x01\0\0\xea\x60" + bytes(60_000))  # every label is 0
    path.unlink()
    data = load_mnist(tmp_path / "mine")
    assert data.source.startswith("a data set of MNIST's form (not MNIST's published files)")
    assert not data.train.labels.any()
