"""Coverage-guided fuzzing of the reader of IDX files: it gives the right array, or a DataError, in little memory.

    .venv/bin/python fuzz/fuzz_idx.py -max_total_time=60 fuzz/corpus/idx

It needs atheris. `fuzz/seed_data.py` makes the seeds. The first byte of an input chooses what is expected of the file,
and whether the rest is the file or is gzipped first: else hardly any change would get past gzip's checksum.
"""

import importlib
import math
import resource
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

SHAPES = [(), (0,), (3,), (2, 3), (2, 3, 4), (1, 28, 28), (60_000,), (5, 0, 7)]
ZIPPED = 0x80
GROWTH_MB = 64
PATH = Path(tempfile.mkdtemp(prefix="fuzz-idx-")) / "file"
grown_from: dict[str, float] = {}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def unpacked(raw: bytes) -> bytes | None:
    """All at once, which is no way to read what may unpack to gigabytes: these are small."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    content = b""
    while raw:
        part = zlib.decompressobj(wbits=31)
        try:
            content += part.decompress(raw)
        except zlib.error:
            return None
        if not part.eof:
            return None
        raw = part.unused_data.lstrip(b"\0")
    return content


def is_right(raw: bytes, shape: tuple[int, ...]) -> bool:
    """Whether these bytes are an IDX file of uint8 of that shape, and nothing else."""
    content = unpacked(raw)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
    return content is not None and content.startswith(header) and len(content) == len(header) + math.prod(shape)


def one_input(data: bytes) -> Any:
    """Fails if the reader does anything but its job; what it read, or None."""
    import gzip

    import numpy as np

    from pullback.data import DataError
    from pullback.data.decode import read_idx

    if not data:
        return None
    shape, raw = SHAPES[data[0] % len(SHAPES)], data[1:]
    if data[0] & ZIPPED:
        raw = gzip.compress(raw, 1, mtime=0)
    PATH.unlink(missing_ok=True)  # a disk would flush a file that is cut to nothing and written again
    PATH.write_bytes(raw)
    before = grown_from.setdefault("peak", peak_mb())
    try:
        array = read_idx(PATH, shape)
    except DataError as error:
        assert str(error).startswith(str(PATH)) and str(error).isprintable(), error
        # A gzip file that is right, and far larger than compression makes one, is refused too.
        assert not is_right(raw, shape) or len(raw) > 2 * math.prod(shape) + 8192, f"refused, and is right: {error}"
        return None
    finally:
        assert peak_mb() < before + GROWTH_MB, "it took too much memory"
    assert is_right(raw, shape), "taken, and is wrong"
    assert array.shape == shape and array.dtype == np.uint8
    assert (unpacked(raw) or b"").endswith(array.tobytes())
    return array


def main() -> None:
    atheris: Any = importlib.import_module("atheris")  # which is not there where nobody fuzzes

    with atheris.instrument_imports(include=["pullback.data"]):
        import pullback.data.decode  # noqa: F401
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
