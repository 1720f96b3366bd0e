"""Whatever a path leads to: a DataError with the path, at once."""

import contextlib
import gzip
import os
import re
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pullback.data import DataError, get_data, load_mnist
from pullback.data.decode import IDX_SHAPES, PICKLE_BYTES, PICKLE_NAME, decode_pickle, read_idx
from pullback.data.files import kind, open_content, open_file, shown

IMAGES = "train-images-idx3-ubyte"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def bound_socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # the path of a socket may have 107 bytes
        server.bind("socket")
        os.chdir(before)
    return folder / "socket"


def link_to(target: str):
    def make(folder: Path) -> Path:
        (folder / "link").symlink_to(target)
        return folder / "link"

    return make


# What a user names -> what is said of it.
SOURCES = {
    "a named pipe": (fifo, r"fifo', which is a named pipe\."),
    "a device that waits for ever": (lambda folder: Path("/dev/tty"), r"'/dev/tty', which is a device\."),
    "a device that never ends": (lambda folder: Path("/dev/zero"), r"'/dev/zero', which is a device\."),
    "a link to a device": (link_to("/dev/zero"), r"link', which is a device\."),
    "a socket": (bound_socket, r"socket', which is a socket\."),
    "nothing": (lambda folder: folder / "nothing", r"nothing', which does not exist\."),
    "a link to nothing": (link_to("nothing"), r"link', which does not exist\."),
    "a link to itself": (link_to("link"), r"link cannot be read: Too many levels of symbolic links\."),
    "in a file": (lambda folder: Path(__file__) / "x", r"x', which does not exist\."),
    "an empty folder": (lambda folder: folder, r"holds neither MNIST's four IDX files nor mnist.pkl.gz\."),
    "a name that is too long": (lambda folder: folder / ("n" * 300), r"n{300} cannot be read: File name too long\."),
    "a path that is too long": (lambda folder: folder / ("n/" * 3000), r"n cannot be read: File name too long\."),
    "a NUL in the name": (lambda folder: f"{folder}/a\0b", r"a\\x00b' is no path: .*embedded null .*\."),
    "an escape in the name": (lambda folder: f"{folder}/a\x1b[2J", r"a\\x1b\[2J', which does not exist\."),
    "a byte that is no text": (lambda folder: folder / os.fsdecode(b"\xff"), r"\\udcff', which does not exist\."),
    "text that is no file name": (lambda folder: folder / "\ud800", r"\\ud800' is no path: .*surrogates not allowed\."),
    "no such user": (lambda folder: "~nosuchuser/mnist", r"'~nosuchuser/mnist' begins with the home of a user who"),
    "empty text": (lambda folder: "", r"holds neither MNIST's four IDX files nor mnist.pkl.gz\."),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_is_no_data(tmp_path, monkeypatch, within, case):
    make, message = SOURCES[case]
    source = make(tmp_path)
    monkeypatch.chdir(tmp_path if case == "empty text" else ".")
    with within(5), pytest.raises(DataError, match=message) as caught:
        get_data(source)
    assert str(caught.value).isprintable()


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


# What stands in a folder under a file's name -> what is said of it.
MEMBERS = {
    "a named pipe": (os.mkfifo, r"is a named pipe, not a file\."),
    "a folder": (folder_of, r"is a folder, not a file\."),
    "a device": (lambda path: path.symlink_to("/dev/zero"), r"is a device, not a file\."),
    "an empty file": (lambda path: path.touch(), "is no IDX file of uint8: it starts with b''|is not the known mnist"),
}


@pytest.mark.parametrize("name", [*(f"{name}.gz" for name in IDX_SHAPES), IMAGES, PICKLE_NAME])
@pytest.mark.parametrize("case", MEMBERS)
def test_a_folder_with_something_else_under_a_files_name(tmp_path, stripes, within, name, case):
    make, message = MEMBERS[case]
    if name != PICKLE_NAME:
        for path in stripes.iterdir():
            if path.stem != name.removesuffix(".gz"):
                (tmp_path / path.name).symlink_to(path)
    make(tmp_path / name)
    with within(5), pytest.raises(DataError, match=rf"{re.escape(str(tmp_path / name))} ({message})"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("case", ["file", "file in a folder", "folder"])
def test_what_may_not_be_read(nobody, stripes, case):
    folder = nobody / "data"
    folder.mkdir()
    for name in IDX_SHAPES:
        (folder / name).touch(0o600)
    source = blamed = {"file": folder / IMAGES, "file in a folder": folder / IMAGES, "folder": folder}[case]
    blamed.chmod(0)
    if case != "file":
        source = folder
        blamed = folder / IMAGES if case == "file in a folder" else folder / f"{IMAGES}.gz"
    with pytest.raises(DataError, match=rf"^{re.escape(str(blamed))} cannot be read: Permission denied\.$"):
        load_mnist(source)
    folder.chmod(0o700)


def test_a_file_that_becomes_a_pipe_between_the_look_and_the_opening(tmp_path, monkeypatch, within):
    monkeypatch.setattr("pullback.data.files.kind", lambda path: "a file")
    with within(5), pytest.raises(DataError, match="fifo is not a file any more"), open_file(fifo(tmp_path)):
        pass


def test_an_error_of_the_disk(tmp_path):
    """/proc/self/mem is a regular file, and its first page cannot be read."""
    with pytest.raises(DataError, match="/proc/self/mem cannot be read: Input/output error"):
        decode_pickle(Path("/proc/self/mem"))


@pytest.fixture(scope="module")
def gigabyte() -> bytes:
    """1 MB of gzip that unpacks to a gigabyte of zeros."""
    return gzip.compress(bytes(1 << 26), mtime=0) * 16


@contextlib.contextmanager
def allocating_at_most(size: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "start", "message", "allowed"),
    [
        ("train-images", b"", "is no IDX file of uint8: it starts with b", 1e6),
        (
            "train-images",
            b"\0\0\x08\x04\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c\0\0\1\0",
            "has 4-dimensional data, expected 3-dimensional",
            1e6,
        ),
        ("train-images", b"\0\0\x08\x41" + b"\0\0\0\1" * 65, "has 65-dimensional data, expected 3-dimensional", 1e6),
        ("train-images", b"\0\0\x08\x03" + b"\xff" * 12, r"has shape \(4294967295, 4294967295, 4294967295\)", 1e6),
        ("train-images", b"\0\0\x08\x03\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c", "it holds more", 1.1 * 47_040_000),
        ("train-labels", b"\0\0\x08\x01\0\0\xea\x60", r"gzip file of 1,.* too large for the 60,008 that", 1e6),
        ("mnist.pkl.gz", b"", "is not the known mnist.pkl.gz", 1.1 * PICKLE_BYTES),
    ],
)
def test_a_file_that_unpacks_to_a_gigabyte(tmp_path, within, gigabyte, name, start, message, allowed):
    """It has 1 MB. Nothing is allocated before the header is right, and then what the format allows."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(start) + gigabyte)
    shapes = {"train-images": (60_000, 28, 28), "train-labels": (60_000,)}
    with within(10), allocating_at_most(allowed), pytest.raises(DataError, match=message):
        read_idx(path, shapes[name]) if name in shapes else load_mnist(path)


def test_labels_that_unpack_to_a_hundred_megabytes(tmp_path, within):
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\xea\x60" + bytes(100 << 20)))
    message = "should hold 60,000 bytes of data for its shape .* it holds more"
    with within(2), allocating_at_most(1e6), pytest.raises(DataError, match=message):
        read_idx(path, (60_000,))


def test_a_gzip_file_of_a_million_empty_parts_is_refused_unread(tmp_path, within):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"") * 1_000_000)
    with within(2), pytest.raises(DataError, match=r"is a gzip file of 20,000,000 bytes, too large for the 60,008"):
        read_idx(path, (60_000,))


def test_what_is_shown_prints(tmp_path):
    assert shown(Path("a/b ü")) == "a/b ü"
    assert shown(Path("a\n\x1b[31m")) == r"'a\n\x1b[31m'"
    assert kind(tmp_path) == "a folder" and kind(tmp_path / "x") is None
    with pytest.raises(DataError, match="x does not exist"), open_content(tmp_path / "x", 1):
        pass
