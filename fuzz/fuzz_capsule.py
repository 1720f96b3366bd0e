"""Coverage-guided fuzzing of the reader of capsules: a run, or a CapsuleError; nothing is imported, and little memory.

    .venv/bin/python fuzz/fuzz_capsule.py -max_total_time=60 fuzz/corpus/capsule

It needs atheris (`make fuzz` installs it). `fuzz/seed_capsule.py` makes the seeds. The first byte of an input says what
the rest is: a whole file; a member of a good file, the text or an array; or the text's JSON, to which no checksum of
the zip must be found first.
"""

import importlib
import io
import json
import os
import resource
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

WHOLE, TEXT_MEMBER, ARRAY_MEMBER, JSON = range(4)
FORBIDDEN = {"pickle.find_class", "exec", "os.system", "os.exec", "os.fork", "subprocess.Popen", "socket.connect"}
GROWTH_MB = 400
"""The reader may take twice 16 MB for the text, and what JSON makes of it. An input is too short for large arrays."""
PATH = Path(tempfile.mkdtemp(prefix="fuzz-capsule-")) / "capsule.npz"
CONTENTS: dict[str, Any] = {
    "schema": 1,
    "functions": {"rule": "jax.numpy:square", "reference": "my_ops:plain"},
    "inputs": {
        "args": {
            "tuple": [{"array": "array0", "dtype": None}, {"list": [{"value": 2.5}, {"function": "jax.nn:relu"}]}]
        },
        "kwargs": {"dict": {"how": {"value": "mean"}}},
        "torch_kwargs": {"value": None},
        "cotangents": {"value": None},
    },
    "options": {"static_argnums": [1], "nondiff": [], "checks": ["values"], "dtypes": None, "seed": 3},
    "here": {"jax": "0.10.2", "matmul precision": None, "x64": False},
    "failed": ["float32 x_bar: rule is wrong"],
}
watching = False
grown_from: list[float] = []


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def capsule_of(text: bytes | None = None, array: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A good capsule, with one of its members replaced."""
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("array0.npy", npy(np.arange(6, dtype=np.float32)) if array is None else array)
        archive.writestr("capsule.npy", npy(np.array(json.dumps(CONTENTS))) if text is None else text)
    return buffer.getvalue()


def file_of(data: bytes) -> bytes:
    """The file that an input stands for."""
    import numpy as np

    kind, rest = data[0] % 4, data[1:]
    if kind == TEXT_MEMBER:
        return capsule_of(text=rest)
    if kind == ARRAY_MEMBER:
        return capsule_of(array=rest)
    if kind == JSON:
        return capsule_of(text=npy(np.array(rest.decode("utf-8", "replace"))))
    return rest


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Ends the process where the reader runs anything: an exception could be caught on its way."""
    if not watching or event not in FORBIDDEN:
        return
    # What Python's and NumPy's own modules import late, an encoding say, is "exec" too.
    installed = (sys.base_prefix, sys.prefix, "<frozen")
    if event != "exec" or not str(getattr(arguments[0], "co_filename", "")).startswith(installed):
        print(f"the reader did {event}", file=sys.stderr)
        os.abort()


def one_input(data: bytes) -> Any:
    """Fails if the reader does anything but its job; the run that it read, or None."""
    global watching
    from pullback.parity import CapsuleError
    from pullback.parity.case.saved_names import NotAllowed, find_allowed
    from pullback.parity.case.saved_run import read_run

    if not data:
        return None
    PATH.write_bytes(file_of(data))
    modules = len(sys.modules)
    if not grown_from:
        grown_from.append(peak_mb())
    watching, run = True, None
    try:
        run = read_run(PATH)
        named = run.named
        # Anything but jax's function, which is imported already, must be stopped before it is imported.
        find_allowed([name for name in named.values() if not name.startswith("jax.")], ())
    except NotAllowed:
        pass
    except CapsuleError as error:
        assert str(PATH) in str(error) or run is not None, error
        assert "\n" not in str(error) and str(error).isprintable(), ascii(str(error))
    finally:
        watching = False
    if run is not None:
        assert run.functions["rule"] and run.inputs["args"].keys() == {"tuple"}
        assert all(array.dtype.kind in "biufcSUmM" for array in run.arrays.values())
    new = list(sys.modules)[modules:]
    assert not [name for name in new if not name.startswith(("encodings.", "numpy."))], new
    grown = peak_mb() - grown_from[0]
    assert grown < GROWTH_MB, f"{grown:.0f} MB"
    return run


def main() -> None:
    atheris: Any = importlib.import_module("atheris")  # which is not there where nobody fuzzes
    with atheris.instrument_imports(include=["pullback.parity.case", "zipfile", "json"]):
        import pullback.parity  # noqa: F401
    sys.addaudithook(audit)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
