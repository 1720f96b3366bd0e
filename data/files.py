"""Files that somebody else wrote: opened so that nothing hangs, read so that nothing fills the memory.

Whatever goes wrong is a DataError that names the path.
"""

import contextlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from .unpacked import Unpacked

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class DataError(Exception):
    """The data is missing, damaged or not what it should be; the message names the file and what to do."""


def shown(path: Path) -> str:
    """The path as a message shows it: with escapes where it holds what does not print."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@contextlib.contextmanager
def _accessing(path: Path) -> Iterator[None]:
    """Makes a DataError of what the system, or zlib, says of `path`."""
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise DataError(f"{shown(path)} is damaged: {error}. Delete it and fetch it again.") from None
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror or error}.") from None


def kind(path: Path) -> str | None:
    """What is at `path`, links followed: "a file", "a folder", "a named pipe"...; None if nothing is.

    Raises DataError where that cannot be found out: a folder on the way that may not be read, a name that is too long.
    """
    with _accessing(path):
        try:
            return KINDS.get(stat.S_IFMT(path.stat().st_mode), "no file")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:  # a NUL, or a character that no file name holds
            raise DataError(f"{shown(path)} is no path: {error}.") from None


def _open_at_once(name: str, flags: int) -> int:
    """Opens a named pipe, too, without waiting for its other end."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[io.BufferedReader]:
    """The regular file at `path`, to be read. Raises DataError for anything else, and for errors while it is read."""
    found = kind(path)  # asked before it is opened, for opening a device can do things
    if found != "a file":
        raise DataError(f"{shown(path)} is {found}, not a file." if found else f"{shown(path)} does not exist.")
    with _accessing(path), open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(f"{shown(path)} is not a file any more.")
        yield file


@contextlib.contextmanager
def open_content(path: Path, size: int) -> Iterator[io.BufferedReader]:
    """The content of the file at `path`, gunzipped if it is gzip: a stream that is decompressed as it is read.

    size: bytes that the content should have. A gzip file of twice that is refused unread: compression adds next to
    nothing, so it holds something else. Read `size + 1` bytes to see that it ends there: the checksum is compared at
    the end.
    """
    with open_file(path) as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not is_gzip:
            yield file
            return
        packed = os.fstat(file.fileno()).st_size
        if packed > 2 * size + io.DEFAULT_BUFFER_SIZE:
            raise DataError(
                f"{shown(path)} is a gzip file of {packed:,} bytes, too large for the {size:,} that it should hold."
            )
        yield io.BufferedReader(Unpacked(file))
