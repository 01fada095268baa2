"""The manager's own two broker users and the file that holds their passwords."""

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
    User,
    broker_password_hash,
)

PASSWORD_BYTES = 32
_SALT_BYTES = 4
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
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"no broker credentials at {path}", _HINT) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others may read the broker credentials {path}", f"chmod 600 {path}"
        )
    content = read_json(path)
    return BrokerCredentials(
        admin=_credential(path, content.get("admin")),
        manager=_credential(path, content.get("manager")),
    )


def _credential(path: Path, entry: object) -> Credential:
    if isinstance(entry, dict):
        user, password = entry.get("user"), entry.get("password")
        if isinstance(user, str) and isinstance(password, str) and user and password:
            return Credential(user, password)
    raise ConfigError(f"the broker credentials {path} are malformed", _HINT)


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
