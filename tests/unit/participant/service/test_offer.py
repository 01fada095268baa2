"""Datasets that cannot be read now, and later can, although no file has changed."""

import asyncio
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, Pool, create_engine

from participant.datasets import sql_table, tables
from participant.home import dataset_list
from participant.home.folder import Home
from participant.service import offer
from participant.service.offer import Offer
from shared.messages import DatasetNotice
from shared.names import Io, Role
from tests.participant_world import World


class Databases:
    """Datasets of a home that each name a database of their own."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self._folder = folder

    def offer(self, name: str) -> None:
        """Offer what a database has in a table that is not there."""
        store = self._folder / f"{name}.db"
        store.touch()
        named = self._folder / f"{name}.toml"
        named.write_text(f'url = "sqlite:///{store}"\nquery = "SELECT a FROM t"\n')
        named.chmod(0o600)
        dataset_list.add(self.home.datasets_path, name, named)

    def fill(self, name: str) -> None:
        """Make the table; the file that names the database stays as it is."""
        with closing(sqlite3.connect(self._folder / f"{name}.db")) as database:
            database.execute("CREATE TABLE t (a REAL)")
            database.commit()


@pytest.fixture
def databases(tmp_path: Path) -> Databases:
    """No dataset yet."""
    return Databases(tmp_path)


def names(found: Offer) -> list[str]:
    """Return what is offered."""
    return [notice.name for notice in found.notices]


def told(found: Offer) -> tuple[DatasetNotice, ...] | None:
    """Return which datasets the next status names."""
    source = World().join("Liberty001", Role.CLIENT, Io.INPUT)
    return found.status(source.identity, 0, 0).datasets


def test_a_dataset_that_failed_is_offered_once_it_answers(
    databases: Databases,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database was down; why its dataset is not offered is logged once."""
    monkeypatch.setattr(offer, "AGAIN_SECONDS", 60)
    databases.offer("down")
    databases.offer("up")
    databases.fill("up")
    found = Offer(databases.home)

    async def work() -> None:
        await found.read()
        assert names(found) == ["up"]
        assert told(found) == found.notices
        await found.read()
        assert names(found) == ["up"]
        assert told(found) is None
        databases.fill("down")
        await found.read()

    asyncio.run(work())

    assert names(found) == ["down", "up"]
    assert told(found) == found.notices
    assert [each.message for each in caplog.records] == ["dataset not offered"]


def test_a_dataset_that_does_not_answer_has_one_thread_that_waits(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it answers, however often it is asked for; its owner may begin anew."""
    released = threading.Event()
    asked = []
    ask_columns = tables.ask_columns

    def ask(path: Path) -> Future[list[str]]:
        asked.append(path)
        return ask_columns(path)

    def wait(url: URL, **options: type[Pool]) -> Engine:
        released.wait()
        return create_engine(url, **options)

    monkeypatch.setattr(tables, "ask_columns", ask)
    monkeypatch.setattr(sql_table, "create_engine", wait)
    monkeypatch.setattr(tables, "COLUMNS_SECONDS", 0.01)
    monkeypatch.setattr(offer, "AGAIN_SECONDS", 0.01)
    databases.offer("silent")
    databases.fill("silent")
    found = Offer(databases.home)

    async def work() -> None:
        try:
            for _ in range(3):
                await found.read()
            assert names(found) == []
            before = len(asked)
            await found.read(force=True)
            assert names(found) == []
        finally:
            released.set()
        monkeypatch.setattr(offer, "AGAIN_SECONDS", 60)
        await found.read()
        assert (before, len(asked)) == (1, 2)

    asyncio.run(work())

    assert names(found) == ["silent"]
