"""What a transport is: the interface that AMQP and the memory broker share.

A transport moves sealed bytes. It proves nothing about a sender: the broker's
``user_id`` is evidence to compare with the signed sender, never a proof.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique
from typing import Protocol

from shared.errors import TransportError

DEFAULT_WAIT = timedelta(seconds=1)
"""How long ``Transport.deliveries`` waits for a first delivery."""
LOST_HINT = "try again; the transport reconnects by itself"


@unique
class Publication(StrEnum):
    """What became of a published message."""

    CONFIRMED = "confirmed"
    """A queue has it, on disk where the queue is durable."""
    RETURNED = "returned"
    """No queue wanted it: the recipient is not there."""


@unique
class ConnectionState(StrEnum):
    """What a transport tells those who watch it."""

    CONNECTED = "connected"
    LOST = "lost"
    """The connection broke; the transport is trying to get it back."""
    FAILED = "failed"
    """It gave up: ``Transport.failure`` says why. ``connect`` starts anew."""
    CLOSED = "closed"


class CredentialsRefusedError(TransportError):
    """The broker is there and does not let this user in."""


class UnreachableError(TransportError):
    """No broker answers at the address."""


class RefusedByBrokerError(TransportError):
    """The broker refused one operation: no permission, or no such object."""


class LinkLostError(TransportError):
    """The link broke under an operation, which may be tried on the next one."""


class NotConfirmedError(TransportError):
    """Some messages of a batch were not confirmed in time.

    Args:
        message: what is wrong.
        publications: one entry a message of the batch, in its order; ``None``
            where the fate is unknown, so that only those are published again.
    """

    def __init__(
        self, message: str, publications: tuple[Publication | None, ...]
    ) -> None:
        super().__init__(
            message, "see whether the broker is healthy and its queues are not full"
        )
        self.publications = publications


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish, with the properties that the broker may see."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    """The envelope's ``mid`` in hex."""
    type: str
    correlation_id: str | None
    """The job in hex, where there is one."""
    expiration_ms: int | None
    """How long the broker may keep it, in milliseconds."""
    timestamp: int
    """Seconds since the Unix epoch."""
    user_id: str | None
    """The broker user who publishes; the broker refuses a false one."""
    app_id: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message taken from a queue and not yet acknowledged."""

    queue: str
    body: bytes
    user_id: str | None
    """The publishing broker user, checked by the broker; ``None`` if not stated
    or if the properties could not be read."""
    has_copies: bool
    """A ``CC`` or ``BCC`` header is there. (The broker strips ``BCC`` itself: a
    blind copy shows only in a routing key that does not belong to the queue.)"""
    redelivered: bool
    tag: object
    """The transport's own, needed to acknowledge."""
    routing_key: str
    """The key that the publisher named."""
    message_type: str | None


class Transport(Protocol):
    """A party's way to the broker. All calls belong to one event loop.

    Delivery is at least once in both directions: what was being published when
    the connection broke is published again with identical bytes, and what was
    taken and not acknowledged comes again.
    """

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a working connection."""
        ...

    @property
    def failure(self) -> TransportError | None:
        """Why nothing can be done without ``connect``, or ``None``.

        Set before the first connect, after giving up and after close.
        """
        ...

    def watch(self, callback: Callable[[ConnectionState], None]) -> None:
        """Call back at every change of the connection, from the event loop."""
        ...

    async def connect(self) -> None:
        """Connect, and from then on stay connected.

        Raises:
            CredentialsRefusedError: the broker refuses user, password or vhost.
            UnreachableError: nobody answers. Nothing goes on in the background.
        """
        ...

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Publish all at once, durably, and wait for every confirm.

        Returns:
            One entry a message, in the order of the batch.

        Raises:
            RefusedByBrokerError: the broker does not allow one of them (others
                may have been queued).
            NotConfirmedError: in time not every message was confirmed.
            TransportError: the transport gave up or is closed.
        """
        ...

    async def consume(self, queue: str) -> None:
        """Start to take deliveries from a queue, also after reconnects.

        Raises:
            RefusedByBrokerError: there is no such queue, or it is not ours.
            TransportError: there is no connection.
        """
        ...

    async def cancel(self, queue: str) -> None:
        """Stop to take from a queue; what is not acknowledged goes back to it."""
        ...

    async def deliveries(
        self, max_batch: int, wait: timedelta = DEFAULT_WAIT
    ) -> list[Delivery]:
        """Take what is there: the batch of one group commit.

        Waits for the first only, then takes from the queues in turn, so that a
        flood on one starves no other. Each queue's own order is kept. Being
        cancelled loses nothing.

        Returns:
            At most ``max_batch`` deliveries; none if none came in time.

        Raises:
            TransportError: the transport gave up or is closed.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that these are done with.

        Those of a connection that is gone are passed over: the broker will
        deliver them again.
        """
        ...

    async def consumer_count(self, queue: str) -> int | None:
        """Return how many consume from a queue, ``None`` if there is none such.

        Raises:
            TransportError: there is no connection, or the broker does not answer.
        """
        ...

    async def close(self) -> None:
        """Close in good order; may be called twice. Raises nothing."""
        ...
