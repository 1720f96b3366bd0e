from pathlib import Path

import pytest

from pullback.files import cannot_be_written, write_whole


def test_cannot_be_written(tmp_path):
    assert cannot_be_written(tmp_path / "new.json") is None and cannot_be_written(Path("new.json")) is None
    assert cannot_be_written(tmp_path) == f"{tmp_path} is a folder"
    assert cannot_be_written(tmp_path / "no" / "new.json") == f"the folder {tmp_path / 'no'} does not exist"


def test_write_whole(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old ·\n")
    write_whole(path, "new ·\n")
    assert path.read_bytes() == "new ·\n".encode() and list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
