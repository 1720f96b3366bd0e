"""How a command ends: a table of what happens to it, and of what standard output and error are."""

import os
import subprocess
import sys

import pytest

from pullback.cli.ending import PLAIN, code_of, ended, say

COMMAND = [sys.executable, "-c", "from pullback.cli import main; main()"]
RULE = ["parity", "--rule", "my_rules:right", "--args", "my_rules:ARGS", "--checks", "values"]
WRONG = ["parity", "--rule", "my_rules:wrong", "--args", "my_rules:ARGS", "--checks", "values"]
DATA = ["data", "--source", "sample"]
BENCH = ["bench", "--workload", "tea"]
CLOSED = "pullback: standard output is closed, so nothing can be printed; send it to /dev/null to do without\n"


def leave(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 1, 1, ""),
        (lambda: 3, 3, ""),
        (leave(SystemExit(0)), 0, ""),
        (leave(SystemExit(3)), 3, ""),
        (leave(SystemExit()), 0, ""),
        (leave(SystemExit("a text")), 2, ""),
        (leave(KeyboardInterrupt()), 130, ""),
        (leave(BrokenPipeError(32, "Broken pipe")), 141, ""),
        (leave(OSError(28, "No space left on device")), 2, "pullback: cannot write: No space left on device\n"),
        (leave(PermissionError(13, "Permission denied", "/x")), 2, "pullback: /x: Permission denied\n"),
        (leave(OSError("just so")), 2, "pullback: cannot write: just so\n"),
    ],
)
def test_what_happens_to_a_command(command, code, said, capsys):
    assert ended(command) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RecursionError(), MemoryError(), AssertionError("no")])
def test_a_mistake_of_ours_is_no_verdict(error, capsys):
    assert ended(leave(error)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-2].startswith(type(error).__name__)
    assert lines[-1].startswith("pullback: this is a mistake in pullback, and no verdict")


def test_one_sentence_is_one_line(capsys):
    say("two\n  lines\x1b[2J")
    assert capsys.readouterr().err == "pullback: two lines\\x1b[2J\n"


def test_a_sentence_that_cannot_be_said_is_lost(monkeypatch):
    with open(os.devnull) as unwritable:
        for stream in (None, unwritable):
            monkeypatch.setattr(sys, "stderr", stream)
            say("nobody hears it")
    assert code_of(KeyboardInterrupt()) == 130


def shell(folder, command, redirected, **variables):
    """The exit code, standard output and standard error of a command with its output sent somewhere in a shell."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", *COMMAND, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | variables,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path, rules_text):
    (tmp_path / "my_rules.py").write_text(rules_text)
    return tmp_path


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["parity", "--help"], DATA, BENCH, RULE], ids=" ".join)
def test_closed_is_2(folder, command):
    assert shell(folder, command, ">&-") == (2, "", CLOSED)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--version"], "cannot write"),
        (["--help"], "cannot write"),
        (["parity", "--help"], "cannot write"),
        (DATA, "cannot write"),
        (RULE, "the report cannot be printed"),
        (WRONG, "the report cannot be printed"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_full_is_2(folder, command, said):
    code, _, err = shell(folder, command, "> /dev/full")
    assert (code, err.splitlines()[-1]) == (2, f"pullback: {said}: No space left on device")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "code"),
    [(["--version"], 141), (["--help"], 141), (["parity", "--help"], 141), (DATA, 141), (RULE, 0), (WRONG, 1)],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_reader_that_has_left_is_no_mismatch_and_needs_no_word(folder, command, code):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as pipe:
        done = subprocess.run(
            [*COMMAND, *command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
        )
    saved = "pullback: this run is saved; to re-run it: pullback parity --replay parity-capsule.npz --allow my_rules\n"
    assert (done.returncode, done.stderr) == (code, saved if command is WRONG else "")


@pytest.mark.parametrize("command", [DATA, WRONG], ids=" ".join)
@pytest.mark.parametrize("redirected", ["2>&-", "2> /dev/full", "<&-"])
def test_without_standard_error_or_input_the_exit_code_stands(folder, command, redirected):
    code, out, _ = shell(folder, command, redirected)
    assert code == (1 if command is WRONG else 0) and out


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii, strict": {"PYTHONIOENCODING": "ascii:strict"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding_will_do(folder, encoding):
    with (folder / "my_rules.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n\ndef product(x):\n    return x * right(x)\n\n\nproduct.__name__ = '×重'\nM = (np.ones((2, 3)),)\n"
        )
    command = ["parity", "--rule", "my_rules:product", "--args", "my_rules:M", "--checks", "values"]
    code, out, err = shell(folder, command, "", **ENCODINGS[encoding])
    assert (code, err) == (0, "") and out.splitlines()[-1].startswith("PASS: all ")


def test_a_character_is_replaced_by_one():
    assert all(len(plain) == 1 and plain.isascii() for plain in PLAIN.values())
    text = "".join(PLAIN) + "重\ud800"
    code = f"from pullback.cli.ending import ended; ended(lambda: print({text!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert done.stdout == "".join(PLAIN.values()) + "??\n" and done.stderr == ""
