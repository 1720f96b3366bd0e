"""The download into the cache: mirrors, proxies, kills, and two at once."""

import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from pullback.data import DataError, SampleDataWarning, fetch, load_mnist
from pullback.data.cache import IDX_FILES
from pullback.data.fetch import download


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_download(tmp_path, monkeypatch, good, small_files):
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    download(tmp_path / "a" / "cache")
    assert held(tmp_path / "a" / "cache") == small_files


def test_damaged_files_are_mended_and_whole_ones_kept(tmp_path, monkeypatch, good, small_files):
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    download(tmp_path)
    first, second = [tmp_path / name for name in small_files][:2]
    first.write_bytes(b"damaged")
    kept = second.stat().st_mtime_ns
    download(tmp_path)
    assert held(tmp_path) == small_files and second.stat().st_mtime_ns == kept


def test_a_whole_cache_needs_no_network(tmp_path, monkeypatch, small_files):
    for name, body in small_files.items():
        (tmp_path / name).write_bytes(body)
    monkeypatch.setattr(fetch, "answering", lambda *_: pytest.fail("it asked"))
    download(tmp_path)


def test_what_one_mirror_served_is_kept_for_the_next(tmp_path, monkeypatch, mirror, http, small_files):
    asked = [[], []]

    def half(which, names):
        def answer(connection, name):
            asked[which].append(name)
            connection.sendall(http(small_files[name]) if name in names else http(b"", status="404 Not Found"))

        return answer

    names = list(small_files)
    monkeypatch.setattr(fetch, "MIRRORS", (mirror(half(0, names[:2])), mirror(half(1, names[2:]))))
    download(tmp_path)
    assert held(tmp_path) == small_files and asked == [names[:3], names[2:]]


def test_no_network(tmp_path, monkeypatch, closed):
    monkeypatch.setattr(fetch, "MIRRORS", (closed, closed, closed))
    with pytest.raises(DataError, match="no mirror of MNIST can be reached"):
        download(tmp_path)
    assert held(tmp_path) == {}


def test_a_network_that_swallows_everything_is_given_up_soon(empty_cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        monkeypatch.setattr(fetch, "MIRRORS", (f"http://127.0.0.1:{silent.getsockname()[1]}/",) * 3)
        start = time.monotonic()
        with pytest.warns(SampleDataWarning, match="no mirror of MNIST can be reached: using the embedded sample"):
            mnist = load_mnist()
        assert time.monotonic() - start < 10  # what the user is promised
    assert mnist.source.startswith("embedded sample") and len(mnist.train.images) == 4000


@pytest.mark.parametrize("name", ["requests", "tqdm"])
def test_without_what_the_download_needs(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=rf"the download needs {name}: pip install 'pullback\[data\]'"):
        download(tmp_path)


def test_a_download_makes_mnist(empty_cache, monkeypatch, mirror, http, stripes, publish):
    """From mirror to arrays: a damaged cache is mended by "auto", without a word."""
    files = {path.name: path.read_bytes() for path in stripes.iterdir()}
    publish(files)
    empty_cache.mkdir()
    (empty_cache / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    monkeypatch.setattr(fetch, "MIRRORS", (mirror(lambda connection, name: connection.sendall(http(files[name]))),))
    assert load_mnist("auto").source == f"full MNIST, {empty_cache}"
    assert held(empty_cache) == files


class Proxy:
    """A proxy on the loopback that fetches nothing, and answers with the small files itself."""

    def __init__(self, http, files):
        self.asked: list[str] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.http, self.files = http, files
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(1 << 16).decode().split("\r\n")[0])
                name = self.asked[-1].split()[1].rpartition("/")[2]
                connection.sendall(self.http(self.files.get(name, b""), "Connection: close"))


@pytest.fixture
def proxy(mirror, http, small_files):
    proxy = Proxy(http, small_files)
    yield proxy
    proxy.server.close()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_asked(tmp_path, monkeypatch, proxy, small_files, variable):
    """The mirror's name is one that nobody knows, so only a proxy can serve it."""
    monkeypatch.setenv(variable, proxy.address)
    monkeypatch.setattr(fetch, "MIRRORS", ("http://mirror.invalid/mnist/",))
    download(tmp_path)
    assert held(tmp_path) == small_files
    assert f"GET http://mirror.invalid/mnist/{list(small_files)[0]} HTTP/1.1" in proxy.asked


def test_no_proxy_is_honoured(tmp_path, monkeypatch, proxy, good, small_files):
    monkeypatch.setenv("http_proxy", proxy.address)
    monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
    monkeypatch.setattr(fetch, "MIRRORS", (good,))
    download(tmp_path)
    assert held(tmp_path) == small_files and proxy.asked == []


def test_an_encrypted_mirror_is_asked_for_through_the_proxy(tmp_path, monkeypatch, proxy):
    """By CONNECT, so that the proxy sees no more than the name: and this one does not know how."""
    monkeypatch.setenv("https_proxy", proxy.address)
    monkeypatch.setattr(fetch, "MIRRORS", ("https://mirror.invalid/mnist/",))
    with pytest.raises(DataError, match="no mirror of MNIST can be reached"):
        download(tmp_path)
    assert [line.rpartition(" ")[0] for line in proxy.asked] == ["CONNECT mirror.invalid:443"]


DOWNLOADS = """
import hashlib, sys
from pathlib import Path
from pullback.data import cache, fetch

folder, mirror, rounds, *files = sys.argv[1:]
for name, size, digest in zip(files[::3], files[1::3], files[2::3]):
    cache.IDX_FILES[name] = cache.Published(int(size), digest)
fetch.MIRRORS = (mirror,)
for _ in range(int(rounds)):
    for path in Path(folder).glob("*.gz"):
        path.unlink(missing_ok=True)
    fetch.download(Path(folder))
    print("whole", flush=True)
"""


@pytest.fixture
def downloads(tmp_path, publish, mirror, http):
    """Starts a process that downloads 8 MB again and again: `downloads(rounds)`; the folder and the files besides."""
    files = {name: random.Random(name).randbytes(2 << 20) for name in IDX_FILES}
    publish(files)
    url = mirror(lambda connection, name: connection.sendall(http(files[name])))
    arguments = [str(value) for name in files for value in (name, *IDX_FILES[name])]
    started = []

    def start(rounds: int) -> subprocess.Popen:
        command = [sys.executable, "-c", DOWNLOADS, str(tmp_path / "cache"), url, str(rounds), *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start, tmp_path / "cache", files, url
    for process in started:
        process.kill()
        process.communicate()


def damaged(folder, files):
    """What has a file's name and not its bytes."""
    return [path for path in folder.glob("*.gz") if path.read_bytes() != files[path.name]]


KILLS = 12


def test_kills_leave_a_good_cache(downloads, monkeypatch):
    """At any moment of a download: whatever has its name is whole, and the next download sweeps the rest."""
    start, folder, files, url = downloads
    rng, left = random.Random(0), 0
    for _ in range(KILLS):
        process = start(1000)
        assert process.stdout is not None and process.stdout.readline() == "whole\n"
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not damaged(folder, files)
        left += len(list(folder.glob("*.part")))
    print(f"{KILLS} kills, {left} temporary files seen after them")
    monkeypatch.setattr(fetch, "MIRRORS", (url,))
    download(folder)
    assert held(folder) == files


def test_two_downloads_at_once(downloads):
    """Both remove and fetch the same files, over and over: neither fails, and what is left is whole."""
    start, folder, files, _ = downloads
    pair = [start(10), start(10)]
    for process in pair:
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and said == "whole\n" * 10, errors
    assert held(folder).keys() <= files.keys() and not damaged(folder, files)
    assert not re.search("part", " ".join(held(folder)))
