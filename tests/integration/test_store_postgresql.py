"""The store in a real PostgreSQL: the same contract as in a file, and more."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manager.cli.main import PROGRAM, manager
from manager.realm.founding import init_realm
from manager.store.postgresql import PostgresDatabase, parse_url
from manager.store.store import Place, Store
from shared.cli import ExitCode, run
from shared.errors import StoreError, StoreUnreachableError
from shared.messages import JobStart
from tests.manager_realm import REALM, START, stream
from tests.postgres import PostgresCluster
from tests.store_contract import StoreContract
from tests.unit.manager.realm.test_keys import CHEAP
from tests.unit.manager.service.test_loop import _accept, _realm

pytestmark = pytest.mark.slow

Command = Callable[..., int]


@pytest.fixture
def database(postgres: PostgresCluster) -> PostgresDatabase:
    """A database without tables."""
    return postgres.new_database()


@pytest.fixture
def store(database: PostgresDatabase) -> Iterator[Store]:
    """A new store."""
    store = Store.create(database)
    yield store
    store.close()


class TestPostgresql(StoreContract):
    """The contract, in a database."""

    @pytest.fixture
    def place(self, database: PostgresDatabase) -> Place:
        """A database without tables."""
        return database


def test_a_database_without_an_encoding_will_do(postgres: PostgresCluster) -> None:
    """PostgreSQL makes one where the system's locale is C; its texts are bytes."""
    url = postgres.new_url("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    store = Store.create(parse_url(url, postgres.password))
    with store.transaction() as unit:
        lease = unit.leases.get()
    store.close()

    assert lease.holder == ""


def test_a_transaction_that_stands_still_keeps_nobody_waiting(
    database: PostgresDatabase, store: Store
) -> None:
    """Its process was stopped: the database ends it, and it changes nothing."""
    begun, over = threading.Event(), threading.Event()
    failures: list[StoreError] = []

    def stand_still() -> None:
        other = Store.open(database)
        try:
            with other.transaction() as unit:
                unit.people.take_number("x")
                begun.set()
                over.wait()
        except StoreError as error:
            failures.append(error)
        other.close()

    standing = threading.Thread(target=stand_still)
    standing.start()
    begun.wait()
    with store.transaction() as unit:
        number = unit.people.take_number("x")
    over.set()
    standing.join()

    assert number == 1
    assert len(failures) == 1


def test_a_statement_may_take_ten_seconds_and_an_upgrade_its_time(
    database: PostgresDatabase, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement keeps the lock; an upgrade that was ended would begin anew."""
    setting = "current_setting('statement_timeout')"
    unlimited = f"SELECT 1 / (CASE {setting} WHEN '0' THEN 1 ELSE 0 END)"
    monkeypatch.setattr("manager.store.schema.SCHEMA_VERSION", 3)
    monkeypatch.setattr("manager.store.migrations.STEPS", {2: (unlimited,)})
    upgraded = Store.open(database, upgrade=True)
    with upgraded._engine.begin() as connection:
        limit = connection.exec_driver_sql(f"SELECT {setting}").scalar_one()
    upgraded.close()
    with store.reading() as unit:
        version = unit.journal.version()

    assert (limit, version) == ("10s", 3)


def test_a_connection_that_breaks_costs_one_transaction(
    postgres: PostgresCluster, database: PostgresDatabase, store: Store
) -> None:
    """The next one has a new connection."""
    with store.transaction() as unit:
        unit.people.take_number("x")
    postgres.execute(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{database.url.database}'",
    )
    with pytest.raises(StoreUnreachableError), store.transaction():
        pass
    with store.transaction() as unit:
        number = unit.people.next_number("x")

    assert number == 2


def test_a_job_survives_a_crash_of_the_manager(database: PostgresDatabase) -> None:
    """The history that the manager goes through on SQLite, in a database."""

    async def history() -> list[int]:
        realm, parties = await _realm(database)
        parties[3].send(parties[3].job_request())
        await realm.settle()
        await realm.crash()
        await _accept(parties)
        realm.broker.settle()
        realm.service.handle(await realm.transport.deliveries(64))
        await realm.crash()
        await realm.settle()
        started = [
            len({m.pack() for m in party.read() if isinstance(m, JobStart)})
            for party in parties
        ]
        realm.store.close()
        return started

    assert asyncio.run(history()) == [1, 1, 1, 1]


@pytest.fixture
def settings(
    postgres: PostgresCluster, database: PostgresDatabase, tmp_path: Path
) -> str:
    """Settings of a manager in this database; its password is in a file."""
    word = tmp_path / "store.password"
    word.touch(mode=0o600)
    word.write_text(f"{postgres.password}\n")
    url = f"postgresql://mpc@127.0.0.1:{postgres.port}/{database.url.database}"
    return f'store_url = "{url}"\nstore_password_file = "{word}"\n'


@pytest.fixture
def command(settings: str, database: PostgresDatabase, tmp_path: Path) -> Command:
    """Run a command in a home with a realm."""
    home = tmp_path / "home"
    init_realm(home, database, REALM, b"pw", START, stream("init"), CHEAP)
    (home / "manager.toml").write_text(f'realm = "{REALM}"\n{settings}')

    def call(*arguments: str) -> int:
        return run(manager, PROGRAM, ["--home", str(home), *arguments])

    return call


def test_a_realm_is_made_in_a_database(
    settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its commands find it there; nothing of it is in the home."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "manager.toml").write_text(settings)
    (tmp_path / "root.password").write_text("secret\n")
    password = str(tmp_path / "root.password")

    def command(*arguments: str) -> int:
        return run(manager, PROGRAM, ["--home", str(home), *arguments])

    made = command("init", "--realm", "demo", "--root-password-file", password)
    capsys.readouterr()
    codes = [command(name, "list", "--json") for name in ("token", "jobs")]

    assert [made, *codes] == [ExitCode.DONE] * 3
    assert not (home / "manager.db").exists()
    assert capsys.readouterr().out == "[]\n[]\n"


def test_a_wrong_password_is_said_to_be_one_and_not_shown(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the server says is repeated, in one line."""
    (tmp_path / "store.password").write_text("not-this-one\n")
    code = command("jobs", "list")
    said = capsys.readouterr().err

    assert code == ExitCode.UNREACHABLE
    assert "password authentication failed" in said
    assert "not-this-one" not in said


def test_a_backup_is_of_a_file(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database has means of its own."""
    code = command("backup", str(tmp_path / "realm.backup"))

    assert code == ExitCode.CONFIGURATION
    assert "its own means" in capsys.readouterr().err
    assert not (tmp_path / "realm.backup").exists()


def test_a_password_file_that_is_not_usable_is_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds one line that its owner alone may read."""
    word = tmp_path / "store.password"
    codes = []
    for content, mode in (("", 0o600), ("a\nb\n", 0o600), ("a\n", 0o644)):
        word.write_text(content)
        word.chmod(mode)
        codes.append(command("jobs", "list"))
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]

    assert codes == [ExitCode.CONFIGURATION] * 3
    assert ["one line" in line for line in said] == [True, True, False]
    assert "others may read" in said[2]


@pytest.mark.usefixtures("store")
def test_a_database_elsewhere_shows_that_it_is_the_one(
    postgres: PostgresCluster, database: PostgresDatabase
) -> None:
    """Its certificate is for the address in the URL, and of whom we trust."""
    name = database.url.database
    where = f"{postgres.port}/{name}?sslrootcert={postgres.authority}"
    proven = f"postgresql://mpc@127.0.0.1:{where}&sslmode=verify-full"
    # On the way to another name somebody answers who can only be 127.0.0.1.
    false = f"postgresql://mpc@db.example.org:{where}&hostaddr=127.0.0.1"
    Store.open(parse_url(proven, postgres.password)).close()

    with pytest.raises(StoreUnreachableError, match="does not match host name"):
        Store.open(parse_url(false, postgres.password))


@pytest.mark.usefixtures("store")
def test_what_libpq_needs_may_come_from_its_own_files(
    postgres: PostgresCluster,
    database: PostgresDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service names the database, a password file the password."""
    services, passwords = tmp_path / "services", tmp_path / "pgpass"
    services.write_text(
        f"[realm]\nhost=127.0.0.1\nport={postgres.port}\nuser=mpc\n"
        f"dbname={database.url.database}\npassfile={passwords}\n"
    )
    passwords.touch(mode=0o600)
    passwords.write_text(f"*:*:*:*:{postgres.password}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    place = parse_url("postgresql:///?service=realm")
    Store.open(place).close()

    assert str(place) == "postgresql:///?service=realm"


def test_a_database_that_does_not_run_is_unreachable() -> None:
    """A command ends soon and says where it looked."""
    nowhere = parse_url("postgresql://mpc@127.0.0.1:1/realm", "secret")
    with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:1/realm"):
        Store.open(nowhere)
