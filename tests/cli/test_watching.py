"""One process works and one watches: what the first may do to itself, what may be done to both, and what is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pullback.cli import watching
from pullback.cli.watching import runs_code_of_the_user, tell, time_limit, watched

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
HEAD = """
import atexit, ctypes, os, signal, subprocess, sys, threading, time
from pullback.cli.ending import ended
from pullback.cli.watching import tell, time_limit, watched

def sleeping():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], stdout=subprocess.DEVNULL)
    print(os.getpid(), child.pid, flush=True)
    return child

def work():
    tell("at", "rule: kinks")
"""
TAIL = """
sys.exit(watched(lambda: ended(work)))
"""


def program(work):
    return [sys.executable, "-c", HEAD + "".join(f"    {line}\n" for line in work.strip().splitlines()) + TAIL]


def run(work):
    return subprocess.run(program(work), capture_output=True, text=True, timeout=60)


def gone(process, within=10.0):
    """Whether a process ends, in so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("return 0", 0),
        ("return 1", 1),
        ("return 3", 3),
        ("sys.exit(2)", 2),
        ("raise KeyboardInterrupt", 130),
        ("atexit.register(os._exit, 0); return 1", 1),
        ("atexit.register(os.kill, os.getpid(), 9); return 1", 1),
        ("atexit.register(os._exit, 1); return 0", 0),
        ("sleeping(); return 1", 1),
    ],
)
def test_a_code_that_was_said_stands(work, code):
    done = run(work)
    assert done.returncode == code and done.stderr == ""
    assert all(gone(process) for process in map(int, done.stdout.split())), "what it left running"


@pytest.mark.parametrize(
    ("work", "how"),
    [
        ("os._exit(0)", "with code 0, by os._exit or the like"),
        ("os._exit(1)", "with code 1, by os._exit or the like"),
        ("ctypes.string_at(0)", "by SIGSEGV"),
        ("os.abort()", "by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "by SIGTERM"),
        (
            "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(60)",
            "with code 0, by os._exit or the like",
        ),
        ("os.execv('/bin/true', ['true'])", "with code 0, by os._exit or the like"),
        ("tell('at', 'a\\nlimit 0\\ncode 0'); os._exit(0)", r"with code 0, by os._exit or the like"),
    ],
)
def test_an_end_without_a_word_is_2_and_one_sentence(work, how):
    done = run(work)
    at = r"a\nlimit 0\ncode 0" if "limit 0" in work else "rule: kinks"
    said = f"pullback: the process that checks was ended {how}; it was at: {at}. Nothing is judged\n"
    assert (done.returncode, done.stderr) == (2, said)


HANGS = {
    "Python": "time.sleep(100)",
    "Python that catches everything": "while True:\n    try: time.sleep(100)\n    except BaseException: pass",
    "C that lets no thread run": "ctypes.PyDLL(None).sleep(100)",
    "a child": "sleeping().wait()",
    "a child that ignores signals": "signal.signal(15, signal.SIG_IGN); sleeping().wait()",
    "a lock": "threading.Lock().acquire(); lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a FIFO that nobody writes": "os.mkfifo(f'/tmp/pullback-{os.getpid()}'); open(f'/tmp/pullback-{os.getpid()}')",
}


@pytest.mark.parametrize("hang", HANGS)
def test_a_hang_ends_in_time_with_its_children(hang):
    start = time.monotonic()
    done = run(
        f"print(os.getpid(), flush=True)\nwith time_limit(0.5):\n    {HANGS[hang].replace(chr(10), chr(10) + '    ')}"
    )
    took = time.monotonic() - start
    said = "pullback: not done after 0.5 s, the --timeout; it was at: rule: kinks. Nothing is judged\n"
    assert (done.returncode, done.stderr) == (2, said) and took < 10
    processes = [int(text) for text in done.stdout.split()]
    assert all(gone(process) for process in processes)
    Path(f"/tmp/pullback-{processes[0]}").unlink(missing_ok=True)


def test_where_only_the_end_hangs_the_verdict_stands():
    """The limit is also that of a thread of the user's that Python would wait for."""
    done = run("threading.Thread(target=time.sleep, args=(100,)).start()\nwith time_limit(1): return 1")
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("hang", ["Python", "C that lets no thread run", "a child", "a child that ignores signals"])
def test_a_signal_ends_both_and_their_children(number, hang):
    work = f"print(os.getpid(), flush=True)\n{HANGS[hang]}"
    with subprocess.Popen(program(work), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None and watcher.stderr is not None
        processes = list(map(int, watcher.stdout.readline().split()))
        if hang.startswith("a child"):
            processes += map(int, watcher.stdout.readline().split())
        time.sleep(0.2)
        watcher.send_signal(number)
        if number == signal.SIGINT and hang.startswith("C"):
            time.sleep(0.2)
            watcher.send_signal(number)  # the second one does not wait for Python
        assert watcher.wait(15) == 128 + number
        assert all(gone(process) for process in processes)
        assert watcher.stderr.read() == ""


def test_the_worker_ends_with_its_watcher():
    with subprocess.Popen(program("sleeping().wait()"), stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        processes = list(map(int, watcher.stdout.readline().split()))
        watcher.kill()
        assert all(gone(process) for process in processes)


@pytest.mark.parametrize(
    ("arguments", "is_watched"),
    [
        (["parity", "--rule", "a:b"], True),
        (["parity", "--rule=a:b"], True),
        (["parity", "--model", "a:b"], True),
        (["parity", "--replay", "x.npz"], True),
        (["parity", "--timeout", "3"], True),
        (["parity"], False),
        (["parity", "--batch-size", "3"], False),
        (["bench", "--timeout", "3"], False),
        (["data", "--source", "--rule"], False),
        ([], False),
    ],
)
def test_what_is_watched(arguments, is_watched, monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    assert runs_code_of_the_user(arguments) == is_watched
    monkeypatch.setitem(sys.modules, "jax", None)
    assert not runs_code_of_the_user(arguments), "threads of jax would not survive a fork"


def test_without_a_watcher_a_thread_keeps_the_time(capsys, monkeypatch):
    left = []
    monkeypatch.setattr("os._exit", left.append)
    monkeypatch.setattr(watching, "descendants", lambda process: [])
    tell("at", "rule: values")
    with time_limit(None), time_limit(50), time_limit(0.05):
        time.sleep(0.5)
    assert left == [2]
    said = "pullback: not done after 0.05 s, the --timeout; it was at: rule: values. Nothing is judged\n"
    assert capsys.readouterr().err == said


def test_the_one_that_works_returns_and_the_one_that_watches_too():
    """In the worker, `watched` returns what `work` does; in the watcher, what the worker said."""
    code = "import os; from pullback.cli.watching import watched; print(watched(lambda: 1), flush=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1\n1\n" and watched.__doc__
