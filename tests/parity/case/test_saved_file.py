"""Files that are no capsules, damaged ones, and those that an enemy made."""

import io
import os
import random
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest

from pullback.parity.case import saved_file
from pullback.parity.case.saved_file import read_saved, refuse_too_large
from pullback.parity.case.saved_run import read_run
from pullback.parity.case.saved_values import CapsuleError


def npy_with(dtype="'<f4'", fortran="False", shape="(2, 3)", data=bytes(24), version=b"\x01\x00"):
    header = f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}".ljust(117) + "\n"
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode("latin-1") + data


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([Unpickled()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


class Unpickled:
    def __reduce__(self):
        return os.system, ("touch unpickled",)


def structured():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(6, [("a", "<f4")]))
    return buffer.getvalue()


def test_what_savez_writes_is_read(tmp_path):
    arrays = {
        "array0": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "array1": np.array(3, np.float16),
        "array2": np.zeros((0, 5), "i2"),
        "array3": np.arange(3, dtype=">i4"),
        "array4": np.array(["a", "bc"]),
        "array5": np.arange(3).astype("M8[ns]"),
        "array6": np.zeros((1,) * 20, bool),
        "array7": np.ones(3, np.longdouble),
        "array8": np.array([b"x"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "file.npz", capsule=np.array("{}"), **arrays)
        text, read = read_saved(tmp_path / "file.npz")
        assert text == "{}" and read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype and read[name].flags.writeable
            assert read[name].shape == array.shape and np.array_equal(read[name], array)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"array0.npy": pickled()}, "array0.npy is no array of numbers, or of text, that a capsule can hold"),
        ({"capsule.npy": pickled()}, "capsule.npy is no array of numbers"),
        ({"array0.npy": structured()}, "is no array of numbers"),
        ({"array0.npy": b"\x80\x04N."}, "array0.npy is no array"),
        ({"array0.npy": b""}, "array0.npy is no array"),
        ({"array0.npy": b"\x93NUMPY\x03\x00" + npy_with()[8:]}, "array0.npy is no array"),
        ({"array0.npy": npy_with(shape="(10000000000, 3)")}, "the shape of array0.npy does not go with its size"),
        ({"array0.npy": npy_with(shape="(3,)")}, "the shape of array0.npy does not go with its size"),
        ({"array0.npy": npy_with(shape="(-1,)")}, "is no array of numbers"),
        ({"array0.npy": npy_with(shape="(6.0,)")}, "is no array of numbers"),
        ({"array0.npy": npy_with(shape=f"({'1, ' * 64}6)")}, ""),
        ({"array0.npy": npy_with(shape=f"({'9' * 30},)")}, "is no array of numbers"),
        ({"array0.npy": npy_with(shape=f"(0, {'9' * 18}, {'9' * 18})", data=b"")}, ""),
        ({"array0.npy": npy_with(shape="((((((1,)))))))")}, "is no array of numbers"),
        ({"array0.npy": npy_with(dtype="'|O'")}, "is no array of numbers"),
        ({"array0.npy": npy_with(dtype="'<V4'")}, "is no array of numbers"),
        ({"array0.npy": npy_with(dtype="'<f3'")}, ""),
        ({"array0.npy": npy_with(dtype="'<i999999999'")}, ""),
        ({"array0.npy": npy_with(dtype="'<U0'", shape="(999999999,)", data=b"")}, "is no array of numbers"),
        ({"array0.npy": npy_with(dtype="'<M8[parsec]'", data=bytes(48))}, ""),
        ({"array0.npy": npy_with(dtype="[('a', '<f4')]")}, "is no array of numbers"),
        ({"array0.npy": npy_with(dtype="__import__('os').system('touch unpickled')")}, "is no array of numbers"),
        ({"array0.npy": npy_with(version=b"\x02\x00")[:9] + b"\xff\xff\xff\xff"}, ""),
        ({"../../evil.npy": npy_with()}, r"'../../evil.npy' does not belong in it"),
        ({"/etc/array0.npy": npy_with()}, "does not belong in it"),
        ({"array0.npy\x1b[2J": npy_with()}, r"'array0.npy\\x1b\[2J' does not belong in it"),
        ({"array1234567.npy": npy_with()}, "does not belong in it"),
        ({"capsule": b"{}"}, "does not belong in it"),
        ({"capsule.npy": None}, "there is no text in it"),
        ({"capsule.npy": npy_with()}, "its text is not one text"),
        ({"capsule.npy": npy_with(dtype="'<U3'", shape="(2,)")}, "its text is not one text"),
        ({"capsule.npy": npy_with(dtype="'<U1'", shape="()", data=b"\xff\xff\xff\xff")}, ""),
    ],
)
def test_members_that_no_capsule_has(write_capsule, tmp_path, monkeypatch, members, message):
    monkeypatch.chdir(tmp_path)
    path = write_capsule(members=members)
    with pytest.raises(
        CapsuleError, match="capsule.npz is no capsule, or a damaged one" + (message and f": .*{message}")
    ):
        read_saved(path)
    assert [file.name for file in tmp_path.iterdir()] == ["capsule.npz"], "nothing was run or unpacked"


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_other_compression(write_capsule, compression):
    """LZMA's own header says how much memory it wants, up to 4 GB."""
    with pytest.raises(CapsuleError, match="it is compressed in another way than capsules are"):
        read_saved(write_capsule(compression=compression))


def test_a_name_that_is_there_twice(write_capsule):
    path = write_capsule()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("array0.npy", npy_with())
    with pytest.raises(CapsuleError, match="'array0.npy' does not belong in it, or is there twice"):
        read_saved(path)


def memory_to_refuse(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(CapsuleError, match=message):
            read_saved(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, write_capsule):
    path, length = write_capsule(), 2**29
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("array2.npy", "w", force_zip64=True) as member:
            member.write(npy_with(dtype="'|u1'", shape=f"({length},)", data=b""))
            for _ in range(64):
                member.write(bytes(length // 64))
    assert path.stat().st_size < 3_000_000
    message = (
        r"unpacked it would take 536,87\d,\d+ bytes, of which \d,\d+ for the text, and a capsule takes at most 286,"
    )
    assert memory_to_refuse(path, message) < 1_000_000


def test_a_long_text_is_refused_before_it_is_unpacked(write_capsule):
    path = write_capsule("[" * (saved_file.TEXT_LIMIT + 1000))
    assert memory_to_refuse(path, "of which 16,78") < 1_000_000


def test_a_size_that_is_not_true_brings_no_more_than_it_says(write_capsule):
    """The zip says 152 bytes, and more are packed."""
    path = write_capsule(members={"array0.npy": npy_with(data=bytes(2**25))})
    true, said = (128 + 2**25).to_bytes(4, "little"), (128 + 24).to_bytes(4, "little")
    whole = path.read_bytes()
    assert whole.count(true) == 2, "once before the data, once in the list at the end"
    path.write_bytes(whole.replace(true, said))
    assert memory_to_refuse(path, "damaged one") < 1_000_000


def test_a_long_list_of_members_is_refused_before_it_is_read(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "many.npz", "w") as archive:
        for n in range(12_000):
            archive.writestr(f"{n:0>40}.npy", b"")
    assert memory_to_refuse(path, "it does not end as a capsule does") < 1_000_000
    (tmp_path / "comment.npz").write_bytes(path.read_bytes()[:-2] + b"\x01\x00a")
    assert memory_to_refuse(tmp_path / "comment.npz", "it does not end as a capsule does") < 1_000_000


def test_a_large_file_is_not_looked_at(tmp_path):
    with open(path := tmp_path / "large.npz", "wb") as file:
        file.truncate(2**40)
    assert memory_to_refuse(path, r"it has 1,099,511,627,776 bytes, and a capsule has at most") < 1_000_000


def test_what_is_no_file(tmp_path, within):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    rows = [
        (tmp_path, "Is a directory"),
        (tmp_path / "fifo", "it is no regular file"),
        ("/dev/zero", "it is no regular file"),
        (tmp_path / "nothing", "No such file or directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / "capsule" / "x", "No such file or directory"),
    ]
    for path, message in rows:
        with within(10), pytest.raises(CapsuleError, match=f"^cannot read the capsule {path}: {message}$"):
            read_saved(path)
    with pytest.raises(CapsuleError, match="is no capsule"):
        read_saved("a\0b")


@pytest.fixture
def within():
    """A reader that waits for a FIFO's writer gets one that writes nothing, and the test fails."""
    import contextlib

    @contextlib.contextmanager
    def within(seconds):
        late: list[bool] = []
        timer = threading.Timer(seconds, lambda: late.append(True) or os._exit(9))
        timer.start()
        yield
        timer.cancel()

    return within


def test_a_file_that_may_not_be_read(write_capsule):
    path = write_capsule()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(CapsuleError, match="cannot read the capsule .*: Permission denied"):
        read_saved(path)


def test_what_would_not_be_read_is_not_written():
    with pytest.raises(
        CapsuleError, match="the arrays take 268,435,457 bytes, and a capsule holds at most 268,435,456"
    ):
        refuse_too_large("{}", [np.broadcast_to(np.uint8(0), (2**28 + 1,))])
    with pytest.raises(
        CapsuleError, match="no arrays take 4,194,305 characters, and a capsule holds at most 4,194,304"
    ):
        refuse_too_large(" " * (2**22 + 1), [])
    refuse_too_large(" " * 2**22, [np.broadcast_to(np.uint8(0), (2**28,))])


MUTANTS = 600


def test_mutated_files_are_read_as_they_were_or_refused(write_capsule):
    """Bytes flipped, cut, doubled and swapped, from a fixed seed: nothing but CapsuleError, and never another array."""
    rng = random.Random(0)
    path = write_capsule(compression=zipfile.ZIP_STORED)
    files = [path.read_bytes(), write_capsule().read_bytes()]
    text, arrays = read_saved(path)
    refused = 0
    for _ in range(MUTANTS):
        path.write_bytes(mutated(rng, rng.choice(files)))
        try:
            read_run(path)
            new_text, new = read_saved(path)
        except CapsuleError as error:
            refused += 1
            assert str(error).count("\n") == 0 and str(path) in str(error)
        else:
            assert new_text == text and new.keys() == arrays.keys()
            assert all(np.array_equal(new[name], arrays[name]) for name in arrays)
    print(f"{refused:,} of {MUTANTS:,} mutated capsules refused")
    assert refused > MUTANTS / 2


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, length = rng.randrange(len(data)), rng.choice([1, 2, 4, 40])
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = rng.choice([b"\xff", b"\x00", b"\x7f", b"9", b"("]) * length
            case 5:
                del data[max(1, at) :]
    return bytes(data)
