"""Datasets in a database and in Parquet, from ``dataset add`` to a result."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.integration.realm_fixture import BOTH, LiveRealm, until

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def stays(live: LiveRealm, tmp_path: Path) -> Iterator[Path]:
    """A database of one source and a Parquet file of another, both ``stays``."""
    database = tmp_path / "clinic.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE private_notes (days, year)")
        connection.executemany(
            "INSERT INTO private_notes VALUES (?, ?)", [(1, 24), (2, 24), (50, 23)]
        )
    connection.close()
    named = tmp_path / "stays.toml"
    named.touch(mode=0o600)
    named.write_text(
        f'url = "sqlite:///{database}"\n'
        'query = "SELECT days FROM private_notes WHERE year = 24"\n'
    )
    table = tmp_path / "stays.parquet"
    parquet.write_table(pa.table({"days": [9, None]}), table)
    offered = ((BOTH, named), ("insurer_a", table))
    for name, path in offered:
        live.participant(name, "dataset", "add", "stays", str(path))
        until(lambda name=name: "stays" in live.offers(name), f"{name} offers stays")  # type: ignore[misc]  # a default as a closure
    yield database
    for name, _ in offered:
        live.participant(name, "dataset", "remove", "stays")


def test_databases_and_parquet_take_part(live: LiveRealm, stays: Path) -> None:
    """What a driver says of a query that fails stays out of logs and reasons."""
    question = ("--column", "days", "--missing", "drop", "--dataset", "stays")
    done = live.ask(BOTH, "mean", *question).wait().json()
    with sqlite3.connect(stays) as connection:
        connection.execute("DROP TABLE private_notes")
    connection.close()
    failed = live.ask(BOTH, "mean", *question).wait().json()

    assert done["result"]["n"] == 3
    assert done["result"]["mean"]["days"] == pytest.approx(4.0)
    assert (failed["state"], failed["code"]) == ("failed", "refused")
    assert failed["party"] == live.principals[BOTH]
    assert "dataset_unreadable" in failed["reason"]
    assert "private_notes" not in str(failed) + live.log(BOTH)
    assert str(stays) not in str(failed) + live.log(BOTH)


def test_the_owner_is_told_what_is_wrong(live: LiveRealm, tmp_path: Path) -> None:
    """With what the driver says, and before anything is offered."""
    named = tmp_path / "wrong.toml"
    named.write_text('url = "sqlite:////no/such.db"\nquery = "SELECT 1 AS a"\n')
    named.chmod(0o644)
    open_to_others = live.run(BOTH, "dataset", "add", "wrong", str(named))
    named.chmod(0o600)
    absent = live.run(BOTH, "dataset", "add", "wrong", str(named))

    assert (open_to_others.code, absent.code) == (3, 3)
    assert "hint: run: chmod 600" in open_to_others.err
    assert "SQLite file does not exist" in absent.err
    assert "wrong" not in live.offers(BOTH)
