"""MNIST: where it comes from, and what the lesson makes of it."""

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .decode import (
    PICKLE_FILE_SHA256,
    PICKLE_NAME,
    DataError,
    Split,
    decode_idx,
    decode_pickle,
    decode_sample,
    find_idx,
)
from .fetch import SHA256, cache_dir, download

WARNED: set[str] = set()
"""What this process was warned of: a reason for the sample is said once."""


class SampleDataWarning(UserWarning):
    """The full MNIST could not be had, and the embedded sample stands in for it."""


class Mnist(NamedTuple):
    """train, valid and test splits, and in words where they came from."""

    train: Split
    """50,000 images (of the sample: 4,000)."""
    valid: Split
    """10,000 images (of the sample: 1,000)."""
    test: Split
    """10,000 images (of the sample: none)."""
    source: str
    """What was loaded, and from where, in words."""


def _is_published(path: Path) -> bool:
    known = SHA256 | {PICKLE_NAME: PICKLE_FILE_SHA256}
    return hashlib.sha256(path.read_bytes()).hexdigest() == known.get(path.name)


def cached_files() -> list[tuple[Path, bool]]:
    """The files of MNIST in the cache, each with whether its sha256 is that of the published file."""
    paths = [cache_dir() / name for name in (*SHA256, PICKLE_NAME)]
    return [(path, _is_published(path)) for path in paths if path.is_file()]


def _from_folder(folder: Path) -> Mnist | None:
    """What a folder holds, or None. The published files are called MNIST, others only of its form."""
    if (paths := find_idx(folder)) is not None:
        published = all(_is_published(path) for path in paths)
        name = "full MNIST" if published else "a data set of MNIST's form (not MNIST's published files)"
        return Mnist(*decode_idx(paths), f"{name}, {folder}")
    if (folder / PICKLE_NAME).is_file():
        return Mnist(*decode_pickle(folder / PICKLE_NAME), f"full MNIST, {folder / PICKLE_NAME}")
    return None


def _from_path(path: Path) -> Mnist:
    if path.is_file():
        return Mnist(*decode_pickle(path), f"full MNIST, {path}")
    if not path.is_dir():
        raise DataError(
            f"source must be 'auto', 'sample', 'cache', 'download', or the path of a {PICKLE_NAME} or of a folder "
            f"with MNIST's IDX files; got {str(path)!r}, which does not exist."
        )
    if (mnist := _from_folder(path)) is None:
        raise DataError(f"source {path} holds neither MNIST's four IDX files nor {PICKLE_NAME}.")
    return mnist


def _from_cache() -> Mnist:
    folder = cache_dir()
    for path in find_idx(folder) or ():
        if not _is_published(path):
            raise DataError(f"{path} is not the published file: its sha256 differs. Delete it and fetch it again.")
    if (mnist := _from_folder(folder)) is None:
        raise DataError(f"the cache {folder} holds no MNIST; `pullback data --source download` fills it.")
    return mnist


def load_mnist(source: str | Path = "auto") -> Mnist:
    """MNIST as uint8: train / valid / test of 50,000 / 10,000 / 10,000 images `[n, 784]` and labels `[n]`.

    source:
        "auto"      the cache, else a verified download into it, else the embedded sample (with a
                    SampleDataWarning, once a process, that says why and how to get the full set)
        "cache"     the cache only: `$PULLBACK_DATA_DIR`, else `~/.cache/pullback`
        "download"  the cache, filled or mended by a download first
        "sample"    the embedded sample: 4,000 / 1,000 / 0
        a path      the lesson's `mnist.pkl.gz` (checked, never unpickled), or a folder of the four IDX files

    The result's `source` says in words what was used. train and valid are rows 0 to 49,999 and 50,000 to 59,999
    of MNIST's training set, as in the lesson. Raises DataError, naming the file and what to do.
    """
    if source == "sample":
        return _sample()
    if source == "cache":
        return _from_cache()
    if source == "download":
        download(cache_dir())
        return _from_cache()
    if source != "auto":
        return _from_path(Path(source).expanduser())
    try:
        if find_idx(cache_dir()) or (cache_dir() / PICKLE_NAME).is_file():
            return _from_cache()
        why = ""
    except DataError as error:
        why = f"{error} And "
    try:
        download(cache_dir())
        return _from_cache()
    except DataError as error:
        said = f"{why}{error}: using the embedded sample of 5,000 digits. For the full set, with a network: "
        said += "pullback data --source download"
        if said not in WARNED:
            WARNED.add(said)
            warnings.warn(said, SampleDataWarning, stacklevel=2)
        return _sample()


def _sample() -> Mnist:
    return Mnist(*decode_sample(), "embedded sample of MNIST (4,000 train and 1,000 valid images, no test)")


def get_data(
    source: str | Path = "auto",
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The lesson's `(x_train, y_train, x_valid, y_valid)`.

    x: float32 `[n, 784]`, uint8 / 256, bit for bit the lesson's file (so white is 0.99609375, not 1).
    y: int64 `[n]`, the digit. `source` and errors as for `load_mnist`.
    """
    mnist = load_mnist(source)
    x_train, x_valid = (split.images.astype(np.float32) / np.float32(256) for split in (mnist.train, mnist.valid))
    return x_train, mnist.train.labels.astype(np.int64), x_valid, mnist.valid.labels.astype(np.int64)


def normalize(
    x: npt.NDArray[np.floating], mean: float | np.floating, std: float | np.floating
) -> npt.NDArray[np.floating]:
    """`(x - mean) / std`, in x's dtype. mean, std: in x's unit; for every split use train's: one scale for all.

    Raises TypeError if x is not floating-point (raw uint8 pixels are on another scale than moments of
    `get_data`'s), ValueError if `std` is not a positive number or `mean` is not finite.
    """
    if not np.issubdtype(np.asarray(x).dtype, np.floating):
        raise TypeError(f"normalize: x must be floating-point pixels, as from get_data; got {np.asarray(x).dtype}")
    if not np.isfinite(mean):
        raise ValueError(f"normalize: mean must be finite; got {mean}")
    if not (np.isfinite(std) and std > 0):
        raise ValueError(f"normalize: std must be a positive number; got {std}")
    # Plain floats: a NumPy float64 scalar would promote x to float64.
    return (x - float(mean)) / float(std)
