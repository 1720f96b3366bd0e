import io
import sys
import time
import warnings

import pytest
import typer

from pullback.cli import terminal
from pullback.cli.terminal import console, note, plain_notes, progress, refuse, show
from pullback.data import SampleDataWarning
from pullback.names import printable
from pullback.parity.case.progress import step


def test_refuse(capsys):
    with pytest.raises(typer.Exit) as exited:
        refuse(ValueError("no"))
    assert exited.value.exit_code == 2
    assert capsys.readouterr() == ("", "pullback: no\n")
    note("two\nlines")
    assert capsys.readouterr() == ("", "note: two\\nlines\n")


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


@pytest.mark.parametrize("name", ["[/red]x", "[bold]x", ":smile:", "\x1b[31mred", "a\nb"])
def test_what_is_shown_on_the_way_is_text(name, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    told = []
    monkeypatch.setattr(terminal, "tell", lambda *said: told.append(said))
    with progress():
        step(name)
        time.sleep(0.3)
    assert printable(name) in capsys.readouterr().err
    assert told == [("at", "loading jax and the data"), ("at", name)]


@pytest.mark.parametrize("name", ["[/red]x", "[bold]x", ":smile:", "1.5 [link=x]"])
def test_what_is_printed_is_text(name, capsys):
    console().print(name, highlight=False)
    assert capsys.readouterr().out == f"{name}\n"


@pytest.mark.parametrize(("error", "said"), [(BrokenPipeError(), ""), (OSError(28, "full"), "cannot be printed: full")])
def test_a_report_that_cannot_be_printed(error, said, monkeypatch):
    class Stream(io.StringIO):
        def flush(self):
            raise error

    monkeypatch.setattr(sys, "stdout", Stream())
    assert show("the report") == (f"the report {said}" if said else "")


@pytest.mark.filterwarnings("default")
def test_plain_notes(capsys):
    with pytest.raises(KeyError), plain_notes():
        warnings.warn("the sample", SampleDataWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
        raise KeyError
    out, err = capsys.readouterr()
    note, *rest = err.splitlines()
    assert note == "note: the sample" and "UserWarning: another" in rest[0] and out == ""
