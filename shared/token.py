"""The enrolment token: one string with which a participant finds the realm.

Source: docs/protocol.md, section "Enrolment token". Whoever holds the string may
register once, so it is a secret until it is used or has expired.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.crypto.derivation import broker_password
from shared.errors import ConfigError
from shared.names import ENROL_PREFIX, Fingerprint, Io, Role, TokenId

MARK: Final = "mpxe1"
TOKEN_ID_BYTES: Final = 8
SECRET_BYTES: Final = 16
HASH_BYTES: Final = 32
EPOCH_BYTES: Final = 4
MAX_TEXT: Final = 1024
MAX_URL: Final = 512

_PARTS: Final = 5
_REALM_BYTES: Final = HASH_BYTES + EPOCH_BYTES
_KINDS: Final[Mapping[int, tuple[Role, Io | None]]] = MappingProxyType(
    {
        1: (Role.MPCS, None),
        2: (Role.CLIENT, Io.INPUT),
        3: (Role.CLIENT, Io.OUTPUT),
        4: (Role.CLIENT, Io.BOTH),
    }
)
"""What a token may be for, by the byte behind the epoch."""
_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_HINT = "copy the whole line that `mpc-manager token create` printed"


@dataclass(frozen=True, slots=True)
class Token:
    """What an enrolment token says.

    ``secret``: 16 bytes. ``min_epoch``: no realm descriptor below it is accepted.
    ``broker_ca``: SHA-256 over the SPKI of the broker's CA, ``None`` on loopback.
    ``role``, ``io``: what it was made for, so that its holder need not be told;
    what counts is what the manager wrote down.
    """

    token_id: TokenId
    secret: bytes
    fingerprint: Fingerprint
    min_epoch: int
    broker_url: str
    broker_ca: bytes | None = None
    role: Role | None = None
    io: Io | None = None

    def text(self) -> str:
        """Return the one string that stands for the token."""
        return ".".join(
            (
                MARK,
                _encode(self.token_id + self.secret),
                _encode(
                    self.fingerprint
                    + self.min_epoch.to_bytes(EPOCH_BYTES)
                    + _kind(self.role, self.io)
                ),
                _encode(self.broker_url.encode()),
                _encode(self.broker_ca or b""),
            )
        )

    @property
    def user(self) -> str:
        """The broker user that lives as long as the token."""
        return broker_user(self.token_id)

    @property
    def sender(self) -> str:
        """What an enrolling participant signs as its name."""
        return f"{ENROL_PREFIX}{self.token_id.hex()}"

    @property
    def broker_password(self) -> str:
        """The broker user's password: only holders of the secret can derive it."""
        return broker_password(self.secret)

    def __repr__(self) -> str:
        """Name the token, never its secret."""
        return f"Token(token_id={self.token_id.hex()}, <redacted>)"


def broker_user(token_id: TokenId) -> str:
    """Return the broker user of a token's holder."""
    return f"enrol-{token_id.hex()}"


def parse(text: str) -> Token:
    """Return the token that a string stands for.

    Raises:
        ConfigError: it is not a whole token; the text is not repeated in the error.
    """
    parts = text.strip().split(".")
    if len(text) > MAX_TEXT or len(parts) != _PARTS or parts[0] != MARK:
        raise ConfigError("this is not an enrolment token", _HINT)
    who, realm, url, authority = (_decode(part) for part in parts[1:])
    if (
        len(who) != TOKEN_ID_BYTES + SECRET_BYTES
        or len(realm) not in {_REALM_BYTES, _REALM_BYTES + 1}
        or (len(realm) > _REALM_BYTES and realm[-1] not in _KINDS)
        or not 0 < len(url) <= MAX_URL
        or len(authority) not in {0, HASH_BYTES}
    ):
        raise ConfigError("the enrolment token is damaged", _HINT)
    min_epoch = int.from_bytes(realm[HASH_BYTES:_REALM_BYTES])
    try:
        broker_url = url.decode("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError("the enrolment token is damaged", _HINT) from error
    if min_epoch < 1 or not broker_url.isprintable():
        raise ConfigError("the enrolment token is damaged", _HINT)
    role, io = _KINDS[realm[-1]] if len(realm) > _REALM_BYTES else (None, None)
    return Token(
        TokenId(who[:TOKEN_ID_BYTES]),
        who[TOKEN_ID_BYTES:],
        Fingerprint(realm[:HASH_BYTES]),
        min_epoch,
        broker_url,
        authority or None,
        role,
        io,
    )


def _kind(role: Role | None, io: Io | None) -> bytes:
    """Return the byte that says what a token is for; none if it does not say."""
    if role is None:
        return b""
    for number, kind in _KINDS.items():
        if kind == (role, io):
            return bytes([number])
    raise ConfigError(
        f"no token can be for a {role} with io {io}",
        "MPC servers have no io; clients have input, output or in/output",
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Return the bytes of one part; a second spelling of them is refused."""
    if not _BASE64.fullmatch(text):
        raise ConfigError("the enrolment token is damaged", _HINT)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ConfigError("the enrolment token is damaged", _HINT) from error
    if _encode(data) != text:
        raise ConfigError("the enrolment token is damaged", _HINT)
    return data
