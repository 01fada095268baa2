"""Letters wait until there is a session, and none is lost meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import cast

from participant.protocol.as_exchange import Session, Sessions
from participant.service.outbox import Letter, Outbox
from participant.service.session import Mail
from shared.messages import JobQuery, Status
from shared.names import Io, Role, SessionId
from shared.transport.base import Outgoing, Publication, Transport
from tests.participant_world import NOW_MS, World

SESSION = Session(
    sid=SessionId(b"s" * 16),
    up=bytes(32),
    down=bytes(32),
    started_at=NOW_MS,
    exp=NOW_MS + 3_600_000,
    renew_at=NOW_MS + 1_800_000,
    leaf=b"",
    authorities=(),
    spki=b"",
    endorse=b"",
    endorse_sig=b"",
)


class Broker:
    """Takes everything."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Confirm a batch."""
        self.taken += [message.type for message in batch]
        return [Publication.CONFIRMED] * len(batch)


def test_a_letter_outlives_a_session_that_the_manager_forgot() -> None:
    """It is sealed in the next one."""

    async def walk() -> tuple[list[str], list[str]]:
        world, broker = World(), Broker()
        identity = world.join("Analytics001", Role.CLIENT, Io.OUTPUT).identity
        mail = Mail(lambda: identity, world.context)
        mail.sessions = mail.sessions.with_session(SESSION, NOW_MS)
        outbox = Outbox(cast("Transport", broker), mail)
        outbox.session.set()
        running = asyncio.create_task(outbox.run())
        mail.sessions = Sessions()  # as after err unknown_session
        outbox.post(Letter(JobQuery()))
        await asyncio.sleep(0.05)
        before = list(broker.taken)
        mail.sessions = mail.sessions.with_session(SESSION, NOW_MS)
        outbox.post_first(Letter(Status(slots_free=0, slots=0, load=0)))
        outbox.session.set()
        await asyncio.sleep(0.05)
        running.cancel()
        return before, broker.taken

    before, after = asyncio.run(walk())

    assert before == []
    assert after == ["status", "job.query"]
