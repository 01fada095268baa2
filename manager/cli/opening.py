"""What commands open first: the home, the keys, the store."""

from pathlib import Path

import click

from manager.config import ManagerSettings
from manager.realm.founding import KEY_FILE
from manager.realm.keys import ManagerKeys, load_keys
from manager.realm.private_files import check_private, read_secret
from manager.store.postgresql import parse_url
from manager.store.sqlite import Synchronous
from manager.store.store import Place, Store
from shared.errors import ConfigError
from shared.topology import inbox

_SQLITE = "sqlite:///"
_HINT = "write sqlite:////absolute/path, without store_password_file"


def store_place(settings: ManagerSettings) -> Place:
    """Return where the store is.

    Raises:
        ConfigError: ``store_url`` names no database that is supported, or its
            password is not where it should be.
    """
    url, file = settings.database_url, settings.store_password_file
    path = url.removeprefix(_SQLITE)
    if path == url:
        return parse_url(url, None if file is None else _password(file))
    if not Path(path).is_absolute():
        raise ConfigError(f"store_url: {path!r} is not an absolute path", _HINT)
    if file is not None:
        raise ConfigError("a file takes no password", _HINT)
    return Path(path)


def open_keys(settings: ManagerSettings) -> ManagerKeys:
    """Return the manager's keys, for the realm that the settings name.

    Raises:
        ConfigError: there is no realm in the home, or it is another one.
    """
    check_private(settings.home)
    keys = load_keys(settings.home / KEY_FILE)
    if keys.realm != settings.realm:
        raise ConfigError(
            f"the home holds the realm {keys.realm!r}, the settings name"
            f" {settings.realm!r}",
            f"set realm = {keys.realm!r}, or name another --home",
        )
    return keys


def open_store(settings: ManagerSettings, *, upgrade: bool = False) -> Store:
    """Return the realm's store; it is closed when the command at hand ends.

    Args:
        settings: say where it is.
        upgrade: bring one of an earlier release up to date.

    Raises:
        ConfigError: there is none, or it is of another release.
        StoreError: it cannot be read.
    """
    synchronous = Synchronous(settings.store_synchronous)
    store = Store.open(store_place(settings), synchronous, upgrade=upgrade)
    command = click.get_current_context(silent=True)
    if command is not None:
        command.call_on_close(store.close)
    return store


def inboxes_online(store: Store) -> list[str]:
    """Return the queues of those whom the manager takes for online."""
    with store.transaction() as unit:
        roles = {each.principal: each.role for each in unit.people.principals()}
        presences = unit.sessions.presences()
    return [
        inbox(presence.principal, roles[presence.principal]).name
        for presence in presences
        if presence.is_online and presence.principal in roles
    ]


def _password(file: Path) -> str:
    lines = read_secret(file).decode(errors="replace").splitlines()
    if len(lines) != 1 or not lines[0]:
        raise ConfigError(
            f"{file} does not hold one line", "write the database password into it"
        )
    return lines[0]
