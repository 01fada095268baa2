"""Parquet datasets: what is read, and what is refused with which words."""

import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from participant.columns import Missing
from participant.datasets import parquet_table
from participant.datasets.tables import columns, open_dataset
from shared.errors import RefusalCode, RefusedError
from tests.unit.participant.datasets.whole import read_columns


def write(folder: Path, row_group_size: int = 2, **named: pa.Array) -> Path:
    """Write a table in row groups of a few rows."""
    path = folder / "t.parquet"
    parquet.write_table(pa.table(named), path, row_group_size=row_group_size)
    return path


def refusal(path: Path, *names: str, missing: Missing = Missing.REFUSE) -> RefusedError:
    """Read columns, which must be refused."""
    with pytest.raises(RefusedError) as caught:
        read_columns(path, names, missing)
    return caught.value


def test_every_kind_of_number_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers, floats, decimals and truth values, rounded as CSV's are."""
    monkeypatch.setattr(parquet_table, "BATCH_ROWS", 2)
    path = write(
        tmp_path,
        text=pa.array(["x", "y", "z"]),
        whole=pa.array([1, -(2**53) - 1, 2**62 + 1], pa.int64()),
        unsigned=pa.array([0, 1, 2**64 - 1], pa.uint64()),
        half=np.array([0.5, 1, 2], np.float16),
        money=pa.array([Decimal("0.10"), Decimal("-3.25"), Decimal("1e20")]),
        truth=pa.array([True, False, True]),
    )
    names = ["whole", "unsigned", "half", "money", "truth"]

    assert columns(path) == ["text", *names]
    with open_dataset(path) as table:
        table.names()
        parts = list(table.parts(names, Missing.REFUSE))
    found = read_columns(path, names, Missing.REFUSE)

    assert [len(part[0]) for part in parts] == [2, 1]
    assert found["whole"].tolist() == [1.0, float(-(2**53) - 1), float(2**62 + 1)]
    assert found["unsigned"].tolist() == [0.0, 1.0, float(2**64 - 1)]
    assert found["half"].tolist() == [0.5, 1.0, 2.0]
    assert found["money"].tolist() == [0.1, -3.25, 1e20]
    assert found["truth"].tolist() == [1.0, 0.0, 1.0]


def test_null_and_nan_are_gaps_and_infinity_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows count from 1 over all parts."""
    monkeypatch.setattr(parquet_table, "BATCH_ROWS", 2)
    path = write(
        tmp_path,
        nulls=pa.array([1, None, 3, None, 2**60], pa.int64()),
        nans=pa.array([1, 2, float("nan"), 4, 5.0]),
        infinite=pa.array([1, 2, 3, float("-inf"), 5.0]),
        truths=pa.array([True, None, None, False, False]),
    )

    found = read_columns(path, ["nulls", "nans", "truths"], Missing.DROP)

    assert found["nulls"].tolist() == [1.0, float(2**60)]
    assert found["truths"].tolist() == [1.0, 0.0]
    assert found["nans"].tolist() == [1.0, 5.0]
    gap, infinite = refusal(path, "nans"), refusal(path, "infinite")
    assert (gap.code, infinite.code) == (
        RefusalCode.MISSING_VALUES,
        RefusalCode.NOT_NUMERIC,
    )
    assert "'nans' has no value in row 3" in str(gap)
    assert "'infinite' is not a finite number in row 4" in str(infinite)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "2"]),
        pa.array([[1], [2]]),
        pa.array([{"b": 1}, {"b": 2}]),
        pa.array([1, 2], pa.timestamp("s")),
        pa.array([None, None]),
        pa.array(["1", "2"]).dictionary_encode(),
    ],
    ids=["text", "list", "struct", "time", "null", "dictionary"],
)
def test_what_is_no_number_is_refused(tmp_path: Path, column: pa.Array) -> None:
    """Nothing is converted by guess."""
    assert refusal(write(tmp_path, a=column), "a").code is RefusalCode.NOT_NUMERIC


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """What lies inside of a nested column is not one either."""
    path = write(tmp_path, a=pa.array([{"b": 1}]))

    assert refusal(path, "a.b").code is RefusalCode.UNKNOWN_COLUMN


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """No Parquet at all, or with damage that only the rows show."""
    path = tmp_path / "t.parquet"
    path.write_bytes(b"a\n1\n")
    assert "not a Parquet table" in str(refusal(path, "a"))

    write(tmp_path, row_group_size=1000, a=pa.array(np.arange(1000.0)))
    data = bytearray(path.read_bytes())
    data[4:64] = b"\xff" * 60
    path.write_bytes(data)

    assert columns(path) == ["a"]
    assert "damaged" in str(refusal(path, "a"))


def test_without_pyarrow_the_owner_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra, and large."""
    path = write(tmp_path, a=pa.array([1]))
    monkeypatch.delitem(sys.modules, "participant.datasets.parquet_table")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    error = refusal(path, "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert "needs pyarrow" in str(error)
    assert error.hint == "run: pip install 'mpc-management[parquet]'"
