"""The receiver pipeline, steps 1 to 7, 9 and 10, refuses everything but the real."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import envelope
from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import (
    Addressing,
    Clear,
    DroppedError,
    DropReason,
    KemSeal,
    SessionSeal,
)
from shared.errors import DecodeError, ErrorCode
from shared.messages import JobCancel, JobQuery, LogOff, Rule, Status, Structure
from shared.names import MANAGER, Fingerprint, JobId, MessageId, Principal, SessionId
from tests.vectors.samples import FINGERPRINT, JOB, MESSAGES, NOW, octets

SENDER = Principal("MPC_server_001")
SID = SessionId(octets("sid", 16))
SIGNER = SigningKey.from_seed(octets("seed", 32))
KEM = KemKey.from_bytes(octets("kem", 32))
OTHER_KEM = KemKey.from_bytes(octets("other kem", 32))
REALM = Fingerprint(FINGERPRINT)
STATUS = Status(slots_free=1, slots=2, load=0)


@dataclass
class Book:
    """A directory with one sender in one session."""

    known: bool = True
    keys: tuple[KemKey, ...] = (OTHER_KEM, KEM)
    public: bytes = field(default_factory=lambda: SIGNER.public)

    def knows(self, header: envelope.Header, rule: Rule) -> bool:
        """As configured."""
        assert rule.roles
        return self.known and header.s == SENDER

    def session_key(self, header: envelope.Header) -> bytes:
        """Only ``SID`` exists."""
        if header.sid != SID:
            raise DroppedError(
                DropReason.SESSION, header, code=ErrorCode.UNKNOWN_SESSION
            )
        return octets("k_up", 32)

    def kem_keys(self) -> tuple[KemKey, ...]:
        """As configured."""
        return self.keys

    def verify_key(self, header: envelope.Header, payload: bytes) -> bytes | None:
        """Only one key id is current."""
        assert payload is not None
        return self.public if header.kid == SIGNER.kid else None


ADDRESS = Addressing(
    sender=SENDER,
    recipient=MANAGER,
    mid=MessageId(octets("mid", 16)),
    now_ms=NOW,
    lifetime_ms=60_000,
)
SESSION = SessionSeal(SID, 1, octets("k_up", 32), octets("nonce", 24))


def sealed_status(message: Structure = STATUS) -> bytes:
    """Return a valid envelope in the session."""
    return envelope.seal(message, ADDRESS, SESSION, SIGNER, REALM)


def receive(
    data: bytes,
    book: Book | None = None,
    now_ms: int = NOW,
    me: str = MANAGER,
    realm: Fingerprint = REALM,
) -> Structure:
    """Walk the pure steps of the pipeline in their order."""
    directory = book or Book()
    sealed = envelope.parse(data)
    envelope.check(sealed, me, directory, now_ms)
    return envelope.message_of(envelope.prove(sealed, directory, realm))


def reason_of(data: bytes, book: Book | None = None, now_ms: int = NOW) -> DropReason:
    """Return why the pipeline drops the bytes."""
    with pytest.raises(DroppedError) as caught:
        receive(data, book, now_ms)
    return caught.value.reason


def test_a_valid_envelope_of_every_suite_is_read() -> None:
    """Suites 1, 2 and 3 each reach their message."""
    request = MESSAGES["as.req"]
    in_kem = envelope.seal(request, ADDRESS, KemSeal(KEM.public), SIGNER, REALM)
    error = MESSAGES["err"]
    in_clear = envelope.seal(error, ADDRESS, Clear(), SIGNER, REALM)

    assert receive(sealed_status()) == STATUS
    assert request == receive(in_kem)
    assert error == receive(in_clear)


def test_03_every_flipped_byte_truncation_and_suffix_is_dropped() -> None:
    """No damage gets through and no other exception than a drop comes out."""
    data = sealed_status()
    for index in range(len(data)):
        reason_of(data[:index] + bytes([data[index] ^ 0x01]) + data[index + 1 :])
        reason_of(data[:index])

    assert reason_of(data + b"\0") is DropReason.SIZE
    assert reason_of(data * 2) is DropReason.SIZE
    assert reason_of(b"MPX" + bytes(400_000)) is DropReason.SIZE


@given(st.binary(max_size=400))
def test_37_arbitrary_bytes_after_a_prefix_are_dropped(data: bytes) -> None:
    """Header decoding fails closed whatever it is fed."""
    reason_of(envelope.PREFIX.pack(b"MPX", 1, 2, 0, len(data), 0) + data)


def test_05_the_header_of_one_envelope_on_the_body_of_another_is_dropped() -> None:
    """The header is the AEAD's associated data."""
    first = envelope.parse(sealed_status())
    other = envelope.seal(
        replace_load(),
        replace(ADDRESS, mid=MessageId(octets("mid2", 16))),
        replace(SESSION, seq=2, nonce=octets("nonce2", 24)),
        SIGNER,
        REALM,
    )
    spliced = first.associated + envelope.parse(other).body

    assert reason_of(spliced) is DropReason.UNSEAL


def replace_load() -> Status:
    """Return another status of the same length on the wire."""
    return Status(slots_free=2, slots=2, load=0)


def test_06_a_payload_resealed_to_another_recipient_is_dropped() -> None:
    """The signature covers the recipient, so a recipient cannot pass it on."""
    original = envelope.seal(
        MESSAGES["as.req"], ADDRESS, KemSeal(KEM.public), SIGNER, REALM
    )
    sealed = envelope.parse(original)
    plaintext_signature = envelope.prove(sealed, Book(), REALM)
    forged = envelope.seal_payload(
        "as.req",
        plaintext_signature.payload,
        replace(ADDRESS, recipient="MPC_server_002"),
        KemSeal(KEM.public),
        SigningKey.generate(),
        REALM,
    )

    with pytest.raises(DroppedError) as caught:
        receive(forged, me="MPC_server_002")
    assert caught.value.reason is DropReason.REFLECTION
    assert reason_of(forged) is DropReason.RECIPIENT


def test_06_a_session_payload_resealed_keeps_no_valid_signature() -> None:
    """Even with the right key id the old signature does not fit the new header."""
    impostor = SigningKey.generate()
    forged = envelope.seal(STATUS, ADDRESS, SESSION, impostor, REALM)

    assert reason_of(forged) is DropReason.SIGNATURE
    assert reason_of(forged, Book(public=impostor.public)) is DropReason.SIGNATURE
    assert (
        reason_of(sealed_status(), Book(public=impostor.public)) is DropReason.SIGNATURE
    )


def test_12_times_out_of_bounds_are_dropped_as_expired() -> None:
    """Expiry in the past and a time-stamp ten minutes ahead both fail."""
    data = sealed_status()

    assert reason_of(data, now_ms=NOW + 60_001) is DropReason.EXPIRED
    assert receive(data, now_ms=NOW + 60_000) == STATUS
    assert reason_of(data, now_ms=NOW - 600_000) is DropReason.CLOCK_SKEW
    assert receive(data, now_ms=NOW - 120_000) == STATUS


def test_13_a_message_in_the_wrong_direction_is_a_reflection() -> None:
    """A down type on the up queue, an up type on a down queue, and one's own."""
    offer = MESSAGES["job.offer"]
    down_on_up = envelope.seal(offer, ADDRESS, SESSION, SIGNER, REALM)
    own = envelope.seal(
        MESSAGES["err"], replace(ADDRESS, sender=MANAGER), Clear(), SIGNER, REALM
    )
    with pytest.raises(DroppedError) as caught:
        receive(sealed_status(), me="MPC_server_002")

    assert caught.value.reason is DropReason.REFLECTION
    assert reason_of(down_on_up) is DropReason.REFLECTION
    assert reason_of(own) is DropReason.REFLECTION


def test_14_the_suite_must_fit_the_type_and_the_header_the_payload() -> None:
    """A session type in clear, a sealed type in a session, a payload renamed."""
    clear = envelope.seal(STATUS, ADDRESS, Clear(), SIGNER, REALM)
    in_session = envelope.seal(MESSAGES["as.req"], ADDRESS, SESSION, SIGNER, REALM)
    renamed = envelope.seal_payload(
        "job.query", LogOff().pack(), ADDRESS, SESSION, SIGNER, REALM
    )

    assert reason_of(clear) is DropReason.SUITE
    assert reason_of(in_session) is DropReason.SUITE
    assert reason_of(renamed) is DropReason.PAYLOAD


def test_a_session_suite_without_a_session_is_dropped() -> None:
    """``sid`` and suite 2 go together."""
    error = envelope.seal(MESSAGES["err"], ADDRESS, SESSION, SIGNER, REALM)
    as_clear = bytearray(error)
    as_clear[4] = 3

    assert receive(error) == MESSAGES["err"]
    assert reason_of(bytes(as_clear)) is DropReason.SUITE


def test_an_unknown_sender_session_type_or_key_is_dropped() -> None:
    """Each lookup fails closed with its own counter."""
    unknown_type = envelope.seal_payload(
        "job.bribe", JobQuery().pack(), ADDRESS, SESSION, SIGNER, REALM
    )
    foreign = envelope.seal(
        STATUS,
        ADDRESS,
        replace(SESSION, sid=SessionId(octets("other", 16))),
        SIGNER,
        REALM,
    )
    sealed = envelope.seal(
        MESSAGES["as.req"], ADDRESS, KemSeal(KEM.public), SIGNER, REALM
    )

    assert reason_of(sealed_status(), Book(known=False)) is DropReason.SENDER
    assert reason_of(unknown_type) is DropReason.HEADER
    assert reason_of(foreign) is DropReason.SESSION
    assert reason_of(sealed, Book(keys=(OTHER_KEM,))) is DropReason.UNSEAL


def test_43_version_suite_and_flags_must_be_ours() -> None:
    """No silent fallback: another version is answered with ``version``."""
    data = sealed_status()
    for index, value in ((0, 0x4E), (3, 2), (4, 0x7F), (4, 0x11), (5, 1)):
        altered = bytearray(data)
        altered[index] = value
        with pytest.raises(DroppedError) as caught:
            receive(bytes(altered))

        assert caught.value.reason is DropReason.VERSION
        assert caught.value.code is ErrorCode.VERSION


def test_59_an_envelope_of_another_realm_is_dropped() -> None:
    """The realm fingerprint is signed but never sent."""
    other = Fingerprint(octets("other realm", 32))

    with pytest.raises(DroppedError) as caught:
        receive(sealed_status(), realm=other)
    assert caught.value.reason is DropReason.SIGNATURE


def test_a_body_shorter_than_a_signature_is_dropped() -> None:
    """Nothing is sliced before its length is known."""
    header = envelope.parse(
        envelope.seal(MESSAGES["err"], ADDRESS, Clear(), SIGNER, REALM)
    ).associated[envelope.PREFIX.size :]
    prefix = envelope.PREFIX.pack(b"MPX", 1, 3, 0, len(header), 10)

    assert reason_of(prefix + header + bytes(10)) is DropReason.UNSEAL


@pytest.mark.parametrize(
    ("header_length", "body_length"),
    [
        (envelope.MAX_HEADER_BYTES + 1, 100),
        (100, envelope.MAX_BODY_BYTES + 1),
    ],
)
def test_header_and_body_each_have_their_bound(
    header_length: int, body_length: int
) -> None:
    """Also where both together would be within the sum."""
    prefix = envelope.PREFIX.pack(b"MPX", 1, 2, 0, header_length, body_length)
    data = prefix + bytes(header_length + body_length)

    assert reason_of(data) is DropReason.SIZE


def test_a_message_too_large_for_the_wire_is_not_sealed() -> None:
    """The sender finds out, not the receiver."""
    with pytest.raises(DecodeError, match="too large"):
        envelope.seal_payload(
            "status", bytes(envelope.MAX_BODY_BYTES), ADDRESS, SESSION, SIGNER, REALM
        )


def test_a_header_carries_job_and_reply_reference() -> None:
    """Both are signed, so that an answer cannot be moved to another request."""
    mid = MessageId(octets("re", 16))
    data = envelope.seal(
        JobCancel(job=JobId(JOB)),
        replace(ADDRESS, job=JOB, re=mid),
        SESSION,
        SIGNER,
        REALM,
    )
    header = envelope.parse(data).header

    assert header.job == JOB
    assert header.re == mid
    assert envelope.principal_of(header) == SENDER


def test_a_seal_prints_no_key() -> None:
    """Log lines may hold a seal's repr."""
    assert octets("k_up", 32).hex() not in repr(SESSION)
    assert repr(octets("k_up", 32)) not in repr(SESSION)
