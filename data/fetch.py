"""The cache, and the verified download into it."""

import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from .decode import DataError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
# sha256 of the files as published, gzipped.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
# With no network the answer must come soon, whatever hangs (name lookup, a dropped packet, a silent proxy).
PROBE_SECONDS = 5.0


def cache_dir() -> Path:
    """`$PULLBACK_DATA_DIR`, else `pullback` under `$XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("PULLBACK_DATA_DIR")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pullback"


def _reachable(mirrors: tuple[str, ...]) -> list[str]:
    """The mirrors that answer at all, in their order, PROBE_SECONDS after the call at the latest."""
    import requests

    answered: set[str] = set()

    def ask(mirror: str) -> None:
        try:
            requests.head(mirror, timeout=PROBE_SECONDS - 1)
            answered.add(mirror)
        except (requests.RequestException, OSError):
            pass

    # Threads, for a name lookup takes no timeout; daemons, so that one that hangs does not hold up the exit.
    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if mirror in answered]


def download(folder: Path) -> None:
    """The four IDX files into `folder`, from the first mirror that serves the right bytes.

    A file that is there and whole is kept. Each download goes to a temporary file, is checked against its sha256,
    and only then gets its name. Raises DataError, naming each mirror and what was wrong with it.
    """
    try:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets the progress bar is text, which is no news.
            warnings.filterwarnings("ignore", "IProgress not found")
            import pooch
            import tqdm.auto  # noqa: F401  # pooch draws its progress bar with it
    except ImportError as error:
        raise DataError(f"the download needs {error.name}: pip install 'pullback[data]'") from None
    mirrors = _reachable(MIRRORS)
    if not mirrors:
        raise DataError("no mirror of MNIST can be reached")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the cache {folder} cannot be made: {error.strerror}. PULLBACK_DATA_DIR moves it") from None
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in mirrors:
        files = pooch.create(folder, mirror, registry=SHA256, retry_if_failed=1)
        name = ""
        try:
            for name in SHA256:
                downloader: Any = pooch.HTTPDownloader(progressbar=True, timeout=(3, 30))
                files.fetch(name, downloader=downloader)
            return
        except ValueError:  # pooch: the sha256 differs, as for a web page under the file's name
            failures.append(f"{mirror}{name} is not the published file")
        except PermissionError as error:
            raise DataError(f"{error.filename} cannot be written. PULLBACK_DATA_DIR moves the cache") from None
        except OSError as error:  # requests' errors are OSErrors too
            failures.append(f"{mirror}{name} failed with {type(error).__name__}")
    raise DataError("no mirror served MNIST: " + "; ".join(failures))
