"""The floor of a job's set-up: four bare fan-out hops through quorum queues.

Bare pika, one process, publisher confirms and consumer acknowledgements, bodies of
the size of our envelopes; nothing is signed, sealed, stored or decided.
"""

import asyncio
import time
from dataclasses import dataclass, field
from statistics import median

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

BODY_BYTES = 1500
ROUNDS = 15
TIMEOUT_SECONDS = 60.0
PERSISTENT = BasicProperties(delivery_mode=2)


@dataclass
class _Hop:
    """One fan-out: so many messages out, confirmed, delivered and acknowledged."""

    expected: int
    confirmed: int = 0
    delivered: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self, *, confirmed: int = 0, delivered: int = 0) -> None:
        """Count, and wake the waiting round when both are complete."""
        self.confirmed += confirmed
        self.delivered += delivered
        if min(self.confirmed, self.delivered) >= self.expected:
            self.done.set()


class _Floor:
    """A connection with one quorum queue a party, all consumed here."""

    def __init__(self, parameters: pika.URLParameters, parties: int) -> None:
        self._parameters = parameters
        self._queues = [f"bench.floor.{number}" for number in range(parties)]
        self._hop = _Hop(0)
        self._last_tag = 0

    async def measure(self, hops: tuple[int, ...]) -> list[float]:
        """Return the milliseconds of each round of hops."""
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        connection = AsyncioConnection(
            self._parameters,
            on_open_callback=lambda c: c.channel(on_open_callback=opened.set_result),
            on_open_error_callback=lambda _, error: opened.set_exception(error),
        )
        async with asyncio.timeout(TIMEOUT_SECONDS):
            channel = await opened
            await self._prepare(channel)
            times = [await self._round(channel, hops) for _ in range(ROUNDS)]
            for queue in self._queues:
                await self._call(channel.queue_delete, queue=queue)
        connection.close()
        return times

    async def _prepare(self, channel: Channel) -> None:
        quorum = {"x-queue-type": "quorum"}
        await self._call(channel.confirm_delivery, ack_nack_callback=self._confirmed)
        for queue in self._queues:
            await self._call(
                channel.queue_declare, queue=queue, durable=True, arguments=quorum
            )
            await self._call(
                channel.basic_consume, queue=queue, on_message_callback=self._delivered
            )

    async def _call(self, method: object, **arguments: object) -> None:
        done = asyncio.Event()
        assert callable(method)  # noqa: S101 - pika's methods all are
        method(callback=lambda _: done.set(), **arguments)
        await done.wait()

    def _confirmed(self, frame: Method[Basic.Ack]) -> None:
        tag = frame.method.delivery_tag
        newly = tag - self._last_tag if frame.method.multiple else 1
        self._last_tag = max(self._last_tag, tag)
        self._hop.advance(confirmed=newly)

    def _delivered(
        self, channel: Channel, deliver: Basic.Deliver, _: BasicProperties, __: bytes
    ) -> None:
        channel.basic_ack(deliver.delivery_tag or 0)
        self._hop.advance(delivered=1)

    async def _round(self, channel: Channel, hops: tuple[int, ...]) -> float:
        start = time.perf_counter()
        for count in hops:
            self._hop = _Hop(count)
            for queue in self._queues[:count]:
                channel.basic_publish("", queue, bytes(BODY_BYTES), PERSISTENT)
            await self._hop.done.wait()
        return (time.perf_counter() - start) * 1000


def floor_ms(parameters: pika.URLParameters, parties: int) -> float:
    """Return the median of the four hops of a job with so many parties, in ms."""
    hops = (1, parties, parties, parties)
    return median(asyncio.run(_Floor(parameters, parties).measure(hops)))
