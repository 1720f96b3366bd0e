"""`pullback parity` in real processes on this machine: one report, one verdict, and nobody left waiting."""

import contextlib
import importlib
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer

from pullback import parallel, parity
from pullback.parity import Report

PARITY = [
    "-c",
    "from pullback.cli import main; main()",
    "parity",
    "--batch-size",
    "13",
    "--hidden",
    "6",
    "--source",
    "sample",
]


def test_the_first_prints_and_all_agree(start_processes, tmp_path):
    started = start_processes(tmp_path, [*PARITY, "--json", str(tmp_path / "report.json")], 2)
    assert [process.ended(90) for process in started] == [0, 0], [process.stderr for process in started]
    first, second = ("\n".join(p.out.read_text().splitlines()) for p in started)
    assert "PASS: all 18 leaves in 7 implementations agree. Further checks: 2 pass." in first
    assert "device    4 × cpu (cpu)" in first and "sharded" in first
    assert "bitwise equal in all 2 processes" in first
    assert "pullback parity" not in second and "PASS" not in second
    assert (tmp_path / "report.json").is_file()


@pytest.mark.parametrize("more", [["--seed", "1"], ["--batch-size", "12"]])
def test_processes_that_check_different_things_are_refused(start_processes, tmp_path, more):
    started = start_processes(tmp_path, PARITY, 2, each={1: more})
    assert [process.ended(60) for process in started] == [2, 2], [process.stderr for process in started]
    for process in started:
        (line,) = [line for line in process.stderr.splitlines() if line.startswith("pullback: ")]
        assert line.startswith("pullback: the batch (x, targ) must ")
        assert "Traceback" not in process.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_where_one_is_killed_the_other_ends(start_processes, until, tmp_path, which):
    started = start_processes(tmp_path, [*PARITY, "--full"], 2)
    until(lambda: all("[Gloo]" in process.out.read_text() + process.stderr for process in started))
    started[which].popen.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    other = started[1 - which]
    assert other.ended(60) != 0
    assert time.monotonic() - killed < 45
    until(lambda: f"pullback: process {1 - which} of 2" in other.stderr, 10)
    assert "Traceback" not in other.stderr and "PASS" not in other.out.read_text()


def test_no_coordinator_is_one_sentence(run, monkeypatch):
    module = importlib.import_module("pullback.parallel.processes")  # `processes` in the package is the function
    monkeypatch.setattr(
        module, "_wait_for", lambda *_: (_ for _ in ()).throw(ConnectionError("processes: nobody there"))
    )
    result = run(*PARITY[2:], "--coordinator", "127.0.0.1:1", "--num-processes", "2", "--process-id", "1")
    assert result.exit_code == 2 and result.stderr.strip() == "pullback: processes: nobody there"


@pytest.mark.parametrize(
    "args, message",
    [
        (["--coordinator", "here", "--num-processes", "1", "--process-id", "0"], "coordinator must be HOST:PORT"),
        (["--num-processes", "2", "--process-id", "2"], "process_id must be 0 to num_processes - 1; got 2 of 2"),
        (["--num-processes", "0"], "Invalid value for '--num-processes'"),
        (["--rule", "a:b", "--args", "a:c", "--detect"], "--detect does not go with --rule"),
        (["--rule", "a:b", "--args", "a:c", "--coordinator", "h:1"], "--coordinator does not go with --rule"),
        (["--replay", "x.npz", "--process-id", "1"], "--process-id does not go with --replay"),
    ],
)
def test_usage(run, args, message):
    result = run("parity", *args)
    assert result.exit_code == 2 and message in result.stderr
    assert "Traceback" not in result.stderr


def test_options_of_many_processes_arrive(run, monkeypatch):
    given = []

    @contextlib.contextmanager
    def processes(*args, **options):
        given.append((args, options))
        yield

    monkeypatch.setattr(parallel, "processes", processes)
    assert run(*PARITY[2:], "--coordinator", "host:80", "--num-processes", "2", "--process-id", "1").exit_code == 0
    assert run(*PARITY[2:], "--detect").exit_code == 0
    assert given == [(("host:80", 2, 1), {"detect": False}), ((None, None, None), {"detect": True})]


@pytest.mark.parametrize("code", [0, 1, 3])
def test_all_processes_have_the_exit_code_and_the_first_prints(run, monkeypatch, code):
    report = parity.check(jnp.square, np.ones(2, np.float32), checks=["values"])
    monkeypatch.setattr(Report, "exit_code", property(lambda report: code))
    monkeypatch.setattr(parity, "check_mnist", lambda **_: report)
    first = run(*PARITY[2:])
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    other = run(*PARITY[2:])
    assert first.exit_code == other.exit_code == code and first.stdout and other.stdout == ""


def test_where_a_process_is_lost_the_command_leaves_at_once(run, monkeypatch):
    """Not as usual: jax, at exit, would wait for the process that is gone."""
    left = []

    def lost(**_):
        raise parallel.ProcessLost("process 0 of 2: a collective failed")

    def leave(code):
        left.append(code)
        raise typer.Exit(code)

    monkeypatch.setattr(parity, "check_mnist", lost)
    monkeypatch.setattr("os._exit", leave)
    result = run(*PARITY[2:])
    assert left == [2] and result.stderr == "pullback: process 0 of 2: a collective failed\n"
