"""Everything that a server, or what stands before it, can do with a request for a file of 100 bytes."""

import contextlib
import gzip
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from pullback.data import DataError, fetch, transfer
from pullback.data.fetch import download
from pullback.data.transfer import TransferError, answering, receive, redirected

SIZE = 100
CONNECT, STALL, PER_MIRROR = 1.0, 1.0, 2.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transfer, "CONNECT_SECONDS", CONNECT)
    monkeypatch.setattr(transfer, "STALL_SECONDS", STALL)
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 2 * CONNECT)


HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 100\r\n\r\n"


def says(*pieces: bytes):
    """Sends that, and closes the connection."""
    return lambda connection, body: [connection.sendall(piece) for piece in pieces]


def then_stalls(*pieces: bytes):
    def answer(connection, body):
        says(*pieces)(connection, body)
        connection.settimeout(20)
        connection.recv(1)  # until the other side has enough

    return answer


def drips(start: bytes, drop: bytes, seconds: float = 0.02):
    """Sends `drop` again and again, never so late that it could be called silent."""

    def answer(connection, body):
        connection.sendall(start)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            connection.sendall(drop)
            time.sleep(seconds)

    return answer


def endless(start: bytes, piece: bytes):
    return drips(start, piece, 0)


def flipped(connection, body):
    connection.sendall(HEAD + LENGTH + bytes([body[0] ^ 1]) + body[1:])


def resets(connection, body):
    connection.sendall(HEAD + LENGTH + body[:50])
    time.sleep(0.05)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def encoded(connection, body):
    packed = gzip.compress(body)
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


ZIP_BOMB = gzip.compress(bytes(1 << 24))
CHUNKED, ENCODED = b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Encoding: gzip\r\n\r\n"
MORE = "is not the published file: it has more bytes, expected 100"


def moved(to: bytes, page: bytes = b"") -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\n\r\n" + page


# A fault -> what the server does, what is said of it, seconds that it may cost.
FAULTS = {
    "a page": (says(HEAD + b"Content-Length: 6\r\n\r\n<html>"), "is not .*: it has 6 bytes, expected 100", 0),
    "a page of no length": (says(HEAD + b"\r\n<html>"), "is not .*: it has 6 bytes, expected 100", 0),
    "403": (says(b"HTTP/1.1 403 Forbidden\r\n" + LENGTH + bytes(100)), "answered 403", 0),
    "404": (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), "answered 404", 0),
    "503": (says(b"HTTP/1.1 503 Busy\r\nRetry-After: 9999\r\n\r\n"), "answered 503", 0),
    "206, a part": (says(b"HTTP/1.1 206 Partial Content\r\n" + LENGTH + bytes(100)), "answered 206", 0),
    "a flipped bit": (flipped, "is not the published file: its sha256 differs", 0),
    "cut short": (says(HEAD + b"Content-Length: 50\r\n\r\n" + bytes(50)), "it has 50 bytes, expected 100", 0),
    "a length that is too large": (says(HEAD + LENGTH + bytes(50)), "failed with ProtocolError", 0),
    "a length that is too small": (says(HEAD + b"Content-Length: 99\r\n\r\n" + bytes(100)), "it has 99 bytes", 0),
    "a length that is no number": (says(HEAD + b"Content-Length: x\r\n\r\n" + bytes(100)), "it has x bytes", 0),
    "two lengths": (says(HEAD + b"Content-Length: 7\r\n" + LENGTH + bytes(100)), "it has 7, 100 bytes|failed with", 0),
    "a file that is larger": (says(HEAD + b"\r\n" + bytes(101)), MORE, 0),
    "a body without end": (endless(HEAD + b"\r\n", bytes(1 << 16)), MORE, 0),
    "chunks without end": (endless(HEAD + CHUNKED, chunked(bytes(4096))), MORE, 0),
    "gzip-encoded": (encoded, r"it has \d+ bytes, expected 100", 0),
    "gzip-encoded without end": (endless(HEAD + ENCODED, ZIP_BOMB), MORE, 0),
    "a chunk of no size": (says(HEAD + CHUNKED + b"zzz\r\n"), "failed with (ProtocolError|InvalidChunkLength)", 0),
    "a reset midway": (resets, "failed with (ProtocolError|ConnectionResetError)", 0),
    "nothing at all": (says(), "failed with ConnectionError", 0),
    "no HTTP": (says(b"220 ftp ready\r\n"), "failed with ConnectionError", 0),
    "a header without end": (endless(HEAD, b"X" * 4096), "failed with ConnectionError", 0),
    "headers without end": (endless(HEAD, b"X: y\r\n"), "failed with ConnectionError", 0),
    "a stall before the answer": (then_stalls(), "sent nothing for 1 s", STALL),
    "a stall in the header": (then_stalls(HEAD), "sent nothing for 1 s", STALL),
    "a stall after the header": (then_stalls(HEAD + LENGTH), "sent nothing for 1 s", STALL),
    "a stall midway": (then_stalls(HEAD + LENGTH + bytes(50)), "sent nothing for 1 s", STALL),
    "a dripping header": (drips(HEAD, b"X"), "was given up: it took too long", PER_MIRROR),
    "a dripping body": (drips(HEAD + CHUNKED, chunked(b"X"), 0.1), "was given up: it took too long", PER_MIRROR),
    "a redirect to itself": (says(moved(b"/again")), "redirects more than 5 times", 0),
    "a redirect to a file": (says(moved(b"file:///etc/passwd")), "redirects to 'file:///etc/passwd', which is not", 0),
    "a redirect to ftp": (says(moved(b"ftp://127.0.0.1/")), "redirects to 'ftp://127.0.0.1/', which is not", 0),
    "a redirect to nowhere": (says(moved(b"http://[")), "failed with ValueError", 0),
    "a redirect to a closed port": (says(moved(b"http://127.0.0.1:1/")), "failed with ConnectionError", 0),
    "a redirect with a page without end": (endless(moved(b"/again"), bytes(1 << 16)), "redirects more than 5 times", 0),
}
SLACK = 4.0  # of a busy machine


def serving(mirror, files, fault):
    return mirror(lambda connection, name: fault(connection, files.get(name, b"")))


def assert_no_thread_is_left(url: str) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(f"download of {url}"):
            thread.join(1)
            assert not thread.is_alive()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(tmp_path, monkeypatch, mirror, small_files, within, name):
    """It is reported in words and in time, and leaves nothing: no file, no temporary file, no memory, no thread."""
    fault, message, seconds = FAULTS[name]
    url = serving(mirror, small_files, fault)
    monkeypatch.setattr(fetch, "MIRRORS", (url,))
    monkeypatch.setattr(fetch, "MIRROR_SECONDS", PER_MIRROR)
    with within(seconds + SLACK), pytest.raises(DataError) as caught:
        download(tmp_path)
    assert re.fullmatch(rf"no mirror served MNIST: {url}train-images-idx3-ubyte.gz .*({message}).*", str(caught.value))
    assert list(tmp_path.iterdir()) == []
    if name != "a dripping header":  # only the other side can end that
        assert_no_thread_is_left(url)


def test_after_all_these_the_next_mirror_is_tried(tmp_path, monkeypatch, mirror, small_files, good, closed, within):
    """`pytest -s` prints how many, and how long it took."""
    bad = [serving(mirror, small_files, fault) for fault, *_ in FAULTS.values()]
    monkeypatch.setattr(fetch, "MIRRORS", (closed, *bad, good))
    monkeypatch.setattr(fetch, "MIRROR_SECONDS", PER_MIRROR)
    start = time.monotonic()
    with within(sum(seconds for *_, seconds in FAULTS.values()) + 5 * SLACK):
        download(tmp_path)
    print(f"{1 + len(bad)} mirrors with a fault each, then a good one: {time.monotonic() - start:.1f} s")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == small_files


def test_the_time_over_all_mirrors_is_limited(tmp_path, monkeypatch, mirror, small_files, within):
    slow = [serving(mirror, small_files, drips(HEAD + CHUNKED, chunked(b"X"), 0.1)) for _ in range(10)]
    monkeypatch.setattr(fetch, "MIRRORS", tuple(slow))
    monkeypatch.setattr(fetch, "MIRROR_SECONDS", 0.3)
    monkeypatch.setattr(fetch, "TOTAL_SECONDS", 0.8)
    with within(0.8 + SLACK), pytest.raises(DataError, match="no mirror served MNIST: .* it took too long"):
        download(tmp_path)


FINE = {
    "no length": lambda connection, body: connection.sendall(HEAD + b"\r\n" + body),
    "chunks": lambda connection, body: connection.sendall(HEAD + CHUNKED + chunked(body) + chunked(b"")),
    "slow but in time": lambda connection, body: [
        connection.sendall(HEAD + LENGTH),
        *((time.sleep(0.1), connection.sendall(body[at : at + 25])) for at in range(0, 100, 25)),
    ],
    "an encoding that is not one": lambda connection, body: connection.sendall(
        HEAD + b"Content-Encoding: gzip\r\n" + LENGTH + body
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_ways_to_serve_a_file(mirror, small_files, name):
    file, body = next(iter(small_files.items()))
    seen = []
    url = mirror(lambda connection, asked: FINE[name](connection, small_files[asked]))
    assert receive(url + file, SIZE, time.monotonic() + 10, seen.append) == body
    assert seen[-1] == SIZE and seen == sorted(seen)


def test_redirects_are_followed(mirror, small_files, good):
    name, body = next(iter(small_files.items()))
    hops = mirror(lambda connection, asked: connection.sendall(moved(good.encode() + asked.encode())))
    assert receive(hops + name, SIZE, time.monotonic() + 10, lambda received: None) == body


def test_nothing_is_read_beyond_the_size(mirror):
    """What has no end is cut off before the network is: a few buffers of the system more than the size are sent."""
    sent = []

    def answer(connection, name):
        connection.sendall(HEAD + b"\r\n")
        with contextlib.suppress(OSError):
            while sum(sent) < 1 << 30:
                sent.append(connection.send(bytes(1 << 16)))

    with pytest.raises(TransferError, match="it has more bytes, expected 100"):
        receive(mirror(answer), SIZE, time.monotonic() + 10, lambda received: None)
    time.sleep(0.3)
    assert sum(sent) < 20 << 20


def test_an_interrupt_ends_the_transfer_too(mirror, within):
    url = mirror(lambda connection, name: then_stalls(HEAD + LENGTH)(connection, b""))

    def interrupt(received: int) -> None:
        raise KeyboardInterrupt

    with within(SLACK), pytest.raises(KeyboardInterrupt):
        receive(url, SIZE, time.monotonic() + 60, interrupt)
    assert_no_thread_is_left(url)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("http://a/b/c", "d", "http://a/b/d"),
        ("http://a/b/c", "//e/f", "http://e/f"),
        ("http://a/b", "https://a/b", "https://a/b"),
        ("https://a/b", "/c", "https://a/c"),
        ("https://a/b", "http://a/b", None),
        ("https://a/b", "HTTP://a/b", None),
        ("http://a/b", "FILE:///etc/passwd", None),
        ("http://a/b", "data:,x", None),
    ],
)
def test_where_a_redirect_may_lead(url, location, target):
    if target is not None:
        assert redirected(url, location) == target
        return
    with pytest.raises(TransferError, match=f"redirects to .*, which is not {'https' if url[4] == 's' else 'http or'}"):
        redirected(url, location)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_an_encrypted_download_stays_encrypted(tmp_path, monkeypatch, mirror, small_files, good):
    """Over real TLS: a certificate that is not trusted is refused, and so is a redirect from https to http."""
    options = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -addext subjectAltName=IP:127.0.0.1 -keyout k -out c"
    )
    subprocess.run(["openssl", *options.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    name, body = next(iter(small_files.items()))

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(answer: bytes) -> None:
            with contextlib.suppress(OSError), server.accept()[0] as plain, context.wrap_socket(plain, True) as secure:
                secure.recv(1 << 16)
                secure.sendall(answer)

        def get(answer: bytes) -> bytes:
            threading.Thread(target=serve, args=(answer,), daemon=True).start()
            url = f"https://127.0.0.1:{server.getsockname()[1]}/{name}"
            return receive(url, SIZE, time.monotonic() + 10, lambda received: None)

        with pytest.raises(TransferError, match="failed with SSLError"):
            get(HEAD + LENGTH + body)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "c"))
        assert get(HEAD + LENGTH + body) == body
        with pytest.raises(TransferError, match=rf"redirects to '{good}{name}', which is not https"):
            get(moved(good.encode() + name.encode()))


def test_who_answers(mirror, closed):
    urls = (closed, mirror(lambda connection, name: None), closed)
    assert answering(urls, 2.0) == [urls[1]]
    assert answering((), 2.0) == []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        start = time.monotonic()
        assert answering((f"http://127.0.0.1:{silent.getsockname()[1]}/",) * 3, 0.5) == []
        assert time.monotonic() - start < 1.5


def test_a_connection_that_is_never_made(within):
    """To a server whose queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with within(CONNECT + SLACK), pytest.raises(TransferError, match="could not be connected to within 1 s"):
            receive(url, SIZE, time.monotonic() + 10, lambda received: None)


def test_a_body_of_mnists_size_is_held_to_its_sum(tmp_path, monkeypatch, publish, mirror):
    """9.9 MB of the right number of bytes, the last of which is wrong."""
    body = bytes(9_912_422)
    publish({"train-images-idx3-ubyte.gz": body})
    url = mirror(lambda connection, name: connection.sendall(HEAD + b"\r\n" + body[:-1] + b"x"))
    monkeypatch.setattr(fetch, "MIRRORS", (url,))
    with pytest.raises(DataError, match="its sha256 differs"):
        download(tmp_path)
    assert list(tmp_path.iterdir()) == []
