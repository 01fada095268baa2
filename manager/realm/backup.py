"""Backing a manager up while it runs, and bringing it back in a new home.

A backup holds what the home's secrets protect: the manager's keys, and the broker's.
It holds no session: neither keys of one nor what was handled in it. So whoever gets
it reads nothing of the past, and no repeated envelope is let in after a restore.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from manager.broker.files import read_json, write_private
from manager.realm.archive import NAMES, Contents, read_archive, write_archive
from manager.realm.founding import KEY_FILE, belongs_to, descriptor_of
from manager.realm.keys import Entropy, ManagerKeys, load_keys, save_keys
from manager.realm.private_files import make_home, move_private
from manager.realm.rotation import has_newer_keys
from manager.store.copying import copy_store
from manager.store.records import AuditRecord, Standing, Task, TaskKind
from manager.store.store import Store
from shared.clock import to_ms
from shared.errors import ConfigError

DATABASE: Final = "manager.db"
NODE: Final = "broker/node.json"
NUMBERS_SKIPPED: Final = 1000
"""How far every number goes on after a restore, and one more for each second of the
backup's age: what was given after the backup was made must not be given twice, neither
by the manager that was lost nor by an earlier restore of the same file."""
MAX_AGE: Final = timedelta(days=3650)
"""Of a backup that is restored: a number in a name has up to nine digits."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back; ``participants``: how many get their broker user anew."""

    contents: Contents
    participants: int
    without_password: tuple[str, ...]
    """Whose broker password the backup does not know: they register anew."""


def back_up(
    home: Path,
    database: Path,
    file: Path,
    release: str,
    now: datetime,
    entropy: Entropy,
) -> Contents:
    """Write a backup of the manager in a home; it may run meanwhile.

    Args:
        home: of the manager.
        database: where its store is.
        file: to write; there must be nothing yet.
        release: of this program.
        now: an aware time.
        entropy: draws a session key, under which there is nothing yet.

    Raises:
        ConfigError: the home is not usable, or the file cannot be written.
        StoreError: the store cannot be copied.
    """
    keys = load_keys(home / KEY_FILE)
    sources = {
        name: home / name
        for name in NAMES
        if name == DATABASE or (home / name).is_file()
    }
    with (
        _usable(home),
        tempfile.TemporaryDirectory(dir=home, prefix=".backup.") as made,
    ):
        sources[DATABASE] = Path(made) / DATABASE
        sources[KEY_FILE] = Path(made) / KEY_FILE
        copy_store(database, sources[DATABASE])
        _check(keys, sources[DATABASE])
        save_keys(sources[KEY_FILE], keys.with_new_session_key(entropy), entropy)
        if NODE in sources:
            sources[NODE] = _stopped(sources[NODE], Path(made))
        return write_archive(file, keys.realm, release, now, sources)


def restore(
    file: Path,
    home: Path,
    database_of: Callable[[Path], Path],
    now: datetime,
    entropy: Entropy,
) -> Restored:
    """Bring a manager back from a backup, in a home where there is nothing.

    Its broker may be a new, empty one: the running manager makes every participant's
    user and inbox anew. Restores of one file at different seconds share no session
    key and give no number twice.

    Args:
        file: the backup.
        home: is made if it is not there.
        database_of: returns where the store belongs, by the restored settings.
        now: an aware time.
        entropy: draws a session key.

    Raises:
        ConfigError: the home holds something, or the backup is not usable; the home
            is as it was.
        StoreError: the store in the backup is not usable; likewise.
    """
    with _usable(home):
        if home.exists() and any(home.iterdir()):
            raise ConfigError(
                f"{home} is not empty",
                "name an empty folder with --home: a restore replaces no manager",
            )
        make_home(home)
        with tempfile.TemporaryDirectory(dir=home, prefix=".restore.") as made:
            return _restored(file, home, Path(made), database_of, now, entropy)


def _restored(
    file: Path,
    home: Path,
    folder: Path,
    database_of: Callable[[Path], Path],
    now: datetime,
    entropy: Entropy,
) -> Restored:
    """Take a backup out into a folder, check it, and put it where it belongs."""
    contents = read_archive(file, folder)
    missing = {DATABASE, KEY_FILE} - set(contents.files)
    if missing:
        raise ConfigError(
            f"the backup lacks {min(missing)}", "name a backup that is whole"
        )
    skipped = _skipped(contents.created, now)
    keys = load_keys(folder / KEY_FILE)
    _check(keys, folder / DATABASE)
    save_keys(folder / KEY_FILE, keys.with_new_session_key(entropy), entropy)
    database = database_of(folder / "manager.toml")
    if database.exists():
        raise ConfigError(
            f"there is a store at {database} already, where the settings in the"
            " backup say",
            "move it away: a restore never replaces a store",
        )
    restored = _prepared(folder / DATABASE, contents, skipped, now)
    for name in contents.files:
        target = database if name == DATABASE else home / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        move_private(folder / name, target)
    return restored


def _skipped(created: datetime, now: datetime) -> int:
    """Return how far numbers go on."""
    age = now - created
    if not timedelta(0) <= age <= MAX_AGE:
        raise ConfigError(
            f"the backup is of {created.isoformat()}, and this host's clock says"
            f" {now.isoformat()}",
            "set the clock: a restore takes a backup of the past ten years",
        )
    return NUMBERS_SKIPPED + age // timedelta(seconds=1)


def _prepared(
    database: Path, contents: Contents, skipped: int, now: datetime
) -> Restored:
    """Let the manager make its participants' users anew, and skip numbers."""
    store = Store.open(database, upgrade=True)
    try:
        with store.transaction() as unit:
            people = [
                each
                for each in unit.people.principals()
                if each.standing is not Standing.REVOKED
            ]
            for each in people:
                if each.password_hash:
                    unit.orders.add_task(
                        Task(
                            TaskKind.CREATE_PARTICIPANT,
                            each.principal,
                            each.role,
                            each.password_hash,
                        )
                    )
            unit.people.skip_numbers(skipped)
            unit.journal.add_audit(
                AuditRecord(
                    to_ms(now), "restored", "manager", contents.created.isoformat()
                )
            )
    finally:
        store.close()
    lost = tuple(str(each.principal) for each in people if not each.password_hash)
    return Restored(contents, len(people) - len(lost), lost)


@contextmanager
def _usable(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot use {home}: {error.strerror}",
            "see who owns it, and that its disk has room",
        ) from error


def _check(keys: ManagerKeys, database: Path) -> None:
    store = Store.open(database, upgrade=True)
    try:
        if not belongs_to(keys, descriptor_of(store)):
            raise ConfigError(
                "the key file and the store are of different realms",
                "bring both of the same realm together first",
            )
        with store.reading() as unit:
            if has_newer_keys(unit, keys):
                raise ConfigError(
                    "the manager's keys are being rotated", "try again in a moment"
                )
    finally:
        store.close()


def _stopped(node: Path, folder: Path) -> Path:
    """Return a copy of what is kept of a broker node, which says that it is down."""
    kept = read_json(node)
    copy = folder / node.name
    write_private(copy, json.dumps({**kept, "pid": None}, indent=2) + "\n")
    return copy
