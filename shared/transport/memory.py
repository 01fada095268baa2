"""The ``Transport`` of a simulation, on a ``MemoryBroker``.

Each operation exists twice: plain (``put``, ``take``, ``done``), for a driver that
runs thousands of histories without an event loop, and as the interface has it.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from shared.errors import TransportError
from shared.transport.base import (
    DEFAULT_WAIT,
    ConnectionState,
    Delivery,
    NotConfirmedError,
    Outgoing,
    Publication,
)
from shared.transport.memory_broker import Faults, MemoryBroker

__all__ = ["Faults", "MemoryBroker", "MemoryTransport"]

DEFAULT_PREFETCH = 32


class MemoryTransport:
    """One process's connection to a ``MemoryBroker``.

    Args:
        broker: shared by all parties of a simulation.
        user: the broker user; its ``user_id`` and permissions are checked.
        prefetch: most unacknowledged deliveries a queue.
    """

    def __init__(
        self, broker: MemoryBroker, user: str, prefetch: int = DEFAULT_PREFETCH
    ) -> None:
        self._broker = broker
        self._user = user
        self._prefetch = prefetch
        self._connected = asyncio.Event()
        self._moved = asyncio.Event()
        self._failure: TransportError | None = _down()
        self._watchers: list[Callable[[ConnectionState], None]] = []
        self._queues: list[str] = []

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a working connection."""
        return self._connected

    @property
    def failure(self) -> TransportError | None:
        """Why nothing can be done without ``connect``, or ``None``."""
        return self._failure

    def watch(self, callback: Callable[[ConnectionState], None]) -> None:
        """Call back at every change of the connection."""
        self._watchers.append(callback)

    def up(self) -> None:
        """Connect."""
        if self._failure is None:
            return
        self._failure = None
        self._broker.moved.append(self._moved.set)
        self._connected.set()
        self._tell(ConnectionState.CONNECTED)

    def put(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Publish; the messages are in flight until the broker steps.

        Raises:
            RefusedByBrokerError: the broker does not allow one of them; those
                before it are in flight.
            NotConfirmedError: a queue is full.
            TransportError: not connected.
        """
        self._check()
        outcomes: list[Publication | None] = []
        for message in batch:
            try:
                outcomes.append(self._broker.publish(self._user, message))
            except NotConfirmedError:
                outcomes.append(None)
        if None in outcomes:
            raise NotConfirmedError("a queue is full", tuple(outcomes))
        return [outcome for outcome in outcomes if outcome is not None]

    def listen(self, queue: str) -> None:
        """Start to consume.

        Raises:
            RefusedByBrokerError: no such queue, or not this user's.
            TransportError: not connected.
        """
        self._check()
        self._broker.consume(self._user, queue, self)
        if queue not in self._queues:
            self._queues.append(queue)

    def take(self, max_batch: int) -> list[Delivery]:
        """Return what is in the queues now, one of each in turn.

        Raises:
            TransportError: not connected.
        """
        self._check()
        batch: list[Delivery] = []
        idle = 0
        while len(batch) < max_batch and idle < len(self._queues):
            queue = self._queues.pop(0)
            self._queues.append(queue)
            taken = self._broker.take(self, queue, self._prefetch)
            if taken is None:
                idle += 1
                continue
            idle = 0
            number, letter = taken
            batch.append(
                Delivery(
                    queue=queue,
                    body=letter.message.body,
                    user_id=letter.message.user_id,
                    has_copies=letter.has_copies,
                    redelivered=letter.redelivered,
                    tag=number,
                    routing_key=letter.message.routing_key,
                    message_type=letter.message.type,
                )
            )
        return batch

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; what was given back meanwhile is passed over."""
        for delivery in deliveries:
            if isinstance(delivery.tag, int):
                self._broker.ack(delivery.queue, delivery.tag)

    def crash(self) -> None:
        """Die: what is not acknowledged is redelivered to the next consumer."""
        self._down(ConnectionState.LOST)

    async def connect(self) -> None:
        """Connect."""
        self.up()

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Publish; see ``put``."""
        return self.put(batch)

    async def consume(self, queue: str) -> None:
        """Start to consume; see ``listen``."""
        self.listen(queue)

    async def cancel(self, queue: str) -> None:
        """Stop to take from a queue; what is not acknowledged goes back to it."""
        if queue in self._queues:
            self._queues.remove(queue)
            self._broker.leave(self, queue)

    async def deliveries(
        self,
        max_batch: int,
        wait: timedelta = DEFAULT_WAIT,
    ) -> list[Delivery]:
        """Take what is there; if nothing is, wait for the broker's next step.

        There is no real time here: ``wait`` is over when the broker has moved.

        Raises:
            TransportError: not connected.
        """
        await asyncio.sleep(0)
        batch = self.take(max_batch)
        if batch or not wait:
            return batch
        self._moved.clear()
        await self._moved.wait()
        return self.take(max_batch)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; see ``done``."""
        self.done(deliveries)

    async def consumer_count(self, queue: str) -> int | None:
        """Return how many consume from a queue, ``None`` if there is none such.

        Raises:
            TransportError: not connected.
        """
        self._check()
        return self._broker.consumer_count(queue)

    async def close(self) -> None:
        """Close; may be called twice."""
        self._down(ConnectionState.CLOSED)

    def _down(self, state: ConnectionState) -> None:
        if self._failure is not None:
            return
        self._failure = _down()
        self._connected.clear()
        self._queues.clear()
        self._broker.moved.remove(self._moved.set)
        self._broker.leave(self)
        self._moved.set()
        self._tell(state)

    def _check(self) -> None:
        if self._failure is not None:
            raise _down()

    def _tell(self, state: ConnectionState) -> None:
        for callback in self._watchers:
            callback(state)


def _down() -> TransportError:
    return TransportError("there is no connection to the broker", "connect first")
