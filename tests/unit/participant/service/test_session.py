"""The participant's receiver pipeline: what the manager's own key does not excuse."""

from dataclasses import replace

import pytest

from participant.protocol.as_exchange import Session
from participant.service.session import Mail
from shared import envelope
from shared.crypto.keys import SigningKey
from shared.envelope import Addressing, Clear, DropReason, SessionSeal
from shared.messages import JobState, JobTickets, Message, RealmDescriptor, Revoked
from shared.messages.job import CollectTicket
from shared.names import MANAGER, Io, JobId, MessageId, Principal, Role, SessionId
from shared.transport.base import Delivery
from tests.participant_world import NOW_MS, World

SID = SessionId(b"s" * 16)
DOWN = b"d" * 32
NOTICE = Revoked(revocations=0, principals=())


class Inbox:
    """A participant in a session, and a manager that may say anything."""

    def __init__(self, role: Role = Role.CLIENT, io: Io | None = Io.INPUT) -> None:
        self.world = World()
        self.identity = self.world.join("Liberty001", role, io).identity
        self.mail = Mail(lambda: self.identity, self.world.context)
        session = Session(
            sid=SID,
            up=bytes(32),
            down=DOWN,
            started_at=NOW_MS,
            exp=NOW_MS + 3_600_000,
            renew_at=NOW_MS + 1_800_000,
            leaf=b"",
            authorities=(),
            spki=b"",
            endorse=b"",
            endorse_sig=b"",
        )
        self.mail.sessions = self.mail.sessions.with_session(session, NOW_MS)

    def sealed(self, message: Message, number: int = 1, sid: SessionId = SID) -> bytes:
        """Return an envelope by the manager."""
        mid = MessageId(self.world.entropy(16))
        return envelope.seal(
            message,
            Addressing(MANAGER, self.identity.principal, mid, NOW_MS, 60_000),
            SessionSeal(sid, number, DOWN, self.world.entropy(24)),
            self.world.manager,
            self.world.fingerprint,
        )

    def hear(self, body: bytes) -> str:
        """Return why an envelope is dropped, or its type."""
        delivery = Delivery("q", body, "manager", False, False, 1, "q", None)
        before = self.mail.counters.copy()
        received = self.mail.open(delivery)
        if received is not None:
            return str(received.message.type)
        [reason] = self.mail.counters - before
        return reason


def test_07_08_each_number_and_each_envelope_counts_once() -> None:
    """The broker repeats, and the manager's key may be somebody else's."""
    inbox = Inbox()
    first, twin = inbox.sealed(NOTICE), inbox.sealed(NOTICE)
    heard = [inbox.hear(body) for body in (first, first, twin)]
    newest = inbox.hear(inbox.sealed(NOTICE, number=20_000))
    stale = inbox.hear(inbox.sealed(NOTICE, number=2))

    assert heard == ["revoked", DropReason.DUPLICATE, DropReason.EQUIVOCATION]
    assert (newest, stale) == ("revoked", DropReason.STALE)


def test_a_session_that_there_is_not_opens_nothing() -> None:
    """One of another participant, or of before."""
    inbox = Inbox()

    assert inbox.hear(inbox.sealed(NOTICE, sid=SessionId(bytes(16)))) == (
        DropReason.SESSION
    )


@pytest.mark.parametrize(
    ("role", "io", "taken"),
    [
        (Role.CLIENT, Io.OUTPUT, True),
        (Role.CLIENT, Io.BOTH, True),
        (Role.CLIENT, Io.INPUT, False),
        (Role.MPCS, None, False),
    ],
)
def test_what_is_for_consumers_is_taken_by_consumers(
    role: Role, io: Io | None, taken: bool
) -> None:
    """A source has no result to fetch, and an MPC server none to look at."""
    inbox = Inbox(role, io)
    ticket = CollectTicket(
        s=Principal("MPC_server_001"),
        k_cs=bytes(32),
        ticket=b"ticket",
        endorse=b"endorsement",
        endorse_sig=bytes(64),
    )
    tickets = JobTickets(job=JobId(bytes(16)), epoch=1, t=(ticket,))
    heard = [
        inbox.hear(inbox.sealed(JobState(jobs=()))),
        inbox.hear(inbox.sealed(tickets, number=2)),
    ]

    assert heard == (
        ["job.state", "job.tickets"] if taken else [DropReason.FORBIDDEN] * 2
    )


def test_a_descriptor_of_a_realm_that_has_no_name_is_dropped() -> None:
    """Its own key signs the envelope, so anybody at the broker may make one."""
    inbox = Inbox()
    signed = inbox.world.descriptor(realm="=ther")
    inbox.world.manager = SigningKey.from_seed(bytes(32))
    body = envelope.seal(
        RealmDescriptor(rd=signed.rd, sig=signed.sig),
        Addressing(
            MANAGER, inbox.identity.principal, MessageId(bytes(16)), NOW_MS, 60_000
        ),
        Clear(),
        inbox.world.manager,
        inbox.world.fingerprint,
    )

    assert inbox.hear(body) == DropReason.SIGNATURE


def test_an_envelope_by_another_key_of_the_same_realm_is_dropped() -> None:
    """The manager's signing key is in the realm's descriptor."""
    inbox = Inbox()
    inbox.world.manager = replace(inbox.world).root

    assert inbox.hear(inbox.sealed(NOTICE)) == DropReason.SIGNATURE
