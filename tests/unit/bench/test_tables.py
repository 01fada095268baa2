"""The files of a table hold its rows together, and both sides can read them."""

from pathlib import Path

import pytest

from bench.tables import COLUMN, CSV, NPY, Table
from participant.datasets import tables


@pytest.mark.parametrize("suffix", [NPY, CSV])
def test_files_are_tables_of_the_product(tmp_path: Path, suffix: str) -> None:
    """What the floor reads is what a source offers."""
    table = Table("t", 10, 3, suffix)

    paths = [table.write(tmp_path, source) for source in range(3)]

    assert [list(tables.columns(path)) for path in paths] == [[COLUMN]] * 3


def test_floor_adds_up_all_rows(tmp_path: Path) -> None:
    """Both formats hold the same numbers, to the digits that a text has."""
    sums = []
    for suffix in (NPY, CSV):
        table = Table("t", 100, 3, suffix)
        for source in range(3):
            table.write(tmp_path, source)
        sums.append(table.sum(tmp_path))

    assert sums[0] == pytest.approx(sums[1], abs=1e-4)
    assert sums[0] != 0


@pytest.mark.parametrize("rows", [10, 11, 12])
def test_sources_hold_all_rows_together(tmp_path: Path, rows: int) -> None:
    """No row is lost where they do not divide evenly."""
    table = Table("t", rows, 3, CSV)

    lines = [table.write(tmp_path, source).read_text().split() for source in range(3)]

    assert sum(len(each) - 1 for each in lines) == rows
