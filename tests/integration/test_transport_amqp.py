"""The AMQP transport against a real RabbitMQ, through a wire that can be cut."""

import asyncio
import base64
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from urllib.parse import quote, urlsplit

import pytest

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.broker.credentials import Credential
from shared import topology
from shared.errors import TransportError
from shared.names import Principal, Role
from shared.topology import Json
from shared.transport.amqp import AmqpTransport
from shared.transport.base import (
    ConnectionState,
    CredentialsRefusedError,
    Delivery,
    NotConfirmedError,
    Outgoing,
    Publication,
    RefusedByBrokerError,
    UnreachableError,
)

pytestmark = pytest.mark.broker

PATIENCE = timedelta(seconds=20)
CONFIRMED, RETURNED = Publication.CONFIRMED, Publication.RETURNED


@dataclass(frozen=True, slots=True)
class Inbox:
    """A participant of one test: broker user and queue, freshly made."""

    credential: Credential
    queue: str


class Realm:
    """The broker's address and users, and its management API for tests."""

    def __init__(self, broker: BrokerAccess, admin: BrokerAdmin) -> None:
        self.url = broker.amqp_url
        self.tls = broker.tls()
        self.name = broker.vhost
        self.admin = broker.credentials.admin
        self.manager = broker.credentials.manager
        self._broker_admin = admin
        self._api = f"{broker.management_url}/api"

    def call(self, method: str, path: str, body: "Json | None" = None) -> None:
        """Call the management API; ``{}`` in the path stands for the vhost."""
        token = base64.b64encode(f"{self.admin.user}:{self.admin.password}".encode())
        request = urllib.request.Request(
            f"{self._api}/{path.format(quote(self.name, safe=''))}",
            json.dumps(body).encode() if body is not None else None,
            {
                "Authorization": f"Basic {token.decode()}",
                "Content-Type": "application/json",
            },
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10, context=self.tls):
            pass

    def enrol(self) -> Inbox:
        """Make a participant's user, permissions and queue."""
        principal = Principal(f"test-{secrets.token_hex(4)}-001")
        credential = Credential(principal, secrets.token_hex(16))
        self._broker_admin.create_participant(
            principal, Role.CLIENT, credential.hashed()
        )
        return Inbox(credential, topology.inbox(principal, Role.CLIENT).name)

    def declare(self, queue: str, arguments: dict[str, str | int | bool]) -> None:
        """Make a queue and bind it to its own name."""
        self.call(
            "PUT", f"queues/{{}}/{queue}", {"durable": True, "arguments": arguments}
        )
        self.call(
            "POST",
            f"bindings/{{}}/e/{topology.PARTICIPANTS_EXCHANGE}/q/{queue}",
            {"routing_key": queue},
        )

    def transport(self, who: Credential, url: str | None = None) -> AmqpTransport:
        """Return a transport that is not connected yet."""
        return AmqpTransport(
            url or self.url,
            who.user,
            who.password,
            self.name,
            f"test {who.user}",
            ssl_context=self.tls,
            publish_timeout=PATIENCE,
        )

    @asynccontextmanager
    async def connected(
        self, who: Credential, url: str | None = None
    ) -> AsyncIterator[AmqpTransport]:
        """Connect, and close at the end."""
        transport = self.transport(who, url)
        await transport.connect()
        try:
            yield transport
        finally:
            await transport.close()


class Wire:
    """A TCP relay to the broker that can be cut, closed and held."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where to connect instead of the broker."""
        return f"amqps://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything."""
        self.sever()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def join(self) -> None:
        """Accept connections (again, on the same port)."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def sever(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """Break every connection at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        for task in self._tasks:
            task.cancel()

    def hold(self) -> None:
        """Pass nothing on, as a broker that hangs."""
        self._flows.clear()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, to_writer]
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            self._tasks.add(asyncio.create_task(self._relay(source, sink)))

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.transport.abort()


@pytest.fixture
def realm(broker: BrokerAccess, admin: BrokerAdmin) -> Realm:
    """Return the session's broker with what these tests need of it."""
    return Realm(broker, admin)


def outgoing(queue: str, number: int = 0, **changes: str) -> Outgoing:
    """Return the manager's message to an inbox."""
    fields = {"exchange": topology.PARTICIPANTS_EXCHANGE, "user_id": "manager"}
    fields.update(changes)
    return Outgoing(
        exchange=fields["exchange"],
        routing_key=queue,
        body=b"%d" % number,
        message_id=f"{number:032x}",
        type="job.offer",
        correlation_id="00" * 16,
        expiration_ms=60_000,
        timestamp=int(time.time()),
        user_id=fields["user_id"],
        app_id="mpc-manager",
    )


async def collect(
    transport: AmqpTransport, wanted: Callable[[Sequence[Delivery]], bool]
) -> list[Delivery]:
    """Take and acknowledge deliveries until the condition holds."""
    found: list[Delivery] = []
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not wanted(found):
            batch = await transport.deliveries(100)
            found += batch
            await transport.ack(batch)
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        while not await condition():  # noqa: ASYNC110 - the broker sets no event
            await asyncio.sleep(0.02)


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    """Return what the messages hold."""
    return [int(item.body) for item in deliveries]


def test_a_batch_arrives_with_its_properties(realm: Realm) -> None:
    """Confirmed, mandatory, and readable for the receiver's checks."""
    inbox = realm.enrol()

    async def scenario() -> tuple[list[Publication], list[Delivery]]:
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            party = await stack.enter_async_context(realm.connected(inbox.credential))
            await party.consume(inbox.queue)
            outcomes = await manager.publish(
                [
                    outgoing(inbox.queue, 1),
                    outgoing("client.Nobody001", 2),
                    outgoing(inbox.queue, 3),
                ]
            )
            return outcomes, await collect(party, lambda found: len(found) == 2)

    outcomes, found = asyncio.run(scenario())

    assert outcomes == [CONFIRMED, RETURNED, CONFIRMED]
    assert numbers(found) == [1, 3]
    assert {
        (d.queue, d.user_id, d.has_copies, d.redelivered, d.routing_key, d.message_type)
        for d in found
    } == {(inbox.queue, "manager", False, False, inbox.queue, "job.offer")}


def test_a_large_batch_is_confirmed_and_acknowledged_whole(realm: Realm) -> None:
    """More than one confirm window, more than one prefetch."""
    inbox = realm.enrol()
    count = 2500

    async def scenario() -> tuple[list[Publication], list[Delivery], list[Delivery]]:
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            party = await stack.enter_async_context(realm.connected(inbox.credential))
            outcomes = await manager.publish(
                [outgoing(inbox.queue, number) for number in range(count)]
            )
            await party.consume(inbox.queue)
            found = await collect(party, lambda found: len(found) >= count)
            await party.cancel(inbox.queue)
            await party.consume(inbox.queue)
            return outcomes, found, await party.deliveries(1, timedelta(seconds=0.3))

    outcomes, found, rest = asyncio.run(scenario())

    assert outcomes == [CONFIRMED] * count
    assert numbers(found) == list(range(count))
    assert rest == []


@pytest.mark.parametrize("fault", ["password", "vhost"])
def test_a_refused_login_says_so_at_once(realm: Realm, fault: str) -> None:
    """It is not retried, and not taken for a broker that is away."""
    transport = AmqpTransport(
        realm.url,
        realm.manager.user,
        "wrong" if fault == "password" else realm.manager.password,
        "elsewhere" if fault == "vhost" else realm.name,
        "test",
        ssl_context=realm.tls,
    )

    with pytest.raises(CredentialsRefusedError, match=fault) as caught:
        asyncio.run(transport.connect())

    assert caught.value.hint


def test_nobody_at_the_address_is_unreachable(unused_port: int) -> None:
    """The reason is the system's own."""
    transport = AmqpTransport(f"amqp://127.0.0.1:{unused_port}", "u", "p", "r", "test")

    with pytest.raises(UnreachableError, match="refused"):
        asyncio.run(transport.connect())


def test_a_node_that_hangs_is_unreachable_in_time(realm: Realm) -> None:
    """TCP connects and nothing comes: the limit holds."""

    async def scenario() -> float:
        async with Wire(realm.url) as wire:
            wire.hold()
            transport = AmqpTransport(
                wire.url,
                "u",
                "p",
                "r",
                "test",
                ssl_context=realm.tls,
                connect_timeout=timedelta(seconds=1),
            )
            began = time.monotonic()
            with pytest.raises(UnreachableError):
                await transport.connect()
            return time.monotonic() - began

    assert asyncio.run(scenario()) < 6


def test_the_next_node_of_a_cluster_is_tried(realm: Realm, unused_port: int) -> None:
    """One dead node does not keep anybody out."""
    inbox = realm.enrol()

    async def scenario() -> int | None:
        urls = f"amqps://127.0.0.1:{unused_port},{realm.url}"
        async with realm.connected(realm.manager, urls) as transport:
            return await transport.consumer_count(inbox.queue)

    assert asyncio.run(scenario()) == 0


def test_before_connect_everything_says_connect(realm: Realm) -> None:
    """Nothing waits for a connection that nobody asked for."""

    async def scenario() -> None:
        transport = realm.transport(realm.manager)
        for operation in (
            transport.publish([outgoing("x")]),
            transport.consume("x"),
            transport.deliveries(1),
            transport.consumer_count("x"),
        ):
            with pytest.raises(TransportError) as caught:
                await operation

            assert caught.value.hint == "connect first"
        await transport.close()

    asyncio.run(scenario())


def test_a_forbidden_publish_fails_alone(realm: Realm) -> None:
    """403, 404 and 406 close the channel: the next batch gets a new one."""
    inbox = realm.enrol()
    wrong = [
        outgoing(inbox.queue, exchange=topology.MANAGER_EXCHANGE),
        outgoing(inbox.queue, exchange="mpc.nowhere"),
        outgoing(inbox.queue, user_id="somebody"),
    ]

    async def scenario() -> list[object]:
        async with realm.connected(realm.manager) as manager:
            return [
                outcome
                for message in wrong
                for outcome in await asyncio.gather(
                    manager.publish([outgoing(inbox.queue)]),
                    manager.publish([message]),
                    manager.publish([outgoing(inbox.queue)]),
                    return_exceptions=True,
                )
            ]

    outcomes = asyncio.run(scenario())

    assert [type(outcome) for outcome in outcomes] == [
        list,
        RefusedByBrokerError,
        list,
    ] * 3
    assert outcomes[0] == outcomes[2] == [CONFIRMED]


def test_a_foreign_queue_cannot_be_read(realm: Realm) -> None:
    """And a missing one says so; neither harms the connection."""
    inbox, other = realm.enrol(), realm.enrol()

    async def scenario() -> bool:
        async with realm.connected(inbox.credential) as party:
            for queue in (other.queue, "client.Nobody001"):
                with pytest.raises(RefusedByBrokerError):
                    await party.consume(queue)
            await party.consume(inbox.queue)
            return party.connected.is_set()

    assert asyncio.run(scenario())


def test_consumers_are_counted_without_harm(realm: Realm) -> None:
    """A missing queue is ``None``, again and again."""
    inbox = realm.enrol()

    async def scenario() -> list[int | None]:
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            party = await stack.enter_async_context(realm.connected(inbox.credential))
            counts = [await manager.consumer_count(inbox.queue)]
            await party.consume(inbox.queue)
            counts.append(await manager.consumer_count(inbox.queue))
            counts += [
                await manager.consumer_count("client.Nobody001") for _ in range(3)
            ]
            await manager.publish([outgoing(inbox.queue)])
            return counts

    assert asyncio.run(scenario()) == [0, 1, None, None, None]


def test_a_full_queue_is_retried_and_then_reported(realm: Realm) -> None:
    """``reject-publish`` nacks; the caller learns which message it was."""
    full, free = f"client.full-{secrets.token_hex(4)}", realm.enrol().queue
    inbox = topology.inbox(Principal("any"), Role.CLIENT)
    realm.declare(full, {**dict(inbox.arguments), "x-max-length": 1})

    async def scenario() -> tuple[Publication | None, ...]:
        manager = AmqpTransport(
            realm.url,
            realm.manager.user,
            realm.manager.password,
            realm.name,
            "test",
            ssl_context=realm.tls,
            publish_timeout=timedelta(seconds=2),
        )
        await manager.connect()
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                while True:  # a queue takes a few more than its length
                    await manager.publish([outgoing(full), outgoing(free)])
        except NotConfirmedError as error:
            return error.publications
        finally:
            await manager.close()

    assert asyncio.run(scenario()) == (None, CONFIRMED)


def test_what_a_cut_interrupts_is_published_again(realm: Realm) -> None:
    """At least once, in spite of a wire that breaks all the time."""
    inbox = realm.enrol()
    count = 3000

    async def scenario() -> tuple[list[Publication], list[Delivery]]:
        async with AsyncExitStack() as stack:
            wire = await stack.enter_async_context(Wire(realm.url))
            party = await stack.enter_async_context(realm.connected(inbox.credential))
            manager = await stack.enter_async_context(
                realm.connected(realm.manager, wire.url)
            )
            await party.consume(inbox.queue)
            publishing = asyncio.create_task(
                manager.publish([outgoing(inbox.queue, n) for n in range(count)])
            )
            for _ in range(3):
                await asyncio.sleep(0.05)  # somewhere in the middle
                wire.cut()
            everything = set(range(count))
            found = await collect(
                party, lambda found: set(numbers(found)) == everything
            )
            return await publishing, found

    outcomes, found = asyncio.run(scenario())

    assert outcomes == [CONFIRMED] * count
    assert set(numbers(found)) == set(range(count))


def test_consumers_come_back_after_a_cut(realm: Realm) -> None:
    """Unacknowledged deliveries come again; a late ack of theirs does no harm."""
    inbox = realm.enrol()

    async def scenario() -> tuple[
        list[Delivery], list[Delivery], list[ConnectionState]
    ]:
        async with AsyncExitStack() as stack:
            wire = await stack.enter_async_context(Wire(realm.url))
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            party = await stack.enter_async_context(
                realm.connected(inbox.credential, wire.url)
            )
            states: list[ConnectionState] = []
            party.watch(states.append)
            await party.consume(inbox.queue)
            await manager.publish([outgoing(inbox.queue, n) for n in range(2)])
            first: list[Delivery] = []
            while len(first) < 2:
                first += await party.deliveries(5)
            wire.cut()
            await until(lambda: _is(states[-1:] == [ConnectionState.CONNECTED]))
            await party.ack(first)
            second = await collect(party, lambda found: len(found) >= 2)
            await party.ack(first + second)
            return first, second, list(states)

    first, second, states = asyncio.run(scenario())

    assert numbers(first) == numbers(second) == [0, 1]
    assert [item.redelivered for item in second] == [True, True]
    assert states == [ConnectionState.LOST, ConnectionState.CONNECTED]


async def _is(value: bool) -> bool:
    return value


def test_an_outage_is_waited_for(realm: Realm) -> None:
    """What is published while the broker is away is confirmed when it is back."""
    inbox = realm.enrol()

    async def scenario() -> tuple[list[Publication], bool, bool]:
        async with (
            Wire(realm.url) as wire,
            realm.connected(realm.manager, wire.url) as manager,
        ):
            wire.sever()
            wire.cut()
            publishing = asyncio.create_task(manager.publish([outgoing(inbox.queue)]))
            await until(lambda: _is(not manager.connected.is_set()))
            with pytest.raises(TransportError):
                await manager.consumer_count(inbox.queue)
            await asyncio.sleep(0.3)  # a few attempts fail
            was_open = publishing.done()
            await wire.join()
            return await publishing, was_open, manager.connected.is_set()

    assert asyncio.run(scenario()) == ([CONFIRMED], False, True)


def test_a_broker_that_hangs_is_bounded(realm: Realm) -> None:
    """Neither publishing nor closing waits for it for ever."""
    inbox = realm.enrol()

    async def scenario() -> tuple[float, int]:
        async with Wire(realm.url) as wire:
            manager = AmqpTransport(
                wire.url,
                realm.manager.user,
                realm.manager.password,
                realm.name,
                "test",
                ssl_context=realm.tls,
                publish_timeout=timedelta(seconds=1),
            )
            await manager.connect()
            await manager.publish([outgoing(inbox.queue)])
            wire.hold()
            began = time.monotonic()
            with pytest.raises(NotConfirmedError):
                await manager.publish([outgoing(inbox.queue)])
            await manager.close()
            elapsed = time.monotonic() - began
        return elapsed, len(asyncio.all_tasks())

    elapsed, tasks = asyncio.run(scenario())

    assert elapsed < 6
    assert tasks == 1


@pytest.mark.slow
def test_heartbeats_find_a_dead_peer(realm: Realm) -> None:
    """Without traffic nothing else would."""

    async def scenario() -> bool:
        async with Wire(realm.url) as wire:
            transport = AmqpTransport(
                wire.url,
                realm.manager.user,
                realm.manager.password,
                realm.name,
                "test",
                ssl_context=realm.tls,
                heartbeat=timedelta(seconds=1),
            )
            await transport.connect()
            wire.hold()
            await until(lambda: _is(not transport.connected.is_set()))
            await transport.close()
            return transport.connected.is_set()

    assert not asyncio.run(scenario())


def test_a_deleted_user_is_told_and_not_retried_for_ever(realm: Realm) -> None:
    """Revocation: the broker closes the connection and refuses the next one."""
    inbox = realm.enrol()

    async def scenario() -> tuple[list[ConnectionState], TransportError | None]:
        async with realm.connected(inbox.credential) as party:
            states: list[ConnectionState] = []
            party.watch(states.append)
            await party.consume(inbox.queue)
            await asyncio.to_thread(
                realm.call, "DELETE", f"users/{inbox.credential.user}"
            )
            with pytest.raises(CredentialsRefusedError):
                await collect(party, lambda _: False)
            with pytest.raises(CredentialsRefusedError):
                await party.publish([outgoing(inbox.queue)])
            with pytest.raises(CredentialsRefusedError):
                await party.connect()
            return states, party.failure

    states, failure = asyncio.run(scenario())

    assert states == [ConnectionState.LOST, ConnectionState.FAILED]
    assert isinstance(failure, CredentialsRefusedError)


def test_a_queue_that_is_made_again_is_consumed_again(realm: Realm) -> None:
    """Its deletion ends the consumer, not the connection."""
    inbox = realm.enrol()
    arguments = dict(topology.inbox(Principal("any"), Role.CLIENT).arguments)

    async def scenario() -> tuple[list[int], bool]:
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            party = await stack.enter_async_context(realm.connected(inbox.credential))
            await party.consume(inbox.queue)
            await asyncio.to_thread(realm.call, "DELETE", f"queues/{{}}/{inbox.queue}")
            await until(lambda: _is(party._sources[inbox.queue] is None))
            await asyncio.to_thread(realm.declare, inbox.queue, arguments)
            await until(lambda: _equals(manager, inbox.queue, 1))
            await manager.publish([outgoing(inbox.queue, 7)])
            found = await collect(party, lambda found: len(found) == 1)
            return numbers(found), party.connected.is_set()

    assert asyncio.run(scenario()) == ([7], True)


async def _equals(transport: AmqpTransport, queue: str, count: int | None) -> bool:
    return await transport.consumer_count(queue) == count


def test_cancel_gives_back_what_was_not_acknowledged(realm: Realm) -> None:
    """A manager that lost its lease hands over everything."""
    inbox = realm.enrol()

    async def scenario() -> tuple[int, list[int]]:
        async with AsyncExitStack() as stack:
            manager = await stack.enter_async_context(realm.connected(realm.manager))
            old = await stack.enter_async_context(realm.connected(inbox.credential))
            new = await stack.enter_async_context(realm.connected(inbox.credential))
            await manager.publish([outgoing(inbox.queue, n) for n in range(5)])
            await old.consume(inbox.queue)
            taken = await old.deliveries(2)
            await new.consume(inbox.queue)
            await old.cancel(inbox.queue)
            await old.ack(taken)
            found = await collect(new, lambda found: len(found) == 5)
            return len(await old.deliveries(5, timedelta(seconds=0.1))), numbers(found)

    left, found = asyncio.run(scenario())

    assert left == 0
    assert sorted(found) == list(range(5))


def test_copies_are_seen(realm: Realm) -> None:
    """CC shows as a header; of BCC the foreign routing key is all that is left."""
    inbox = realm.enrol()

    async def scenario() -> list[Delivery]:
        for header in ("CC", "BCC"):
            await asyncio.to_thread(
                _publish_raw, realm, "elsewhere", {header: [inbox.queue]}
            )
        async with realm.connected(inbox.credential) as party:
            await party.consume(inbox.queue)
            return await collect(party, lambda found: len(found) == 2)

    found = asyncio.run(scenario())

    assert [item.has_copies for item in found] == [True, False]
    assert {item.routing_key for item in found} == {"elsewhere"}


def test_hostile_properties_cost_one_message_only(realm: Realm) -> None:
    """A table nested 700 deep would end the library's connection, 50 times."""
    inbox = realm.enrol()
    nested: Json = 1
    for _ in range(700):
        nested = {"x": nested}
    states: list[ConnectionState] = []

    async def scenario() -> list[Delivery]:
        await asyncio.to_thread(_publish_raw, realm, inbox.queue, {"x": nested})
        await asyncio.to_thread(_publish_raw, realm, inbox.queue, {"x": "y" * 20_000})
        await asyncio.to_thread(_publish_raw, realm, inbox.queue, {"x": 1})
        async with realm.connected(inbox.credential) as party:
            party.watch(states.append)
            await party.consume(inbox.queue)
            return await collect(party, lambda found: len(found) == 3)

    found = asyncio.run(scenario())

    assert [item.user_id for item in found] == [None, None, realm.admin.user]
    assert [item.body for item in found] == [b"raw"] * 3
    assert states == [ConnectionState.CLOSED]


def _publish_raw(realm: Realm, routing_key: str, headers: Json) -> None:
    realm.call(
        "POST",
        f"exchanges/{{}}/{topology.PARTICIPANTS_EXCHANGE}/publish",
        {
            "routing_key": routing_key,
            "payload": "raw",
            "payload_encoding": "string",
            "properties": {"headers": headers, "user_id": realm.admin.user},
        },
    )


def test_nothing_is_left_after_close(realm: Realm) -> None:
    """No task, no timer that keeps a program alive; and it can connect again."""
    inbox = realm.enrol()

    async def scenario() -> tuple[int, list[Publication]]:
        transport = realm.transport(realm.manager)
        await transport.connect()
        await transport.connect()
        await transport.publish([outgoing(inbox.queue)])
        await transport.close()
        await transport.close()
        with pytest.raises(TransportError, match="closed by this program"):
            await transport.publish([outgoing(inbox.queue)])
        tasks = len(asyncio.all_tasks())
        await transport.connect()
        outcomes = await transport.publish([outgoing(inbox.queue)])
        await transport.close()
        return tasks, outcomes

    assert asyncio.run(scenario()) == (1, [CONFIRMED])
