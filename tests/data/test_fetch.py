"""The download, against mirrors on this machine."""

import gzip
import hashlib
import http.server
import os
import socket
import sys
import threading
import time

import pytest

from pullback.data import DataError, SampleDataWarning, cache_dir, fetch, load_mnist
from pullback.data.fetch import download

FILES = {f"part-{i}.gz": gzip.compress(f"content {i}".encode(), mtime=0) for i in range(4)}


def serve(answers: dict[str, bytes]):
    """A web server on the loopback; anything it does not know it answers with a page, as some mirrors do."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.get(self.path.lstrip("/"), b"<!DOCTYPE html><title>Moved</title>")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def good():
    with serve(FILES) as server:
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page():
    with serve({}) as server:
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def closed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(fetch, "SHA256", {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()})


def whole(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_download(tmp_path, monkeypatch, good):
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    download(tmp_path / "a" / "cache")
    assert whole(tmp_path / "a" / "cache")


def test_damaged_files_are_mended_and_whole_ones_kept(tmp_path, monkeypatch, good):
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    download(tmp_path)
    (tmp_path / "part-0.gz").write_bytes(b"damaged")
    kept = (tmp_path / "part-1.gz").stat().st_mtime_ns
    download(tmp_path)
    assert whole(tmp_path) and (tmp_path / "part-1.gz").stat().st_mtime_ns == kept


def test_the_next_mirror_stands_in(tmp_path, monkeypatch, closed, page, good):
    monkeypatch.setattr(fetch, "MIRRORS", (closed, page, good))
    download(tmp_path)
    assert whole(tmp_path)


def test_a_page_under_the_files_name_is_reported(tmp_path, monkeypatch, page):
    monkeypatch.setattr(fetch, "MIRRORS", (page,))
    with pytest.raises(DataError, match=rf"no mirror served MNIST: {page}part-0.gz is not the published file"):
        download(tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is left half-written"


def test_no_network(tmp_path, monkeypatch, closed):
    monkeypatch.setattr(fetch, "MIRRORS", (closed, closed, closed))
    with pytest.raises(DataError, match="no mirror of MNIST can be reached"):
        download(tmp_path)


def test_a_network_that_swallows_everything_is_given_up_soon(empty_cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        monkeypatch.setattr(fetch, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/",) * 3)
        start = time.monotonic()
        with pytest.warns(SampleDataWarning, match="no mirror of MNIST can be reached: using the embedded sample"):
            mnist = load_mnist()
        assert time.monotonic() - start < 10  # what the user is promised
    assert mnist.source.startswith("embedded sample") and len(mnist.train.images) == 4000


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch, good):
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the cache .*file/cache cannot be made: Not a directory. PULLBACK_DATA_DIR"):
        download(tmp_path / "file" / "cache")


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"the download needs pooch: pip install 'pullback\[data\]'"):
        download(tmp_path)


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "PULLBACK_DATA_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delitem(os.environ, "PULLBACK_DATA_DIR")
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "pullback"
