"""CSV datasets: what is read, and what is refused with which words."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from participant.columns import Missing
from participant.datasets import csv_table
from participant.datasets.tables import columns, open_columns, open_dataset
from shared.errors import RefusalCode, RefusedError
from tests.unit.participant.datasets.whole import read_columns


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "data.csv"
    path.write_bytes(content)
    return path


def _read(
    path: Path, *names: str, missing: Missing = Missing.REFUSE
) -> list[list[float]]:
    found = read_columns(path, names, missing)
    return [found[name].tolist() for name in names]


def _refusal(
    path: Path, *names: str, missing: Missing = Missing.REFUSE
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_columns(path, names, missing)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2.5\n-3,4e2\n",
        b"a,b\r\n1,2.5\r\n-3,4e2\r\n",
        b"\xef\xbb\xbfa,b\n1,2.5\n-3,4e2",
        b'"a","b"\n"1","2.5"\n"-3","4e2"\n',
        b"a , b\n 1 , 2.5\n -3, 4e2 \n\n\n",
        b"a,b\n\n1,2.5\n\n-3,400\r\n",
        b"b,c,a\n2.5,x y,1\n400.,\xc3\xa9,-3\n",
        b'c,b,a\n"x, ""y""\nz",2.5,1\n\n,+400,-3\n\n',
    ],
    ids=["plain", "crlf", "bom", "quotes", "blanks", "empty", "order", "multiline"],
)
def test_every_form_of_csv_gives_the_same_columns(
    tmp_path: Path, content: bytes
) -> None:
    """Spreadsheets, R and databases write CSV in different ways."""
    path = _write(tmp_path, content)

    assert _read(path, "a", "b") == [[1.0, -3.0], [2.5, 400.0]]


def test_the_number_of_rows_is_told(tmp_path: Path) -> None:
    """A source's acceptance says how large its input is."""
    path = _write(tmp_path, b"a\n1\n\n2\n")
    with open_columns(path, ["a"], Missing.DROP) as found:
        lengths = [len(part["a"]) for part in found]

    assert (found.rows, sum(lengths)) == (2, 2)


def test_names_are_read_without_the_rows(tmp_path: Path) -> None:
    """Presence needs them often, and the rows may be many, or bad."""
    path = _write(tmp_path, b'a,"b c",d\nnot,even,\xff\n')

    assert columns(path) == ["a", "b c", "d"]


@pytest.mark.parametrize(
    "text",
    [
        "0", "-0", "7", "+7", "007", ".5", "5.", "-.5", "1e3", "1E-3", "0.1", "123.456",
        "9007199254740992", "9007199254740993", "123456789012345678901234567890",
        "0.8414709848078965", "1.7976931348623157e308", "5e-324", "1e-400",
        "0.000000000000000001", "-12345.678901234567", "99999999999999999999.5",
    ],
)  # fmt: skip
def test_a_number_is_read_as_python_reads_it(tmp_path: Path, text: str) -> None:
    """Correctly rounded on every path, alone and among other forms."""
    alone = _write(tmp_path, f"a,b\n{text},1\n".encode())
    assert _read(alone, "a") == [[float(text)]]

    mixed = _write(tmp_path, f"b,a\n1,{text}\n2,NA\n3,0.25\n4, {text}\n".encode())

    assert _read(mixed, "a", missing=Missing.DROP) == [[float(text), 0.25, float(text)]]


def test_random_numbers_in_all_notations_are_read_exactly(tmp_path: Path) -> None:
    """Against Python's own reading, over several chunks."""
    generator = np.random.default_rng(7)
    numbers = generator.normal(size=90_000) * 10.0 ** generator.integers(-9, 9, 90_000)
    formats = ("{:.3f}", "{!r}", "{:.17e}", "{:.0f}", "{:+.6g}")
    texts = [formats[i % 5].format(float(number)) for i, number in enumerate(numbers)]
    path = _write(tmp_path, ("a\n" + "\n".join(texts)).encode())

    assert _read(path, "a") == [[float(text) for text in texts]]


def test_chunks_may_end_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line, a CRLF or blank lines may lie across the chunks' border."""
    content = b"a,b\r\n" + b"".join(b"%d,%d\r\n" % (i, i * i) for i in range(30))
    path = _write(tmp_path, content + b"\r\n\r\n")
    expected = [[float(i) for i in range(30)], [float(i * i) for i in range(30)]]
    for size in range(1, 40):
        monkeypatch.setattr(csv_table, "CHUNK_BYTES", size)

        assert _read(path, "a", "b") == expected


def test_a_quote_after_many_rows_changes_nothing(tmp_path: Path) -> None:
    """The careful way starts where the fast one stops, line numbers included."""
    rows = b"".join(b"%d,x\n" % i for i in range(300_000))
    path = _write(tmp_path, b"a,b\n" + rows + b'7,"y\nz"\n')
    assert _read(path, "a")[0] == [*map(float, range(300_000)), 7.0]

    path = _write(tmp_path, b"a,b\n" + rows + b'7,"y\nz"\nbad,z\n')

    assert "line 300004" in str(_refusal(path, "a"))


@pytest.mark.parametrize("cell", ["", "NA", "na", "NaN", " nan "])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_missing_value_is_refused_with_its_line(
    tmp_path: Path, cell: str, quote: str
) -> None:
    """The owner has to find the gap."""
    path = _write(tmp_path, f"a,b\n1,1\n2,{quote}{cell}{quote}\n3,3\n".encode())

    error = _refusal(path, "a", "b")

    assert error.code is RefusalCode.MISSING_VALUES
    assert "'b'" in str(error)
    assert "line 3" in str(error)


def test_rows_with_gaps_are_dropped_on_demand(tmp_path: Path) -> None:
    """Only gaps in the columns in use count."""
    path = _write(tmp_path, b"a,b,c\n1,,1\n2,2,NA\nNaN,3,3\n4,4,4\n")

    assert _read(path, "a", "b", missing=Missing.DROP) == [[2.0, 4.0], [2.0, 4.0]]
    assert _read(path, "b", missing=Missing.DROP) == [[2.0, 3.0, 4.0]]


def test_blank_lines_of_one_column_are_gaps_but_at_the_end(tmp_path: Path) -> None:
    """An empty cell of a one-column table looks like a blank line."""
    path = _write(tmp_path, b"a\n1\n\n2\n\n\n")
    assert _refusal(path, "a").code is RefusalCode.MISSING_VALUES
    assert _read(path, "a", missing=Missing.DROP) == [[1.0, 2.0]]

    path = _write(tmp_path, b'a\n"1"\n\n2\n\n\n')

    assert "line 3" in str(_refusal(path, "a"))


@pytest.mark.parametrize(
    "content", [b"a,b\n", b"a,b", b"a,b\n\n\n", b"a,b\nNA,1\n,2\n"]
)
def test_nothing_to_compute_on_is_an_empty_dataset(
    tmp_path: Path, content: bytes
) -> None:
    """No row at all, or none that is complete."""
    path = _write(tmp_path, content)

    error = _refusal(path, "a", missing=Missing.DROP)

    assert error.code is RefusalCode.EMPTY_DATASET


@pytest.mark.parametrize(
    "cell",
    ["secret7", "inf", "-Infinity", "1e999", "0x10", "1_0", "1 2", "--1", "1.2.3", "1e", "e5", "-", ".", "1-2", "\u0661", "1,5"],
)  # fmt: skip
@pytest.mark.parametrize("others", ["1", "0.12345678901234567"])
def test_what_is_no_number_is_refused_without_its_text(
    tmp_path: Path, cell: str, others: str
) -> None:
    """The value of a cell is private even if it is a wrong one."""
    quoted = f'"{cell}"' if "," in cell else cell
    path = _write(tmp_path, f"b,a\n1,{others}\n1,{quoted}\n1,{others}\n".encode())

    error = _refusal(path, "a")

    assert error.code is RefusalCode.NOT_NUMERIC
    assert str(error) == "column 'a' is not a finite number in line 3"


def test_a_column_that_is_not_there_is_named_alone(tmp_path: Path) -> None:
    """The other columns' names must not cross the wire."""
    path = _write(tmp_path, b"private,b\n1,2\n")

    error = _refusal(path, "x")

    assert error.code is RefusalCode.UNKNOWN_COLUMN
    assert str(error) == "no column 'x'"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Nobody can say which one is meant."""
    path = _write(tmp_path, b"a,a\n1,2\n")

    assert _refusal(path, "a").code is RefusalCode.UNKNOWN_COLUMN


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "header"),
        (b"\n1\n", "header"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells"),
        (b"a,b\n1,2\n3,4,5\n", "line 3 has 3 cells"),
        (b"a,b\n1,2\n3\n4,5,6\n", "line 3 has 1 cells"),
        (b"a\n1\n1,2\n", "line 3 has 2 cells"),
        (b"a,b\n1,2\n1,\xff\n", "line 3 is not UTF-8"),
        (b'a,b\n1,"x\xff"\n', "line 2 is not UTF-8"),
        (b"\xff\xfea\x00,\x00b\x00\n", "line 1 is not UTF-8"),
        (b'a,b\n1,"2"x\n', "line 2 is not CSV"),
        (b'a,b\n1,"2\n', "is not CSV"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """With the line that the owner has to look at."""
    error = _refusal(_write(tmp_path, content), "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert words in str(error)


def test_an_endless_line_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A binary file with a wrong suffix may have no line ends."""
    monkeypatch.setattr(csv_table, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(csv_table, "CHUNK_BYTES", 500)
    assert "too long" in str(_refusal(_write(tmp_path, b"a" * 3000), "a"))

    assert "longer" in str(_refusal(_write(tmp_path, b"a\n" + b"1" * 3000), "a"))


def _append(path: Path) -> None:
    with path.open("ab") as writer:
        writer.write(b"2\n")


def _replace(path: Path) -> None:
    """Put another file there, of the same size and time."""
    times = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(b"a\n3\n4\n")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def _truncate(path: Path) -> None:
    os.truncate(path, 0)


def _names_after(change: Callable[[Path], None], path: Path) -> list[str]:
    with open_dataset(path) as table:
        change(path)
        return table.names()


@pytest.mark.parametrize("change", [_append, _replace, _truncate, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Half of the old and half of the new data is neither.

    So it is called even where what was read makes no sense any more.
    """
    path = _write(tmp_path, b"a\n1\n2\n")
    with pytest.raises(RefusedError) as caught:
        _names_after(change, path)

    assert caught.value.code is RefusalCode.DATASET_CHANGED


def test_a_file_that_grows_keeps_its_columns(tmp_path: Path) -> None:
    """It stays on offer while rows are appended: only reading them has to wait."""
    path = _write(tmp_path, b"a,b\n1,2\n")
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"3,4\n")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        found = {tuple(columns(path)) for _ in range(300)}
    finally:
        stop.set()
        writer.join()

    assert found == {("a", "b")}
