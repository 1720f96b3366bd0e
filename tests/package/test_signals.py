"""Signals, to commands that run, start up, hang in C, write and wait for a child: 130, 143 or 129, and nothing left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what a process is at in /proc")
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SMALL = ["--batch-size", "8", "--hidden", "4", "--source", "sample"]
COMMAND = [sys.executable, "-c", "from pullback.cli import main; main()"]


class Child:
    """A process that a test started, its standard error, and a folder for its temporary files."""

    def __init__(self, folder, *command, **options):
        (folder / "tmp").mkdir(exist_ok=True)
        self.folder, self.err = folder, folder / "stderr"
        env = {"TMPDIR": str(folder / "tmp"), "JAX_PLATFORMS": "cpu"}
        with (folder / "stdout").open("w") as out, self.err.open("w") as err:
            self.popen = subprocess.Popen(
                list(map(str, command)), cwd=folder, stdout=out, stderr=err, env=os.environ | env, **options
            )

    def catches(self, number=signal.SIGTERM) -> bool:
        """Whether it has taken the signal over."""
        try:
            status = Path(f"/proc/{self.popen.pid}/status").read_text()
        except OSError:
            return False
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(mask, 16) >> (number - 1) & 1)

    @property
    def children(self) -> list[int]:
        return children(self.popen.pid)

    def ends(self, number, within=8.0) -> None:
        """Sends the signal, and holds the process to end in time, with the right code, no word and no leftovers."""
        self.popen.send_signal(number)
        try:
            assert self.popen.wait(within) == SIGNALS[number]
        finally:
            self.popen.kill()
        said = self.err.read_text()
        assert "Traceback" not in said and "Aborted" not in said and "Ended" not in said, said
        assert list((self.folder / "tmp").iterdir()) == [], "temporary files"


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored():
    """What these tests start would inherit that they run under nohup, say, and keep it so."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*command, **options) -> Child:
        child = Child(tmp_path, *command, **options)
        started.append(child)
        return child

    yield start
    for child in started:
        child.popen.kill()
        child.popen.wait()


def children(pid: int) -> list[int]:
    """Of any thread of the process."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("delay", [0.0, 0.7])
def test_while_it_starts(start, until, number, delay):
    """In the midst of importing jax: at once."""
    child = start(*COMMAND, "parity", *SMALL)
    until(child.catches)
    time.sleep(delay)
    child.ends(number, within=2)


@pytest.mark.parametrize("module", ["pullback", "pullback.parity"])
def test_while_python_dash_m_starts(start, until, module):
    child = start(sys.executable, "-m", module, *(["parity"] if module == "pullback" else []), *SMALL)
    until(child.catches)
    time.sleep(0.4)
    child.ends(signal.SIGINT, within=2)


HANGING = """
import ctypes, time
import numpy as np

def waiting(x):
    open("there", "w").close()
    time.sleep(60)

def in_c(x):
    lock = ctypes.create_string_buffer(64)
    open("there", "w").close()
    for _ in range(2):  # the second time it waits for ever, and no signal wakes it
        ctypes.CDLL(None).pthread_mutex_lock(lock)

def stubborn(x):
    open("there", "w").close()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

ARGS = (np.ones(3, np.float32),)
"""


@pytest.mark.parametrize(
    ("rule", "number"), [("waiting", signal.SIGINT), ("in_c", signal.SIGTERM), ("stubborn", signal.SIGHUP)]
)
def test_while_a_rule_hangs(start, until, tmp_path, rule, number):
    (tmp_path / "hanging.py").write_text(HANGING)
    child = start(*COMMAND, "parity", "--rule", f"hanging:{rule}", "--args", "hanging:ARGS")
    until((tmp_path / "there").exists)
    child.ends(number, within=2)
    assert not (tmp_path / "parity-capsule.npz").exists()


def test_a_file_that_is_being_written_stays_the_old_one(start, until, tmp_path):
    slow_disk = """
import os, time
def late(*_):
    open("there", "w").close()
    time.sleep(60)
os.replace = late
from pullback.cli import main
main()
"""
    (tmp_path / "report.json").write_text("old")
    child = start(sys.executable, "-c", slow_disk, "parity", *SMALL, "--json", "report.json")
    until((tmp_path / "there").exists)
    child.ends(signal.SIGTERM, within=3)
    assert (tmp_path / "report.json").read_text() == "old"
    left = {path.name for path in tmp_path.iterdir()} - {"tmp", "stdout", "stderr", "there", "report.json"}
    assert left == set(), "no half of a new one"


@pytest.mark.parametrize(
    ("work", "within"),
    [
        ("time.sleep(60)", 2),
        # Nobody may catch it, but somebody does, and works on: the time for leaving tidily is limited.
        ("while True:\n            try:\n                time.sleep(60)\n            except BaseException: pass", 6),
        # Or it is C that works on.
        ("for _ in '12': ctypes.CDLL(None).pthread_mutex_lock(LOCK)", 6),
        # Or ends as if nothing had happened.
        ("try:\n            time.sleep(60)\n        except BaseException:\n            sys.exit(0)", 2),
    ],
)
def test_tidily_is_not_for_ever(start, until, tmp_path, work, within):
    script = f"""
import ctypes, sys, time
from pullback.signals import ends_on_signals, temporary_folder
LOCK = ctypes.create_string_buffer(64)
with ends_on_signals():
    with temporary_folder() as folder:
        open(folder + "/file", "w").close()
        open("there", "w").close()
        {work}
"""
    child = start(sys.executable, "-c", script)
    until((tmp_path / "there").exists)
    time.sleep(0.1)
    child.ends(signal.SIGTERM, within=within)


def test_a_second_signal_ends_it_at_once(start, until, tmp_path):
    script = """
import time
from pullback.signals import ends_on_signals, tidily
with ends_on_signals(), tidily(seconds=60):
    open("there", "w").close()
    while True:
        try: time.sleep(60)
        except BaseException: open("caught", "w").close()
"""
    child = start(sys.executable, "-c", script)
    until((tmp_path / "there").exists)
    child.popen.send_signal(signal.SIGINT)
    until((tmp_path / "caught").exists)
    child.ends(signal.SIGTERM, within=2)


def test_what_is_ignored_stays_ignored(start, until, tmp_path):
    """As under nohup."""
    script = """
import signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from pullback.signals import ends_on_signals
with ends_on_signals():
    open("there", "w").close()
    time.sleep(60)
"""
    child = start(sys.executable, "-c", script)
    until((tmp_path / "there").exists)
    child.popen.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert child.popen.poll() is None
    child.ends(signal.SIGTERM, within=2)


def test_a_fork_is_not_the_command(start, until, tmp_path):
    """A signal to a forked child, as a pool of processes has them, does not end its parent."""
    script = """
import os, signal, time
from pullback.signals import ends_on_signals
with ends_on_signals():
    child = os.fork()
    if not child:
        open("forked", "w").close()
        time.sleep(60)
        os._exit(0)
    while not os.path.exists("forked"):
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    time.sleep(0.5)
    open("there", "w").close()
    time.sleep(60)
"""
    child = start(sys.executable, "-c", script)
    until((tmp_path / "there").exists)
    child.ends(signal.SIGTERM, within=2)


BENCH = [*COMMAND, "bench", "--quick", "--workload", "cold", "--json", "bench.json"]


@pytest.fixture
def bench(start, until, tmp_path):
    """`pullback bench`, its worker, and a process that the worker has started and measures."""
    for package in ("torch", "optax", "matplotlib"):
        pytest.importorskip(package)
    (tmp_path / "bench.json").write_text("old")
    child = start(*BENCH)
    until(lambda: child.children)
    (worker,) = child.children
    until(lambda: children(worker), within=120)
    yield child, worker, *children(worker)
    assert (tmp_path / "bench.json").read_text() == "old"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_bench_takes_its_worker_along(bench, until, number):
    child, worker, measured = bench
    child.ends(number)
    assert is_gone(worker)
    until(lambda: is_gone(measured), within=10)


def test_bench_takes_its_worker_along_when_it_is_killed(bench, until, tmp_path):
    child, *others = bench
    child.popen.kill()
    until(lambda: all(map(is_gone, others)), within=10)
    assert list((tmp_path / "tmp").rglob("*")) == []


def test_bench_says_that_its_worker_was_killed(bench):
    child, worker, _measured = bench
    os.kill(worker, signal.SIGKILL)
    assert child.popen.wait(10) == 2
    said = child.err.read_text()
    assert "pullback: the process that measures was ended by SIGKILL" in said and "Traceback" not in said


def test_bench_ends_a_worker_that_hangs(start, until, tmp_path):
    """One that ignores every signal, and the end of its standard input."""
    stopped = "import subprocess, sys\nfrom pullback.cli import bench_command\n"
    stopped += "bench_command.sys.executable = './worker'\nfrom pullback.cli import main\nmain()"
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\ntrap '' INT TERM HUP\n: > there\nwhile :; do sleep 1; done\n")
    worker.chmod(0o700)
    child = start(sys.executable, "-c", stopped, *BENCH[3:])
    until((tmp_path / "there").exists, within=30)
    (pid,) = child.children
    child.ends(signal.SIGTERM, within=10)
    assert is_gone(pid)
