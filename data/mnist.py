"""MNIST: where it comes from, and what the lesson makes of it."""

import contextlib
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .cache import IDX_FILES, cache_dir, check_published, is_published
from .decode import IDX_SHAPES, PICKLE_NAME, Split, decode_idx, decode_pickle, decode_sample, find_idx
from .fetch import download
from .files import DataError, kind, shown

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


def cached_files() -> list[tuple[Path, bool]]:
    """The files of MNIST in the cache, each with whether it is the published file: its sha256 is compared.

    Raises DataError where there is no cache, or it cannot be read.
    """
    paths = [cache_dir() / name for name in (*IDX_FILES, PICKLE_NAME)]
    return [(path, is_published(path)) for path in paths if kind(path)]


def _from_folder(folder: Path) -> Mnist | None:
    """What a folder holds, or None. The published files are called MNIST, others only of its form."""
    if (paths := find_idx(folder)) is not None:
        published = all(is_published(path) for path in paths)
        name = "full MNIST" if published else "a data set of MNIST's form (not MNIST's published files)"
        return Mnist(*decode_idx(paths), f"{name}, {shown(folder)}")
    if kind(folder / PICKLE_NAME):
        return Mnist(*decode_pickle(folder / PICKLE_NAME), f"full MNIST, {shown(folder / PICKLE_NAME)}")
    return None


def _from_path(path: Path) -> Mnist:
    match kind(path):
        case "a file":
            return Mnist(*decode_pickle(path), f"full MNIST, {shown(path)}")
        case "a folder":
            if (mnist := _from_folder(path)) is None:
                raise DataError(f"source {shown(path)} holds neither MNIST's four IDX files nor {PICKLE_NAME}.")
            return mnist
        case found:
            raise DataError(
                f"source must be 'auto', 'sample', 'cache', 'download', or the path of a {PICKLE_NAME} or of a folder "
                f"with MNIST's IDX files; got {str(path)!r}, which {f'is {found}' if found else 'does not exist'}."
            )


def _from_cache() -> Mnist:
    folder = cache_dir()
    for path in find_idx(folder) or ():
        check_published(path)
    if (mnist := _from_folder(folder)) is None:
        raise DataError(f"the cache {shown(folder)} holds no MNIST; `pullback data --source download` fills it.")
    return mnist


def _flaws() -> list[str]:
    """What is wrong with the files in the cache, or with the cache, a sentence each."""
    flaws = []
    for name in (*IDX_FILES, *IDX_SHAPES, PICKLE_NAME):
        try:
            if kind(path := cache_dir() / name):
                check_published(path)
        except DataError as error:
            flaws.append(str(error))
    return list(dict.fromkeys(flaws))


def _expanded(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:
        raise DataError(f"source {str(source)!r} begins with the home of a user who has none.") from None


def load_mnist(source: str | Path = "auto") -> Mnist:
    """MNIST as uint8: train / valid / test of 50,000 / 10,000 / 10,000 images `[n, 784]` and labels `[n]`.

    source:
        "auto"      the cache, else a verified download into it, else the embedded sample (with a
                    SampleDataWarning, once a process, that says why, which file of the cache is damaged if one is,
                    and how to get the full set)
        "cache"     the cache only: `$PULLBACK_DATA_DIR`, else `~/.cache/pullback`
        "download"  the cache, filled or mended by a download first
        "sample"    the embedded sample: 4,000 / 1,000 / 0
        a path      the lesson's `mnist.pkl.gz` (checked, never unpickled), or a folder of the four IDX files

    No file is believed: pipes and devices are not opened, no more is decompressed than MNIST has bytes, shapes and
    labels must be MNIST's. A download takes 10 minutes at most.

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
        return _from_path(_expanded(source))
    with contextlib.suppress(DataError):  # why is said below, unless a download mends it
        return _from_cache()
    try:
        download(cache_dir())
        return _from_cache()
    except DataError as error:
        flaws = [flaw for flaw in _flaws() if flaw != str(error)]
        why = " And ".join([" ".join(flaws), str(error)] if flaws else [str(error)]).removesuffix(".")
        said = f"{why}: using the embedded sample of 5,000 digits. For the full set, with a network: "
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
