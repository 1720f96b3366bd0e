import gzip
import io
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.data.unpacked import CHUNK_BYTES, MAX_PARTS, Unpacked


def reader(raw: bytes) -> io.BufferedReader:
    return io.BufferedReader(Unpacked(io.BufferedReader(io.BytesIO(raw))))  # pyright: ignore[reportArgumentType]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(0, 20), st.integers(1, 400))
def test_it_unpacks_what_gzip_packs(parts, padding, step):
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts) + bytes(padding)
    with reader(packed) as file:
        read = b"".join(iter(lambda: file.read(step), b""))
        assert file.read(1) == b"", "the end stays the end"
    assert read == b"".join(parts) == gzip.decompress(packed)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.data())
def test_damage_is_noticed(content, data):
    """Whatever is changed: an error, or what was packed."""
    packed = bytearray(gzip.compress(content, mtime=0))
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed[at] ^= data.draw(st.integers(1, 255))
    else:
        del packed[at:]
    with reader(bytes(packed)) as file:
        try:
            assert file.read() == content
        except (zlib.error, EOFError):
            pass


ABC = gzip.compress(b"abc", mtime=0)  # the time of packing would get into the tests' names


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (ABC[:-1], EOFError, "it ends too early"),
        (ABC[:5], EOFError, "it ends too early"),
        (b"", EOFError, "it ends too early"),
        (ABC + b"xx", zlib.error, "incorrect header check"),
        (ABC + bytes(9) + b"more", zlib.error, "incorrect header check"),
        (
            ABC[:-5] + b"\0" + ABC[-4:],
            zlib.error,
            "incorrect data check",
        ),
        (ABC[:-1] + b"\1", zlib.error, "incorrect length check"),
        (gzip.compress(b"", mtime=0) * (MAX_PARTS + 1), zlib.error, "it has more than 10,000 parts"),
    ],
)
def test_what_is_said(raw, error, message):
    with reader(raw) as file, pytest.raises(error, match=message):
        file.read()


def test_parts_and_padding_at_the_edges_of_what_is_read_at_once():
    for size in range(CHUNK_BYTES - 30, CHUNK_BYTES + 30, 7):
        first = gzip.compress(bytes(size), 0, mtime=0)
        with reader(first + bytes(CHUNK_BYTES - len(first) % CHUNK_BYTES + 3) + gzip.compress(b"end", mtime=0)) as file:
            assert file.read() == bytes(size) + b"end"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"name" * 10_000_000, id="a name of 40 MB"),
        pytest.param(gzip.compress(b"", mtime=0) * 2_000_000, id="two million empty parts"),
        pytest.param(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 8_000_000, id="eight million empty blocks"),
    ],
)
def test_a_file_that_holds_nothing_is_read_fast(within, raw):
    tracemalloc.start()
    try:
        with within(4), reader(raw) as file, pytest.raises((EOFError, zlib.error)):
            file.read(1)
        assert tracemalloc.get_traced_memory()[1] < len(raw) + 2_000_000
    finally:
        tracemalloc.stop()
