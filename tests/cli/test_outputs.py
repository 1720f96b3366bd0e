"""Every file that `pullback parity` writes, onto everything that a path may lead to."""

import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import typer

from pullback import parity
from pullback.cli import outputs
from pullback.cli.outputs import deliver
from pullback.parity import Report

OPTIONS = ["--json", "--html", "--capsule"]
NOBODY = 65534


@pytest.fixture
def failing(rules):
    """The arguments of a run that fails at once, in a folder of the user's own."""
    return ["parity", "--rule", "my_rules:wrong", "--args", "my_rules:ARGS", "--checks", "values"]


@pytest.fixture(autouse=True)
def small_page(monkeypatch):
    monkeypatch.setattr(Report, "to_html", lambda report: f"<p>{report.ok}")


def is_whole(option: str, content: bytes) -> bool:
    if option == "--json":
        return json.loads(content)["culprits"] == ["rule"]
    return content == b"<p>False" if option == "--html" else content.startswith(b"PK")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    "kind", ["new", "old", "old, private", "link", "link to a link", "dangling link", "longest name"]
)
def test_regular_files_are_replaced_and_links_followed(run, failing, tmp_path, option, kind):
    path = file = tmp_path / ("n" * 255 if kind == "longest name" else "file")
    if kind.startswith("old") or kind.startswith("link"):
        file.write_bytes(b"old")
        file.chmod(0o600 if kind == "old, private" else 0o640)
    if "link" in kind:
        path = tmp_path / "link"
        path.symlink_to("file")
    if kind == "link to a link":
        path = tmp_path / "outer"
        path.symlink_to("link")
    before = set(tmp_path.iterdir())
    result = run(*failing, option, str(path))
    assert result.exit_code == 1 and is_whole(option, file.read_bytes())
    assert path.is_symlink() == ("link" in kind)
    if before & {file}:
        assert stat.S_IMODE(file.stat().st_mode) == (0o600 if kind == "old, private" else 0o640)
    left = {entry.name for entry in set(tmp_path.iterdir()) - before if entry.is_file()}
    assert left <= {file.name, "parity-capsule.npz"}, "nothing is left beside it"


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", ["a FIFO", "a link to a FIFO"])
def test_a_fifo_is_written_through(run, failing, tmp_path, option, kind):
    path, read = tmp_path / "fifo", []
    os.mkfifo(path)
    named = path
    if kind.startswith("a link"):
        named = tmp_path / "link"
        named.symlink_to(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    assert run(*failing, option, str(named)).exit_code == 1
    reader.join(10)
    assert len(read) == 1 and is_whole(option, read[0]) and stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_a_device_stays_one(run, failing, option, device):
    if not Path(device).exists():
        pytest.skip(f"there is no {device}")
    before = os.stat(device)
    result = run(*failing, option, device)
    after = os.stat(device)
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    if device == "/dev/null":
        assert result.exit_code == 1
    else:
        assert result.exit_code == 2, "a full disk"
        assert result.stderr.splitlines()[-1] == f"pullback: {option}: cannot write {device}: No space left on device"
    assert result.stdout.splitlines()[-1].endswith("Wrong: rule."), "the verdict is printed all the same"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_full_disk_leaves_the_old_file(run, failing, tmp_path, monkeypatch, option):
    (tmp_path / "file").write_bytes(b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    result = run(*failing, option, "file")
    assert result.exit_code == 2
    assert f"pullback: {option}: cannot write file: No space left on device" in result.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no/file", "the folder no does not exist"),
        ("folder", "folder is a folder"),
        ("circle", "circle cannot be written: Too many levels of symbolic links"),
        ("n" * 300, "cannot be written: File name too long"),
        ("my_rules.py/file", "the folder my_rules.py does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_the_check(run, failing, tmp_path, monkeypatch, option, path, problem):
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.setattr(parity, "check", None)
    result = run(*failing, option, path)
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"pullback: {option}: ") and line.endswith(problem)


def test_what_is_not_asked_for_and_cannot_be_written_is_a_note(run, failing, tmp_path):
    (tmp_path / "parity-capsule.npz").mkdir()
    result = run(*failing)
    assert result.exit_code == 1 and result.stderr.startswith("note: this run is not saved: ")


def test_one_that_fails_keeps_no_other_from_being_written(capsys, tmp_path):
    report = parity.check(lambda x: x * x, np.ones(2, np.float32), checks=["values"])
    with pytest.raises(typer.Exit) as caught:
        deliver(report, Path("/no/such/file"), tmp_path / "page.html", lambda: "no capsule")
    assert caught.value.exit_code == 2 and (tmp_path / "page.html").read_text() == "<p>True"
    said = "pullback: no capsule; --json: cannot write /no/such/file: No such file or directory\n"
    assert capsys.readouterr().err == said


def test_what_is_written_is_what_it_is_at(monkeypatch, tmp_path):
    at = []
    monkeypatch.setattr(outputs, "tell", lambda *said: at.append(said))
    report = parity.check(lambda x: x * x, np.ones(2, np.float32), checks=["values"])
    deliver(report, tmp_path / "a.json", None, lambda: "")
    assert at == [("at", "saving the run"), ("at", f"writing {tmp_path / 'a.json'}")]
