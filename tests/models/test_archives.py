"""Archives of versions are checked before they are unpacked: their size is bounded, and they contain only arrays."""

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models import archives
from models.archives import UnsafeArchive, read_npz

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class RunsCode:
    """Unpickling this object creates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npy(array: npt.NDArray[Any], **changes: Any) -> bytes:
    """The content of a .npy file. changes: entries of the header to change."""
    stream = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, header | changes)
    return stream.getvalue() + array.tobytes()


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(UnsafeArchive, match=message) as error:
        read_npz(path)
    assert "\n" not in str(error.value)


def test_arrays_are_read_as_numpy_writes_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=ARRAY, empty=np.zeros((0, 3)), number=np.float32(2))
    np.savez_compressed(tmp_path / "b.npz", w=ARRAY)
    found = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["w"], ARRAY)
    assert (found["empty"].shape, found["number"].shape) == ((0, 3), ())
    np.testing.assert_array_equal(read_npz(tmp_path / "b.npz")["w"], ARRAY)


def test_archive_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    code = RunsCode(tmp_path / "ran")
    objects = np.array([code], dtype=object)
    np.savez(tmp_path / "objects.npz", w=objects)
    refused(tmp_path / "objects.npz", r"w.npy contains Python objects")
    refused(write_zip(tmp_path / "pickle.npz", {"w.npy": pickle.dumps(code)}), "is not an array")
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(code))
    refused(tmp_path / "raw.npz", "not a valid ZIP file")
    assert not code.path.exists()


@pytest.mark.parametrize("name", ["../w.npy", "/etc/w.npy", "a/w.npy", "a\\w.npy", "..", "."])
def test_archive_member_names_with_a_path_are_refused(tmp_path: Path, name: str) -> None:
    refused(write_zip(tmp_path / "a.npz", {name: npy(ARRAY)}), "has a member with the name")


def test_archive_with_repeated_names_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("w.npy", npy(ARRAY))
        archive.writestr("w.npy", npy(ARRAY + 1))
    refused(tmp_path / "a.npz", "several members with the same name")


def test_archive_that_unpacks_to_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = write_zip(tmp_path / "bomb.npz", {"w.npy": npy(np.zeros(10**6))}, zipfile.ZIP_DEFLATED)
    refused(bomb, "unpacks to more than 100 times its size")
    np.savez(tmp_path / "a.npz", w=ARRAY, v=ARRAY)
    monkeypatch.setattr(archives, "MAX_BYTES", 200)
    refused(tmp_path / "a.npz", "unpacks to more than 200 bytes")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    refused(tmp_path / "a.npz", "has 2 members; at most 1")
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    refused(tmp_path / "a.npz", "list of members that is too long")


@pytest.mark.parametrize("shape", [(10**12,), (2, 10**15), (2**40, 2**40), (-1,), (3, 3)])
def test_array_that_declares_more_values_than_it_stores_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = {"w.npy": npy(np.zeros(2), shape=shape)}
    refused(write_zip(tmp_path / "a.npz", content), "declares more values than are stored")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00\xff\xff{", npy(ARRAY)[:20]])
def test_archive_member_without_an_array_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(write_zip(tmp_path / "a.npz", {"w.npy": content}), "w.npy is not an array")


def test_archive_with_a_false_directory_size_is_refused(tmp_path: Path) -> None:
    """Python's ZIP reader would load the whole directory. The size is in the last bytes, or in the preceding ZIP64
    record.
    """
    np.savez(tmp_path / "a.npz", w=ARRAY)
    content = (tmp_path / "a.npz").read_bytes()
    large = content[:-10] + struct.pack("<L", 2**31) + content[-6:]
    zip64 = content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:]
    for changed in (large, zip64):
        (tmp_path / "b.npz").write_bytes(changed)
        refused(tmp_path / "b.npz", "list of members that is too long")
    for changed in (b"", content[:-1], content[:10]):
        (tmp_path / "b.npz").write_bytes(changed)
        refused(tmp_path / "b.npz", "not a valid ZIP file")
