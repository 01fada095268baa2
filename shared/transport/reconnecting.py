"""A transport that outlives its connections; knows links, not AMQP's library.

A *link* is one connection. This module opens the next one when it breaks,
consumes again from the same queues, and publishes again what was not confirmed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from shared.errors import TransportError
from shared.transport.base import (
    DEFAULT_WAIT,
    LOST_HINT,
    ConnectionState,
    CredentialsRefusedError,
    Delivery,
    LinkLostError,
    NotConfirmedError,
    Outgoing,
    Publication,
    RefusedByBrokerError,
    UnreachableError,
)
from shared.transport.endpoint import Backoff
from shared.transport.link import Link, LinkOwner, Source, Tag
from shared.transport.prefetched import Waiting
from shared.transport.publisher import Publisher

REFUSALS_IN_A_ROW = 3
"""After so many refused logins a broken connection is given up: a node that is
still starting may refuse once, a deleted user is refused for ever."""
RECONNECT_FIRST = timedelta(milliseconds=100)
RECONNECT_LONGEST = timedelta(seconds=15)
STABLE_AFTER = timedelta(seconds=10)
"""A connection that lived so long was a good one: the next wait is short again."""

_log = logging.getLogger(__name__)


class ReconnectingTransport:
    """Implements ``Transport`` on links.

    Args:
        open_link: opens a link for this owner, or raises
            ``CredentialsRefusedError`` or another ``TransportError``.
        publish_timeout: until every message of a batch is confirmed, reconnects
            and retries included.
    """

    def __init__(
        self,
        open_link: Callable[[LinkOwner], Awaitable[Link]],
        publish_timeout: timedelta,
    ) -> None:
        self._open_link = open_link
        self._connected = asyncio.Event()
        self._usable = asyncio.Event()  # connected, or never to be again
        self._arrived = asyncio.Event()
        self._damaged = asyncio.Event()
        self._link: Link | None = None
        self._failure: TransportError | None = TransportError(
            "there is no connection to the broker yet", "connect first"
        )
        self._usable.set()
        self._publisher = Publisher(self._usable, self._current_link, publish_timeout)
        self._watchers: list[Callable[[ConnectionState], None]] = []
        self._supervisor: asyncio.Task[None] | None = None
        self._waiting = Waiting()
        self._sources: dict[str, Source | None] = {}

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a working connection."""
        return self._connected

    @property
    def failure(self) -> TransportError | None:
        """Why nothing can be done without ``connect``, or ``None``."""
        return self._failure

    def watch(self, callback: Callable[[ConnectionState], None]) -> None:
        """Call back at every change of the connection, from the event loop."""
        self._watchers.append(callback)

    async def connect(self) -> None:
        """Connect once, and from then on stay connected.

        Raises:
            CredentialsRefusedError: the broker refuses user, password or vhost.
            UnreachableError: nobody answers. Nothing goes on in the background.
        """
        if self._supervisor is not None and not self._supervisor.done():
            return
        self._adopt(await self._open_link(self))
        self._supervisor = asyncio.create_task(self._supervise())

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Publish all at once, durably, and wait for every confirm.

        Raises:
            RefusedByBrokerError: the broker does not allow one of them.
            NotConfirmedError: in time not every message was confirmed.
            TransportError: the transport gave up or is closed.
        """
        try:
            publications = await self._publisher.publish(batch)
        except NotConfirmedError as error:
            _tell_published(batch, error.publications)
            raise
        _tell_published(batch, publications)
        return publications

    async def consume(self, queue: str) -> None:
        """Start to take deliveries from a queue, also after reconnects.

        Raises:
            RefusedByBrokerError: there is no such queue, or it is not ours.
            TransportError: there is no connection.
        """
        if queue not in self._sources:
            source = await self._current_link().consume(queue, self._deliver)
            self._register(source)

    async def cancel(self, queue: str) -> None:
        """Stop to take from a queue; what is not acknowledged goes back to it."""
        source = self._sources.pop(queue, None)
        self._waiting.drop(queue)
        if source is not None:
            await source.cancel()
            self._waiting.drop(queue)

    async def deliveries(
        self, max_batch: int, wait: timedelta = DEFAULT_WAIT
    ) -> list[Delivery]:
        """Take what is there, up to ``max_batch``, or ``[]`` after ``wait``.

        Raises:
            TransportError: the transport gave up or is closed.
        """
        await asyncio.sleep(0)  # a loop over full queues must not starve the rest
        self._raise_failure()
        if self._waiting.is_empty:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._arrived.wait()
            except TimeoutError:
                return []
            self._raise_failure()
        return self._waiting.take(max_batch)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; deliveries of a link that is gone are passed over."""
        numbers: dict[Source, list[int]] = {}
        for delivery in deliveries:
            if isinstance(delivery.tag, Tag):
                numbers.setdefault(delivery.tag.source, []).append(delivery.tag.number)
        for source, of_source in numbers.items():
            source.ack(of_source)

    async def consumer_count(self, queue: str) -> int | None:
        """Return how many consume from a queue, ``None`` if there is none such.

        Raises:
            TransportError: there is no connection, or the broker does not answer.
        """
        return await self._current_link().consumer_count(queue)

    async def close(self) -> None:
        """Close in good order; may be called twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None
        link, self._link = self._link, None
        was_open = self._failure is None
        self._give_up(
            self._failure
            or TransportError(
                "the broker connection was closed by this program",
                "connect again before using it",
            )
        )
        if link is not None:
            await link.close()
        if was_open:
            self._tell(ConnectionState.CLOSED)

    def link_lost(self, link: Link, reason: str) -> None:
        """Note that an open link broke; the supervisor opens the next one."""
        if link is not self._link:
            return
        _log.warning("broker connection lost", extra={"reason": reason})
        self._link = None
        self._connected.clear()
        self._usable.clear()
        self._sources = dict.fromkeys(self._sources)
        self._waiting = Waiting()
        self._damaged.set()
        self._tell(ConnectionState.LOST)

    def source_lost(self, source: Source, reason: str) -> None:
        """Note that the broker ended one consumer; it is set up again."""
        if self._sources.get(source.queue) is not source:
            return
        _log.warning(
            "broker ended a consumer", extra={"queue": source.queue, "reason": reason}
        )
        self._sources[source.queue] = None
        self._waiting.drop(source.queue)
        self._damaged.set()

    async def _supervise(self) -> None:
        backoff = Backoff(RECONNECT_FIRST, RECONNECT_LONGEST)
        loop = asyncio.get_running_loop()
        refusals = 0
        repaired_at = loop.time()
        while True:
            await self._damaged.wait()
            self._damaged.clear()
            if loop.time() - repaired_at > STABLE_AFTER.total_seconds():
                backoff.reset()
            await asyncio.sleep(backoff.next_seconds())
            try:
                await self._repair()
            except CredentialsRefusedError as error:
                refusals += 1
                if refusals >= REFUSALS_IN_A_ROW:
                    _log.error("broker refuses this user", extra={"reason": str(error)})
                    self._give_up(error)
                    self._tell(ConnectionState.FAILED)
                    return
                self._damaged.set()
            except TransportError as error:
                _log.info("broker not in order yet", extra={"reason": str(error)})
                self._damaged.set()
            else:
                refusals = 0
            repaired_at = loop.time()

    async def _repair(self) -> None:
        """Bring back the link and every consumer; raise if something is missing."""
        if self._link is None:
            self._adopt(await self._open_link(self))
        refusal: RefusedByBrokerError | None = None
        for queue in [queue for queue, source in self._sources.items() if not source]:
            try:
                source = await self._current_link().consume(queue, self._deliver)
            except RefusedByBrokerError as error:  # the other queues go on
                refusal = error
                continue
            if queue in self._sources:
                self._register(source)
            else:  # cancelled meanwhile
                await source.cancel()
        if refusal is not None:
            raise refusal

    def _adopt(self, link: Link) -> None:
        self._link = link
        self._failure = None
        self._connected.set()
        self._usable.set()
        self._tell(ConnectionState.CONNECTED)
        if link.is_gone:
            self.link_lost(link, "it broke at once")

    def _register(self, source: Source) -> None:
        self._sources[source.queue] = source
        if source.is_gone:
            self.source_lost(source, "it ended at once")

    def _deliver(self, delivery: Delivery) -> None:
        self._waiting.add(delivery)
        self._arrived.set()

    def _give_up(self, error: TransportError) -> None:
        self._failure = error
        self._connected.clear()
        self._waiting = Waiting()
        self._sources.clear()
        self._usable.set()
        self._arrived.set()

    def _current_link(self) -> Link:
        self._raise_failure()
        if self._link is None:
            raise LinkLostError(
                "there is no connection to the broker at the moment",
                LOST_HINT,
            )
        return self._link

    def _raise_failure(self) -> None:
        if isinstance(self._failure, CredentialsRefusedError | UnreachableError):
            raise type(self._failure)(str(self._failure), self._failure.hint)
        if self._failure is not None:
            raise TransportError(str(self._failure), self._failure.hint)

    def _tell(self, state: ConnectionState) -> None:
        for callback in self._watchers:
            callback(state)


def _tell_published(
    batch: Sequence[Outgoing], publications: Sequence[Publication | None]
) -> None:
    """Log each message that the broker has: the other half of its delivery's line."""
    for outgoing, publication in zip(batch, publications, strict=True):
        if publication is not None:
            _log.info(
                "published",
                extra={
                    "message_type": outgoing.type,
                    "message_id": outgoing.message_id,
                    "job_id": outgoing.correlation_id,
                    "routing_key": outgoing.routing_key,
                    "outcome": publication.value,
                },
            )
