import re
import subprocess
import sys

import pytest

from pullback.data import fetch

SMALL = ["parity", "--batch-size", "8", "--hidden", "4", "--source", "sample"]


def python(*args, **kwargs):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=600, **kwargs)


def test_data(run, empty_cache):
    result = run("data", "--source", "sample")
    assert result.exit_code == 0
    assert "source  embedded sample of MNIST" in result.stdout
    assert re.search(r"train +4,000 images", result.stdout) and re.search(r"test +0 images", result.stdout)
    assert f"cache   {empty_cache} (does not exist yet)" in result.stdout
    assert "mean 0.13102433, std 0.30756298" in result.stdout


def test_data_that_cannot_be_had_is_2(run, empty_cache, monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", ())
    for source in ("cache", "download"):
        result = run("data", "--source", source)
        assert result.exit_code == 2 and result.stderr.startswith("pullback: ") and result.stdout == ""


def test_data_lists_the_cache(run, full_mnist):
    result = run("data", "--source", "cache")
    assert result.exit_code == 0
    assert "full MNIST" in result.stdout and re.search(r"bytes, verified\n", result.stdout)
    assert "DAMAGED" not in result.stdout


def test_data_says_which_file_of_the_cache_is_damaged(run, empty_cache, monkeypatch):
    monkeypatch.setattr(fetch, "MIRRORS", ())
    empty_cache.mkdir()
    (empty_cache / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    result = run("data")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"note: {empty_cache}/t10k-labels-idx1-ubyte.gz is not the published file")
    assert "t10k-labels-idx1-ubyte.gz  7 bytes, DAMAGED\n" in result.stdout


def test_data_where_there_is_no_cache(run, monkeypatch):
    monkeypatch.setenv("PULLBACK_DATA_DIR", "~nosuchuser")
    result = run("data", "--source", "sample")
    assert result.exit_code == 0 and "cache   there is no folder for the cache: PULLBACK_DATA_DIR is" in result.stdout
    result = run("data", "--source", "cache")
    assert result.exit_code == 2 and result.stderr.startswith("pullback: there is no folder for the cache")


def test_version(run):
    assert re.fullmatch(r"pullback \d+\.\d+\.\d+\n", run("--version").stdout)


def test_python_dash_m_is_the_same(tmp_path):
    result = python("-m", "pullback.parity", *SMALL[1:])
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("PASS: all 18 leaves in 6 implementations agree.")
    assert python("-m", "pullback.parity", "--batch-size", "0").returncode == 2


@pytest.mark.parametrize(("missing", "extra"), [("torch", "parity"), ("typer", "cli"), ("rich", "cli")])
def test_what_is_missing_is_named_in_one_sentence(missing, extra):
    code = f"import sys; sys.modules[{missing!r}] = None; from pullback.cli import main; main()"
    result = python("-c", code, *SMALL)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert missing in line and f"pip install 'pullback[{extra}]'" in line
