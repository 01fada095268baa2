"""What commands open first: the home, the keys, the store."""

from pathlib import Path

from manager.config import ManagerSettings
from manager.realm.founding import KEY_FILE
from manager.realm.keys import ManagerKeys, load_keys
from manager.realm.private_files import check_private
from manager.store.store import Store, Synchronous
from shared.errors import ConfigError
from shared.topology import inbox

_SQLITE = "sqlite:///"


def database_path(settings: ManagerSettings) -> Path:
    """Return where the store's file is.

    Raises:
        ConfigError: ``store_url`` names another database than SQLite.
    """
    url = settings.database_url
    path = url.removeprefix(_SQLITE)
    if path == url or not path:
        raise ConfigError(
            "store_url names a database that this release does not support",
            "use sqlite:////absolute/path, or leave it unset",
        )
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


def open_store(settings: ManagerSettings) -> Store:
    """Return the realm's store.

    Raises:
        ConfigError: there is none, or it is of another release.
    """
    return Store.open(database_path(settings), Synchronous(settings.store_synchronous))


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
