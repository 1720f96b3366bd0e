import subprocess
import sys
import time
from pathlib import Path

import pytest

from pullback.cli.descendants import descendants, end, send

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
SLEEP = "import time; time.sleep(100)"
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{SLEEP}']).pid, flush=True); {SLEEP}"


def test_children_and_theirs_are_found_and_ended():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert descendants(parent.pid) == [child]
        end([parent.pid, child, 2**22 + 1])
        assert parent.wait(10) == -9
    until = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < until, "the child's child still runs"
    assert descendants(parent.pid) == []


def test_one_that_is_gone_is_no_error():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    send(done.pid, 15)
