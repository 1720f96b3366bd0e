"""One file over HTTP, held to its size and to a time, whatever the other side does.

The time cannot be had from timeouts alone: they begin anew with every byte, and a name lookup has none. So whoever
talks to the other side is a thread, and whoever waits for it looks at the clock.
"""

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from requests import Response

# A mirror that is silent for so long, to begin with or in the middle, is given up.
CONNECT_SECONDS, STALL_SECONDS = 3.0, 10.0
MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 16


class TransferError(Exception):
    """The file did not come; the message goes on after its address."""


def answering(urls: tuple[str, ...], seconds: float) -> list[str]:
    """Those addresses at which anything answers, in their order, so many seconds after the call at the latest."""
    import requests

    answered: set[str] = set()

    def ask(url: str) -> None:
        # Whatever a server says, in or out of order, it is either an answer or none.
        with contextlib.suppress(Exception):
            requests.head(url, timeout=0.8 * seconds)
            answered.add(url)

    # Daemons, so that one that hangs does not hold up the exit.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [url for url in urls if url in answered]


def receive(url: str, size: int, deadline: float, progress: Callable[[int], None]) -> bytes:
    """The `size` bytes at `url`.

    deadline: when to give up, of `time.monotonic()`. progress: is called with how many bytes are there, now and then.
    Raises TransferError, and keeps nothing.
    """
    thread = _Transfer(url, size)
    thread.start()
    try:
        while thread.is_alive():
            if time.monotonic() > deadline:
                raise TransferError("was given up: it took too long")
            thread.join(0.05)
            progress(len(thread.body))
    finally:
        thread.give_up()
    if thread.error is not None:
        raise TransferError(_in_words(thread.error)) from thread.error
    return bytes(thread.body)


class _Transfer(threading.Thread):
    """Receives a body of `size` bytes, or leaves an error."""

    def __init__(self, url: str, size: int):
        super().__init__(name=f"download of {url}", daemon=True)
        self.url, self.size = url, size
        self.body = bytearray()
        self.error: Exception | None = None
        self._given_up = threading.Event()
        self._response: Response | None = None

    def run(self) -> None:
        try:
            with _answer(self.url) as response:
                self._response = response
                self._receive(response)
        except Exception as error:  # whatever a broken server makes of requests, it is this mirror that failed
            self.error = error

    def _receive(self, response: "Response") -> None:
        if response.status_code != 200:
            raise TransferError(f"answered {response.status_code}")
        self._check_size(response.headers.get("Content-Length", str(self.size)))
        # As sent: a Content-Encoding is not undone, for what is published is not encoded, and what it unpacks to has
        # no limit.
        while len(self.body) <= self.size and not self._given_up.is_set():
            if not (chunk := response.raw.read(CHUNK_BYTES, decode_content=False)):
                break
            self.body += chunk
        self._check_size(str(len(self.body)) if len(self.body) <= self.size else "more")

    def _check_size(self, got: str) -> None:
        if got != str(self.size):
            raise TransferError(f"is not the published file: it has {got[:20]} bytes, expected {self.size}")

    def give_up(self) -> None:
        """Ends the thread soon, if it has not ended: a read that waits is woken."""
        self._given_up.set()
        if self._response is not None:
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # it is over already
                self._response.raw.shutdown()


@contextlib.contextmanager
def _answer(url: str) -> Iterator["Response"]:
    """What is answered at `url`, redirects followed."""
    import requests

    with requests.Session() as session:
        # Redirects are followed here: requests would first read the whole page that came with one, however long.
        session.get_redirect_target = lambda resp: None
        session.headers["Accept-Encoding"] = "identity"
        for _ in range(1 + MAX_REDIRECTS):
            with session.get(url, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS)) as response:
                if not response.is_redirect:
                    yield response
                    return
                url = redirected(url, response.headers["Location"])
    raise TransferError(f"redirects more than {MAX_REDIRECTS} times")


def redirected(url: str, location: str) -> str:
    """The address that a redirect leads to: on the web, and encrypted if it was."""
    target = urljoin(url, location)
    allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    if urlsplit(target).scheme not in allowed:
        raise TransferError(f"redirects to {target[:200]!r}, which is not {' or '.join(allowed)}")
    return target


def _in_words(error: Exception) -> str:
    import requests
    import urllib3

    if isinstance(error, TransferError):
        return str(error)
    if isinstance(error, requests.ConnectTimeout | urllib3.exceptions.ConnectTimeoutError):
        return f"could not be connected to within {CONNECT_SECONDS:g} s"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"sent nothing for {STALL_SECONDS:g} s"
    return f"failed with {type(error).__name__}"


@contextlib.contextmanager
def progress_bar(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar that shows how much of a file is there; it is told by a call with the number of bytes."""
    with warnings.catch_warnings():
        # In a notebook without ipywidgets the bar is text, which is no news.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm

        bar = tqdm(total=size, desc=name, unit="B", unit_scale=True, miniters=1)

    def show(received: int) -> None:
        bar.update(received - bar.n)

    with bar:
        yield show
