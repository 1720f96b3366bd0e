"""From bytes to arrays: IDX files, the lesson's pickle (never unpickled), the embedded sample.

IDX: two zero bytes, a type byte (8: uint8), the number of axes, each axis's length as a big-endian uint32, then
the data. Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class DataError(Exception):
    """The data is missing, damaged or not what it should be; the message names the file and what to do."""


class Split(NamedTuple):
    """Images uint8 `[n, 784]`, 0 to 255, and labels uint8 `[n]`, 0 to 9."""

    images: npt.NDArray[np.uint8]
    """`[n, 784]`: 28 rows of 28 pixels, one after the other; 0 is background, 255 full ink."""
    labels: npt.NDArray[np.uint8]
    """`[n]`: the digit, 0 to 9."""


class Splits(NamedTuple):
    """train, valid and test."""

    train: Split
    valid: Split
    test: Split


TRAIN, VALID, TEST = 50_000, 10_000, 10_000
# The four original files, in the order images, labels, images, labels.
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PICKLE_NAME = "mnist.pkl.gz"
PICKLE_FILE_SHA256 = "0c66b22fbfd977a01005ad5c02363406bc02a29cc2bc8e3c99e0f2aa2550a9ed"
PICKLE_BYTES = 220_080_342
PICKLE_SHA256 = "08c3b55725c13d27ee9f14f47c34689eebd9c3d611c9aa144e0f91d85b297337"  # of the decompressed file
# Where each array's bytes lie in a payload of that sha256: (offset of float32 images, offset of int64 labels, n).
PICKLE_LAYOUT = (
    (133, 156_800_199, TRAIN),
    (157_200_236, 188_560_267, VALID),
    (188_640_304, 220_000_335, TEST),
)


def _read(path: Path, limit: int = -1) -> bytes:
    """The file's bytes, gunzipped (and its CRC checked) if it is gzip; at most `limit` of them."""
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            return file.read(limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: {error}. Delete it and fetch it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The uint8 array in an IDX file, gzipped or not. Raises DataError if it is not one, whole."""
    raw = _read(path)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise DataError(f"{path} is no IDX file of uint8: it starts with {raw[:4]!r}, expected b'\\x00\\x00\\x08'.")
    header = 4 + 4 * raw[3]
    if len(raw) < header:
        raise DataError(f"{path} ends inside its header.")
    shape = struct.unpack(f">{raw[3]}I", raw[4:header])
    size = int(np.prod(shape, dtype=object))
    if len(raw) - header != size:
        raise DataError(
            f"{path} should hold {size:,} bytes of data for its shape {shape}; it holds {len(raw) - header:,}."
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def find_idx(folder: Path) -> list[Path] | None:
    """The four IDX files of `folder` (with or without .gz) in the order of IDX_NAMES, or None if one is missing."""
    found = [next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None) for name in IDX_NAMES]
    return None if None in found else [path for path in found if path]


def decode_idx(paths: list[Path]) -> Splits:
    """Splits from the four IDX files: train is rows 0 to 49,999, valid the 10,000 after them."""
    arrays = [read_idx(path) for path in paths]
    for path, array, shape in zip(
        paths, arrays, [(TRAIN + VALID, 28, 28), (TRAIN + VALID,), (TEST, 28, 28), (TEST,)], strict=True
    ):
        if array.shape != shape:
            raise DataError(f"{path} has shape {array.shape}, expected {shape}.")
    images, labels = arrays[0].reshape(-1, 784), arrays[1]
    return Splits(
        Split(images[:TRAIN], labels[:TRAIN]),
        Split(images[TRAIN:], labels[TRAIN:]),
        Split(arrays[2].reshape(-1, 784), arrays[3]),
    )


def decode_pickle(path: Path) -> Splits:
    """Splits from the lesson's `mnist.pkl.gz`, without unpickling.

    A pickle runs code when it is loaded. This one is known: once the sha256 of its payload is what it should be,
    the arrays lie at known offsets and are read from there. Its float32 pixels are uint8 / 256, exactly.
    """
    payload = _read(path, PICKLE_BYTES + 1)
    got = hashlib.sha256(payload).hexdigest()
    if got != PICKLE_SHA256:
        raise DataError(
            f"{path} is not the known mnist.pkl.gz: the sha256 of its content is {got[:16]}..., "
            f"expected {PICKLE_SHA256[:16]}.... It was not opened, for a pickle can run code."
        )
    splits = []
    for images_at, labels_at, n in PICKLE_LAYOUT:
        pixels = np.frombuffer(payload, "<f4", n * 784, images_at).reshape(n, 784)
        labels = np.frombuffer(payload, "<i8", n, labels_at)
        splits.append(Split((pixels * 256).astype(np.uint8), labels.astype(np.uint8)))
    return Splits(*splits)


def decode_sample() -> Splits:
    """The embedded sample: 4,000 train and 1,000 valid digits, 400 and 100 a class; its test split is empty."""
    with np.load(Path(__file__).with_name("sample.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return Splits(*(Split(images[rows], labels[rows]) for rows in (slice(4000), slice(4000, 5000), slice(0))))
