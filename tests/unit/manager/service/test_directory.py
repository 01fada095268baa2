"""What the manager takes for a session, and for a key of its sender."""

from dataclasses import replace
from typing import cast

import pytest

from manager.realm.keys import ManagerKeys
from manager.service.directory import ManagerDirectory
from manager.service.memory import Memory
from manager.store.records import (
    PrincipalRecord,
    SessionRecord,
    SessionStanding,
    Standing,
)
from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import DroppedError, DropReason, Header
from shared.errors import ErrorCode
from shared.messages import CATALOGUE, Attributes, SignedCertificate
from shared.names import MANAGER, KeyId, MessageId, Principal, Role, SessionId
from shared.protocol.window import Window

NOW = 1_000_000
SID = SessionId(bytes(16))
SENDER, OTHER = Principal("MPC_server_001"), Principal("MPC_server_002")
SIGNER = SigningKey.from_seed(bytes(32))
KEYS = b"u" * 32 + b"d" * 32
SESSION = SessionRecord(
    sid=SID,
    principal=SENDER,
    standing=SessionStanding.LIVE,
    slot=0,
    wrapped=b"",
    created=NOW - 1000,
    exp=NOW,
    ended=None,
    out_seq=0,
    window=Window(),
    endorse=b"",
    endorse_sig=b"",
    endorse_exp=NOW,
    spki=b"",
    leaf=b"",
)
RECORD = PrincipalRecord(
    principal=SENDER,
    role=Role.MPCS,
    io=None,
    standing=Standing.REGISTERED,
    serial=1,
    created=0,
    attributes=Attributes(),
    sig_pk=SIGNER.public,
    kem_pk=KemKey.from_bytes(bytes(32)).public,
    cert=SignedCertificate(c=b"c", sig=bytes(64)),
    cert_begins=0,
    cert_ends=NOW,
)
HEADER = Header(
    t="status",
    s=SENDER,
    r=MANAGER,
    kid=SIGNER.kid,
    sid=SID,
    mid=MessageId(bytes(16)),
    seq=1,
    ts=NOW,
    exp=NOW + 1,
    job=None,
    re=None,
)


def directory(
    session: SessionRecord = SESSION, record: PrincipalRecord = RECORD
) -> ManagerDirectory:
    """Return a directory that knows one sender in one session."""
    memory = Memory()
    memory.principals[record.principal] = record
    memory.sessions[session.sid] = session
    memory._keys[session.sid] = KEYS
    return ManagerDirectory(memory, cast("ManagerKeys", None), NOW)


def test_a_session_is_its_senders_until_it_ends() -> None:
    """The last millisecond counts; a superseded one is opened to say so."""
    superseded = replace(SESSION, standing=SessionStanding.SUPERSEDED)

    assert directory().session_key(HEADER) == KEYS[:32]
    assert directory(superseded).session_key(HEADER) == KEYS[:32]


@pytest.mark.parametrize(
    ("session", "header"),
    [
        (replace(SESSION, exp=NOW - 1), HEADER),
        (replace(SESSION, standing=SessionStanding.ENDED), HEADER),
        (replace(SESSION, principal=OTHER), HEADER),
        (SESSION, HEADER.model_copy(update={"sid": SessionId(b"x" * 16)})),
        (SESSION, HEADER.model_copy(update={"sid": None})),
    ],
)
def test_any_other_session_is_unknown(session: SessionRecord, header: Header) -> None:
    """The sender is told, and logs on anew."""
    with pytest.raises(DroppedError) as caught:
        directory(session).session_key(header)

    assert caught.value.reason is DropReason.SESSION
    assert caught.value.code is ErrorCode.UNKNOWN_SESSION


def test_a_key_counts_under_its_own_id() -> None:
    """And for its own principal."""
    other_id = HEADER.model_copy(update={"kid": KeyId(bytes(8))})
    other_name = HEADER.model_copy(update={"s": OTHER})

    assert directory().verify_key(HEADER, b"") == SIGNER.public
    assert directory().verify_key(other_id, b"") is None
    assert directory().verify_key(other_name, b"") is None


def test_who_was_revoked_is_not_known() -> None:
    """Nor who never registered."""
    rule = CATALOGUE["status"]
    revoked = replace(RECORD, standing=Standing.REVOKED)
    stranger = HEADER.model_copy(update={"s": OTHER})

    assert directory().knows(HEADER, rule)
    assert not directory(record=revoked).knows(HEADER, rule)
    assert not directory().knows(stranger, rule)
