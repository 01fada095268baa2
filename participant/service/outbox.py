"""What goes to the manager: in order, sealed at the last moment, confirmed."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from participant.service.session import Mail
from shared.errors import DecodeError, ProtocolError, TransportError
from shared.messages import Structure, type_of
from shared.names import JobId, MessageId
from shared.transport.base import (
    NotConfirmedError,
    Outgoing,
    Publication,
    RefusedByBrokerError,
    Transport,
)

MAX_BATCH = 32
RETRY = timedelta(seconds=1)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to the manager that is not sealed yet."""

    message: Structure
    job: JobId | None = None
    expires_ms: int | None = None
    re: MessageId | None = None


class Outbox:
    """Publishes letters in order, in whatever session there is by then.

    A letter is sealed once and published until the broker has it, so that the
    manager can tell a repetition by its bytes.

    Args:
        transport: to the broker.
        mail: seals.
    """

    def __init__(self, transport: Transport, mail: Mail) -> None:
        self._transport = transport
        self._mail = mail
        self._waiting: deque[Letter] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.session = asyncio.Event()
        """Set while there is a session to seal in."""

    def post(self, letter: Letter) -> None:
        """Send a letter as soon as there is a session and a connection."""
        self._waiting.append(letter)
        self._idle.clear()
        self._more.set()

    @property
    def is_behind(self) -> bool:
        """Whether letters wait."""
        return bool(self._waiting)

    def post_first(self, letter: Letter) -> None:
        """Send a letter before all that wait: the first word in a new session."""
        self._waiting.appendleft(letter)
        self._idle.clear()
        self._more.set()

    async def drained(self, limit: timedelta) -> bool:
        """Wait until everything is sent; say whether it is."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            if not self._waiting:
                self._idle.set()
                self._more.clear()
            await self._more.wait()
            await self.session.wait()
            if self._mail.sessions.current is None:  # the manager does not know it
                self.session.clear()
                continue
            batch: list[Outgoing] = []
            while self._waiting and len(batch) < MAX_BATCH:
                outgoing = self._sealed(self._waiting.popleft())
                if outgoing is not None:
                    batch.append(outgoing)
            await self._publish(batch)

    def _sealed(self, letter: Letter) -> Outgoing | None:
        try:
            return self._mail.seal(
                letter.message,
                re=letter.re,
                job=letter.job,
                expires_ms=letter.expires_ms,
            )
        except (DecodeError, ProtocolError) as error:
            _log.error(
                "message not sealed",
                extra={"message_type": type_of(letter.message), "reason": str(error)},
            )
            return None

    async def _publish(self, batch: list[Outgoing]) -> None:
        while batch:
            try:
                fates = await self._transport.publish(batch)
            except NotConfirmedError as error:
                batch = [
                    message
                    for message, fate in zip(batch, error.publications, strict=True)
                    if fate is None
                ]
                await asyncio.sleep(RETRY.total_seconds())
            except RefusedByBrokerError as error:
                _log.error(
                    "broker refuses to take messages", extra={"reason": str(error)}
                )
                return
            except TransportError:
                # Given up or closed; whoever connects again sets this.
                await asyncio.sleep(RETRY.total_seconds())
                await self._transport.connected.wait()
            else:
                if Publication.RETURNED in fates:
                    _log.warning("the manager's queue is not there")
                return
