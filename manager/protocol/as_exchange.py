"""The AS exchange at the manager: pre-authenticated by signature, one round trip.

Source: docs/protocol.md, section "AS exchange". The machine decides; the shell
issues the leaf (X.509 draws its own randomness) and hands it to ``complete``.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from manager.protocol.credentials import (
    CLOCK_SKEW,
    MILLISECOND,
    Issued,
    Issuer,
    certify,
)
from manager.protocol.registration import Refuse
from shared.crypto.certificates import read_csr, spki_hash
from shared.crypto.derivation import (
    as_confirm,
    as_keys,
    as_transcript,
    equal,
)
from shared.crypto.keys import KemKey, check_kem_key, verify
from shared.errors import CryptoError, DecodeError, ErrorCode
from shared.messages import (
    AsReply,
    AsReplyCore,
    AsRequest,
    Endorsement,
    SignedCertificate,
    Suite,
    unpack,
)
from shared.names import Io, KeyId, MessageId, Principal, Role, SessionId
from shared.protocol.machine import Context, Received, Transition
from shared.protocol.manifest import ENDORSEMENT_LABEL

VERSION: Final = 1
CLIENT_LIFE: Final = timedelta(hours=12)
SERVER_LIFE: Final = timedelta(hours=24)
SHORTEST_LIFE: Final = timedelta(seconds=60)
HALF_OPEN_LIFE: Final = timedelta(seconds=60)
MAX_HALF_OPEN: Final = 2
REPLAY_MEMORY: Final = timedelta(minutes=10)
"""How long a nonce is remembered: longer than any as.req is acceptable."""


@dataclass(frozen=True, slots=True)
class Account:
    """A principal as the AS exchange sees it.

    ``cert_begins``, ``cert_ends``: in ms. ``issuer``: id of the key that signed its
    certificate.
    """

    principal: Principal
    role: Role
    io: Io | None
    sig_pk: bytes
    kem_pk: bytes
    is_active: bool
    cert_begins: int
    cert_ends: int
    issuer: KeyId


@dataclass(frozen=True, slots=True)
class AsState:
    """What is known of a sender.

    ``account``: ``None`` for a name that nobody has. ``half_open``: its sessions
    that nobody has used yet, oldest first. ``nonce_is_spent``: the request's
    nonce is in the replay cache.
    """

    account: Account | None
    half_open: tuple[SessionId, ...]
    nonce_is_spent: bool


@dataclass(frozen=True, slots=True)
class Authority:
    """``ends``: of the data-plane CA that issues leaves, ms."""

    issuer: Issuer
    ends: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Open a session: issue the leaf, call ``complete``, keep, answer.

    ``spki_der``: the endorsed TLS key. ``exp``: of session and leaf, ms.
    ``renewed``: a fresh certificate of registration, if it is time.
    """

    account: Account
    request: AsRequest
    payload: bytes
    mid: MessageId
    sid: SessionId
    exp: int
    spki_der: bytes
    endorsement: Endorsement
    renewed: Issued | None


@dataclass(frozen=True, slots=True)
class EndSession:
    """Forget a half-open session that makes room for a new one."""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class Replayed:
    """Drop and count: the nonce was used before."""


AsEffect = Grant | EndSession | Refuse | Replayed


@dataclass(frozen=True, slots=True)
class Established:
    """The answer, and the two keys of the session."""

    reply: AsReply
    up: bytes
    down: bytes

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "Established(<redacted>)"


def step(
    state: AsState, event: Received, context: Context, authority: Authority
) -> Transition[AsState, AsEffect]:
    """Return what an ``as.req`` leads to.

    Args:
        state: of the sender.
        event: the request; its signature is proven.
        context: time, and entropy for the session's id.
        authority: what certificates are issued with.
    """
    request, account, now = event.message, state.account, context.now_ms
    if (
        account is None
        or not isinstance(request, AsRequest)
        or not account.is_active
        or not account.cert_begins <= now < account.cert_ends
        or request.p != event.sender
        or request.p != account.principal
        or not equal(request.m, authority.issuer.fingerprint)
    ):
        return _refuse(state, event, ErrorCode.UNAUTHENTICATED)
    if state.nonce_is_spent:
        return Transition(state, (Replayed(),))
    # RFC 4120, 3.1.3: refuse outside the clock skew, and say our time.
    if abs(request.now - now) > CLOCK_SKEW // MILLISECOND:
        refusal = Refuse(ErrorCode.EXPIRED, event.mid, now)
        return Transition(state, (refusal,))
    if VERSION not in request.vers or Suite.SESSION not in request.suites:
        return _refuse(state, event, ErrorCode.VERSION)
    try:
        endorsement = _endorsement(request, account, authority, now)
        spki_der = read_csr(request.csr)
        check_kem_key(request.e)
    except (CryptoError, DecodeError):
        return _refuse(state, event, ErrorCode.UNAUTHENTICATED)
    if not equal(spki_hash(spki_der), endorsement.spki):
        return _refuse(state, event, ErrorCode.UNAUTHENTICATED)
    renewed = _renewal(account, authority.issuer, now)
    exp = _end(request, account, endorsement, authority, now)
    if exp - now < SHORTEST_LIFE // MILLISECOND:
        return _refuse(state, event, ErrorCode.UNAUTHENTICATED)
    grant = Grant(
        account,
        request,
        event.payload,
        event.mid,
        SessionId(context.entropy(16)),
        exp,
        spki_der,
        endorsement,
        renewed,
    )
    surplus = state.half_open[: max(0, len(state.half_open) - MAX_HALF_OPEN + 1)]
    return Transition(state, (*(EndSession(sid) for sid in surplus), grant))


def complete(
    grant: Grant,
    leaf: bytes,
    authorities: tuple[bytes, ...],
    context: Context,
) -> Established:
    """Return the answer to a granted request.

    Args:
        grant: from ``step``.
        leaf: DER, issued for the endorsed key.
        authorities: DER of every data-plane CA in time.
        context: time, and entropy for the ephemeral key.
    """
    ephemeral = KemKey.from_bytes(context.entropy(32))
    request = grant.request
    cert: SignedCertificate | None = grant.renewed.cert if grant.renewed else None
    core = AsReplyCore(
        p=grant.account.principal,
        nonce=request.nonce,
        e=ephemeral.public,
        sid=grant.sid,
        exp=grant.exp,
        now=context.now_ms,
        ver=VERSION,
        suite=Suite.SESSION,
        vers_seen=request.vers,
        suites_seen=request.suites,
        leaf=leaf,
        cas=authorities,
        cert=cert,
    ).pack()
    transcript = as_transcript(grant.payload, core)
    keys = as_keys(transcript, ephemeral.exchange(request.e))
    confirm = as_confirm(keys.confirm_key, transcript)
    return Established(AsReply(core=core, confirm=confirm), keys.up, keys.down)


def _endorsement(
    request: AsRequest, account: Account, authority: Authority, now: int
) -> Endorsement:
    """Return the endorsement of the session's TLS key if it is the sender's own."""
    verify(account.sig_pk, ENDORSEMENT_LABEL, request.endorse, request.endorse_sig)
    endorsement = unpack(Endorsement, request.endorse)
    skew = CLOCK_SKEW // MILLISECOND
    if (
        not equal(endorsement.realm, authority.issuer.fingerprint)
        or endorsement.p != account.principal
        or endorsement.role is not account.role
        or not endorsement.nbf <= now + skew
        or endorsement.exp <= now
        or bool(endorsement.addrs) != (account.role is Role.MPCS)
    ):
        raise DecodeError("an endorsement is not for this principal, realm or time")
    return endorsement


def _renewal(account: Account, issuer: Issuer, now: int) -> Issued | None:
    """Return a fresh certificate when a third of the old one's life is left.

    Or when another key than M.sig in use signed it: that one ends with its overlap.
    """
    left = account.cert_ends - now
    is_former = account.issuer != issuer.signer.kid
    if left * 3 > account.cert_ends - account.cert_begins and not is_former:
        return None
    issued = certify(
        issuer,
        account.principal,
        account.role,
        account.io,
        (account.sig_pk, account.kem_pk),
        now,
    )
    return issued if is_former or issued.ends > account.cert_ends else None


def _end(
    request: AsRequest,
    account: Account,
    endorsement: Endorsement,
    authority: Authority,
    now: int,
) -> int:
    """Return the session's end, ms: what was asked for, within every bound."""
    longest = SERVER_LIFE if account.role is Role.MPCS else CLIENT_LIFE
    # The leaf counts in whole seconds, so the session does too.
    end = min(
        now + min(request.life, longest // MILLISECOND),
        endorsement.exp,
        account.cert_ends,
        authority.ends,
    )
    return end // 1000 * 1000


def _refuse(
    state: AsState, event: Received, code: ErrorCode
) -> Transition[AsState, AsEffect]:
    return Transition(state, (Refuse(code, event.mid),))
