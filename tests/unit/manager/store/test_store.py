"""The store: what it keeps in SQLite, what it refuses, what a copy of it tells."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, create_engine

from manager.protocol.job_state import Moment
from manager.protocol.lease import Lease
from manager.protocol.presence import Presence
from manager.store import schema
from manager.store.states import Packer
from manager.store.store import Place, Store
from shared.errors import CodecError, ConfigError, StoreError
from shared.messages import DatasetNotice
from shared.names import Principal
from tests.store_contract import StoreContract

SCHEMA_1 = Path(__file__).parent / "schema_1.sql"
"""A realm with four participants, one job that is closed and one that is offered."""


class TestSqlite(StoreContract):
    """The contract, in a file."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        """A file that is not there."""
        return tmp_path / "s.db"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_store_is_private_before_anything_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Its log has the mode of the file, and holds the same."""
    place, modes = tmp_path / "s.db", set[int]()
    create_all = schema.metadata.create_all

    def looked_at(connection: Connection) -> None:
        create_all(connection)
        modes.update(stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir())

    monkeypatch.setattr(schema.metadata, "create_all", looked_at)
    before = os.umask(0)
    try:
        if is_there:
            place.touch(mode=0o666)
        Store.create(place).close()
    finally:
        os.umask(before)

    assert modes == {0o600}


def test_a_store_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """It is not made: a slip of the pen would have a store of its own."""
    with pytest.raises(StoreError, match="cannot be made: No such file") as raised:
        Store.create(tmp_path / "none" / "s.db")

    assert "folder" in str(raised.value.hint)
    assert not (tmp_path / "none").exists()


def test_a_store_may_have_any_name(tmp_path: Path) -> None:
    """What means something in a URL means nothing in a path."""
    place = tmp_path / "100%?x=1#.db"
    Store.create(place).close()
    Store.open(place).close()

    assert [file.name for file in tmp_path.iterdir()] == [place.name]


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    """A store as the first release left it."""
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_1.read_text())
    connection.close()
    return path


def test_a_store_of_an_earlier_release_is_brought_up_to_date(
    first_release: Path,
) -> None:
    """Everything in it is there and can be read; its tables are those of a new one."""
    store = Store.open(first_release, upgrade=True)
    with store.transaction() as unit:
        people = [record.principal for record in unit.people.principals()]
        offered, closed = unit.jobs.latest(10)
        keys = unit.jobs.ticket_keys(closed.job, closed.epoch)
        tokens = unit.people.tokens()
        presences = unit.sessions.presences()
        sessions = unit.sessions.all()
        timers = unit.mail.due_timers(2**63 - 1, 100)
        audit = unit.journal.audit(100)
        lease = unit.leases.get()
    store.close()

    assert people == ["MPC_server_001", "MPC_server_002", "client001", "client002"]
    assert closed.time(Moment.CLOSED) is not None
    assert not offered.is_closed
    assert len(keys) == 2
    assert [len(each) for each in (tokens, presences, sessions, audit)] == [5, 4, 4, 20]
    assert all(each.is_online for each in presences)
    assert len(timers) == 4
    assert lease == Lease(1)
    assert _tables(first_release) == _tables_of_a_new_store(first_release.parent)
    Store.open(first_release).close()


def test_only_the_manager_brings_a_store_up_to_date(first_release: Path) -> None:
    """A command that looks must not end the manager of an earlier release."""
    with pytest.raises(ConfigError, match="schema 1") as raised:
        Store.open(first_release)

    assert "mpc-manager run" in str(raised.value.hint)


def test_an_upgrade_that_fails_changes_nothing(
    first_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it would be of no release."""
    before = _tables(first_release)
    broken = {1: ("CREATE TABLE half (x INTEGER)", "CREATE TABLE half (x INTEGER)")}
    monkeypatch.setattr("manager.store.migrations.STEPS", broken)
    with pytest.raises(StoreError):
        Store.open(first_release, upgrade=True)

    assert _tables(first_release) == before


def _tables(path: Path) -> dict[str, list[str]]:
    """Return what each table and index is made of, as the database understands it."""
    engine = create_engine(f"sqlite:///{path}")
    found = MetaData()
    found.reflect(engine)
    engine.dispose()
    return {
        table.name: sorted(
            [
                *(
                    f"{column.name} {column.type} {column.nullable} {column.primary_key}"
                    for column in table.columns
                ),
                *(
                    f"{index.name} {index.unique} {[c.name for c in index.columns]}"
                    for index in table.indexes
                ),
                *(type(each).__name__ for each in table.constraints),
            ]
        )
        for table in found.tables.values()
    }


def _tables_of_a_new_store(folder: Path) -> dict[str, list[str]]:
    path = folder / "new.db"
    Store.create(path).close()
    tables = _tables(path)

    assert set(tables) == set(schema.metadata.tables)
    return tables


def test_a_state_survives_its_bytes() -> None:
    """Tuples, enums and wire structures come back as they were."""
    packer = Packer(Presence)
    state = Presence(
        Principal("client001"),
        is_online=True,
        datasets=(DatasetNotice(name="visits", cols=("x", "y")),),
    )

    assert packer.unpack(packer.pack(state)) == state


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc1"])
def test_bytes_of_another_state_are_refused(data: bytes) -> None:
    """A damaged row is said to be one."""
    with pytest.raises(StoreError):
        Packer(Presence).unpack(data)


def test_a_state_of_unknown_parts_is_not_packed() -> None:
    """It would not come back."""
    state = Presence(Principal("x"), datasets=(1.5,))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(CodecError):
        Packer(Presence).pack(state)
