"""The floor of a job's set-up, one process of it: bare pika, and bare TLS.

A manager process and one process a party, as in a realm. Four hops over quorum
queues with publisher confirms: one message to the manager, one to every party, one
back from each, one to every party. Then, cold, each party's bare TLS handshakes.
Nothing is signed, sealed, stored or decided.
"""

import asyncio
import os
import time
from collections import Counter
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
PADDING = bytes(BODY_BYTES - 2)
PERSISTENT = BasicProperties(delivery_mode=2)
MANAGER_QUEUE = "bench.floor.manager"
REQUEST, OFFER, ACCEPT, START = range(4)
MAX_JOBS = 256
"""Of one round: a message says in one byte which job it is about."""


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
    """Whom the manager process sends to in the next round: queues.

    ``is_exchange``: it answers each request at once, which makes two hops.
    """

    queues: tuple[str, ...]
    is_exchange: bool = False


@dataclass(frozen=True, slots=True)
class PartyRound:
    """A party's next round.

    Attributes:
        dials: ports to dial once all has started.
        accepts: how many ends to accept then.
        begins: whether it publishes the requests.
        jobs: how many are requested at once.
    """

    dials: tuple[int, ...]
    accepts: int
    begins: bool
    jobs: int = 1


class _Process:
    """One connection and one queue."""

    def __init__(self, login: Login, queue: str) -> None:
        self._login = login
        self._queue = queue
        self.channel: Channel | None = None

    async def open(self, take: Callable[[int, int], None]) -> None:
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
            take(body[0], body[1])
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

    def publish(self, queue: str, kind: int, job: int) -> None:
        """Publish one message, persistent, mandatory, to be confirmed."""
        assert self.channel is not None  # noqa: S101 - it was opened
        body = bytes((kind, job)) + PADDING
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
    # A session of its own, as each of our parties has: the kernel shares processors
    # out among sessions. It also keeps Ctrl-C away; the pipe says when to end.
    os.setsid()
    asyncio.run(work)


async def _manager(login: Login, pipe: Connection) -> None:
    order = ManagerRound(())
    accepted: Counter[int] = Counter()

    def take(kind: int, job: int) -> None:
        if kind == REQUEST:
            answer = START if order.is_exchange else OFFER
        else:
            accepted[job] += 1
            if accepted[job] < len(order.queues):
                return
            answer = START
        for queue in order.queues:
            process.publish(queue, answer, job)

    process = _Process(login, MANAGER_QUEUE)
    await process.open(take)
    pipe.send(0)
    while isinstance(received := await _received(pipe), ManagerRound):
        order = received
        accepted.clear()
        pipe.send(0)


async def _party(
    login: Login, queue: str, credentials: Credentials, pipe: Connection
) -> None:
    starts = asyncio.Semaphore(0)

    def take(kind: int, job: int) -> None:
        if kind == OFFER:
            process.publish(MANAGER_QUEUE, ACCEPT, job)
        else:
            starts.release()

    process = _Process(login, queue)
    await process.open(take)
    ends = Ends(credentials)
    pipe.send(await ends.listen())
    while isinstance(order := await _received(pipe), PartyRound):
        began = 0.0
        pipe.send(0)  # armed
        if order.begins:
            await _received(pipe)
            began = time.monotonic()
            for job in range(order.jobs):
                process.publish(MANAGER_QUEUE, REQUEST, job)
        for _ in range(order.jobs):
            await starts.acquire()
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
