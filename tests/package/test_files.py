import contextlib
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from pullback.files import cannot_be_written, is_replaced, write_whole

OLD, NEW = b"old \xc2\xb7\n", "new ·\n"
NOBODY = 65534


def test_what_cannot_be_written_is_said_before(tmp_path):
    assert cannot_be_written(tmp_path / "new.json") is None and cannot_be_written(Path("new.json")) is None
    assert cannot_be_written(tmp_path) == f"{tmp_path} is a folder"
    assert cannot_be_written(tmp_path / "no" / "new.json") == f"the folder {tmp_path / 'no'} does not exist"
    long = tmp_path / ("n" * 256)
    assert cannot_be_written(long) == f"{long} cannot be written: File name too long"
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    assert cannot_be_written(circle) == f"{circle} cannot be written: Too many levels of symbolic links"
    lost = tmp_path / "lost"
    lost.symlink_to(tmp_path / "no" / "file")
    assert cannot_be_written(lost) == f"{lost} is a link into the folder {tmp_path / 'no'}, which does not exist"


@pytest.mark.parametrize("content", [NEW, NEW.encode()], ids=["text", "bytes"])
def test_the_old_file_or_the_whole_new_one(tmp_path, content):
    path = tmp_path / "file"
    write_whole(path, OLD)
    write_whole(path, content)
    assert path.read_bytes() == NEW.encode() and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755, 0o444])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.chmod(mode)
    write_whole(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "any").touch()
    write_whole(tmp_path / "file", NEW)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    os.chown(path, NOBODY, NOBODY)
    write_whole(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)


@pytest.mark.parametrize("links", [1, 3])
@pytest.mark.parametrize("there", [True, False], ids=["to a file", "dangling"])
def test_links_are_followed(tmp_path, links, there):
    (tmp_path / "other").mkdir()
    last = tmp_path / "other" / "file"
    if there:
        last.write_bytes(OLD)
    names = [tmp_path / f"link{k}" for k in range(links)]
    for name, to in zip(names, [*names[1:], Path("other/file")], strict=True):
        name.symlink_to(to)
    assert cannot_be_written(names[0]) is None
    write_whole(names[0], NEW)
    assert all(name.is_symlink() for name in names) and last.read_text() == NEW
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]


def test_a_fifo_is_written_through(tmp_path):
    path, read = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    assert cannot_be_written(path) is None and not is_replaced(path)
    write_whole(path, NEW)
    reader.join(10)
    assert read == [NEW.encode()] and stat.S_ISFIFO(path.stat().st_mode) and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("device", ["/dev/null", "link to /dev/null"])
def test_a_device_is_written_through(tmp_path, device):
    path = Path(device)
    if device.startswith("link"):
        path = tmp_path / "link"
        path.symlink_to("/dev/null")
    before = os.stat("/dev/null")
    write_whole(path, NEW)
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device_is_an_error_and_stays_a_device():
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), NEW)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_socket_is_an_error_and_stays_one(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket")
        with pytest.raises(OSError):
            write_whole(path, NEW)
    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.parametrize("through", ["/dev/stdout", "/proc/self/fd/1", "the file itself"])
def test_what_standard_output_leads_to_is_not_replaced(tmp_path, through):
    file = tmp_path / "out"
    path = str(file) if through.startswith("the") else through
    code = f"""
from pathlib import Path
from pullback.files import write_whole
print("before")
write_whole(Path({path!r}), "new\\n")
print("after")
"""
    with file.open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert file.read_text() == "before\nnew\nafter\n" and list(tmp_path.iterdir()) == [file]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    if not through.startswith("the"):
        assert done.stdout == b"before\nnew\nafter\n", "a pipe too"


def test_the_longest_name_that_there_can_be(tmp_path):
    path = tmp_path / ("n" * 255)
    write_whole(path, NEW)
    assert path.read_text() == NEW


@pytest.mark.parametrize("call", ["os.replace", "os.fsync", "shutil.copymode"])
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, NEW)
    assert path.read_bytes() == OLD and list(tmp_path.iterdir()) == [path]


def test_a_limit_that_is_reached_midway_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == OLD and list(tmp_path.iterdir()) == [path]


@pytest.fixture
def as_nobody():
    """A folder of one who is not root, and may not write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_what_is_write_protected_is_said_before(as_nobody):
    file, kept = as_nobody / "file", as_nobody / "kept"
    file.write_bytes(OLD)
    kept.write_bytes(OLD)
    kept.chmod(0o444)
    assert cannot_be_written(file) is None
    assert cannot_be_written(kept) == f"{kept} is write-protected"
    as_nobody.chmod(0o555)
    assert cannot_be_written(as_nobody / "new") == f"the folder {as_nobody} is write-protected"
    for path in (file, as_nobody / "new"):
        with pytest.raises(PermissionError):
            write_whole(path, NEW)
    assert file.read_bytes() == OLD
    as_nobody.chmod(0o755)
