"""NumPy datasets, and files that are none."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from participant.columns import Missing
from participant.datasets import numpy_table
from participant.datasets.tables import columns
from shared.errors import RefusalCode, RefusedError
from tests.unit.participant.datasets.whole import read_columns


def _refusal(
    path: Path, *names: str, missing: Missing = Missing.REFUSE
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_columns(path, names, missing)
    return caught.value


def _structured() -> np.ndarray[tuple[int], np.dtype[np.void]]:
    table = np.zeros(5, [("a", "<f4"), ("b", ">i4"), ("c", "S3"), ("d", "?")])
    table["a"] = [1, 2, np.nan, 4, 5]
    table["b"] = [10, 20, 30, 40, 50]
    table["d"] = [True, False, True, False, True]
    return table


def test_a_structured_array_is_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields are columns, whatever their number type; chunks do not show."""
    monkeypatch.setattr(numpy_table, "CHUNK_ROWS", 2)
    path = tmp_path / "t.npy"
    np.save(path, _structured())
    assert columns(path) == ["a", "b", "c", "d"]

    found = read_columns(path, ["b", "a", "d"], Missing.DROP)

    assert found["a"].tolist() == [1, 2, 4, 5]
    assert found["b"].tolist() == [10, 20, 40, 50]
    assert found["d"].tolist() == [1, 0, 0, 1]


def test_gaps_and_infinity_in_arrays_are_told_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays have no lines; rows count from 1."""
    monkeypatch.setattr(numpy_table, "CHUNK_ROWS", 2)
    table = _structured()
    path = tmp_path / "t.npy"
    np.save(path, table)
    error = _refusal(path, "a")
    assert error.code is RefusalCode.MISSING_VALUES
    assert "row 3" in str(error)

    table["a"][3] = np.inf
    np.save(path, table)

    error = _refusal(path, "a", missing=Missing.DROP)
    assert error.code is RefusalCode.NOT_NUMERIC
    assert "row 4" in str(error)


def test_texts_and_objects_are_refused(tmp_path: Path) -> None:
    """Nothing is converted by guess, nothing unpickled."""
    path = tmp_path / "t.npy"
    np.save(path, _structured())
    assert _refusal(path, "c").code is RefusalCode.NOT_NUMERIC

    np.save(path, np.array([({},)], [("a", object)]), allow_pickle=True)

    assert "never loaded" in str(_refusal(path, "a"))


def test_an_array_without_names_is_refused(tmp_path: Path) -> None:
    """There is nothing to ask for."""
    path = tmp_path / "t.npy"
    np.save(path, np.zeros((3, 2)))

    error = _refusal(path, "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert "structured" in str(error)


def test_an_archive_of_arrays_is_a_dataset(tmp_path: Path) -> None:
    """One array a column, compressed or not."""
    path = tmp_path / "t.npz"
    np.savez_compressed(path, a=np.arange(4), b=np.array([0.5, np.nan, 2, 3]))
    assert columns(path) == ["a", "b"]

    found = read_columns(path, ["a", "b"], Missing.DROP)

    assert found["a"].tolist() == [0, 2, 3]
    assert found["b"].tolist() == [0.5, 2, 3]
    assert "row 2" in str(_refusal(path, "b"))


def test_archives_that_are_no_table_are_refused(tmp_path: Path) -> None:
    """Of different lengths, of tables, of objects, or damaged."""
    path = tmp_path / "t.npz"
    np.savez(path, a=np.arange(4), b=np.arange(3), c=np.zeros((2, 2)))
    assert _refusal(path, "a", "b").code is RefusalCode.DATASET_UNREADABLE
    assert _refusal(path, "c").code is RefusalCode.DATASET_UNREADABLE
    np.savez(path, a=np.array([{}]), allow_pickle=True)
    assert _refusal(path, "a").code is RefusalCode.DATASET_UNREADABLE

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"nothing")
    assert _refusal(path, "a").code is RefusalCode.DATASET_UNREADABLE

    path.write_bytes(b"nothing")
    assert _refusal(path, "a").code is RefusalCode.DATASET_UNREADABLE


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    """Cut off, or not NumPy's at all."""
    path = tmp_path / "t.npy"
    np.save(path, _structured())
    os.truncate(path, path.stat().st_size - 1)
    assert "ends before" in str(_refusal(path, "a"))

    path.write_bytes(b"nothing")

    assert _refusal(path, "a").code is RefusalCode.DATASET_UNREADABLE


@pytest.mark.parametrize("name", ["t.xlsx", "t.db", "t"])
def test_other_formats_are_refused_with_those_there_are(
    tmp_path: Path, name: str
) -> None:
    """The owner can convert the file."""
    path = tmp_path / name
    path.write_bytes(b"a\n1\n")

    error = _refusal(path, "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert ".csv, .npy, .npz, .parquet, .toml" in str(error)


def test_files_that_cannot_be_opened_are_refused_without_their_path(
    tmp_path: Path,
) -> None:
    """Absent, a folder, a pipe (which would block for ever)."""
    absent = tmp_path / "absent.csv"
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path in (absent, folder, pipe):
        error = _refusal(path, "a")

        assert error.code is RefusalCode.DATASET_UNREADABLE
        assert str(tmp_path) not in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """The participant may run as another user than the data's owner."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n")
    path.chmod(0)

    assert "may not be read" in str(_refusal(path, "a"))
