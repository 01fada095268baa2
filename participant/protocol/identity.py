"""Who this participant is: its keys, its name and what it has pinned."""

from dataclasses import dataclass

from participant.protocol.trust import RealmView
from shared.crypto.derivation import sha256
from shared.crypto.keys import KemKey, SigningKey
from shared.messages import SignedCertificate
from shared.names import Duty, Io, Principal, Role, duties_allowed

MAX_PINS = 4096
"""Identity keys of others that a key file holds, at most."""


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """Where the broker is and how this participant logs in.

    ``authority``: PEM of the broker's CA for ``amqps``; ``None`` trusts the
    system's authorities.
    """

    url: str
    vhost: str
    user: str
    queue: str
    password: str
    authority: str | None = None

    def __repr__(self) -> str:
        """Name the login, never its password."""
        return f"BrokerLogin({self.user}@{self.url}, <redacted>)"


@dataclass(frozen=True, slots=True)
class Pin:
    """The identity key that a principal must have: SHA-256 of its public key.

    ``is_listed``: the owner named it; otherwise it is the first that was seen.
    """

    principal: Principal
    key_hash: bytes
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A registered participant. ``journal_key``: 32 bytes that seal its journal."""

    signing: SigningKey
    kem: KemKey
    principal: Principal
    role: Role
    io: Io | None
    cert: SignedCertificate
    realm: RealmView
    broker: BrokerLogin
    journal_key: bytes
    pins: tuple[Pin, ...] = ()

    def __repr__(self) -> str:
        """Name the identity, never its keys."""
        return f"Identity({self.principal}, <redacted>)"

    @property
    def duties(self) -> frozenset[Duty]:
        """What the certificate permits."""
        return duties_allowed(self.role, self.io)


def key_hash(public_key: bytes) -> bytes:
    """Return what a pin holds of an identity's public key."""
    return sha256(public_key)
