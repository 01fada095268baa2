"""The realm's own broker users and the files that hold their passwords."""

import json
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from manager.broker.files import read_json, write_private
from shared.errors import ConfigError
from shared.topology import (
    ADMIN_PERMISSIONS,
    ADMIN_USER,
    MANAGER_PERMISSIONS,
    MANAGER_USER,
    MONITOR_PERMISSIONS,
    MONITOR_USER,
    User,
    broker_password_hash,
)

PASSWORD_BYTES = 32
MONITOR_FILE = "monitor.json"
_SALT_BYTES = 4
_MONITOR_HINT = (
    "run 'mpc-manager broker apply' ('broker start' for a private node), which makes"
    " the user and its file where they are missing"
)
_HINT = (
    'write {"admin": {"user": …, "password": …},'
    ' "manager": {"user": "manager", "password": …}}, readable by its owner only'
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A broker user and its password; the password is never printed."""

    user: str
    password: str = field(repr=False)

    def hashed(self) -> str:
        """Return RabbitMQ's hash of the password, with a fresh salt."""
        return broker_password_hash(self.password, secrets.token_bytes(_SALT_BYTES))


def monitor_user(credential: Credential) -> User:
    """Return the user of people who watch as the broker must know it."""
    return User(
        credential.user,
        credential.hashed(),
        MONITOR_PERMISSIONS,
        tags=("monitoring",),
    )


@dataclass(frozen=True, slots=True)
class BrokerCredentials:
    """The user who makes users and queues, and the one who speaks AMQP."""

    admin: Credential
    manager: Credential

    def manager_user(self) -> User:
        """Return the AMQP user as the broker must know it."""
        return User(self.manager.user, self.manager.hashed(), MANAGER_PERMISSIONS)

    def admin_user(self) -> User:
        """Return the administrator as a private node must know it."""
        return User(
            self.admin.user,
            self.admin.hashed(),
            ADMIN_PERMISSIONS,
            tags=("administrator",),
        )


def load_credentials(path: Path) -> BrokerCredentials:
    """Read the file of both passwords.

    Raises:
        ConfigError: it is missing, malformed or readable by others.
    """
    content = _read_private(path, _HINT)
    return BrokerCredentials(
        admin=_credential(path, content.get("admin"), _HINT),
        manager=_credential(path, content.get("manager"), _HINT),
    )


def load_monitor(folder: Path) -> Credential:
    """Read who may watch in the management UI.

    Args:
        folder: of the broker, in the manager's home.

    Raises:
        ConfigError: the file is missing, malformed or readable by others.
    """
    path = folder / MONITOR_FILE
    return _credential(path, _read_private(path, _MONITOR_HINT), _MONITOR_HINT)


def load_or_create_monitor(folder: Path) -> Credential:
    """Read who may watch, or draw and keep a new password where there is none.

    Args:
        folder: of the broker, in the manager's home; made if it is not there.

    Raises:
        ConfigError: the file is malformed, readable by others or not writable.
    """
    path = folder / MONITOR_FILE
    if path.exists():
        return load_monitor(folder)
    made = Credential(MONITOR_USER, secrets.token_urlsafe(PASSWORD_BYTES))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot use the folder {folder}: {error.strerror}",
            "choose another home with --home",
        ) from error
    content = {"user": made.user, "password": made.password}
    write_private(path, json.dumps(content, indent=2) + "\n")
    return made


def _read_private(path: Path, hint: str) -> dict[str, object]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"no broker credentials at {path}", hint) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others may read the broker credentials {path}", f"chmod 600 {path}"
        )
    return read_json(path)


def _credential(path: Path, entry: object, hint: str) -> Credential:
    if isinstance(entry, dict):
        user, password = entry.get("user"), entry.get("password")
        if isinstance(user, str) and isinstance(password, str) and user and password:
            return Credential(user, password)
    raise ConfigError(f"the broker credentials {path} are malformed", hint)


def load_or_create_credentials(path: Path) -> BrokerCredentials:
    """Read both passwords, or draw and keep new ones where there is no file.

    Raises:
        ConfigError: the file is malformed, readable by others or not writable.
    """
    if path.exists():
        return load_credentials(path)
    made = BrokerCredentials(
        admin=Credential(ADMIN_USER, secrets.token_urlsafe(PASSWORD_BYTES)),
        manager=Credential(MANAGER_USER, secrets.token_urlsafe(PASSWORD_BYTES)),
    )
    content = {
        "admin": {"user": made.admin.user, "password": made.admin.password},
        "manager": {"user": made.manager.user, "password": made.manager.password},
    }
    write_private(path, json.dumps(content, indent=2) + "\n")
    return made
