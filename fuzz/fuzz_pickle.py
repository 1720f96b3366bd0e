"""Coverage-guided fuzzing of the reader of `mnist.pkl.gz`: the known bytes, or a DataError; nothing is ever executed.

    .venv/bin/python fuzz/fuzz_pickle.py -max_total_time=60 fuzz/corpus/pickle

It needs atheris. `fuzz/seed_data.py` makes the seeds. Here the known file is a small one, of the same layout: so
changes around it are reached, which leave its content as it is. The first byte of an input says whether the rest is
gzipped first.
"""

import hashlib
import importlib
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

PAYLOAD = b"\x80\x02" + bytes(4 * 784) + (7).to_bytes(8, "little") + b"."
LAYOUT = tuple((2, 2 + 4 * 784, 1) for _ in range(3))
ZIPPED = 0x80
GROWTH_MB = 64
PATH = Path(tempfile.mkdtemp(prefix="fuzz-pickle-")) / "mnist.pkl.gz"
FORBIDDEN = ("pickle.find_class", "exec", "os.system", "os.exec", "os.fork", "subprocess.Popen", "socket.connect")
watching: set[str] = set()
grown_from: dict[str, float] = {}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def audit(event: str, _: Any) -> None:
    """Ends the process where the reader runs anything: an exception could be caught on its way."""
    if watching and event in FORBIDDEN:
        print(f"the reader did {event}", file=sys.stderr, flush=True)
        os.abort()


def small_known_file() -> None:
    """Makes PAYLOAD the content that is known."""
    from pullback.data import decode

    decode.PICKLE_BYTES = len(PAYLOAD)
    decode.PICKLE_SHA256 = hashlib.sha256(PAYLOAD).hexdigest()
    decode.PICKLE_LAYOUT = LAYOUT


def one_input(data: bytes) -> Any:
    """Fails if the reader does anything but its job; what it read, or None."""
    import gzip

    from fuzz_idx import unpacked

    from pullback.data import DataError
    from pullback.data.decode import decode_pickle

    if not data:
        return None
    raw = gzip.compress(data[1:], 1, mtime=0) if data[0] & ZIPPED else data[1:]
    PATH.unlink(missing_ok=True)  # a disk would flush a file that is cut to nothing and written again
    PATH.write_bytes(raw)
    right = unpacked(raw) == PAYLOAD
    before = grown_from.setdefault("peak", peak_mb())
    watching.add("the reader")
    try:
        splits = decode_pickle(PATH)
    except DataError as error:
        assert str(error).startswith(str(PATH)) and str(error).isprintable(), error
        assert not right or len(raw) > 2 * len(PAYLOAD) + 8192, f"refused, and is right: {error}"
        return None
    finally:
        watching.clear()
        assert peak_mb() < before + GROWTH_MB, "it took too much memory"
    assert right, "taken, and is wrong"
    assert all(split.images.shape == (1, 784) and split.labels.tolist() == [7] for split in splits)
    return splits


def main() -> None:
    atheris: Any = importlib.import_module("atheris")  # which is not there where nobody fuzzes

    with atheris.instrument_imports(include=["pullback.data"]):
        import pullback.data.decode  # noqa: F401
    small_known_file()
    sys.addaudithook(audit)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
