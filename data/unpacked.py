"""The content of a gzip file, unpacked as it is read.

`gzip.GzipFile` does the same, and reads a header byte by byte: a name of 94 MB in it took 22 s, and five million empty
parts took a minute. Here zlib reads them.
"""

import io
import zlib
from typing import Any

CHUNK_BYTES = 1 << 16  # read at once
PIECE_BYTES = 1 << 20  # unpacked at once
# A file has one part; those of bgzip have one for every 64 KB.
MAX_PARTS = 10_000


class Unpacked(io.RawIOBase):
    """What the gzip file unpacks to: that of its parts, one after the other; zeros after the last are padding.

    Raises EOFError where it ends too early, zlib.error where it is damaged: each part has a checksum.
    """

    def __init__(self, file: io.BufferedReader):
        self._file = file
        self._part, self._parts = _new_part(), 1
        self._packed = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer in part, or wholly, and says how far; 0 at the end."""
        while True:
            if self._part.eof and not self._begin_next_part():
                return 0
            packed = self._packed or self._file.read(CHUNK_BYTES)
            data = self._part.decompress(packed, min(len(buffer), PIECE_BYTES))
            self._packed = self._part.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not packed and not self._part.eof:
                raise EOFError("it ends too early")

    def _begin_next_part(self) -> bool:
        """Whether there is one."""
        rest = self._part.unused_data.lstrip(b"\0")
        while not rest and (chunk := self._file.read(CHUNK_BYTES)):
            rest = chunk.lstrip(b"\0")
        if not rest:
            return False
        if self._parts == MAX_PARTS:
            raise zlib.error(f"it has more than {MAX_PARTS:,} parts")
        self._part, self._parts, self._packed = _new_part(), self._parts + 1, rest
        return True


def _new_part():
    return zlib.decompressobj(wbits=31)  # 15 for the window, 16 for gzip's header and checksum
