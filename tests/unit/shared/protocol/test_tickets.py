"""Sealing and opening tickets."""

import pytest

from shared import codec
from shared.crypto.sealing import seal_with_nonce
from shared.errors import CryptoError, DecodeError, UnsealError
from shared.messages import TicketAuthorisation, TicketBody
from shared.names import Fingerprint, JobId, Principal
from shared.protocol.tickets import open_ticket, seal_ticket

KEY = bytes([1]) * 32
NONCE = bytes([2]) * 24
FINGERPRINT = Fingerprint(bytes([3]) * 32)
JOB = JobId(bytes([4]) * 16)
SERVER = Principal("MPC_server_001")
BODY = TicketBody(
    tid=bytes(16),
    mh=bytes(32),
    c=Principal("Anne001"),
    role="client",
    cnf_c=bytes(32),
    cnf_s=bytes(32),
    k_cs=bytes(32),
    az=TicketAuthorisation(dir="in", cols=("age",), max_bytes=1024),
    nbf=1,
    exp=2,
)
TICKET = seal_ticket(BODY, KEY, FINGERPRINT, JOB, 1, SERVER, NONCE)


def test_a_ticket_opens_where_it_was_made_for() -> None:
    """The nonce goes in front."""
    assert TICKET[:24] == NONCE
    assert open_ticket(KEY, FINGERPRINT, JOB, 1, SERVER, TICKET) == BODY


@pytest.mark.parametrize(
    ("key", "fingerprint", "job", "epoch", "server"),
    [
        (bytes(32), FINGERPRINT, JOB, 1, SERVER),
        (KEY, Fingerprint(bytes(32)), JOB, 1, SERVER),
        (KEY, FINGERPRINT, JobId(bytes(16)), 1, SERVER),
        (KEY, FINGERPRINT, JOB, 2, SERVER),
        (KEY, FINGERPRINT, JOB, 1, Principal("MPC_server_002")),
    ],
)
def test_a_ticket_opens_nowhere_else(
    key: bytes, fingerprint: Fingerprint, job: JobId, epoch: int, server: Principal
) -> None:
    """Key, realm, job, epoch and server are all bound."""
    with pytest.raises(UnsealError):
        open_ticket(key, fingerprint, job, epoch, server, TICKET)


@pytest.mark.parametrize("position", range(0, len(TICKET), 7))
def test_an_altered_ticket_does_not_open(position: int) -> None:
    """Not a single bit may differ."""
    altered = bytearray(TICKET)
    altered[position] ^= 1

    with pytest.raises(UnsealError):
        open_ticket(KEY, FINGERPRINT, JOB, 1, SERVER, bytes(altered))


def test_a_sealed_text_that_is_no_ticket_is_refused() -> None:
    """Only the manager could make one; it is refused all the same."""
    bound = b"MPX1-ticket\0" + codec.encode([FINGERPRINT, JOB, 1, SERVER])
    sealed = seal_with_nonce(KEY, bound, b"\x80", NONCE)

    with pytest.raises(DecodeError):
        open_ticket(KEY, FINGERPRINT, JOB, 1, SERVER, sealed)


def test_keys_and_nonces_have_their_lengths() -> None:
    """A short key is a bug, not a weak ticket."""
    with pytest.raises(CryptoError):
        seal_ticket(BODY, KEY[:16], FINGERPRINT, JOB, 1, SERVER, NONCE)
