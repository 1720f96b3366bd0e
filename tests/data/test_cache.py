import fcntl
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pullback.data import DataError, cache, cache_dir, load_mnist
from pullback.data.cache import IDX_FILES, check_published, filling, is_published, save
from pullback.data.decode import find_idx
from pullback.data.fetch import download

NAMES = list(IDX_FILES)


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("PULLBACK_DATA_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("PULLBACK_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "pullback"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "pullback"


@pytest.fixture
def no_home(monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for variable in ("HOME", "XDG_CACHE_HOME", "PULLBACK_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_no_home_and_no_entry_among_the_users(no_home):
    message = (
        r"^there is no folder for the cache: this user has no home. The .* PULLBACK_DATA_DIR names another folder\.$"
    )
    for source in ("cache", "download"):
        with pytest.raises(DataError, match=message):
            load_mnist(source)


def test_the_home_of_no_user(monkeypatch):
    monkeypatch.setenv("PULLBACK_DATA_DIR", "~nosuchuser/mnist")
    with pytest.raises(DataError, match=r"PULLBACK_DATA_DIR is '~nosuchuser/mnist', and that user has no home\."):
        load_mnist("cache")


def test_only_the_published_bytes_are_published(small_files, tmp_path):
    name, body = next(iter(small_files.items()))
    path = tmp_path / name
    path.write_bytes(body)
    check_published(path)
    for wrong, why in [(body[:-1], "it has 99 bytes of 100"), (body[:-1] + b"?", "its sha256 differs")]:
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=rf"{name} is not the published file: {why}. Delete it and fetch it again"):
            check_published(path)
        assert not is_published(path)
    with pytest.raises(DataError, match="other is not a published file: none has that name"):
        check_published(tmp_path / "other")
    assert not is_published(tmp_path / NAMES[1])


def test_a_file_of_the_right_name_and_a_terabyte_is_not_read(tmp_path, within):
    with (tmp_path / NAMES[0]).open("wb") as file:
        file.truncate(1 << 40)
    with within(2), pytest.raises(DataError, match=r"it has 1,099,511,627,776 bytes of 9,912,422"):
        check_published(tmp_path / NAMES[0])


def test_save_takes_the_place_of_what_was_there(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"somebody else's")
    (tmp_path / NAMES[0]).symlink_to("elsewhere")
    save(tmp_path / NAMES[0], b"new")
    assert (tmp_path / NAMES[0]).read_bytes() == b"new" and not (tmp_path / NAMES[0]).is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody else's"
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / NAMES[0]).stat().st_mode & 0o777 == 0o666 & ~umask, "readable to whom files here are"


@pytest.mark.parametrize("full", [0, 1000])
def test_a_disk_that_is_full(tmp_path, full):
    """A limit on the size of files does what a full disk does: a part is written, and then an error comes."""
    (tmp_path / NAMES[0]).write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
    try:
        with pytest.raises(DataError, match=rf"{NAMES[0]} cannot be written: File too large\. .*PULLBACK_DATA_DIR"):
            save(tmp_path / NAMES[0], bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_folder_in_a_files_place(tmp_path):
    (tmp_path / NAMES[0]).mkdir()
    with pytest.raises(DataError, match=rf"{NAMES[0]} cannot be written: Is a directory"):
        save(tmp_path / NAMES[0], b"new")
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[0]]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder.write_text(""), "File exists"),
        (lambda folder: (folder.parent / "file").write_text(""), None),
        (lambda folder: folder.symlink_to("nowhere/at/all"), "No such file or directory|File exists"),
    ],
)
def test_a_cache_that_cannot_be_made(tmp_path, good, make, why):
    folder = tmp_path / "cache" if why else tmp_path / "file" / "cache"
    make(tmp_path / "cache")
    message = rf"^the cache {re.escape(str(folder))} cannot be written: ({why or 'Not a directory'})\. .*DATA_DIR"
    with pytest.raises(DataError, match=message):
        download(folder)


@pytest.mark.parametrize("folder", ["n" * 300, "a\0b"])
def test_a_cache_with_an_impossible_name(tmp_path, folder):
    with pytest.raises(DataError, match=r"^the cache .* cannot be written: (File name too long|.*embedded null .*)\. "):
        download(tmp_path / folder)


def test_a_cache_that_may_only_be_read(nobody, good):
    (nobody / "cache").mkdir(0o555)
    message = (
        rf"^the cache {nobody}/cache cannot be written: Permission denied\. The environment variable PULLBACK_DATA"
    )
    with pytest.raises(DataError, match=message):
        download(nobody / "cache")


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in IDX_FILES)


def test_what_killed_downloads_left_is_swept_and_nothing_else(tmp_path):
    ours = [f"{name}.{'0123456789abcdef'}.part" for name in IDX_FILES]
    for name in ours:
        (tmp_path / name).write_bytes(b"half")
    # What pooch left, which version 0.1.0 downloaded with, and what looks like it.
    (tmp_path / "tmp0a1b2c3d").write_bytes(bytes.fromhex("1f8b08087a829032 0003") + b"train-images.idx3-ubyte\0...")
    foreign = {
        "tmp0a1b2c3e": b"\x1f\x8b\x08\x08\x7a\x82\x90\x32\0\x03thesis.tex\0...",
        "tmp0a1b2c3f": b"",
        "notes.part": b"mine",
        f"{NAMES[0]}.part": b"mine",
        f"{NAMES[0]}.0123.part": b"mine",
        "train.0123456789abcdef.part": b"mine",
    }
    for name, body in foreign.items():
        (tmp_path / name).write_bytes(body)
    link, folder = f"{NAMES[0]}.{'a' * 16}.part", f"{NAMES[0]}.{'b' * 16}.part"
    (tmp_path / link).symlink_to("notes.part")
    (tmp_path / folder).mkdir()
    with filling(tmp_path):
        assert parts(tmp_path) == sorted([*foreign, link, folder])


WRITER = """
import sys, time
from pathlib import Path
from pullback.data.cache import filling, save

def waits(self, target):
    print("written", flush=True)
    sys.stdin.readline()
    return replace(self, target)

replace, Path.replace = Path.replace, waits
path = Path(sys.argv[1])
with filling(path.parent):
    save(path, b"whole")
"""


def writer(path: Path) -> subprocess.Popen:
    """A process that has written its temporary file, and gives it its name when it is told to."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    return process


def test_a_killed_download_is_swept_and_one_that_lives_is_not(tmp_path):
    lives, dies = writer(tmp_path / NAMES[0]), writer(tmp_path / NAMES[1])
    assert len(parts(tmp_path)) == 2
    dies.send_signal(signal.SIGKILL)
    dies.communicate()
    with filling(tmp_path):
        assert len(parts(tmp_path)) == 2, "somebody is at work here, and whose these are is not known"
    second = writer(tmp_path / NAMES[2])
    lives.communicate(b"\n")
    assert lives.returncode == 0 and (tmp_path / NAMES[0]).read_bytes() == b"whole"
    with filling(tmp_path):
        assert len(parts(tmp_path)) == 2, "the second began beside the first, and is at work still"
    second.communicate(b"\n")
    assert second.returncode == 0 and (tmp_path / NAMES[2]).read_bytes() == b"whole"
    assert len(parts(tmp_path)) == 1
    with filling(tmp_path):
        assert parts(tmp_path) == []
        with filling(tmp_path):
            pass  # two in one process, in threads for example: neither waits for the other


def test_the_sizes_and_sums_are_those_of_the_files(full_mnist):
    if find_idx(full_mnist) is None:
        pytest.skip("the cache holds MNIST as a pickle, not as IDX files")
    for name, published in IDX_FILES.items():
        raw = (full_mnist / name).read_bytes()
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == published


@pytest.mark.parametrize("locks", ["none, as on Windows", "refused, as on some network disks"])
def test_where_folders_cannot_be_locked(tmp_path, monkeypatch, locks):
    """The download works. On Windows what is in use is not removed, so it sweeps; elsewhere it is not known, so not."""

    def refuse(descriptor, how):
        raise OSError("no locks here")

    if locks.startswith("none"):
        monkeypatch.setattr(cache, "fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", refuse)
    left = tmp_path / f"{NAMES[1]}.{'0' * 16}.part"
    left.touch()
    with filling(tmp_path):
        save(tmp_path / NAMES[0], b"whole")
    assert (tmp_path / NAMES[0]).read_bytes() == b"whole"
    assert left.exists() == locks.startswith("refused")


def test_a_download_that_begins_during_a_sweep_is_protected_after_it(tmp_path):
    """It waits for the sweep to end: without a share in the lock, its file would be taken for one of the dead."""
    sweeping = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(sweeping, fcntl.LOCK_EX)
    sweep = threading.Timer(0.3, os.close, [sweeping])
    sweep.start()
    with filling(tmp_path):
        sweep.join()
        (tmp_path / f"{NAMES[0]}.{'0' * 16}.part").touch()
        with filling(tmp_path):
            assert len(parts(tmp_path)) == 1


def test_a_folder_that_somebody_else_locked_for_good(tmp_path, within):
    foreign = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(foreign, fcntl.LOCK_EX)
    with within(10), filling(tmp_path):
        save(tmp_path / NAMES[0], b"whole")
    os.close(foreign)
    assert (tmp_path / NAMES[0]).read_bytes() == b"whole"
