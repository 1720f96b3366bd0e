import shutil

import numpy as np
import pytest

from pullback.data import DataError, SampleDataWarning, cached_files, fetch, get_data, load_mnist, normalize
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


def test_auto_says_that_the_cache_is_damaged(empty_cache, offline):
    empty_cache.mkdir()
    (empty_cache / PICKLE_NAME).write_bytes(b"damaged")
    with pytest.warns(SampleDataWarning, match=rf"{PICKLE_NAME} is not the known mnist.pkl.gz.* And no mirror"):
        load_mnist("auto")
    assert cached_files() == [(empty_cache / PICKLE_NAME, False)]


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
