"""The floor of a job's set-up, one process of it: bare pika, and bare TLS.

A manager process and one process a party, as in a realm. Four hops over quorum
queues with publisher confirms: one message to the manager, one to every party, one
back from each, one to every party. Then, cold, each party's bare TLS handshakes.
Nothing is signed, sealed, stored or decided.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from bench.floor_tls import Credentials, Ends
from shared.transport.authority import context_for

BODY_BYTES = 1500
"""Of every message: about an envelope's size."""
PERSISTENT = BasicProperties(delivery_mode=2)
MANAGER_QUEUE = "bench.floor.manager"
REQUEST, OFFER, ACCEPT, START = (bytes([kind]) * BODY_BYTES for kind in range(4))


@dataclass(frozen=True, slots=True)
class Login:
    """How a bare process reaches the broker: as ours do, TLS where they use it."""

    url: str
    vhost: str
    user: str
    password: str
    authority: str | None

    def parameters(self) -> pika.URLParameters:
        """Return them as pika takes them."""
        parameters = pika.URLParameters(self.url)
        parameters.virtual_host = self.vhost
        parameters.credentials = pika.PlainCredentials(self.user, self.password)
        context = context_for(self.authority)
        if context is not None:
            parameters.ssl_options = pika.SSLOptions(context, parameters.host)
        return parameters


@dataclass(frozen=True, slots=True)
class ManagerRound:
    """Whom the manager process sends to in the next round: queues."""

    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartyRound:
    """A party's next round: ports to dial, ends to accept; whether it begins it."""

    dials: tuple[int, ...]
    accepts: int
    begins: bool


class _Process:
    """One connection, one queue, and a pipe to whoever measures."""

    def __init__(self, login: Login, queue: str, pipe: Connection) -> None:
        self._login = login
        self._queue = queue
        self.pipe = pipe
        self.channel: Channel | None = None

    async def open(self, take: Callable[[bytes], None]) -> None:
        """Connect, declare the queue and consume from it."""
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        AsyncioConnection(
            self._login.parameters(),
            on_open_callback=lambda c: c.channel(on_open_callback=opened.set_result),
            on_open_error_callback=lambda _, error: opened.set_exception(error),
        )
        channel = self.channel = await opened

        def delivered(
            _: Channel, deliver: Basic.Deliver, __: BasicProperties, body: bytes
        ) -> None:
            take(body)
            channel.basic_ack(deliver.delivery_tag or 0)

        await _called(channel.confirm_delivery, ack_nack_callback=lambda _: None)
        await _called(
            channel.queue_declare,
            queue=self._queue,
            durable=True,
            arguments={"x-queue-type": "quorum"},
        )
        await _called(
            channel.basic_consume, queue=self._queue, on_message_callback=delivered
        )

    def publish(self, queue: str, body: bytes) -> None:
        """Publish one message, persistent, mandatory, to be confirmed."""
        assert self.channel is not None  # noqa: S101 - it was opened
        self.channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)


async def _called(method: object, **arguments: object) -> None:
    done = asyncio.Event()
    assert callable(method)  # noqa: S101 - pika's methods all are
    method(callback=lambda _: done.set(), **arguments)
    await done.wait()


def manager_main(login: Login, pipe: Connection) -> None:
    """Be the manager process until the pipe closes."""
    _run(_manager(login, pipe))


def party_main(
    login: Login, queue: str, credentials: Credentials, pipe: Connection
) -> None:
    """Be a party's process until the pipe closes."""
    _run(_party(login, queue, credentials, pipe))


def _run(work: object) -> None:
    assert asyncio.iscoroutine(work)  # noqa: S101 - our own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pipe says when to end
    asyncio.run(work)


async def _manager(login: Login, pipe: Connection) -> None:
    queues: tuple[str, ...] = ()
    accepted = 0

    def take(body: bytes) -> None:
        nonlocal accepted
        if body == REQUEST:
            accepted = 0
            for queue in queues:
                process.publish(queue, OFFER)
            return
        accepted += 1
        if accepted == len(queues):
            for queue in queues:
                process.publish(queue, START)

    process = _Process(login, MANAGER_QUEUE, pipe)
    await process.open(take)
    pipe.send(0)
    while isinstance(order := await _received(pipe), ManagerRound):
        queues = order.queues
        pipe.send(0)


async def _party(
    login: Login, queue: str, credentials: Credentials, pipe: Connection
) -> None:
    started = asyncio.Event()

    def take(body: bytes) -> None:
        if body == OFFER:
            process.publish(MANAGER_QUEUE, ACCEPT)
        else:
            started.set()

    process = _Process(login, queue, pipe)
    await process.open(take)
    ends = Ends(credentials)
    pipe.send(await ends.listen())
    while isinstance(order := await _received(pipe), PartyRound):
        started.clear()
        began = 0.0
        pipe.send(0)  # armed
        if order.begins:
            await _received(pipe)
            began = time.monotonic()
            process.publish(MANAGER_QUEUE, REQUEST)
        await started.wait()
        await ends.link(order.dials, order.accepts)
        pipe.send((began, time.monotonic()))
        await _received(pipe)  # everybody is done
        ends.close()
        pipe.send(0)


async def _received(pipe: Connection) -> object:
    """Wait for what the pipe brings; ``None`` when it is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        await readable.wait()
        received: object = pipe.recv()
    except EOFError:
        return None
    finally:
        loop.remove_reader(pipe.fileno())
    return received
