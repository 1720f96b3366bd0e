"""Files that are written for people: refused before the work, and whole or not at all."""

import os
from pathlib import Path


def cannot_be_written(path: Path) -> str | None:
    """Why there can be no file `path`, in words, or None: better said before the work than after it."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    return f"{path} is a folder" if path.is_dir() else None


def write_whole(path: Path, text: str) -> None:
    """Writes beside the file and renames, so that it is the old one or the whole new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
