"""The file of a capsule, read as if an enemy had made it: sizes are known before memory is taken, nothing is unpickled.

The file is a zip of .npy files, as `numpy.savez_compressed` writes it: one text, `capsule`, and arrays `array0`,
`array1`, ... Whatever `savez_compressed` would not have written is refused.
"""

import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from .saved_values import CapsuleError

ARRAYS_LIMIT = 2**28
"""Bytes of all arrays together. The training images of MNIST in float32 take 157 million, this is 268 million."""
TEXT_LIMIT = 2**22
"""Characters of the text."""
TEXT = "capsule"

_MEMBERS_LIMIT = ARRAYS_LIMIT + 4 * TEXT_LIMIT + 2**20  # a character takes 4 bytes; the rest is for headers
_DIRECTORY_LIMIT = 2**20  # bytes of the list of members: some 20,000 of them
_NAME = re.compile(rf"(?P<name>{TEXT}|array\d{{1,6}})\.npy")
_MAGIC = {b"\x93NUMPY\x01\x00": "<H", b"\x93NUMPY\x02\x00": "<I"}
"""How a .npy file begins -> how the length of its header is written."""
_DTYPE = r"[<>|][biufcSU][1-9]\d{0,8}|[<>][mM]8(?:\[\w+\])?"
_HEADER = re.compile(
    rf"{{'descr': '(?P<dtype>{_DTYPE})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,18}, ?)*(?:\d{1,18})?)\), } *\n",
    re.ASCII,
)


class _Damaged(ValueError):
    """What is wrong with the file, as the end of a sentence."""


def refuse_too_large(text: str, arrays: Sequence[np.ndarray]) -> None:
    """Raises CapsuleError for what `read_saved` would not read."""
    size = sum(array.nbytes for array in arrays)
    if size > ARRAYS_LIMIT:
        raise CapsuleError(f"the arrays take {size:,} bytes, and a capsule holds at most {ARRAYS_LIMIT:,}: check less")
    if len(text) > TEXT_LIMIT:
        raise CapsuleError(
            f"the arguments that are no arrays take {len(text):,} characters, and a capsule holds at most "
            f"{TEXT_LIMIT:,}: give arrays in place of lists of numbers"
        )


def read_saved(path: str | os.PathLike[str]) -> tuple[str, dict[str, np.ndarray]]:
    """The text and the arrays in the capsule at path. Takes no more memory than twice the limits above.

    Raises CapsuleError, naming the path, if it is no regular file, cannot be read, is damaged, or is too large.
    """
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode):
            what = "Is a directory" if stat.S_ISDIR(mode) else "it is no regular file"
            raise CapsuleError(f"cannot read the capsule {path}: {what}")
        with open(path, "rb") as stream:
            arrays = _read(stream)
            text = arrays.pop(TEXT)
            if text.shape or text.dtype.kind != "U":
                raise _Damaged("its text is not one text")
            return str(text), arrays
    except CapsuleError:
        raise
    except OSError as error:
        raise CapsuleError(f"cannot read the capsule {path}: {error.strerror or error}") from error
    except Exception as error:
        because = f": {error}" if isinstance(error, _Damaged) else ""
        raise CapsuleError(f"{path} is no capsule, or a damaged one{because}") from error


def _read(stream: BinaryIO) -> dict[str, np.ndarray]:
    _check_end(stream)
    with zipfile.ZipFile(stream) as archive:
        members = {}
        for member in archive.infolist():
            name = _NAME.fullmatch(member.filename)
            if name is None or name["name"] in members:
                raise _Damaged(f"{ascii(member.filename[:80])} does not belong in it, or is there twice")
            members[name["name"]] = member
        if TEXT not in members:
            raise _Damaged("there is no text in it")
        # What the members unpack to, as the zip's directory has it. No more than that is ever read of a member.
        total, text = sum(member.file_size for member in members.values()), members[TEXT].file_size
        if total > _MEMBERS_LIMIT or text > 4 * TEXT_LIMIT + 2**10:
            raise _Damaged(
                f"unpacked it would take {total:,} bytes, of which {text:,} for the text, and a capsule takes at most "
                f"{_MEMBERS_LIMIT:,} and {4 * TEXT_LIMIT:,}"
            )
        return {name: _array(archive, member) for name, member in members.items()}


def _check_end(stream: BinaryIO) -> None:
    """The zip's last record: `zipfile` reads the whole directory into memory, so its length must be a sane one."""
    size = stream.seek(0, os.SEEK_END)
    if size > _MEMBERS_LIMIT:
        raise _Damaged(f"it has {size:,} bytes, and a capsule has at most {_MEMBERS_LIMIT:,}")
    stream.seek(max(0, size - 42))
    end = stream.read()
    signature, directory, comment = struct.unpack("<4s8xI4xH", end[-22:])
    if signature != b"PK\5\6" or comment or directory > _DIRECTORY_LIMIT or end[:4] == b"PK\6\7":
        raise _Damaged("it does not end as a capsule does")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """A member's array. Its header must announce as many bytes as the zip's directory does, before they are read."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Damaged("it is compressed in another way than capsules are")
    with archive.open(member) as file:
        length = _MAGIC.get(file.read(8))
        if length is None:
            raise _Damaged(f"{member.filename} is no array")
        (header_size,) = struct.unpack(length, file.read(struct.calcsize(length)))
        header = _HEADER.fullmatch(file.read(min(header_size, 2**12)).decode("latin-1"))
        if header is None:
            raise _Damaged(f"{member.filename} is no array of numbers, or of text, that a capsule can hold")
        dtype = np.dtype(header["dtype"])
        shape = tuple(int(length) for length in header["shape"].split(",") if length.strip())
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise _Damaged(f"the shape of {member.filename} does not go with its size")
        order = "F" if header["fortran"] == "True" else "C"
        return np.ndarray(shape, dtype, file.read(), order=order).copy(order="K")
