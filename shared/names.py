"""Identifiers and the rules for names.

Source: the naming rules of docs/protocol.md, section "Registration".
"""

import re
from enum import StrEnum, unique
from typing import NewType

from shared.errors import ConfigError

Realm = NewType("Realm", str)
"""A realm's name; also the name of its AMQP vhost."""
Fingerprint = NewType("Fingerprint", bytes)
"""32 bytes: SHA-256 over realm name and root key; what ``realm`` means when signed."""
Principal = NewType("Principal", str)
"""A registered party's name, such as ``MPC_server_001`` or ``Liberty001``."""
JobId = NewType("JobId", bytes)
"""16 bytes, derived from realm, consumer and the consumer's own id."""
SessionId = NewType("SessionId", bytes)
"""16 random bytes."""
MessageId = NewType("MessageId", bytes)
"""16 random bytes."""
KeyId = NewType("KeyId", bytes)
"""8 bytes: the start of a labelled SHA-256 over a public key."""
TokenId = NewType("TokenId", bytes)
"""8 random bytes."""

MANAGER = Principal("manager")
SERVER_PREFIX = "MPC_server_"
DEFAULT_CLIENT_PREFIX = "client"
ENROL_PREFIX = "enrol:"

_REALM = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,30}")
_PRINCIPAL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,40}[0-9]{3,9}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@unique
class Role(StrEnum):
    """What a principal's certificate says that it is."""

    MPCS = "mpcs"
    CLIENT = "client"


@unique
class Io(StrEnum):
    """What a client may do in a job; servers have none."""

    INPUT = "input"
    OUTPUT = "output"
    BOTH = "in/output"


@unique
class Duty(StrEnum):
    """What a party does in one job."""

    COMPUTE = "compute"
    INPUT = "input"
    OUTPUT = "output"


def duties_allowed(role: Role, io: Io | None) -> frozenset[Duty]:
    """Return the duties that a certificate of this role and io permits."""
    if role is Role.MPCS:
        return frozenset({Duty.COMPUTE})
    if io is Io.INPUT:
        return frozenset({Duty.INPUT})
    if io is Io.OUTPUT:
        return frozenset({Duty.OUTPUT})
    if io is Io.BOTH:
        return frozenset({Duty.INPUT, Duty.OUTPUT})
    return frozenset()


def check_realm(name: str) -> Realm:
    """Return the name as a realm.

    Raises:
        ConfigError: it is not 1 to 63 letters, digits, ``_``, ``.``, ``-``.
    """
    if not _REALM.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a realm name",
            "use a letter, then up to 62 letters, digits, '_', '.' or '-'",
        )
    return Realm(name)


def check_prefix(prefix: str) -> str:
    """Return the prefix of clients' names.

    Raises:
        ConfigError: it is malformed, ends in a digit or is reserved.
    """
    if (
        not _PREFIX.fullmatch(prefix)
        or prefix[-1].isdigit()
        or prefix.lower().startswith(SERVER_PREFIX.lower())
        or prefix.lower() in {"manager", "enrol"}
    ):
        raise ConfigError(
            f"{prefix!r} cannot be a prefix of client names",
            "use a letter, then 2 to 30 letters, digits, '_' or '-', not ending"
            f" in a digit; {SERVER_PREFIX!r} is reserved",
        )
    return prefix


def server_name(number: int) -> Principal:
    """Return the principal of the MPC server with this number (1, 2, …)."""
    return Principal(f"{SERVER_PREFIX}{number:03d}")


def client_name(prefix: str, number: int) -> Principal:
    """Return the principal of the client with this prefix and number."""
    return Principal(f"{prefix}{number:03d}")


def is_principal(name: str) -> bool:
    """Say whether the text has the form of a registered party's name."""
    return _PRINCIPAL.fullmatch(name) is not None


def is_label(name: str) -> bool:
    """Say whether the text may name a dataset, a column or an attribute."""
    return _LABEL.fullmatch(name) is not None


def display_number(number: int) -> str:
    """Return a job's display number, such as ``J001``."""
    return f"J{number:03d}"
