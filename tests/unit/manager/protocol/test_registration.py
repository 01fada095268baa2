"""The registration machine: what it does apart from the honest walk."""

from dataclasses import replace
from datetime import timedelta

import pytest

from manager.protocol.as_exchange import Established
from manager.protocol.credentials import Issuer
from manager.protocol.registration import (
    EXPIRY,
    Activate,
    Answer,
    Desk,
    Enrol,
    Provision,
    Refuse,
    RegistrationEvent,
    RetireToken,
    TokenRevoked,
    TokenStage,
    TokenState,
    sequence_of,
    step,
)
from shared.crypto.derivation import fingerprint, rabbitmq_password_hash, sha256
from shared.crypto.keys import KemKey, SigningKey
from shared.errors import ErrorCode
from shared.messages import (
    AsReply,
    Attributes,
    LogOff,
    Message,
    RegistrationDone,
    RegistrationRequest,
    SignedRealm,
)
from shared.names import MessageId, Principal, Role, TokenId
from shared.protocol.machine import Context, Received, TimerFired
from tests.manager_realm import REALM, START, stream

TOKEN_ID = TokenId(bytes(8))
SECRET = bytes(16)
SIGNER, KEM = SigningKey.from_seed(b"s" * 32), KemKey.from_bytes(b"k" * 32)
NOW = Context(START, stream("registration"))
FRESH = TokenState(
    TOKEN_ID, sha256(SECRET), Role.MPCS, None, None, NOW.now_ms + 3_600_000
)
DESK = Desk(
    REALM,
    Issuer(fingerprint(REALM, bytes(32)), SIGNER, NOW.now_ms + 10**10, 7),
    4,
    SignedRealm(rd=b"rd", sig=bytes(64)),
)
REQUEST = RegistrationRequest(
    token_id=TOKEN_ID,
    secret=SECRET,
    role=Role.MPCS,
    sig_pk=SIGNER.public,
    kem_pk=KEM.public,
    attrs=Attributes(),
    pwhash=rabbitmq_password_hash("p", b"salt"),
    nonce=bytes(16),
    vers=(1,),
)
SERVER = Principal("MPC_server_004")
DONE = RegistrationDone(principal=SERVER, serial=7, nonce=bytes(16))
MID = MessageId(bytes(16))


def _received(message: Message, sender: str = f"enrol:{TOKEN_ID.hex()}") -> Received:
    return Received(Principal(sender), message, MID, b"")


def _claimed() -> TokenState:
    state = step(FRESH, _received(REQUEST), NOW, DESK).state
    assert state is not None
    return state


def test_a_claim_enrols_then_provisions_then_answers() -> None:
    """In this order; the password's hash is the newest request's."""
    after = step(FRESH, _received(REQUEST), NOW, DESK)

    assert [type(effect) for effect in after.effects] == [Enrol, Provision, Answer]
    assert after.state is not None
    assert after.state.stage is TokenStage.CLAIMED
    assert sequence_of(Role.CLIENT, None) == "client"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"vers": (2,)}, ErrorCode.VERSION),
        ({"pwhash": "!" * 48}, ErrorCode.UNAUTHENTICATED),
        ({"pwhash": "é" * 48}, ErrorCode.UNAUTHENTICATED),
        ({"token_id": b"x" * 8}, ErrorCode.UNAUTHENTICATED),
        ({"role": Role.CLIENT}, ErrorCode.UNAUTHENTICATED),
        ({"sig_pk": bytes(32)}, ErrorCode.UNAUTHENTICATED),
        ({"kem_pk": bytes(32)}, ErrorCode.UNAUTHENTICATED),
    ],
)
def test_a_request_that_is_not_right_changes_nothing(
    change: dict[str, object], code: ErrorCode
) -> None:
    """Only the version is told."""
    request = REQUEST.model_copy(update=change)
    after = step(FRESH, _received(request), NOW, DESK)

    assert after.state == FRESH
    assert after.effects == (Refuse(code, MID),)


def test_a_request_under_another_name_or_of_no_token_is_refused() -> None:
    """The broker user of one token registers with that token alone."""
    other = step(FRESH, _received(REQUEST, f"enrol:{'11' * 8}"), NOW, DESK)
    unknown = step(None, _received(REQUEST), NOW, DESK)
    refusal = (Refuse(ErrorCode.UNAUTHENTICATED, MID),)

    assert (other.state, other.effects) == (FRESH, refusal)
    assert (unknown.state, unknown.effects) == (None, refusal)


@pytest.mark.parametrize(
    "changes", [{"principal": Principal("MPC_server_005")}, {"serial": 8}]
)
def test_reg_done_of_something_else_is_refused(changes: dict[str, object]) -> None:
    """Another name or another certificate than was given."""
    claimed, done = _claimed(), DONE.model_copy(update=changes)
    refusal = (Refuse(ErrorCode.UNAUTHENTICATED, MID),)

    assert step(claimed, _received(done, SERVER), NOW, DESK).effects == refusal
    assert step(FRESH, _received(DONE, SERVER), NOW, DESK).effects == refusal
    assert step(None, _received(DONE, SERVER), NOW, DESK).effects == refusal


def test_a_token_that_ended_is_refused_whatever_is_shown() -> None:
    """Also with the keys that it was claimed with, and after its time."""
    revoked = replace(_claimed(), stage=TokenStage.REVOKED)
    later = Context(START + timedelta(hours=2), NOW.entropy)
    refusal = (Refuse(ErrorCode.UNAUTHENTICATED, MID),)

    assert step(revoked, _received(REQUEST), NOW, DESK).effects == refusal
    assert step(_claimed(), _received(REQUEST), later, DESK).effects == refusal
    assert step(revoked, _received(DONE, SERVER), NOW, DESK).effects == refusal


@pytest.mark.parametrize("sender", [SERVER, "MPC_server_005"])
def test_reg_done_counts_once_and_from_its_principal(sender: str) -> None:
    """A repeat is harmless; somebody else's is refused."""
    first = step(_claimed(), _received(DONE, sender), NOW, DESK)
    again = step(first.state, _received(DONE, sender), NOW, DESK)
    is_own = sender == SERVER
    refusal = (Refuse(ErrorCode.UNAUTHENTICATED, MID),)

    assert first.effects == (
        (Activate(SERVER), RetireToken(TOKEN_ID)) if is_own else refusal
    )
    assert again.effects == (() if is_own else refusal)


def test_any_other_message_is_refused() -> None:
    """The machine knows two."""
    after = step(FRESH, _received(LogOff()), NOW, DESK)

    assert after.effects == (Refuse(ErrorCode.UNAUTHENTICATED, MID),)


@pytest.mark.parametrize("event", [TokenRevoked(), TimerFired(EXPIRY)])
def test_the_end_of_a_token_takes_its_user_away(event: RegistrationEvent) -> None:
    """A claim that is under way may still be completed after the expiry."""
    claimed = step(_claimed(), event, NOW, DESK)
    used = replace(_claimed(), stage=TokenStage.USED)

    assert claimed.effects == (RetireToken(TOKEN_ID),)
    assert claimed.state is not None
    assert (claimed.state.stage is TokenStage.CLAIMED) == isinstance(event, TimerFired)
    assert step(used, event, NOW, DESK).effects == ()
    assert step(None, event, NOW, DESK).effects == ()


def test_session_keys_do_not_show() -> None:
    """A printed answer holds none of them."""
    reply = AsReply(core=b"core", confirm=bytes(32))

    assert (
        repr(Established(reply, b"up" * 16, b"down" * 8)) == "Established(<redacted>)"
    )
