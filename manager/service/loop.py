"""The loop: take, handle, commit, publish, acknowledge; and fire what is due.

A batch of deliveries is one transaction. Nothing is acknowledged before its effect
is committed and its answer confirmed by the broker.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from manager.protocol.job_state import JobSettings
from manager.realm.founding import descriptor_of
from manager.realm.keys import ManagerKeys
from manager.realm.rotation import SESSION_SLOT, follow_session_key
from manager.service.budget import Budget
from manager.service.dispatch import Dispatcher, Outcome
from manager.service.entrance import Entrance
from manager.service.figures import Figures
from manager.service.housekeeping import (
    Housekeeper,
    Rounds,
    take_new_keys,
    turn_session_key,
)
from manager.service.job_desk import JobDesk
from manager.service.outbox import Outbox
from manager.service.postman import Postman
from manager.service.provisioning import Provisioner, Provisioning
from manager.service.story import Story, header_of
from manager.service.work import Office, Work
from manager.store.store import Store
from shared.clock import Clock, to_ms
from shared.envelope import DroppedError, Sealed
from shared.errors import StoreError, TransportError
from shared.names import Principal
from shared.protocol.machine import Context
from shared.topology import MANAGER_QUEUES, inbox
from shared.transport.base import Delivery, Transport

BATCH: Final = 64
"""Most deliveries in one transaction."""
BATCHES: Final = 4
"""Most batches that are handled and not yet confirmed by the broker."""
WAIT: Final = timedelta(seconds=1)
PROVISION_POLL: Final = timedelta(milliseconds=100)
"""How soon after a registration its broker user is made."""
LATE_POLL: Final = timedelta(milliseconds=200)
"""How soon what the broker did not take is tried again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """``provision_in_thread``: whether calls to the provisioner block for long."""

    jobs: JobSettings
    rounds: Rounds = field(default_factory=Rounds)
    envelopes_per_second: int = 50
    bytes_per_second: int = 1 << 20
    provision_in_thread: bool = True


class Service:
    """The running manager.

    Args:
        store: of the realm.
        transport: to the broker, as the user ``manager``.
        clock: the time.
        keys: the manager's own.
        save_keys: keeps the manager's keys when the session key turns.
        provisioner: makes and removes users and queues at the broker.
        entropy: fresh random bytes.
        settings: how it runs.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock: Clock,
        keys: ManagerKeys,
        save_keys: Callable[[ManagerKeys], None],
        provisioner: Provisioner,
        entropy: Callable[[int], bytes],
        settings: ServiceSettings,
    ) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self._save_keys = save_keys
        self._entropy = entropy
        self._settings = settings
        self._office = Office(keys, descriptor_of(store), settings.jobs, entropy)
        postman = Postman(self._office)
        entrance = Entrance(self._office, postman)
        self._entrance = entrance
        desk = JobDesk(self._office, postman)
        budget = Budget(settings.envelopes_per_second, settings.bytes_per_second)
        self._dispatcher = Dispatcher(
            self._office, postman, entrance, desk, budget, self._now_ms
        )
        self._housekeeper = Housekeeper(
            self._office, postman, entrance, desk, settings.rounds
        )
        self._outbox = Outbox(store, transport)
        self._provisioning = Provisioning(
            store, provisioner, in_thread=settings.provision_in_thread
        )
        self._counts: Counter[str] = Counter()
        self._story = Story()
        self.figures = Figures(self._office, self._outbox)
        transport.watch(self.figures.mail.broker_changed)
        self._handled: asyncio.Queue[Sequence[Delivery]] = asyncio.Queue(BATCHES)

    async def start(self) -> None:
        """Load everything, publish what a crash left over, begin to consume.

        The transport is connected. Nobody has to log in again.

        Raises:
            StoreError: the store cannot be read.
            TransportError: the broker refuses a queue.
        """
        self._load()
        self._look_after_keys()
        self._outbox.recover(self._now_ms())
        self._transact(self._entrance.keep_revoked_out)
        await self.tick()
        for queue in MANAGER_QUEUES:
            await self._transport.consume(queue)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop.

        Raises:
            StoreError: the store does not answer; what was not committed comes
                again after the next start.
            TransportError: the transport gave up.
        """
        loops = [
            asyncio.create_task(self._handle_forever()),
            asyncio.create_task(self._deliver_forever()),
            asyncio.create_task(self._tick_forever()),
            asyncio.create_task(self._look_forever()),
            asyncio.create_task(self._provision_forever()),
            asyncio.create_task(self._late_forever()),
            asyncio.create_task(_wait(stop)),
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self._outbox.write_down()
            self._write_counts()

    async def pump(self, wait: timedelta = WAIT) -> int:
        """Handle one batch of deliveries to the end; return how many there were."""
        deliveries = await self._transport.deliveries(BATCH, wait)
        if deliveries:
            self.handle(deliveries)
            await self._deliver(deliveries)
        return len(deliveries)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Publish what came of deliveries, then acknowledge them."""
        await self.publish()
        await self._transport.ack(deliveries)

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Commit the effects of a batch; nothing is published or acknowledged.

        Raises:
            StoreError: nothing of the batch is committed.
        """
        worth: list[tuple[Delivery, Sealed]] = []
        for delivery in deliveries:
            try:
                worth.append((delivery, self._dispatcher.screen(delivery)))
            except DroppedError as error:
                self._counts[error.reason] += 1
                self.figures.dropped(error.reason)
                self._story.dropped(delivery, error)
        if worth:
            self._commit(worth)

    async def publish(self) -> None:
        """Publish what is committed; a returned message means nobody is there."""
        if not self._settings.provision_in_thread:
            self._outbox.release(await self._provisioning.run_once())
        while True:
            # Waits too for what another loop is publishing at this moment.
            returned = await self._outbox.publish(self._now_ms())
            if returned:
                self._note_gone(returned)
            if self._outbox.is_empty:
                return

    async def publish_late(self) -> None:
        """Publish what the broker did not take at first."""
        if self._outbox.has_late:
            returned = await self._outbox.publish_late(self._now_ms())
            if returned:
                self._note_gone(returned)
                await self.publish()

    async def tick(self) -> None:
        """Do what is due: timers, commands, ends; publish what comes of it."""
        self._look_after_keys()
        self._write_counts()
        self._story.sum_up()
        self._transact(self._housekeeper.tick)
        await self.publish()

    async def look_at_inboxes(self) -> None:
        """See whether parties that are awaited still consume from their inboxes."""
        gone: list[Principal] = []
        for principal in self._housekeeper.awaited():
            role = self._office.memory.principals[principal].role
            count = await self._transport.consumer_count(inbox(principal, role).name)
            if not count:
                gone.append(principal)
        if gone:
            self._note_gone(gone)
            await self.publish()

    def _commit(self, worth: Sequence[tuple[Delivery, Sealed]]) -> None:
        watch = asyncio.get_running_loop().time
        began = watch()
        outcomes: list[Outcome] = []

        def work_off(work: Work) -> None:
            outcomes.clear()
            outcomes.extend(
                self._dispatcher.handle(work, sealed) for _, sealed in worth
            )

        try:
            self._transact(work_off)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - the one place: a bug costs one delivery
            # A bug met by one delivery must not stop the realm: it alone is lost.
            if len(worth) == 1:
                self._counts["internal"] += 1
                _log.exception("delivery not handled", extra=header_of(worth[0][1]))
                return
            for one in worth:
                self._commit([one])
            return
        elapsed = (watch() - began) / len(worth)
        for (delivery, _), outcome in zip(worth, outcomes, strict=True):
            self._outbox.add_again(outcome.again)
            self._story.handled(delivery, outcome, elapsed)
            self.figures.handled(outcome, elapsed)

    def _transact(self, job: Callable[[Work], None]) -> None:
        """Run one transaction; if it fails, memory is as the store is."""
        context = Context(self._clock.now(), self._entropy)
        try:
            with self._store.transaction() as unit:
                work = Work(unit, context)
                job(work)
                self._office.memory.flush(unit)
                unit.mail.write()
                letters = unit.mail.add_letters(work.letters)
                self._outbox.write_into(unit)
                unit.journal.count(work.counts)
        except BaseException:
            self._load()
            raise
        self._outbox.add(letters)
        self.figures.committed(work)

    def _load(self) -> None:
        now = self._now_ms()
        with self._store.transaction() as unit:
            slot = unit.journal.fact(SESSION_SLOT)
            if slot is not None:
                self._office.keys = follow_session_key(self._office.keys, int(slot))
            self._office.memory.load(unit, self._office.keys)
        # Nobody could be heard while this process was not there.
        for presence in list(self._office.memory.presences.values()):
            self._office.memory.presences[presence.principal] = replace(
                presence, seen=now
            )

    def _look_after_keys(self) -> None:
        take_new_keys(self._office, self._store, self._save_keys)
        turn_session_key(self._office, self._store, self._now_ms(), self._save_keys)

    def _note_gone(self, principals: Iterable[Principal]) -> None:
        def note(work: Work) -> None:
            for principal in principals:
                self._housekeeper.gone(work, principal)

        self._transact(note)

    def _write_counts(self) -> None:
        if self._counts:
            with self._store.transaction() as unit:
                unit.journal.count(self._counts)
            self._counts.clear()

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())

    async def _handle_forever(self) -> None:
        """Handle batches while the broker still confirms what came of earlier ones."""
        while True:
            deliveries = await self._transport.deliveries(BATCH, WAIT)
            if deliveries:
                self.handle(deliveries)
                await self._handled.put(deliveries)

    async def _deliver_forever(self) -> None:
        while True:
            deliveries = [*await self._handled.get()]
            while not self._handled.empty():
                deliveries += self._handled.get_nowait()
            await self._deliver(deliveries)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.rounds.poll.total_seconds())
            await self.tick()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.rounds.consumers.total_seconds())
            try:
                await self.look_at_inboxes()
            except TransportError as error:
                if self._transport.failure is not None:
                    raise
                _log.info("broker not reached", extra={"reason": str(error)})

    async def _late_forever(self) -> None:
        while True:
            await asyncio.sleep(LATE_POLL.total_seconds())
            await self.publish_late()

    async def _provision_forever(self) -> None:
        while True:
            await asyncio.sleep(PROVISION_POLL.total_seconds())
            done = await self._provisioning.run_once()
            if done:
                self._outbox.release(done)
                await self.publish()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
