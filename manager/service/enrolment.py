"""Making an enrolment token: its row, its broker user, its first message."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from manager.protocol.registration import TokenStage, TokenState
from manager.realm.founding import descriptor_of, epoch_of
from manager.realm.keys import Entropy, ManagerKeys
from manager.service.entrance import expiry_timer
from manager.service.provisioning import Provisioner
from manager.store.records import AuditRecord, CommandKind
from manager.store.store import Store
from shared.clock import to_ms
from shared.crypto.derivation import rabbitmq_password_hash, sha256
from shared.errors import ConfigError, TransportError
from shared.names import (
    DEFAULT_CLIENT_PREFIX,
    Io,
    Realm,
    Role,
    TokenId,
    check_prefix,
)
from shared.token import SECRET_BYTES, TOKEN_ID_BYTES, Token

DEFAULT_LIFE: Final = timedelta(hours=1)
LONGEST_LIFE: Final = timedelta(hours=24)
_SALT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a token shall permit: one principal of this kind, within ``life``."""

    role: Role
    io: Io | None = None
    prefix: str | None = None
    life: timedelta = DEFAULT_LIFE


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """What a token says of the broker; ``ca``: SHA-256 over its CA's SPKI."""

    url: str
    ca: bytes | None = None


def create_token(
    store: Store,
    keys: ManagerKeys,
    provisioner: Provisioner,
    address: BrokerAddress,
    request: TokenRequest,
    now: datetime,
    entropy: Entropy,
) -> Token:
    """Make a token; the running manager then describes the realm to its holder.

    Args:
        store: of the realm; keeps a hash of the secret only.
        keys: the manager's, for the fingerprint.
        provisioner: makes the temporary broker user.
        address: of the broker.
        request: what the token permits.
        now: the time.
        entropy: draws id and secret.

    Raises:
        ConfigError: the request makes no sense; nothing was made.
        TransportError: the broker does not answer; the token is revoked.
    """
    request = _checked(request)
    token = Token(
        TokenId(entropy(TOKEN_ID_BYTES)),
        entropy(SECRET_BYTES),
        keys.fingerprint,
        epoch_of(descriptor_of(store)),
        _with_vhost(address.url, keys.realm),
        address.ca,
        request.role,
        request.io,
    )
    state = TokenState(
        token.token_id,
        sha256(token.secret),
        request.role,
        request.io,
        request.prefix,
        to_ms(now + request.life),
    )
    with store.transaction() as unit:
        unit.people.add_token(state, to_ms(now))
        unit.mail.set_timer(expiry_timer(state))
        unit.journal.add_audit(
            AuditRecord(to_ms(now), "token created", token.token_id.hex(), request.role)
        )
    try:
        provisioner.create_enrolment(
            token.token_id,
            rabbitmq_password_hash(token.broker_password, entropy(_SALT_BYTES)),
        )
    except TransportError:
        with store.transaction() as unit:
            unit.people.save_token(replace(state, stage=TokenStage.REVOKED))
        raise
    with store.transaction() as unit:
        unit.orders.add_command(CommandKind.DESCRIBE_REALM, token.token_id, to_ms(now))
    return token


def _checked(request: TokenRequest) -> TokenRequest:
    if not timedelta(0) < request.life <= LONGEST_LIFE:
        raise ConfigError(
            "a token cannot live that long", "use a --ttl of at most 24h, such as 1h"
        )
    if request.role is Role.MPCS:
        if request.io is not None or request.prefix is not None:
            raise ConfigError(
                "an MPC server has no io and no prefix", "leave out --io and --prefix"
            )
        return request
    if request.io is None:
        raise ConfigError(
            "what may this client do?",
            "say --io input (gives data), output (asks for results) or in/output",
        )
    prefix = check_prefix(request.prefix or DEFAULT_CLIENT_PREFIX)
    return replace(request, prefix=prefix)


def _with_vhost(url: str, vhost: Realm) -> str:
    """Return the broker's address with the vhost, which a token's holder must know."""
    parts = (part.strip().rstrip("/") for part in url.split(","))
    return ",".join(
        part if urlsplit(part).path else f"{part}/{vhost}" for part in parts
    )
