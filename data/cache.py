"""The cache: where it is, which files belong there, and how one gets its name only when it is whole."""

import contextlib
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pullback.signals import tidily

from .decode import PICKLE_NAME
from .files import DataError, open_file, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Published(NamedTuple):
    """A file as it was published."""

    size: int
    """Bytes."""
    sha256: str


# The four original files, gzipped.
IDX_FILES = {
    "train-images-idx3-ubyte.gz": Published(
        9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": Published(28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte.gz": Published(
        1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": Published(4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}
PICKLE_FILE = Published(16_168_813, "0c66b22fbfd977a01005ad5c02363406bc02a29cc2bc8e3c99e0f2aa2550a9ed")
# Another process sweeps for milliseconds. Whoever has the folder for itself for longer is none of ours.
SWEEP_SECONDS = 2.0
HOW_TO_MOVE = "The environment variable PULLBACK_DATA_DIR names another folder."


def cache_dir() -> Path:
    """`$PULLBACK_DATA_DIR`, else `pullback` under `$XDG_CACHE_HOME` or `~/.cache`.

    Raises DataError where that needs the home folder of a user who has none.
    """
    named, general = os.environ.get("PULLBACK_DATA_DIR"), os.environ.get("XDG_CACHE_HOME")
    try:
        if named:
            return Path(named).expanduser()
        return (Path(general) if general else Path.home() / ".cache") / "pullback"
    except RuntimeError:
        whose = f"PULLBACK_DATA_DIR is {named!r}, and that user" if named else "this user"
        raise DataError(f"there is no folder for the cache: {whose} has no home. {HOW_TO_MOVE}") from None


def check_published(path: Path) -> None:
    """Raises DataError, which says why, if the file at `path` is not the one that was published under its name."""
    published = {**IDX_FILES, PICKLE_NAME: PICKLE_FILE}.get(path.name)
    if published is None:
        raise DataError(f"{shown(path)} is not a published file: none has that name.")
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        same = size == published.size and hashlib.file_digest(file, "sha256").hexdigest() == published.sha256
    if not same:
        differs = f"it has {size:,} bytes of {published.size:,}" if size != published.size else "its sha256 differs"
        raise DataError(f"{shown(path)} is not the published file: {differs}. Delete it and fetch it again.")


def is_published(path: Path) -> bool:
    """Whether the file at `path` can be read, and is the one that was published under its name."""
    try:
        check_published(path)
    except DataError:
        return False
    return True


def save(path: Path, body: bytes) -> None:
    """Writes a file whole or not at all: a temporary file beside it, which then takes its name and its place.

    Raises DataError, and leaves nothing, where it cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with tidily():  # a signal removes it, too
            part.write_bytes(body)
            part.replace(path)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be written: {error.strerror or error}. {HOW_TO_MOVE}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Makes the cache, and removes what killed downloads left there, unless another download is at work in it.

    A download shares a lock on the folder for as long as it lives, and the system takes the lock from a process that
    ends, however it ends. Whoever gets the folder for itself alone therefore finds only files of the dead.
    Raises DataError where the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # it can be written to, which is better known before anything is downloaded
        descriptor = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(f"the cache {shown(folder)} cannot be written: {said}. {HOW_TO_MOVE}") from None
    if fcntl is None or descriptor is None:  # Windows, where a file that is open is not removed
        _sweep(folder)
        yield
        return
    try:
        if _lock(descriptor, fcntl.LOCK_EX):
            _sweep(folder)
        _lock(descriptor, fcntl.LOCK_SH, SWEEP_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, seconds: float = 0.0) -> bool:
    """Whether it could be locked within that time. Some network file systems know no locks: nothing is swept there."""
    assert fcntl is not None
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        except OSError:
            return False


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and _is_ours(path):
                path.unlink()


def _is_ours(path: Path) -> bool:
    """Whether a download of ours made this temporary file. Version 0.1.0 called them tmp and eight characters."""
    names = "|".join(re.escape(name) for name in IDX_FILES)
    if re.fullmatch(rf"({names})\.[0-9a-f]{{16}}\.part", path.name):
        return True
    if not re.fullmatch(r"tmp[a-z0-9_]{8}", path.name):
        return False
    with path.open("rb") as file:
        start = file.read(64)
    # After ten bytes of its header, a published file says what it is called unpacked: train-images.idx3-ubyte.
    return any(start[10:].startswith(name[:-3].replace("-idx", ".idx").encode()) for name in IDX_FILES)
