"""The fuzzers of the readers, without atheris: every input that is kept goes through them, and they can fail."""

import gzip
import importlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pullback.data import DataError, decode


@pytest.fixture
def fuzzer(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "fuzz"))
    yield importlib.import_module
    for name in ("fuzz_idx", "fuzz_pickle", "seed_data"):
        sys.modules.pop(name, None)


@pytest.fixture
def kept(root):
    """The inputs of a corpus."""
    return lambda name: [path.read_bytes() for path in sorted((root / "fuzz" / "corpus" / name).iterdir())]


@pytest.fixture
def pickles(fuzzer, monkeypatch):
    """The fuzzer of the pickle reader, to which its small file is the known one."""
    for name in ("PICKLE_BYTES", "PICKLE_SHA256", "PICKLE_LAYOUT"):
        monkeypatch.setattr(decode, name, getattr(decode, name))  # put back afterwards
    fuzzer("fuzz_pickle").small_known_file()
    return fuzzer("fuzz_pickle")


def test_the_kept_inputs(fuzzer, pickles, kept):
    for harness, name in [(fuzzer("fuzz_idx"), "idx"), (pickles, "pickle")]:
        came = [harness.one_input(data) for data in kept(name)]
        assert len(came) > 30 and any(read is not None for read in came)


def test_the_seeds(fuzzer, pickles, tmp_path, monkeypatch, capsys):
    """Every shape is read, and so is every form of the known pickle."""
    monkeypatch.setattr(sys, "argv", ["seed_data.py", str(tmp_path)])
    fuzzer("seed_data").main()
    assert "idx: 30 files" in capsys.readouterr().out
    harness = fuzzer("fuzz_idx")
    arrays = [harness.one_input(path.read_bytes()) for path in (tmp_path / "idx").iterdir()]
    assert {array.shape for array in arrays if array is not None} == set(harness.SHAPES)
    splits = {path.name: pickles.one_input(path.read_bytes()) for path in (tmp_path / "pickle").iterdir()}
    assert {name for name, read in splits.items() if read is not None} == {
        *("known", "known-plain", "known-stored", "two-parts")
    }


@pytest.fixture
def planted(fuzzer, monkeypatch):
    """Gives an input to the fuzzer of a reader that is not ours: `planted(reader, content)`."""

    def planted(reader, content: bytes) -> None:
        monkeypatch.setattr(decode, "read_idx", reader)
        fuzzer("fuzz_idx").one_input(b"\x02" + gzip.compress(content))

    return planted


RIGHT = b"\0\0\x08\x01\0\0\0\3abc"


def test_a_reader_that_believes_everything_is_found(planted):
    def believe(path, shape):
        return np.zeros(shape, np.uint8)

    with pytest.raises(AssertionError, match="taken, and is wrong"):
        planted(believe, RIGHT[:-1])
    with pytest.raises(AssertionError):
        planted(believe, RIGHT)


def test_a_reader_that_breaks_is_found(planted):
    with pytest.raises(ZeroDivisionError):
        planted(lambda path, shape: 1 // 0, RIGHT)


def test_a_reader_that_refuses_what_is_right_is_found(planted):
    def refuse(path, shape):
        raise DataError(f"{path} is bad")

    planted(refuse, RIGHT[:-1])
    with pytest.raises(AssertionError, match="refused, and is right"):
        planted(refuse, RIGHT)


def test_a_reader_that_takes_much_memory_is_found(planted, fuzzer, monkeypatch):
    peaks = iter([100.0, 400.0])
    monkeypatch.setattr(fuzzer("fuzz_idx"), "peak_mb", lambda: next(peaks))
    with pytest.raises(AssertionError, match="too much memory"):
        planted(lambda path, shape: np.frombuffer(b"abc", np.uint8), RIGHT)


def test_a_reader_that_unpickles_is_found(root, tmp_path):
    """It ends the process, whatever the reader would catch."""
    code = """
import pickle, sys
import fuzz_pickle, seed_data
from pullback.data import decode

def unpickles(path):
    try:
        pickle.loads(path.read_bytes())
    except BaseException:
        pass
    raise decode.DataError(f"{path} is bad")

decode.decode_pickle = unpickles
sys.addaudithook(fuzz_pickle.audit)
fuzz_pickle.one_input(b"\\0" + pickle.dumps(seed_data.Call()))
"""
    environment = os.environ | {"PYTHONPATH": str(root / "fuzz")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT and done.stderr.startswith("the reader did pickle.find_class")
    assert not (tmp_path / "executed").exists()
