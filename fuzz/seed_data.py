"""Makes the seeds of `fuzz_idx.py` and `fuzz_pickle.py`: files that are right, and files that are almost.

.venv/bin/python fuzz/seed_data.py fuzz/corpus
"""

import gzip
import math
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

from fuzz_idx import SHAPES, ZIPPED
from fuzz_pickle import PAYLOAD


class Call:
    """Its pickle makes a folder when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def idx_seeds() -> Iterator[tuple[str, bytes]]:
    for number, shape in enumerate(SHAPES):
        raw = bytes([0, 0, 8, len(shape)]) + b"".join(length.to_bytes(4, "big") for length in shape)
        raw += bytes(math.prod(shape))
        name = "x".join(map(str, shape)) or "scalar"
        yield f"{name}-zipped", bytes([number]) + gzip.compress(raw, mtime=0)
        if len(raw) < 1000:
            yield name, bytes([number]) + raw
            yield f"{name}-to-zip", bytes([number | ZIPPED]) + raw
    small = b"\0\0\x08\x01\0\0\0\3abc"
    in_order = bytes([SHAPES.index((3,))])
    yield "two-parts", in_order + gzip.compress(small[:5]) + gzip.compress(small[5:])
    yield "padded", in_order + gzip.compress(small) + bytes(9)
    yield "garbage-after", in_order + gzip.compress(small) + b"garbage"
    yield "empty-parts", in_order + gzip.compress(b"") * 9 + gzip.compress(small)
    # Flags 0x1f: text, a checksum of the header, an extra field, a name, a comment.
    yield (
        "all-fields",
        in_order + b"\x1f\x8b\x08\x1f\0\0\0\0\0\xff\2\0xxname\0comment\0\0\0" + gzip.compress(small)[10:],
    )
    yield "65-axes", in_order + b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"\0"
    yield "huge", in_order + b"\0\0\x08\x01\xff\xff\xff\xff" + b"\0" * 9
    yield "unpacks-to-a-megabyte", in_order + gzip.compress(small[:8] + bytes(1 << 20), mtime=0)


def pickle_seeds() -> Iterator[tuple[str, bytes]]:
    yield "known", b"\0" + gzip.compress(PAYLOAD, mtime=0)
    yield "known-plain", b"\0" + PAYLOAD
    yield "known-stored", b"\0" + gzip.compress(PAYLOAD, 0, mtime=0)
    yield "two-parts", b"\0" + gzip.compress(PAYLOAD[:99]) + gzip.compress(PAYLOAD[99:])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"call-{protocol}", bytes([ZIPPED]) + pickle.dumps(Call(), protocol)
    yield "call-plain", b"\0" + pickle.dumps(Call())


def main() -> None:
    for folder, seeds in [("idx", idx_seeds()), ("pickle", pickle_seeds())]:
        target = Path(sys.argv[1]) / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, data in seeds:
            (target / name).write_bytes(data)
        print(f"{target}: {len(list(target.iterdir()))} files")


if __name__ == "__main__":
    main()
