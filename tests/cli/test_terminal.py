import sys
import time
import warnings

import pytest
import typer

from pullback.cli.terminal import console, plain_notes, progress, refuse
from pullback.data import SampleDataWarning
from pullback.parity.case.progress import step


def test_refuse(capsys):
    with pytest.raises(typer.Exit) as exited:
        refuse(ValueError("no"))
    assert exited.value.exit_code == 2
    assert capsys.readouterr() == ("", "pullback: no\n")


def test_as_wide_as_the_terminal_or_as_columns_says(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 116, "into a pipe"
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert console().width == 80


def test_progress_is_for_terminals_and_leaves_nothing_behind(monkeypatch, capsys):
    with progress():
        step("rule [0]: kinks")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress():
        step("rule [0]: kinks")
        time.sleep(0.3)
    out, err = capsys.readouterr()
    assert out == "" and "rule [0]: kinks" in err and err.rstrip("\n").endswith("\x1b[2K"), "the line is erased"


@pytest.mark.filterwarnings("default")
def test_plain_notes(capsys):
    with pytest.raises(KeyError), plain_notes():
        warnings.warn("the sample", SampleDataWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        raise KeyError
    out, err = capsys.readouterr()
    note, *rest = err.splitlines()
    assert note == "note: the sample" and "UserWarning: another" in rest[0] and out == ""
