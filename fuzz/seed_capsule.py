"""Makes the seeds of `fuzz_capsule.py`: capsules that are good, and some that are almost.

.venv/bin/python fuzz/seed_capsule.py fuzz/corpus
"""

import copy
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fuzz_capsule import ARRAY_MEMBER, CONTENTS, JSON, TEXT_MEMBER, WHOLE, capsule_of, npy


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "stored", bytes([WHOLE]) + capsule_of()
    yield "deflated", bytes([WHOLE]) + capsule_of(compression=zipfile.ZIP_DEFLATED)
    yield "text-member", bytes([TEXT_MEMBER]) + npy(np.array(json.dumps(CONTENTS)))
    for name, array in {
        "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.ones((2, 3))),
        "empty": np.zeros((0, 5), np.int8),
        "scalar": np.array(True),
        "texts": np.array(["a", "bc"]),
        "times": np.arange(2).astype("M8[ns]"),
    }.items():
        yield f"array-{name}", bytes([ARRAY_MEMBER]) + npy(array)
    yield "json", bytes([JSON]) + json.dumps(CONTENTS).encode()
    node = {"random key": {"array": "array0", "dtype": None}, "impl": "threefry2x32"}
    for name, args in {
        "key": [node],
        "nested": [{"tuple": [{"list": [{"dict": {"a": {"array": "array0", "dtype": "bfloat16"}}}]}]}],
        "functions": [{"array": "array0", "dtype": None}, {"function": "builtins:exec"}, {"function": "a.b:c.d"}],
    }.items():
        contents = copy.deepcopy(CONTENTS)
        contents["inputs"]["args"] = {"tuple": args}
        yield f"json-{name}", bytes([JSON]) + json.dumps(contents).encode()
    contents = copy.deepcopy(CONTENTS)
    del contents["functions"]["rule"]
    yield "json-without-rule", bytes([JSON]) + json.dumps(contents).encode()
    yield "json-deep", bytes([JSON]) + b'{"schema":1,"inputs":' + b"[" * 300
    yield "json-newer", bytes([JSON]) + b'{"schema": 2}'


def main() -> None:
    folder = Path(sys.argv[1]) / "capsule"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
