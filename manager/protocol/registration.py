"""The registration exchange at the manager: one machine a token.

Source: docs/protocol.md, section "Registration". A refused sender learns nothing
but that it is refused.
"""

import base64
import binascii
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import Final, assert_never

from manager.protocol.credentials import Issuer, certify
from shared.crypto.derivation import equal, sha256
from shared.crypto.keys import check_kem_key, check_public_key
from shared.errors import CryptoError, ErrorCode
from shared.messages import (
    Attributes,
    BrokerAccess,
    RegistrationDone,
    RegistrationReply,
    RegistrationRequest,
    SignedCertificate,
    SignedRealm,
)
from shared.names import (
    DEFAULT_CLIENT_PREFIX,
    ENROL_PREFIX,
    SERVER_PREFIX,
    Io,
    MessageId,
    Principal,
    Realm,
    Role,
    TokenId,
    client_name,
    server_name,
)
from shared.protocol.machine import (
    Context,
    Received,
    TimerFired,
    Transition,
)

VERSION: Final = 1
EXPIRY: Final = "expiry"
"""The timer that ends a token."""
_PASSWORD_HASH_BYTES: Final = 36


@unique
class TokenStage(StrEnum):
    """Where a token stands; the last three are for ever."""

    NEW = "new"
    CLAIMED = "claimed"
    USED = "used"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the first valid request bound a token to."""

    sig_pk: bytes
    kem_pk: bytes
    principal: Principal
    serial: int
    cert: SignedCertificate


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token as the manager keeps it.

    ``secret_hash``: SHA-256 of the secret. ``prefix``: of the client's name.
    ``expires``: ms.
    """

    token_id: TokenId
    secret_hash: bytes
    role: Role
    io: Io | None
    prefix: str | None
    expires: int
    stage: TokenStage = TokenStage.NEW
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What a registration needs to know of the realm.

    ``next_number``: of the next principal with the token's prefix.
    """

    realm: Realm
    issuer: Issuer
    next_number: int
    realm_desc: SignedRealm


@dataclass(frozen=True, slots=True)
class TokenRevoked:
    """The operator took a token back."""


@dataclass(frozen=True, slots=True)
class Enrol:
    """Keep a new principal; serial and number are spent.

    ``cert_ends``: ms. ``sequence``: whose next number was taken.
    """

    principal: Principal
    role: Role
    io: Io | None
    sequence: str
    sig_pk: bytes
    kem_pk: bytes
    attributes: Attributes
    serial: int
    cert_ends: int
    cert: SignedCertificate


@dataclass(frozen=True, slots=True)
class Provision:
    """Make the broker user and inbox of a principal, before the answer goes out."""

    principal: Principal
    role: Role
    password_hash: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Send a reply to the token's queue, sealed to the new principal's key."""

    token_id: TokenId
    kem_pk: bytes
    message: RegistrationReply
    re: MessageId


@dataclass(frozen=True, slots=True)
class Activate:
    """From now on the principal may authenticate."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class RetireToken:
    """Remove the token's broker user and queue."""

    token_id: TokenId


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the sender a code and nothing else; ``now`` is told where it helps."""

    code: ErrorCode
    re: MessageId
    now: int | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Somebody must look: this is not an honest mistake. ``subject``: of whom."""

    event: str
    subject: str


RegistrationEvent = Received | TimerFired | TokenRevoked
RegistrationEffect = (
    Enrol | Provision | Answer | Activate | RetireToken | Refuse | Alarm
)
_Transition = Transition[TokenState | None, RegistrationEffect]


def sequence_of(role: Role, prefix: str | None) -> str:
    """Return the name of the number sequence for new principals of this kind."""
    if role is Role.MPCS:
        return SERVER_PREFIX
    return prefix or DEFAULT_CLIENT_PREFIX


def step(
    state: TokenState | None, event: RegistrationEvent, context: Context, desk: Desk
) -> _Transition:
    """Return what an event makes of a token.

    Args:
        state: the token that the event is about, ``None`` if there is none such.
        event: a proven ``reg.req`` or ``reg.done``, the expiry, or a revocation.
        context: time.
        desk: the realm's numbers and keys.
    """
    match event:
        case Received(message=RegistrationRequest() as request):
            return _requested(state, event, request, context, desk)
        case Received(message=RegistrationDone() as done):
            return _done(state, event, done)
        case Received():
            return _refuse(state, event)
        case TokenRevoked():
            return _end(state, TokenStage.REVOKED)
        case TimerFired():
            return _end(state, TokenStage.EXPIRED)
        case _:
            assert_never(event)


def _requested(
    state: TokenState | None,
    event: Received,
    request: RegistrationRequest,
    context: Context,
    desk: Desk,
) -> _Transition:
    if VERSION not in request.vers:
        return _refuse(state, event, ErrorCode.VERSION)
    if state is None or not _matches(state, event, request):
        return _refuse(state, event)
    claim = state.claim
    if claim is not None and (claim.sig_pk, claim.kem_pk) != (
        request.sig_pk,
        request.kem_pk,
    ):
        alarm = Alarm("token claimed twice", state.token_id.hex())
        return Transition(state, (alarm, Refuse(ErrorCode.UNAUTHENTICATED, event.mid)))
    if state.stage not in {TokenStage.NEW, TokenStage.CLAIMED}:
        return _refuse(state, event)
    if context.now_ms >= state.expires:
        return _refuse(state, event)
    enrolled: tuple[RegistrationEffect, ...] = ()
    if claim is None:
        if not _is_sound(request):
            return _refuse(state, event)
        state, claim, enrolled = _claim(state, request, context, desk)
    reply = RegistrationReply(
        nonce=request.nonce,
        principal=claim.principal,
        cert=claim.cert,
        broker=BrokerAccess(
            user=claim.principal,
            vhost=desk.realm,
            queue=f"{state.role}.{claim.principal}",
        ),
        realm_desc=desk.realm_desc,
        now=context.now_ms,
    )
    return Transition(
        state,
        (
            *enrolled,
            Provision(claim.principal, state.role, request.pwhash),
            Answer(state.token_id, claim.kem_pk, reply, event.mid),
        ),
    )


def _matches(state: TokenState, event: Received, request: RegistrationRequest) -> bool:
    """Say whether the request shows this very token and asks for what it gives."""
    return (
        equal(sha256(request.secret), state.secret_hash)
        and request.token_id == state.token_id
        and event.sender == f"{ENROL_PREFIX}{state.token_id.hex()}"
        and request.role is state.role
        and request.io is state.io
        and request.prefix in {None, state.prefix}
        and _is_password_hash(request.pwhash)
    )


def _is_password_hash(text: str) -> bool:
    try:
        return (
            len(base64.b64decode(text.encode(), validate=True)) == _PASSWORD_HASH_BYTES
        )
    except (binascii.Error, UnicodeEncodeError):
        return False


def _is_sound(request: RegistrationRequest) -> bool:
    """Say whether the keys are worth certifying."""
    try:
        check_public_key(request.sig_pk)
        check_kem_key(request.kem_pk)
    except CryptoError:
        return False
    return True


def _claim(
    state: TokenState, request: RegistrationRequest, context: Context, desk: Desk
) -> tuple[TokenState, Claim, tuple[RegistrationEffect, ...]]:
    """Bind the token to the keys and allocate the principal."""
    sequence = sequence_of(state.role, state.prefix)
    if state.role is Role.MPCS:
        principal = server_name(desk.next_number)
    else:
        principal = client_name(sequence, desk.next_number)
    issued = certify(
        desk.issuer,
        principal,
        state.role,
        state.io,
        (request.sig_pk, request.kem_pk),
        context.now_ms,
    )
    claim = Claim(request.sig_pk, request.kem_pk, principal, issued.serial, issued.cert)
    enrol = Enrol(
        principal,
        state.role,
        state.io,
        sequence,
        request.sig_pk,
        request.kem_pk,
        request.attrs,
        issued.serial,
        issued.ends,
        issued.cert,
    )
    return replace(state, stage=TokenStage.CLAIMED, claim=claim), claim, (enrol,)


def _done(
    state: TokenState | None, event: Received, done: RegistrationDone
) -> _Transition:
    if (
        state is None
        or state.claim is None
        or event.sender != state.claim.principal
        or done.principal != state.claim.principal
        or done.serial != state.claim.serial
        or state.stage is TokenStage.REVOKED
    ):
        return _refuse(state, event)
    if state.stage is TokenStage.USED:
        return Transition(state)
    effects: tuple[RegistrationEffect, ...] = (
        Activate(state.claim.principal),
        RetireToken(state.token_id),
    )
    return Transition(replace(state, stage=TokenStage.USED), effects)


def _end(state: TokenState | None, stage: TokenStage) -> _Transition:
    """End a token that nobody has used up; a claim keeps its principal."""
    if state is None or state.stage not in {TokenStage.NEW, TokenStage.CLAIMED}:
        return Transition(state)
    retire = RetireToken(state.token_id)
    if state.stage is TokenStage.CLAIMED and stage is TokenStage.EXPIRED:
        # reg.rep may be on its way: reg.done still counts.
        return Transition(state, (retire,))
    return Transition(replace(state, stage=stage), (retire,))


def _refuse(
    state: TokenState | None,
    event: Received,
    code: ErrorCode = ErrorCode.UNAUTHENTICATED,
) -> _Transition:
    return Transition(state, (Refuse(code, event.mid),))
