"""Mirrors on the loopback, a small MNIST that they serve, and a clock that no test of bad input outlives."""

import contextlib
import gzip
import hashlib
import os
import signal
import socket
import socketserver
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pullback.data.cache import IDX_FILES, Published
from pullback.data.decode import IDX_SHAPES

Answer = Callable[[socket.socket, str], None]


def idx_bytes(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def idx() -> Callable[[np.ndarray], bytes]:
    """The IDX file of an array."""
    return idx_bytes


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    """An array of the right shape for each IDX file: digits in order, and images of stripes, which compress well."""
    made = {}
    for name, shape in IDX_SHAPES.items():
        rows = np.arange(shape[0], dtype=np.uint32)
        values = rows % 10 if len(shape) == 1 else np.broadcast_to(rows[:, None, None] % 13 * 19, shape)
        made[name] = values.astype(np.uint8)
    return made


@pytest.fixture(scope="session")
def stripes(tmp_path_factory, arrays) -> Path:
    """A folder with the four IDX files of `arrays`, gzipped."""
    folder = tmp_path_factory.mktemp("stripes")
    for name, array in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array), 1, mtime=0))
    return folder


@pytest.fixture
def publish(monkeypatch) -> Callable[[dict[str, bytes]], None]:
    """Makes other files the published ones."""

    def publish(files: dict[str, bytes]) -> None:
        for name, body in files.items():
            monkeypatch.setitem(IDX_FILES, name, Published(len(body), hashlib.sha256(body).hexdigest()))

    return publish


@pytest.fixture
def small_files(publish) -> dict[str, bytes]:
    """Four files of 100 bytes, which are the published ones now."""
    rng = np.random.default_rng(0)
    files = {name: rng.bytes(100) for name in IDX_FILES}
    publish(files)
    return files


@pytest.fixture
def mirror(monkeypatch) -> Iterator[Callable[[Answer], str]]:
    """`mirror(answer)`: the address of a web server that says 200 to HEAD, and lets `answer(connection, name)` speak
    when a file is asked for."""
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    servers = []

    def start(answer: Answer) -> str:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                method, path, *_ = self.rfile.readline().decode().split()
                while self.rfile.readline().strip():
                    pass
                with contextlib.suppress(OSError):  # the client has left
                    if method == "HEAD":
                        self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    else:
                        answer(self.connection, path.rpartition("/")[2])

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=True)
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer_bytes(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture(scope="session")
def http() -> Callable[..., bytes]:
    """`http(body, *headers, status=, length=)`: an answer as it goes over the wire."""
    return answer_bytes


@pytest.fixture
def good(mirror, small_files) -> str:
    """A mirror that serves the small files."""
    return mirror(lambda connection, name: connection.sendall(answer_bytes(small_files[name])))


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture
def within() -> Callable[[float], contextlib.AbstractContextManager]:
    """`with within(seconds)`: fails what takes longer, also where it hangs in the system."""

    @contextlib.contextmanager
    def within(seconds: float) -> Iterator[None]:
        def fail(*_) -> None:
            pytest.fail(f"not done within {seconds} s")

        before = signal.signal(signal.SIGALRM, fail)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return within


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of a user whom permissions stop: they do not stop root, so root becomes another user for the test."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)
