import sys
import warnings

import pytest
import typer

from pullback.cli.terminal import console, plain_notes, refuse
from pullback.data import SampleDataWarning


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


@pytest.mark.filterwarnings("default")
def test_plain_notes(capsys):
    with pytest.raises(KeyError), plain_notes():
        warnings.warn("the sample", SampleDataWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        raise KeyError
    out, err = capsys.readouterr()
    note, *rest = err.splitlines()
    assert note == "note: the sample" and "UserWarning: another" in rest[0] and out == ""
