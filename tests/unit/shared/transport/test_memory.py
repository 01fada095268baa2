"""The memory broker behaves as the real one does, and worse when told to."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared import topology
from shared.errors import TransportError
from shared.names import Principal, Role
from shared.transport.base import (
    ConnectionState,
    NotConfirmedError,
    Outgoing,
    Publication,
    RefusedByBrokerError,
    Transport,
)
from shared.transport.memory import Faults, MemoryBroker, MemoryTransport

CLIENT = Principal("Liberty001")
INBOX = topology.inbox(CLIENT, Role.CLIENT)


def seeded(seed: int) -> Callable[[int], bytes]:
    """Return an entropy function whose whole sequence the seed decides."""
    counter = 0

    def entropy(size: int) -> bytes:
        nonlocal counter
        counter += 1
        return hashlib.shake_256(b"%d %d" % (seed, counter)).digest(size)

    return entropy


def up(number: int = 0, *, key: str = f"jobs.{CLIENT}") -> Outgoing:
    """Return a participant's message to the manager."""
    return Outgoing(
        exchange=topology.MANAGER_EXCHANGE,
        routing_key=key,
        body=b"%d" % number,
        message_id=f"{number:032x}",
        type="status",
        correlation_id=None,
        expiration_ms=30_000,
        timestamp=0,
        user_id=CLIENT,
        app_id="test",
    )


def down(queue: str = INBOX.name) -> Outgoing:
    """Return a message of the manager."""
    return Outgoing(
        exchange=topology.PARTICIPANTS_EXCHANGE,
        routing_key=queue,
        body=b"down",
        message_id="0" * 32,
        type="job.offer",
        correlation_id=None,
        expiration_ms=None,
        timestamp=0,
        user_id="manager",
        app_id="test",
    )


class House:
    """A broker with a client and a manager that reads its jobs queue."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.broker = MemoryBroker(seeded(seed), faults, lambda: self.time)
        self.broker.declare(INBOX)
        self.client = MemoryTransport(self.broker, CLIENT)
        self.manager = MemoryTransport(self.broker, "manager")
        self.client.up()
        self.manager.up()
        self.manager.listen(topology.QUEUE_JOBS)

    def send(self, count: int) -> None:
        """Publish numbered messages to the manager."""
        self.client.put([up(number) for number in range(count)])

    def receive(self) -> list[int]:
        """Step to the end; take and acknowledge everything at the manager."""
        numbers: list[int] = []
        self.broker.settle()
        while batch := self.manager.take(5):
            numbers += [int(item.body) for item in batch]
            self.manager.done(batch)
        return numbers


def test_it_is_a_transport() -> None:
    """The type checker proves it; the assignment is the proof."""
    transport: Transport = MemoryTransport(MemoryBroker(seeded(0)), "manager")

    assert transport.failure is not None


def test_without_faults_everything_arrives_once_and_in_order() -> None:
    """The plain case."""
    house = House()
    house.send(20)

    assert house.receive() == list(range(20))
    assert house.broker.depth(topology.QUEUE_JOBS) == 0


def test_nothing_moves_before_a_step() -> None:
    """The driver decides when; there is no background."""
    house = House()
    house.send(1)

    assert house.manager.take(5) == []
    assert house.broker.step()
    assert len(house.manager.take(5)) == 1
    assert not house.broker.step()


def test_the_first_word_of_the_key_chooses_the_queue() -> None:
    """As the topology binds it; an unknown word goes to the alternate exchange."""
    house = House()
    keys = ["registration.0a", f"authentication.{CLIENT}", "other.x", "jobs.a.b"]

    outcomes = house.client.put([up(key=key) for key in keys])

    assert outcomes == [Publication.CONFIRMED] * 4
    assert house.broker.depth(topology.QUEUE_REGISTRATION) == 1
    assert house.broker.depth(topology.QUEUE_AUTHENTICATION) == 1
    assert house.broker.depth(topology.UNROUTABLE) == 2


def test_a_message_to_nobody_is_returned() -> None:
    """The manager learns so that a party is offline."""
    house = House()

    outcomes = house.manager.put([down(), down("client.Nobody001")])

    assert outcomes == [Publication.CONFIRMED, Publication.RETURNED]


def test_a_false_user_id_is_refused() -> None:
    """RabbitMQ answers 406."""
    house = House()

    with pytest.raises(RefusedByBrokerError):
        house.manager.put([up()])


def test_permissions_are_those_of_the_topology() -> None:
    """A participant publishes under its own keys and reads its own inbox."""
    house = House()
    house.broker.restrict(CLIENT, topology.participant_permissions(CLIENT, Role.CLIENT))
    house.client.put([up()])
    house.client.listen(INBOX.name)

    with pytest.raises(RefusedByBrokerError):
        house.client.put([up(key="jobs.Liberty002")])
    with pytest.raises(RefusedByBrokerError):
        house.client.listen(topology.QUEUE_JOBS)


def test_unknown_objects_are_refused() -> None:
    """RabbitMQ answers 404."""
    house = House()
    message = up()

    with pytest.raises(RefusedByBrokerError):
        house.client.listen("client.Nobody001")
    with pytest.raises(RefusedByBrokerError):
        house.client.put(
            [Outgoing("none", "", b"", message.message_id, "", None, None, 0, None, "")]
        )


def test_a_full_queue_refuses_and_says_what_was_queued() -> None:
    """``x-overflow`` is ``reject-publish``: nothing is lost in silence."""
    house = House()
    house.manager.put([down()] * (topology.INBOX_LENGTH - 1))

    with pytest.raises(NotConfirmedError) as caught:
        house.manager.put([down(), down()])

    assert caught.value.publications == (Publication.CONFIRMED, None)


def test_expired_messages_are_not_delivered() -> None:
    """The broker keeps a message until ``exp`` only."""
    house = House()
    house.send(2)
    house.time += timedelta(seconds=30)

    assert house.receive() == []
    assert house.broker.expired == 2


@pytest.mark.parametrize("seed", range(20))
def test_duplicates_add_and_lose_nothing(seed: int) -> None:
    """At least once: every receiver must live with it."""
    house = House(seed, Faults(duplicate=0.5))
    house.send(50)

    received = house.receive()

    assert sorted(set(received)) == list(range(50))
    assert 50 < len(received) <= 100


def test_reordering_changes_the_order_only() -> None:
    """Across all that is in flight."""
    house = House(7, Faults(reorder=1.0))
    house.send(50)

    received = house.receive()

    assert sorted(received) == list(range(50))
    assert received != list(range(50))


def test_drops_are_counted() -> None:
    """Only a hostile broker does that."""
    house = House(3, Faults(drop=0.3))
    house.send(100)

    received = house.receive()

    assert len(received) + house.broker.dropped == 100
    assert house.broker.dropped > 0


def test_one_seed_is_one_history() -> None:
    """A failure of a simulation can be run again."""
    faults = Faults(drop=0.1, duplicate=0.2, reorder=0.5)

    def history(seed: int) -> list[int]:
        house = House(seed, faults)
        house.send(100)
        return house.receive()

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_a_crash_redelivers_what_was_not_acknowledged() -> None:
    """In its old order, before what comes later, and marked."""
    house = House()
    house.send(4)
    house.broker.settle()
    batch = house.manager.take(3)
    house.manager.done(batch[:1])
    house.manager.crash()
    successor = MemoryTransport(house.broker, "manager")
    successor.up()
    successor.listen(topology.QUEUE_JOBS)

    again = successor.take(5)
    house.manager.done(batch)  # late acknowledgements change nothing

    assert [int(item.body) for item in again] == [1, 2, 3]
    assert [item.redelivered for item in again] == [True, True, False]
    assert house.broker.depth(topology.QUEUE_JOBS) == 3


def test_a_broker_crash_redelivers_to_the_same_consumer() -> None:
    """Its transport reconnects by itself."""
    house = House()
    house.send(2)
    house.broker.settle()
    batch = house.manager.take(5)
    house.broker.crash()
    house.manager.done(batch)

    again = house.manager.take(5)

    assert [item.redelivered for item in again] == [True, True]


def test_only_the_first_consumer_is_active() -> None:
    """Single active consumer: the next one takes over when it goes."""
    house = House()
    standby = MemoryTransport(house.broker, "manager")
    standby.up()
    standby.listen(topology.QUEUE_JOBS)
    house.send(1)
    house.broker.settle()

    assert house.broker.consumer_count(topology.QUEUE_JOBS) == 2
    assert standby.take(5) == []
    house.manager.crash()
    assert len(standby.take(5)) == 1


def test_prefetch_bounds_what_one_consumer_holds() -> None:
    """As basic.qos does."""
    house = House()
    house.send(40)
    house.broker.settle()

    batch = house.manager.take(100)

    assert len(batch) == 32
    house.manager.done(batch)
    assert len(house.manager.take(100)) == 8


def test_a_hostile_broker_can_inject_anything() -> None:
    """What a participant's own permissions would not allow."""
    house = House()
    house.broker.inject(topology.QUEUE_JOBS, up(key="elsewhere"), has_copies=True)
    house.broker.settle()

    (item,) = house.manager.take(5)

    assert item.has_copies
    assert item.routing_key == "elsewhere"


def test_the_asynchronous_side_waits_for_the_broker_to_move() -> None:
    """No real time: a step wakes the waiter."""

    async def scenario() -> tuple[list[int], int | None, list[ConnectionState]]:
        house = House()
        states: list[ConnectionState] = []
        house.manager.watch(states.append)
        await house.manager.connect()
        waiter = asyncio.create_task(house.manager.deliveries(5))
        await asyncio.sleep(0)
        await house.client.publish([up(1)])
        await asyncio.sleep(0)

        assert not waiter.done()
        house.broker.step()
        batch = await waiter
        await house.manager.ack(batch)
        count = await house.manager.consumer_count(topology.QUEUE_JOBS)
        await house.manager.cancel(topology.QUEUE_JOBS)
        await house.manager.close()
        await house.manager.close()
        return [int(item.body) for item in batch], count, states

    numbers, count, states = asyncio.run(scenario())

    assert numbers == [1]
    assert count == 1
    assert states == [ConnectionState.CLOSED]


def test_a_crash_ends_the_wait() -> None:
    """Nothing waits for ever."""

    async def scenario() -> None:
        house = House()
        waiter = asyncio.create_task(house.manager.deliveries(5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        house.manager.crash()
        await waiter

    with pytest.raises(TransportError):
        asyncio.run(scenario())
