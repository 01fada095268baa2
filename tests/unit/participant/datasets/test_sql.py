"""Datasets in databases: what is read, and what is refused with which words."""

import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from participant.columns import Missing
from participant.datasets import sql_table, tables
from participant.datasets.tables import columns, open_dataset, size_bytes
from shared.errors import RefusalCode, RefusedError
from tests.unit.participant.datasets.whole import read_columns


class Database:
    """An SQLite database, and a file that names it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a b%.db"
        self.file = folder / "visits.toml"
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE t (a, b)")
        connection.close()

    def fill(self, *rows: tuple[object, object]) -> None:
        """Put rows into the table."""
        with sqlite3.connect(self.path) as connection:
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        connection.close()

    def name(self, query: str, url: str | None = None) -> Path:
        """Write the file."""
        text = f"url = '''{url or f'sqlite:///{self.path}'}'''\nquery = '''{query}'''\n"
        return self.write(text)

    def write(self, text: str) -> Path:
        """Write the file's text."""
        self.file.write_text(text)
        self.file.chmod(0o600)
        return self.file


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """One with an empty table."""
    return Database(tmp_path)


def refusal(path: Path, *names: str, missing: Missing = Missing.REFUSE) -> RefusedError:
    """Read columns, which must be refused."""
    with pytest.raises(RefusedError) as caught:
        read_columns(path, names, missing)
    return caught.value


def test_the_rows_of_a_query_are_a_dataset(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database computes; colons and percent signs are its own affair."""
    monkeypatch.setattr(sql_table, "BATCH_ROWS", 2)
    database.fill((1, 0.5), (2, None), (True, 1.5), (2**62 + 1, 2.5))
    path = database.name(
        "SELECT a, b * 2 AS twice, ':x %s' AS text FROM t"
        " WHERE '10:30' <> ':y' AND a % 7 <> 9 -- all"
    )

    assert columns(path) == ["a", "twice", "text"]
    with open_dataset(path) as table:
        table.names()
        parts = list(table.parts(["a"], Missing.REFUSE))
    found = read_columns(path, ["twice", "a"], Missing.DROP)

    assert [len(part[0]) for part in parts] == [2, 2]
    assert found["a"].tolist() == [1.0, 1.0, float(2**62 + 1)]
    assert found["twice"].tolist() == [1.0, 3.0, 5.0]
    assert size_bytes(path, columns=2, rows=3) == 48


def test_gaps_are_told_by_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows count from 1 over all batches."""
    monkeypatch.setattr(sql_table, "BATCH_ROWS", 2)
    database.fill((1, 1), (2, 2), (3, None))

    error = refusal(database.name("SELECT a, b FROM t"), "a", "b")

    assert error.code is RefusalCode.MISSING_VALUES
    assert "'b' has no value in row 3" in str(error)


@pytest.mark.parametrize(
    "expression",
    ["'12'", "'x'", "x'00'", "9e999", "CURRENT_TIMESTAMP"],
    ids=["digits", "text", "bytes", "infinity", "time"],
)
def test_what_is_no_finite_number_is_told_by_row(
    database: Database, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    """Texts are not converted by guess, and values never in the message."""
    monkeypatch.setattr(sql_table, "BATCH_ROWS", 2)
    query = f"SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT NULL UNION ALL SELECT {expression}"

    error = refusal(database.name(query), "a", missing=Missing.DROP)

    assert error.code is RefusalCode.NOT_NUMERIC
    assert str(error) == "column 'a' is not a finite number in row 4"


def test_columns_that_are_not_there_or_twice_are_refused(database: Database) -> None:
    """A join may give two of one name."""
    path = database.name("SELECT a, b AS a FROM t")

    assert "no column 'c'" in str(refusal(path, "c"))
    assert "more than one column is called 'a'" in str(refusal(path, "a"))


def test_no_rows_are_refused(database: Database) -> None:
    """As with every kind of dataset."""
    path = database.name("SELECT a FROM t")

    assert refusal(path, "a").code is RefusalCode.EMPTY_DATASET


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(database: Database, mode: int) -> None:
    """There may be a password in it."""
    path = database.name("SELECT a FROM t")
    path.chmod(mode)

    error = refusal(path, "a")

    assert "others can read the file" in str(error)
    assert error.hint == "run: chmod 600 FILE"


@pytest.mark.parametrize(
    "text",
    [
        "url = ",
        "\xff",
        "url = 'sqlite://'\n",
        "url = 'sqlite://'\nquery = 1\n",
        "url = 'sqlite://'\nquery = 'SELECT 1'\nmore = 1\n",
        "url = 'nonsense'\nquery = 'SELECT 1'\n",
        "url = 'sqlite://u:p@h:port/'\nquery = 'SELECT 1'\n",
    ],
)
def test_a_malformed_file_is_refused_with_an_example(
    database: Database, text: str
) -> None:
    """Its owner sees what to write, and its text goes nowhere."""
    path = database.write("")
    path.write_bytes(text.encode("latin-1"))

    error = refusal(path, "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert error.hint is not None
    assert error.hint.startswith('url = "')


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///t.db", "sqlite:////no/t.db"])
def test_an_sqlite_file_that_is_not_there_is_not_made(
    database: Database, url: str
) -> None:
    """SQLite would make an empty one."""
    error = refusal(database.name("SELECT 1 AS a", url), "a")

    assert "SQLite file does not exist" in str(error)


@pytest.mark.parametrize("query", ["DELETE FROM t", "INSERT INTO t VALUES (1, 2)"])
def test_a_query_cannot_write(database: Database, query: str) -> None:
    """SQLite is opened to be read only; elsewhere nothing is committed."""
    database.fill((1, 2))

    assert refusal(database.name(query), "a").code is RefusalCode.DATASET_UNREADABLE
    assert read_columns(database.name("SELECT a FROM t"), ["a"], Missing.REFUSE)[
        "a"
    ].tolist() == [1.0]


def test_what_the_driver_says_goes_to_the_owner_alone(database: Database) -> None:
    """The consumer may not see names of tables, nor anybody the password."""
    error = refusal(database.name("SELECT a FROM nowhere"), "a")

    assert "nowhere" not in str(error)
    assert error.hint == "its driver says: no such table: nowhere"


def test_a_driver_that_takes_no_such_parameter_is_heard(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is Python's own error, raised while connecting."""

    def connect(*_: object, **__: object) -> None:
        raise TypeError("'colour' is an invalid keyword argument")

    monkeypatch.setattr("sqlite3.dbapi2.connect", connect)
    error = refusal(database.name("SELECT 1 AS a"), "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert error.hint == "its driver says: 'colour' is an invalid keyword argument"


def test_a_query_that_fails_half_way_is_refused(database: Database) -> None:
    """The first rows came, the rest cannot be computed."""
    database.fill(*((number, 0) for number in range(40_000)))
    query = "SELECT CASE WHEN a < 39999 THEN a ELSE abs(-9223372036854775807 - 1) END AS a FROM t"

    error = refusal(database.name(query), "a")

    assert error.code is RefusalCode.DATASET_UNREADABLE
    assert error.hint == "its driver says: integer overflow"


@pytest.mark.parametrize(
    "url", ["nosuch://", "mssql+nosuch://", "oracle+cx_oracle://h"]
)
def test_a_driver_that_is_not_installed_is_named(database: Database, url: str) -> None:
    """SQLAlchemy has its dialects; drivers are packages of their own."""
    error = refusal(database.name("SELECT 1 AS a", url), "a")

    assert f"no driver for {url.partition(':')[0]} is installed" in str(error)


def peak_of(database: Database, rows: int) -> int:
    """Return the most memory that reading so many rows took at a time."""
    path = database.name(
        "WITH RECURSIVE n(a) AS (SELECT 1.5 UNION ALL SELECT a + 1 FROM n LIMIT"
        f" {rows}) SELECT a FROM n"
    )
    count = 0
    with open_dataset(path) as table:
        table.names()
        tracemalloc.start()
        try:
            for (column,) in table.parts(["a"], Missing.REFUSE):
                count += len(column)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == rows
    return peak


def test_a_large_query_is_not_in_memory_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch of rows is, whatever the size of the table."""
    monkeypatch.setattr(sql_table, "BATCH_ROWS", 500)
    small, large = peak_of(database, 2_000), peak_of(database, 20_000)

    assert large < 2 * small


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database that does not answer while the test lasts."""
    released = threading.Event()

    def wait(*_: object, **__: object) -> None:
        released.wait()
        raise ImportError

    monkeypatch.setattr(sql_table, "create_engine", wait)
    monkeypatch.setattr(tables, "COLUMNS_SECONDS", 0.01)
    yield
    released.set()


@pytest.mark.usefixtures("silent")
def test_a_database_that_does_not_answer_keeps_nobody_waiting(
    database: Database,
) -> None:
    """The control process asks for the columns between two signs of life."""
    path = database.name("SELECT a FROM t")

    with pytest.raises(RefusedError, match="does not answer within"):
        columns(path)


def test_a_password_in_what_the_driver_says_is_left_out() -> None:
    """Drivers show connection strings."""
    url = make_url("postgresql://u:s3cret%2Fword@h/d")
    said = SQLAlchemyError("bad s3cret/word or s3cret%2Fword")

    assert sql_table._failed(said, url).hint == "its driver says: bad *** or ***"


def test_numbers_of_a_drivers_own_kind_are_no_numbers() -> None:
    """Only Python's are known to mean what they hold; the row is told."""

    class Year(int):
        """As a driver may have it."""

    with pytest.raises(RefusedError, match="'a' is not a finite number in row 9"):
        sql_table._numbers([2024, Year(2024)], "a", 7)
