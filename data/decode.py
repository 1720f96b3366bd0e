"""From bytes to arrays: IDX files, the lesson's pickle (never unpickled), the embedded sample.

IDX: two zero bytes, a type byte (8: uint8), the number of axes, each axis's length as a big-endian uint32, then
the data. Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998.
"""

import hashlib
import io
import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .files import DataError, kind, open_content, open_file, shown


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
# The four original files, in the order images, labels, images, labels, and the shape of each.
IDX_SHAPES: dict[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (TRAIN + VALID, 28, 28),
    "train-labels-idx1-ubyte": (TRAIN + VALID,),
    "t10k-images-idx3-ubyte": (TEST, 28, 28),
    "t10k-labels-idx1-ubyte": (TEST,),
}
PICKLE_NAME = "mnist.pkl.gz"
PICKLE_BYTES = 220_080_342
PICKLE_SHA256 = "08c3b55725c13d27ee9f14f47c34689eebd9c3d611c9aa144e0f91d85b297337"  # of the decompressed file
# Where each array's bytes lie in a payload of that sha256: (offset of float32 images, offset of int64 labels, n).
PICKLE_LAYOUT = (
    (133, 156_800_199, TRAIN),
    (157_200_236, 188_560_267, VALID),
    (188_640_304, 220_000_335, TEST),
)
SAMPLE = Path(__file__).with_name("sample.npz")
SAMPLE_SHA256 = "92e5c9bc2c15222dae299c54abc06874994130b3b6334beaed75ec942bba2b3b"


def read_idx(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The uint8 array of that shape in an IDX file, gzipped or not. Raises DataError if it is not one, whole.

    The header is read first, and says whether there is anything to read: whatever the file holds, no more is
    decompressed than such an array has bytes, and one.
    """
    header, size = 4 + 4 * len(shape), math.prod(shape)
    with open_content(path, header + size) as file:
        _check_header(path, file.read(header), shape)
        data = file.read(size + 1)
    if len(data) != size:
        holds = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(f"{shown(path)} should hold {size:,} bytes of data for its shape {shape}; it holds {holds}.")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_header(path: Path, raw: bytes, shape: tuple[int, ...]) -> None:
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise DataError(
            f"{shown(path)} is no IDX file of uint8: it starts with {raw[:4]!r}, expected b'\\x00\\x00\\x08'."
        )
    if raw[3] != len(shape):
        raise DataError(f"{shown(path)} has {raw[3]}-dimensional data, expected {len(shape)}-dimensional.")
    if len(raw) < 4 + 4 * len(shape):
        raise DataError(f"{shown(path)} ends inside its header.")
    got = struct.unpack(f">{len(shape)}I", raw[4:])
    if got != shape:
        raise DataError(f"{shown(path)} has shape {got}, expected {shape}.")


def find_idx(folder: Path) -> list[Path] | None:
    """The four IDX files of `folder` (with or without .gz) in the order of IDX_SHAPES, or None if one is missing.

    Whatever has such a name is taken, a file or not. Raises DataError for a folder that may not be read.
    """
    found = [next((p for p in (folder / f"{name}.gz", folder / name) if kind(p)), None) for name in IDX_SHAPES]
    return None if None in found else [path for path in found if path]


def _check_labels(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    wrong = np.flatnonzero(labels > 9)
    if wrong.size:
        row = int(wrong[0])
        raise DataError(f"{shown(path)} has the label {labels[row]} in row {row}. A label is a digit, 0 to 9.")


def decode_idx(paths: list[Path]) -> Splits:
    """Splits from the four IDX files: train is rows 0 to 49,999, valid the 10,000 after them."""
    arrays = [read_idx(path, shape) for path, shape in zip(paths, IDX_SHAPES.values(), strict=True)]
    for at in (1, 3):
        _check_labels(paths[at], arrays[at])
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
    with open_content(path, PICKLE_BYTES) as file:
        payload = file.read(PICKLE_BYTES + 1)
    got = hashlib.sha256(payload).hexdigest()
    if got != PICKLE_SHA256:
        raise DataError(
            f"{shown(path)} is not the known mnist.pkl.gz: the sha256 of its content is {got[:16]}..., "
            f"expected {PICKLE_SHA256[:16]}.... It was not opened, for a pickle can run code."
        )
    splits = []
    for images_at, labels_at, n in PICKLE_LAYOUT:
        pixels = np.frombuffer(payload, "<f4", n * 784, images_at).reshape(n, 784)
        labels = np.frombuffer(payload, "<i8", n, labels_at)
        splits.append(Split((pixels * 256).astype(np.uint8), labels.astype(np.uint8)))
    return Splits(*splits)


def decode_sample() -> Splits:
    """The embedded sample: 4,000 train and 1,000 valid digits, 400 and 100 a class; its test split is empty.

    Raises DataError if the installed file is missing or damaged.
    """
    with open_file(SAMPLE) as file:
        raw = file.read()
    if hashlib.sha256(raw).hexdigest() != SAMPLE_SHA256:
        raise DataError(f"{shown(SAMPLE)}, the embedded sample, is damaged. Install pullback again.")
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return Splits(*(Split(images[rows], labels[rows]) for rows in (slice(4000), slice(4000, 5000), slice(0))))
