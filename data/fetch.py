"""The verified download into the cache."""

import hashlib
import importlib
import time
from pathlib import Path

from .cache import IDX_FILES, filling, is_published, save
from .files import DataError
from .transfer import TransferError, answering, progress_bar, receive

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
# With no network the answer must come soon, whatever hangs (name lookup, a dropped packet, a silent proxy).
PROBE_SECONDS = 5.0
# A line of 40 kB a second has the 12 MB in time; what is whole is kept for the next mirror and the next call.
MIRROR_SECONDS, TOTAL_SECONDS = 300.0, 600.0


def download(folder: Path) -> None:
    """The four IDX files into `folder`, from the first mirror that serves the right bytes, 10 minutes at most.

    A file that is there and whole is kept. What comes is held to the published size and sha256 before anything is
    written, and a file gets its name when it is whole. Raises DataError, naming each mirror and what was wrong with it.
    """
    _check_installed()
    deadline = time.monotonic() + TOTAL_SECONDS
    with filling(folder):
        if all(is_published(folder / name) for name in IDX_FILES):
            return
        failures = []
        for mirror in answering(MIRRORS, PROBE_SECONDS):
            until = min(deadline, time.monotonic() + MIRROR_SECONDS)
            if (failure := _download_from(mirror, folder, until)) is None:
                return
            failures.append(failure)
    raise DataError(
        "no mirror served MNIST: " + "; ".join(failures) if failures else "no mirror of MNIST can be reached"
    )


def _check_installed() -> None:
    try:
        for name in ("requests", "tqdm"):
            importlib.import_module(name)
    except ImportError as error:
        raise DataError(f"the download needs {error.name}: pip install 'pullback[data]'") from None


def _download_from(mirror: str, folder: Path, deadline: float) -> str | None:
    """Fetches from `mirror` what is not in `folder` yet. None if all is there then, else what failed."""
    for name, published in IDX_FILES.items():
        if is_published(folder / name):
            continue
        try:
            with progress_bar(name, published.size) as progress:
                body = receive(mirror + name, published.size, deadline, progress)
        except TransferError as error:
            return f"{mirror}{name} {error}"
        if hashlib.sha256(body).hexdigest() != published.sha256:
            return f"{mirror}{name} is not the published file: its sha256 differs"
        save(folder / name, body)
    return None
