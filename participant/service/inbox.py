"""What the manager says: taken from the inbox, opened, handled, acknowledged."""

import logging
from datetime import timedelta
from typing import Protocol

from participant.protocol.model import RequestRefused
from participant.service.jobs import Jobs
from participant.service.logon import Logon
from participant.service.session import Mail
from shared.errors import ConfigError, RemoteProtocolError, TransportError
from shared.messages import (
    AsReply,
    ErrorNotice,
    JobAbort,
    JobClosed,
    JobOffer,
    JobStart,
    JobState,
    JobTickets,
    RealmDescriptor,
    Revoked,
)
from shared.protocol.machine import Received
from shared.transport.base import Transport

MAX_BATCH = 32

_REQUESTS = frozenset({"job.request", "job.cancel", "job.collect", "job.query"})

_log = logging.getLogger(__name__)


class InboxWorld(Protocol):
    """What the inbox needs of the process around it."""

    async def reach(self, patience: timedelta | None) -> None:
        """Connect to the broker again."""
        ...

    async def take_descriptor(self, message: RealmDescriptor) -> None:
        """Keep a newer descriptor of the realm."""
        ...

    async def take_revoked(self, message: Revoked) -> None:
        """Have nothing to do any more with who was revoked."""
        ...


class Inbox:
    """Handles one delivery after the other; never acknowledges one before.

    Args:
        transport: to the broker.
        mail: opens envelopes.
        logon: is told what concerns the session.
        jobs: are told what concerns them.
        world: the process around.
    """

    def __init__(
        self,
        transport: Transport,
        mail: Mail,
        logon: Logon,
        jobs: Jobs,
        world: InboxWorld,
    ) -> None:
        self._transport = transport
        self._mail = mail
        self._logon = logon
        self._jobs = jobs
        self._world = world

    async def run(self) -> None:
        """Handle deliveries until cancelled.

        Raises:
            SupersededError: another process of this identity logged on.
        """
        while True:
            try:
                deliveries = await self._transport.deliveries(MAX_BATCH)
            except TransportError as error:
                _log.warning("connection given up", extra={"reason": str(error)})
                await self._world.reach(None)
                continue
            for delivery in deliveries:
                received = self._mail.open(delivery)
                if received is not None:
                    await self._take(received)
            await self._transport.ack(deliveries)

    async def _take(self, received: Received) -> None:
        message = received.message
        try:
            match message:
                case AsReply():
                    self._logon.replied(message)
                case ErrorNotice():
                    await self._take_error(message)
                case RealmDescriptor():
                    await self._world.take_descriptor(message)
                case Revoked():
                    await self._world.take_revoked(message)
                case JobState():
                    for entry in message.jobs:
                        await self._jobs.handle(entry.job, received)
                case JobOffer() | JobStart() | JobAbort() | JobClosed() | JobTickets():
                    await self._jobs.handle(message.job, received)
                case _:
                    _log.warning("message not expected")
        except (RemoteProtocolError, ConfigError) as error:
            _log.error(
                "message not handled",
                extra={"message_id": received.mid.hex(), "reason": str(error)},
            )

    async def _take_error(self, notice: ErrorNotice) -> None:
        answered = self._mail.answered(notice.re)
        if answered is None:
            return
        _log.info(
            "refused by the manager",
            extra={"code": notice.code.value, "message_type": answered.type},
        )
        self._mail.figures.told(notice.code)
        self._logon.refused(notice, answered)
        if answered.job is not None and answered.type in _REQUESTS:
            await self._jobs.handle(answered.job, RequestRefused(notice.code))
