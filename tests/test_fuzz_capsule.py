"""The fuzzer of the capsule reader, without atheris: its seeds go through it, and it can fail."""

import importlib
import json
import sys

import pytest


@pytest.fixture
def fuzzer(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "fuzz"))
    yield importlib.import_module("fuzz_capsule"), importlib.import_module("seed_capsule")
    for name in ("fuzz_capsule", "seed_capsule"):
        sys.modules.pop(name, None)


def test_the_seeds(fuzzer):
    fuzz, seed = fuzzer
    seen = {name: fuzz.one_input(data) for name, data in seed.seeds()}
    good = {name for name, run in seen.items() if run is not None}
    assert good >= {"stored", "deflated", "text-member", "array-float32", "json", "json-key", "json-functions"}
    assert not good & {"json-without-rule", "json-deep", "json-newer"}
    assert seen["stored"].functions == fuzz.CONTENTS["functions"]
    assert fuzz.one_input(b"") is None


def test_it_fails_where_the_reader_raises_something_else(fuzzer, monkeypatch):
    fuzz, seed = fuzzer

    def broken(path):
        raise RecursionError

    monkeypatch.setattr("pullback.parity.case.saved_run.read_run", broken)
    with pytest.raises(RecursionError):
        fuzz.one_input(dict(seed.seeds())["stored"])


def test_it_fails_where_the_reader_imports(fuzzer, monkeypatch, tmp_path):
    fuzz, seed = fuzzer
    (tmp_path / "imported_by_the_reader.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    find = importlib.import_module("pullback.parity.case.saved_names").find_allowed

    def broken(names, allow):
        importlib.import_module("imported_by_the_reader")
        return find(names, allow)

    monkeypatch.setattr("pullback.parity.case.saved_names.find_allowed", broken)
    with pytest.raises(AssertionError, match="imported_by_the_reader"):
        fuzz.one_input(dict(seed.seeds())["stored"])
    sys.modules.pop("imported_by_the_reader", None)


def test_it_ends_where_the_reader_runs_something(fuzzer, monkeypatch, capsys):
    fuzz, _seed = fuzzer
    ended = []
    monkeypatch.setattr(fuzz.os, "abort", lambda: ended.append(True))
    code, ours = compile("1", "evil.py", "exec"), compile("1", json.__file__, "exec")
    for event, arguments in (("os.system", (b"true",)), ("exec", (code,))):
        fuzz.audit(event, arguments)
        monkeypatch.setattr(fuzz, "watching", True)
        fuzz.audit(event, arguments)
        monkeypatch.setattr(fuzz, "watching", False)
    monkeypatch.setattr(fuzz, "watching", True)
    fuzz.audit("exec", (ours,))
    fuzz.audit("open", ("file", "r", 0))
    assert len(ended) == 2 and "the reader did os.system" in capsys.readouterr().err
