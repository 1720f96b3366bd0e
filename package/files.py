"""Files that are written for people: refused before the work, and a regular file is replaced whole or not at all."""

import contextlib
import os
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import Any


def cannot_be_written(path: Path) -> str | None:
    """Why `path` cannot be written, in words, or None: better said before the work than after it."""
    try:
        if not path.parent.is_dir():
            return f"the folder {path.parent} does not exist"
        if path.is_dir():
            return f"{path} is a folder"
        target = Path(os.path.realpath(path)) if is_replaced(path) else path
        if path.exists() and not _allowed(path):
            return f"{path} is write-protected"
    except OSError as error:  # a name that is too long, links that lead in a circle, ...
        return f"{path} cannot be written: {error.strerror}"
    if not target.parent.is_dir():
        return f"{path} is a link into the folder {target.parent}, which does not exist"
    if target is not path and not _allowed(target.parent):
        return f"the folder {target.parent} is write-protected"
    return None


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes the content, text as UTF-8, into the file `path`. Raises OSError.

    A regular file is the old one or the whole new one, with the old one's permissions: the new one is written beside it
    and then renamed. A link is followed. What is no regular file (a FIFO, a device, the command's own standard output)
    is written through, and stays what it is.
    """
    data = content.encode() if isinstance(content, str) else content
    own = _own_stream(path)
    if own is not None:
        own.flush()
        own.buffer.write(data)
        own.flush()
    elif is_replaced(path):
        _replace(Path(os.path.realpath(path)), data)
    else:
        with open(path, "wb") as file:
            file.write(data)


def is_replaced(path: Path) -> bool:
    """Whether writing replaces what is there: a regular file, or nothing yet. Raises OSError for a bad path."""
    if _own_stream(path) is not None:
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _own_stream(path: Path) -> Any:
    """Standard output or error, if `path` is what it writes into: `/dev/stdout`, say. Then it must not be replaced."""
    for stream in (sys.stdout, sys.stderr):
        # No file at all, or one that only Python knows.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            if os.path.samestat(os.stat(path), os.fstat(stream.fileno())):
                return stream
    return None


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".pullback-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # some disks say only now that they are full
        _keep_permissions(target, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_permissions(old: Path, new: Path) -> None:
    """The old file's owner, as far as the system lets us, and its permission bits."""
    if old.exists():
        with contextlib.suppress(OSError, AttributeError):
            os.chown(new, old.stat().st_uid, old.stat().st_gid)
        shutil.copymode(old, new)


def _allowed(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
