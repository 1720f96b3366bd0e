"""`pullback bench`: what it refuses, and that it starts the benchmarks; what they do: tests/test_benchmarks.py."""

import importlib.util
import io
import subprocess
import sys

import pytest

from pullback.cli import bench_command


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--rounds", "0"], "Invalid value for '--rounds'"),
        (["--colour", "red"], "No such option: --colour"),
        (["--json", "/no/such/folder/bench.json"], "pullback: --json: the folder /no/such/folder does not exist"),
        (["--plot", "/"], "pullback: --plot: / is a folder"),
    ],
)
def test_usage_is_2(run, args, message):
    result = run("bench", *args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr and result.stdout == ""


@pytest.mark.parametrize("package", bench_command.NEEDED)
def test_what_is_missing_is_said(run, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a))
    result = run("bench")
    assert result.exit_code == 2
    assert result.stderr == (
        f"pullback: bench compares with {package}, which is not installed: pip install 'pullback[bench]'\n"
    )


def test_an_unknown_workload_is_refused():
    for package in bench_command.NEEDED:
        pytest.importorskip(package)
    command = [sys.executable, "-c", "from pullback.cli import main; main()", "bench", "--workload", "tea"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "pullback: there is no workload 'tea'; there are lesson, step, epoch, wide, rows, tiles, lin, cold, report\n"
    )


def test_what_is_asked_for_is_passed_on(run, monkeypatch, tmp_path):
    started = []

    class Worker:
        stdin = io.BytesIO()

        def __init__(self, command, env, **_):
            started.append(command)
            assert env["PYTHONSAFEPATH"] == "1"

        def wait(self, *_):
            return 1

    monkeypatch.setattr(subprocess, "Popen", Worker)
    file, plot = str(tmp_path / "b.json"), str(tmp_path / "b.png")
    names = ["--workload", "lesson", "--workload", "cold"]
    result = run("bench", *names, "--quick", "--rounds", "2", "--json", file, "--plot", plot)
    (command,) = started
    assert command[:4] == [sys.executable, "-m", "pullback.benchmarks", "--end-with-stdin"]
    assert command[4:] == [*names, "--quick", "--rounds", "2", "--json", file, "--plot", plot]
    assert result.exit_code == 1, "the exit code of what was started"


def test_the_help_names_every_workload(run):
    from pullback.benchmarks.__main__ import WORKLOADS

    assert ", ".join(WORKLOADS) + "." in " ".join(run("bench", "--help").stdout.replace("│", " ").split())
