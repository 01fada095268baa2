"""A backup holds what a manager needs and no session; a restore replaces nothing."""

import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from manager.config import load_settings
from manager.realm.archive import LIST, NAMES
from manager.realm.backup import (
    MAX_AGE,
    NUMBERS_SKIPPED,
    Restored,
    back_up,
    restore,
)
from manager.realm.founding import KEY_FILE, init_realm
from manager.realm.keys import load_keys
from manager.store.people import JOB_NUMBERS, SERIALS
from manager.store.records import PrincipalRecord, Standing, TaskKind
from manager.store.schema import SCHEMA_VERSION
from manager.store.store import Store
from shared.errors import ConfigError, FrameworkError
from shared.messages import Attributes, SignedCertificate
from shared.names import SERVER_PREFIX, Principal, Role
from tests.manager_realm import REALM, START, stream
from tests.unit.manager.realm.test_keys import CHEAP

SECRET = b"the wrapped keys of a session"
HASH = "a salted hash"
BROKER_FILES = ("authority.pem", "authority.key", "node.pem", "node.key")


def record(name: str, password_hash: str) -> PrincipalRecord:
    """Return a registered MPC server."""
    return PrincipalRecord(
        principal=Principal(name),
        role=Role.MPCS,
        io=None,
        standing=Standing.REGISTERED,
        serial=1,
        created=1,
        attributes=Attributes(),
        sig_pk=bytes(32),
        kem_pk=bytes(32),
        cert=SignedCertificate(c=b"c", sig=bytes(64)),
        cert_begins=0,
        cert_ends=1,
        password_hash=password_hash,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two MPC servers, a broker node and a session."""
    home = tmp_path / "home"
    init_realm(home, home / "manager.db", REALM, b"pw", START, stream("init"), CHEAP)
    (home / "manager.toml").write_text(f'realm = "{REALM}"\n')
    (home / "broker" / "data").mkdir(parents=True)
    for name in BROKER_FILES:
        (home / "broker" / name).write_text(name)
    (home / "broker" / "node.json").write_text(json.dumps({"mark": "m", "pid": 12}))
    (home / "broker" / "data" / "queue").write_text("not in a backup")
    store = Store.open(home / "manager.db")
    with store.transaction() as unit:
        unit.people.save_principal(record("MPC_server_001", HASH))
        unit.people.save_principal(record("MPC_server_002", ""))
        for sequence in (SERVER_PREFIX, SERIALS, JOB_NUMBERS):
            unit.people.take_number(sequence)
    store.close()
    with closing(sqlite3.connect(home / "manager.db")) as database:
        database.execute(
            "INSERT INTO outbox (is_published, expires, exchange, routing_key, body,"
            " message_id, type, timestamp) VALUES (0, 9, 'e', 'k', ?, 'm', 't', 1)",
            [SECRET],
        )
        database.commit()
    return home


def backed_up(home: Path) -> Path:
    """Return a backup of a home."""
    file = home.parent / "backup"
    back_up(home, home / "manager.db", file, "0.0", START, stream("backup"))
    return file


SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def restored(file: Path, home: Path, now: datetime = START) -> Restored:
    """Restore a backup, with its store where the settings say."""

    def database_of(settings: Path) -> Path:
        url = load_settings({"home": home}, settings).database_url
        return Path(url.removeprefix("sqlite:///"))

    return restore(file, home, database_of, now, stream(f"restore {now}"))


def test_a_backup_is_one_private_file_without_sessions(home: Path) -> None:
    """Nothing of a session is in it, not even in what SQLite left unused."""
    file = backed_up(home)
    with tarfile.open(file) as archive:
        names = archive.getnames()
    keys = load_keys(home / KEY_FILE)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names == [LIST, *(name for name in NAMES if name in names)]
    assert {"manager.db", "manager.key", "broker/node.key"} < set(names)
    assert SECRET in (home / "manager.db").read_bytes()
    assert SECRET not in file.read_bytes()
    assert keys.session_key(keys.slot) not in file.read_bytes()
    assert sorted(path.name for path in home.parent.iterdir()) == ["backup", "home"]
    assert not [path for path in home.iterdir() if path.name.startswith(".backup")]


def test_a_restored_home_is_the_manager_s(home: Path, tmp_path: Path) -> None:
    """The same realm and keys; the node is down; all of it for its owner only."""
    found = restored(backed_up(home), tmp_path / "new")
    before, after = (load_keys(each / KEY_FILE) for each in (home, tmp_path / "new"))
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "new").rglob("*")
        if path.is_file()
    }
    node = json.loads((tmp_path / "new" / "broker" / "node.json").read_text())

    assert (after.fingerprint, after.signer.seed) == (
        before.fingerprint,
        before.signer.seed,
    )
    assert after.session_key(after.slot) != before.session_key(before.slot)
    assert node == {"mark": "m", "pid": None}
    assert modes == {0o600}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "broker",
        "manager.db",
        "manager.key",
        "manager.toml",
        "realm_root.key",
    ]
    assert (found.participants, found.without_password) == (1, ("MPC_server_002",))


def test_the_restored_manager_makes_broker_users_and_new_numbers(
    home: Path, tmp_path: Path
) -> None:
    """A name that was given after the backup is never given to somebody else."""
    restored(backed_up(home), tmp_path / "new", START + DAY)
    store = Store.open(tmp_path / "new" / "manager.db")
    with store.transaction() as unit:
        tasks = [task for _, task in unit.orders.tasks()]
        numbers = {
            name: unit.people.next_number(name)
            for name in (SERVER_PREFIX, SERIALS, JOB_NUMBERS, "Newcomer")
        }
    store.close()

    assert [(task.kind, task.principal, task.password_hash) for task in tasks] == [
        (TaskKind.CREATE_PARTICIPANT, "MPC_server_001", HASH)
    ]
    skipped = NUMBERS_SKIPPED + DAY // SECOND
    assert numbers == {
        SERVER_PREFIX: 2 + skipped,
        SERIALS: 2 + skipped,
        JOB_NUMBERS: 2 + skipped,
        "Newcomer": 1 + skipped,
    }


def test_two_restores_of_one_backup_share_nothing_new(
    home: Path, tmp_path: Path
) -> None:
    """The first one was given up: neither its names nor its sessions come again."""
    file = backed_up(home)
    firsts, session_keys = [], []
    for name, later in (("one", DAY), ("two", DAY + SECOND)):
        restored(file, tmp_path / name, START + later)
        store = Store.open(tmp_path / name / "manager.db")
        with store.transaction() as unit:
            firsts.append(unit.people.next_number("Newcomer"))
        store.close()
        keys = load_keys(tmp_path / name / KEY_FILE)
        session_keys.append(keys.session_key(keys.slot))

    assert firsts[1] == firsts[0] + 1
    assert session_keys[0] != session_keys[1]


@pytest.mark.parametrize("age", [-SECOND, MAX_AGE + SECOND])
def test_a_clock_that_cannot_be_right_is_refused(
    age: timedelta, home: Path, tmp_path: Path
) -> None:
    """It says how far numbers go on: too little repeats names, too much breaks them."""
    file = backed_up(home)
    with pytest.raises(ConfigError, match="this host's clock says") as caught:
        restored(file, tmp_path / "new", START + age)

    assert "set the clock" in (caught.value.hint or "")
    assert not list((tmp_path / "new").iterdir())


def test_a_second_restore_skips_numbers_again(home: Path, tmp_path: Path) -> None:
    """From where the first one left off."""
    restored(backed_up(home), tmp_path / "one")
    file = tmp_path / "second"
    database = tmp_path / "one" / "manager.db"
    back_up(tmp_path / "one", database, file, "0.0", START, stream("again"))
    restored(file, tmp_path / "two")
    store = Store.open(tmp_path / "two" / "manager.db")
    with store.transaction() as unit:
        number = unit.people.next_number("Newcomer")
    store.close()

    assert number == 1 + 2 * NUMBERS_SKIPPED


def test_a_store_outside_of_the_home_goes_back_there(
    home: Path, tmp_path: Path
) -> None:
    """Unless there is one: a restore replaces nothing."""
    elsewhere = tmp_path / "elsewhere.db"
    with (home / "manager.toml").open("a") as file:
        file.write(f'store_url = "sqlite:///{elsewhere}"\n')
    (home / "manager.db").rename(elsewhere)
    backup = tmp_path / "backup"
    back_up(home, elsewhere, backup, "0.0", START, stream("backup"))
    with pytest.raises(ConfigError, match="there is a store at"):
        restored(backup, tmp_path / "new")
    left = list((tmp_path / "new").iterdir())
    elsewhere.unlink()
    restored(backup, tmp_path / "new")

    assert left == []
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
    assert not (tmp_path / "new" / "manager.db").exists()


def test_nothing_is_overwritten(home: Path) -> None:
    """Neither an older backup nor a home, whatever it holds."""
    file = backed_up(home)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        backed_up(home)
    with pytest.raises(ConfigError, match="is not empty"):
        restored(file, home)

    assert file.read_bytes() == before


def test_a_file_is_no_home(home: Path, tmp_path: Path) -> None:
    """And it is left as it is."""
    (tmp_path / "new").write_text("a file")
    with pytest.raises(ConfigError, match="cannot use") as caught:
        restored(backed_up(home), tmp_path / "new")

    assert caught.value.hint
    assert (tmp_path / "new").read_text() == "a file"


def test_a_backup_that_cannot_be_written_is_refused(home: Path) -> None:
    """With where it should have been."""
    with pytest.raises(ConfigError, match="cannot write"):
        back_up(
            home,
            home / "manager.db",
            home / "none" / "backup",
            "0.0",
            START,
            stream("backup"),
        )


def test_a_home_that_is_not_whole_is_not_backed_up(home: Path, tmp_path: Path) -> None:
    """A backup that cannot be restored would be found out too late."""
    other = tmp_path / "other"
    init_realm(other, other / "manager.db", REALM, b"pw", START, stream("x"), CHEAP)
    (other / "manager.db").replace(home / "manager.db")
    with pytest.raises(ConfigError, match="different realms"):
        backed_up(home)
    (home / "manager.db").write_bytes(b"no database" * 100)
    with pytest.raises(FrameworkError, match="cannot be copied"):
        backed_up(home)

    assert not (tmp_path / "backup").exists()


Change = Callable[[Path], object]


def rewritten(change: Callable[[dict[str, bytes]], None]) -> Change:
    """Return a change of a backup's members."""

    def apply(file: Path) -> None:
        with tarfile.open(file) as archive:
            members = {
                member.name: stream.read()
                for member in archive
                if (stream := archive.extractfile(member)) is not None
            }
        change(members)
        with tarfile.open(file, "w") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    return apply


def listed(**changes: object) -> Change:
    """Return a change of a backup's list."""

    def change(members: dict[str, bytes]) -> None:
        members[LIST] = json.dumps(json.loads(members[LIST]) | changes).encode()

    return rewritten(change)


def without(name: str) -> Change:
    """Return a change that takes a member out."""

    def change(members: dict[str, bytes]) -> None:
        del members[name]

    return rewritten(change)


def foreign(members: dict[str, bytes]) -> None:
    """Add a file that would lie outside of the home."""
    contents = json.loads(members[LIST])
    contents["files"]["../evil"] = {"size": 0, "sha256": ""}
    members[LIST] = json.dumps(contents).encode()
    members["../evil"] = b""


def flipped(members: dict[str, bytes]) -> None:
    """Alter one byte of the store."""
    data = bytearray(members["manager.db"])
    data[len(data) // 2] ^= 1
    members["manager.db"] = bytes(data)


def linked(file: Path) -> None:
    """Put a link where the store should be."""
    with tarfile.open(file) as archive:
        first = archive.extractfile(LIST)
        contents = first.read() if first else b""
    with tarfile.open(file, "w") as archive:
        member = tarfile.TarInfo(LIST)
        member.size = len(contents)
        archive.addfile(member, io.BytesIO(contents))
        link = tarfile.TarInfo("manager.db")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


CHANGES: dict[str, tuple[Change, str]] = {
    "empty": (lambda file: file.write_bytes(b""), "is no backup"),
    "something else": (lambda file: file.write_bytes(b"x" * 9999), "is no backup"),
    "cut": (
        lambda file: os.truncate(file, file.stat().st_size // 2),
        "no backup|damag",
    ),
    "open to others": (lambda file: file.chmod(0o644), "others may read"),
    "without a list": (without(LIST), "no backup"),
    "without the keys": (without(KEY_FILE), "lacks"),
    "of a later form": (
        listed(format=2, release="9.9"),
        "form 2, this release knows 1",
    ),
    "of no time": (listed(created="yesterday"), "no backup"),
    "of a time without a zone": (listed(created="2030-01-01T06:00:00"), "no backup"),
    "with an empty list": (listed(files={}), "lacks manager.db"),
    "with a foreign file": (rewritten(foreign), "foreign file"),
    "with a link": (linked, "lacks manager.db"),
    "with a flipped bit": (rewritten(flipped), "manager.db is damaged"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_backup_that_is_not_whole_is_refused(
    name: str, home: Path, tmp_path: Path
) -> None:
    """Nothing of it is left in the home, nor anywhere else."""
    change, reason = CHANGES[name]
    file = backed_up(home)
    change(file)
    with pytest.raises(ConfigError, match=reason) as caught:
        restored(file, tmp_path / "new")

    assert caught.value.hint
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


def of_schema(file: Path, folder: Path, *statements: str) -> None:
    """Change the store in a backup."""
    with tarfile.open(file) as archive:
        stream = archive.extractfile("manager.db")
        assert stream is not None
        (folder / "old.db").write_bytes(stream.read())
    with closing(sqlite3.connect(folder / "old.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    old = (folder / "old.db").read_bytes()

    def change(members: dict[str, bytes]) -> None:
        contents = json.loads(members[LIST])
        contents["files"]["manager.db"] = {
            "size": len(old),
            "sha256": hashlib.sha256(old).hexdigest(),
        }
        members[LIST] = json.dumps(contents).encode()
        members["manager.db"] = old

    rewritten(change)(file)


SET_VERSION = "UPDATE meta SET value = x'{}' WHERE key = 'schema_version'"


def test_a_backup_of_a_later_schema_is_refused(home: Path, tmp_path: Path) -> None:
    """By the same words as the manager's own store."""
    file = backed_up(home)
    of_schema(file, tmp_path, SET_VERSION.format(b"99".hex()))
    with pytest.raises(
        ConfigError, match=f"schema 99, this release knows {SCHEMA_VERSION}"
    ):
        restored(file, tmp_path / "new")

    assert not list((tmp_path / "new").iterdir())


def test_a_backup_of_an_earlier_schema_is_brought_up_to_date(
    home: Path, tmp_path: Path
) -> None:
    """A backup is made before a release is changed."""
    file = backed_up(home)
    of_schema(file, tmp_path, "DROP TABLE lease", SET_VERSION.format(b"1".hex()))
    restored(file, tmp_path / "new")
    store = Store.open(tmp_path / "new" / "manager.db")
    with store.reading() as unit:
        version = unit.journal.version()
    store.close()

    assert version == SCHEMA_VERSION
