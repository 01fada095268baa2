"""Two managers on one store: what the former one can still do, and what it cannot."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import NoReturn

import pytest

from manager.protocol.lease import Lease, released
from manager.realm.keys import SLOT
from manager.realm.rotation import SESSION_SLOT
from manager.service import turns
from manager.service.loop import Service
from manager.service.turns import Means, Turns
from manager.store.schema import SCHEMA_VERSION
from manager.store.sqlite import IN_MEMORY
from manager.store.store import LeaseLostError, Store, Unit
from shared import topology
from shared.errors import ConfigError, TransportError
from shared.messages import JobClosed, JobStart, Status
from shared.transport.base import Transport
from shared.transport.memory import MemoryTransport
from shared.transport.memory_broker import MemoryBroker
from tests.manager_realm import ManagerRealm, RawParty
from tests.store_contract import hold
from tests.unit.manager.service.test_loop import VISITS, _accept, _join_all


def run(coroutine: Coroutine[object, object, None]) -> None:
    """Run a history to its end."""
    asyncio.run(coroutine)


class SharedRealm(ManagerRealm):
    """A realm whose manager holds a lease; ``shared`` is the store without one."""

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        super().__post_init__()
        self.shared = self.store
        self.store = self.shared.fenced(hold(self.shared, "first").epoch)
        self.service = self._new_service()

    async def take_over(
        self, *, with_a_copy: bool = False, cuts_off: bool = True
    ) -> Service:
        """Let another manager take over; return the former one, which still runs.

        Args:
            with_a_copy: its key file is as it was when the realm was made.
            cuts_off: the former one loses its connection to the broker.
        """
        former = self.service
        if cuts_off:
            self.transport.crash()
        with self.shared.transaction() as unit:
            unit.leases.put(Lease(unit.leases.get().epoch + 1, "second"))
            epoch = unit.leases.get().epoch
        if with_a_copy:
            self.saved.clear()
        self.store = self.shared.fenced(epoch)
        self.transport = MemoryTransport(self.broker, topology.MANAGER_USER)
        self.service = self._new_service()
        await self.start()
        return former


async def _begin() -> tuple[SharedRealm, list[RawParty]]:
    realm = SharedRealm()
    await realm.start()
    return realm, await _join_all(realm)


def _starts(parties: list[RawParty]) -> list[int]:
    """Return how many different starts each party was told."""
    return [
        len({m.pack() for m in party.read() if isinstance(m, JobStart)})
        for party in parties
    ]


def test_what_a_former_manager_had_in_hand_the_next_one_does() -> None:
    """It stood still with deliveries in its memory; it commits nothing of them."""

    async def history() -> None:
        realm, parties = await _begin()
        parties[3].send(parties[3].job_request())
        await realm.settle()
        await _accept(parties)
        realm.broker.settle()
        in_hand = await realm.transport.deliveries(64)
        former = await realm.take_over()
        sent = len(realm.broker.seen)
        with pytest.raises(LeaseLostError):
            former.handle(in_hand)

        assert len(in_hand) == len(parties)
        assert len(realm.broker.seen) == sent
        await realm.settle()
        assert _starts(parties) == [1, 1, 1, 1]

    run(history())


def test_what_a_former_manager_committed_goes_out_with_the_same_bytes() -> None:
    """From the next one at once, and once more from itself when it goes on."""

    async def history() -> None:
        realm, parties = await _begin()
        parties[3].send(parties[3].job_request())
        await realm.settle()
        await _accept(parties)
        realm.broker.settle()
        realm.service.handle(await realm.transport.deliveries(64))
        former = await realm.take_over(cuts_off=False)
        await former._outbox.publish(realm.clock.ms)
        bodies = [m.body for m in realm.broker.seen if m.type == "job.start"]
        with pytest.raises(LeaseLostError):
            await former.tick()

        assert len(bodies) == 2 * len(parties)
        assert len(set(bodies)) == len(parties)
        await realm.settle()
        assert _starts(parties) == [1, 1, 1, 1]

    run(history())


def test_a_former_manager_fires_no_timer_and_obeys_no_command() -> None:
    """What is due and what was asked for is the next one's."""

    async def history() -> None:
        realm, parties = await _begin()
        parties[3].send(parties[3].job_request())
        await realm.settle()
        former = await realm.take_over()
        realm.clock.move(600)
        with pytest.raises(LeaseLostError):
            await former.tick()
        await realm.pass_time(0)
        closed = [m for m in parties[3].read() if isinstance(m, JobClosed)]

        assert len(closed) == 1

    run(history())


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(seconds=50)])
def test_a_copy_of_the_key_file_follows_the_session_key(behind: timedelta) -> None:
    """The key turned after the copy was made; the next clock may even be behind."""

    async def history() -> None:
        realm, parties = await _begin()
        begin = realm.keys.slot
        realm.clock.move((SLOT / 2).total_seconds())
        for party in parties:
            datasets = VISITS if party is parties[2] else None
            party.send(Status(slots_free=2, slots=2, load=0, datasets=datasets))
        await realm.settle()
        await realm.service.tick()
        realm.clock.move(-behind.total_seconds())
        await realm.take_over(with_a_copy=True)
        with realm.store.transaction() as unit:
            slot = unit.journal.fact(SESSION_SLOT)
        kept = realm.service._office.keys
        parties[3].send(parties[3].job_request())
        await realm.settle()
        await _accept(parties)
        await realm.settle()

        assert slot == str(begin + 1).encode()
        assert [number for number, _ in kept.session_keys] == [begin + 1]
        assert _starts(parties) == [1, 1, 1, 1]

    run(history())


def _turns(
    store: Store, name: str, followed: list[bytes | None] | None = None
) -> Turns:
    """Return a manager that only looks and takes."""

    def never(*_: object) -> NoReturn:
        raise AssertionError("it has not begun")

    def follow(unit: Unit) -> None:
        if followed is not None:
            followed.append(unit.journal.fact(SESSION_SLOT))

    return Turns(store, name, Means(never, never, never, follow))


def test_one_of_two_managers_takes_the_lease() -> None:
    """The other one when it is released; every turn is an epoch of its own."""
    store = Store.create(IN_MEMORY)
    first, second = _turns(store, "a"), _turns(store, "b")
    held = first.take()
    refused = second.take()
    with store.transaction() as unit:
        lease = unit.leases.get()
        unit.leases.put(released(lease))
    then = second.take()
    with store.transaction() as unit:
        after = unit.leases.get()

    assert held is not None
    assert refused is None
    assert then is not None
    assert (lease.epoch, lease.holder) == (1, "a")
    assert (after.epoch, after.holder) == (2, "b")
    with pytest.raises(LeaseLostError), held.transaction():
        pass


def test_a_waiting_manager_follows_the_session_key() -> None:
    """Its copy of an older key is erased soon after the active one erased it."""
    store = Store.create(IN_MEMORY)
    _turns(store, "a").take()
    followed: list[bytes | None] = []
    waiting = _turns(store, "b", followed)
    waiting.take()
    with store.transaction() as unit:
        unit.journal.set_fact("session_slot", b"77")
    waiting.take()

    assert followed == [None, b"77"]


def test_a_manager_of_an_earlier_release_does_not_wait_for_its_turn() -> None:
    """It says at once that a later release has changed the store."""
    store = Store.create(IN_MEMORY)
    _turns(store, "a").take()
    with store.transaction() as unit:
        unit.journal.set_version(SCHEMA_VERSION + 1)
    with pytest.raises(ConfigError, match="schema"):
        _turns(store, "b").take()


def test_a_management_api_that_is_away_does_not_stop_a_takeover(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A manager that was killed has no connection to cut; the lease is given back."""

    async def history() -> None:
        realm, _ = await _begin()
        with realm.shared.transaction() as unit:
            unit.leases.put(released(unit.leases.get()))
        realm.transport.crash()

        async def work(
            store: Store,
            transport: Transport,
            stop: asyncio.Event,
            ready: Callable[[], None],
        ) -> None:
            assert isinstance(transport, MemoryTransport)
            realm.store, realm.transport = store, transport
            service = realm._new_service()
            await transport.connect()
            await service.start()
            ready()
            await service.run(stop)

        def away() -> None:
            raise TransportError("nobody answers")

        turn = Turns(
            realm.shared,
            "second",
            Means(
                lambda: MemoryTransport(realm.broker, topology.MANAGER_USER),
                work,
                away,
                lambda _: None,
            ),
        )
        store, stop = turn.take(), asyncio.Event()
        stop.set()
        assert store is not None
        await turn._hold(store, stop)
        with realm.shared.transaction() as unit:
            lease = unit.leases.get()

        assert (lease.epoch, lease.holder, lease.expires) == (2, "second", 0)

    with caplog.at_level("INFO"):
        run(history())
    events = [record.message for record in caplog.records]

    assert events.count("former manager not cut off") == 1
    assert events.count("manager ready") == 1


def test_who_becomes_active_has_time_to_connect_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node that it used may be gone; a broker that stays away ends the turn."""
    monkeypatch.setattr(turns, "RENEWAL", timedelta(milliseconds=10))
    monkeypatch.setattr(turns, "CONNECTING", timedelta(milliseconds=200))

    async def history() -> None:
        store = Store.create(IN_MEMORY)

        async def work(
            _store: Store, _transport: Transport, stop: asyncio.Event, _: object
        ) -> None:
            await stop.wait()

        means = Means(
            lambda: MemoryTransport(
                MemoryBroker(secrets.token_bytes), topology.MANAGER_USER
            ),
            work,
            lambda: None,
            lambda _: None,
        )
        turn = Turns(store, "a", means)
        held, stop = turn.take(), asyncio.Event()
        assert held is not None
        holding = asyncio.create_task(turn._hold(held, stop))
        expiries = []
        for _ in range(2):
            for _ in range(2):
                await asyncio.sleep(0.08)
                with store.transaction() as unit:
                    expiries.append(unit.leases.get().expires)
            await asyncio.sleep(0.2)
        stop.set()
        await holding

        assert expiries[0] < expiries[1]
        assert expiries[2] == expiries[3]

    run(history())
