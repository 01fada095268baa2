"""What one hostile participant may cost the others: a bounded amount."""

import asyncio
from datetime import timedelta

import pytest

from shared.errors import ErrorCode
from shared.messages import JobClosed, JobQuery, JobState, Status
from shared.names import Io, Role
from shared.transport.base import Outgoing
from tests.negative.realm import BUSIER, STATUS, Actor, AttackedRealm, Change, run

DAY_MS = 24 * 3600 * 1000
GUARD = timedelta(seconds=20).total_seconds()
"""Only a hanging manager takes so long; nothing here waits."""


def _fill(realm: AttackedRealm, actor: Actor) -> None:
    """Fill an actor's inbox to its limit, as one that never reads it can."""
    queue = f"{actor.role}.{actor.principal}"
    actor.transport.crash()
    realm.broker._queues[queue].limit = realm.broker.depth(queue)


def test_41_a_full_inbox_does_not_stop_the_manager() -> None:
    """Its owner does not read it: what is for others goes out all the same."""

    async def history(realm: AttackedRealm) -> None:
        *_, consumer = await realm.cast()
        hostile = await realm.join_actor("hostile", Role.CLIENT, Io.OUTPUT)
        message = hostile.make(JobQuery())
        _fill(realm, hostile)
        realm.inject("manager.jobs", message)
        await asyncio.wait_for(realm.settle(), GUARD)
        consumer.send(JobQuery())
        await asyncio.wait_for(realm.settle(), GUARD)

        assert consumer.got(JobState)
        assert realm.waiting() == 0

    run(history)


def test_41_what_an_inbox_had_no_room_for_goes_out_later() -> None:
    """It is in the outbox until the broker has it or its time is over."""

    async def history(realm: AttackedRealm) -> None:
        hostile = await realm.join_actor("hostile", Role.CLIENT, Io.OUTPUT)
        queue = f"client.{hostile.principal}"
        limit = realm.broker._queues[queue].limit
        realm.broker._queues[queue].limit = realm.broker.depth(queue)
        hostile.send(JobQuery())
        await asyncio.wait_for(realm.settle(), GUARD)
        first = hostile.got(JobState)
        realm.broker._queues[queue].limit = limit
        await asyncio.wait_for(realm.service.publish_late(), GUARD)
        await realm.settle()

        assert first == []
        assert len(hostile.got(JobState)) == 1

    run(history)


def test_41_open_jobs_of_one_consumer_are_bounded() -> None:
    """Jobs that wait for a server would fill M's memory until their deadline."""

    async def history(realm: AttackedRealm) -> None:
        await realm.cast()
        hostile = await realm.join_actor("hostile", Role.CLIENT, Io.OUTPUT)
        told: list[str] = []
        for number in range(300):
            realm.clock.move(0.02)
            if number % 100 == 0:
                for actor in realm.actors:
                    actor.send(STATUS)
            hostile.send(hostile.job_request(chosen=number.to_bytes(16)))
            await realm.settle()
            told += hostile.errors()
        open_jobs = len(realm.service._office.memory.jobs)

        assert open_jobs <= 128
        assert set(told) == {ErrorCode.BUSY.value}

    run(history)


def test_41_a_login_is_not_told_of_every_job_that_ever_failed() -> None:
    """Hundreds of closed jobs: the next session hears of a bounded number."""

    async def history(realm: AttackedRealm) -> None:
        await realm.cast()
        hostile = await realm.join_actor("hostile", Role.CLIENT, Io.OUTPUT)
        for number in range(400):
            realm.clock.move(0.02)
            request = hostile.job_request(servers=9, chosen=number.to_bytes(16))
            hostile.send(request)
            await realm.settle()
            hostile.bodies()
        await hostile.log_in()
        hostile.send(STATUS)
        await realm.settle()
        closed = hostile.got(JobClosed)

        assert 0 < len(closed) <= 128

    run(history)


def test_41_an_envelope_is_not_remembered_as_long_as_its_sender_says() -> None:
    """Its time is the sender's word: 2^61 ms would keep rows for ever."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        for _ in range(5):
            change = Change(seal=actor.kem_seal(), life_ms=2**61)
            actor.put(actor.make(actor.login(), change))
        await realm.settle()
        realm.clock.move(DAY_MS / 1000 + 2 * 3600)
        await realm.service.tick()
        with realm.store._engine.begin() as connection:
            rows = connection.exec_driver_sql(
                "select count(*) from inbox where seq = 0"
            ).scalar_one()

        assert rows == 0

    run(history)


def test_41_a_flood_without_a_user_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``user_id`` is the publisher's choice: no budget counts who leaves it out."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        caplog.clear()
        for _ in range(2000):
            realm.inject("manager.jobs", _anonymous(actor))
        await realm.settle()
        counts = await realm.count()

        assert counts["user_id"] == 2000
        assert len(caplog.records) < 50

    run(history)


def _anonymous(actor: Actor) -> Outgoing:
    return Outgoing(
        exchange="mpc.manager",
        routing_key=f"jobs.{actor.principal}",
        body=bytes(100),
        message_id="",
        type="status",
        correlation_id=None,
        expiration_ms=None,
        timestamp=0,
        user_id=None,
        app_id="",
    )


def test_41_an_honest_participant_is_served_beside_a_flood() -> None:
    """A thousand envelopes of one user: another's are opened, the rest is not."""

    async def history(realm: AttackedRealm) -> None:
        *_, consumer = await realm.cast()
        flooder = await realm.join_actor("flooder", Role.MPCS)
        flooder.put(*[flooder.spoil(flooder.make(STATUS), -1, 0) for _ in range(1000)])
        consumer.send(JobQuery())
        flooder.put(*[flooder.make(BUSIER) for _ in range(1000)])
        await realm.settle()
        counts = await realm.count()

        assert consumer.got(JobState)
        assert counts["rate"] >= 1700
        assert counts["unseal"] <= 200

    run(history)


def test_41_any_status_within_limits_survives_a_restart() -> None:
    """What M keeps it can read again: nobody poisons its store."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("source", Role.CLIENT, Io.INPUT)
        names = [f"d{i}" for i in range(64)]
        columns = tuple(f"column é {i}" for i in range(100))
        most = 2**31 - 1
        notices = [{"name": name, "cols": columns} for name in names]
        actor.send(
            Status.model_validate(
                {
                    "type": "status",
                    "slots_free": most,
                    "slots": most,
                    "load": most,
                    "datasets": notices,
                }
            )
        )
        await realm.settle()
        await realm.crash()
        presence = realm.service._office.memory.presence(actor.principal)

        assert len(presence.datasets) == 64
        assert presence.load == most

    run(history)
