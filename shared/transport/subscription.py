"""One queue's consumer: what it has delivered and how that is acknowledged."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from shared.transport.answers import ANSWER_TIMEOUT
from shared.transport.link import Tag
from shared.transport.prefetched import Unacknowledged

_log = logging.getLogger(__name__)


class ConsumerChannel(Protocol):
    """What a subscription needs of its AMQP channel."""

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        ...

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """Send an acknowledgement."""
        ...

    def close(self) -> None:
        """Begin to close."""
        ...


class Subscription:
    """Implements ``Source`` on a channel of its own."""

    def __init__(self, queue: str, channel: ConsumerChannel) -> None:
        self.queue = queue
        self.closed = asyncio.Event()
        self._channel = channel
        self._open = Unacknowledged()

    @property
    def is_gone(self) -> bool:
        """Whether the channel is closed."""
        return self.closed.is_set()

    def note(self, number: int) -> Tag:
        """Note a delivery's number and return its tag."""
        self._open.add(number)
        return Tag(self, number)

    def ack(self, numbers: Sequence[int]) -> None:
        """Acknowledge these delivery numbers, or nothing if the channel is gone."""
        if self._channel.is_open:
            for number, multiple in self._open.acknowledge(numbers):
                self._channel.basic_ack(number, multiple)

    def end(self) -> None:
        """Begin to close the channel."""
        if self._channel.is_open:
            self._channel.close()

    async def cancel(self) -> None:
        """Close the channel: everything unacknowledged goes back to the queue."""
        self.end()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
                await self.closed.wait()
        except TimeoutError:
            _log.warning("broker does not close a channel", extra={"queue": self.queue})
