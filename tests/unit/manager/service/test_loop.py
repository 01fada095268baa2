"""The running manager on the memory broker: honest histories and crashes."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest

from manager.store.store import Place
from shared.crypto.derivation import spec_hash
from shared.errors import FailureCode
from shared.messages import (
    DatasetNotice,
    JobAccept,
    JobCancel,
    JobClosed,
    JobOffer,
    JobPhase,
    JobQuery,
    JobReport,
    JobStage,
    JobStart,
    JobState,
    LogOff,
    Outcome,
    Status,
)
from shared.names import Io, Role
from tests.manager_realm import ManagerRealm, RawParty

VISITS = (DatasetNotice(name="visits", cols=("x",)),)


def run(coroutine: Coroutine[object, object, None]) -> None:
    """Run a history to its end."""
    asyncio.run(coroutine)


async def _realm(path: Place = ":memory:") -> tuple[ManagerRealm, list[RawParty]]:
    """Return a realm with two servers, one source and one consumer, all online."""
    realm = ManagerRealm(path)
    await realm.start()
    return realm, await _join_all(realm)


async def _join_all(realm: ManagerRealm) -> list[RawParty]:
    """Bring two servers, one source and one consumer online."""
    return [
        await realm.join("s1", Role.MPCS),
        await realm.join("s2", Role.MPCS),
        await realm.join("source", Role.CLIENT, Io.INPUT, VISITS),
        await realm.join("consumer", Role.CLIENT, Io.OUTPUT),
    ]


async def _accept(parties: list[RawParty]) -> None:
    for party in parties:
        [offer] = [m for m in party.read() if isinstance(m, JobOffer)]
        party.send(
            JobAccept(
                job=offer.job,
                epoch=offer.epoch,
                spec_hash=spec_hash(offer.spec),
                nonce=party.entropy(16),
            )
        )


def test_a_registered_participant_gets_a_name_of_its_kind() -> None:
    """Numbers count per prefix, servers and clients apart."""

    async def history() -> None:
        realm, parties = await _realm()

        names = [party.principal for party in parties]

        assert names == ["MPC_server_001", "MPC_server_002", "client001", "client002"]
        assert realm.provisioner.users == set(names)

    run(history())


def test_a_job_walks_four_hops_to_its_end() -> None:
    """Request, offers, accepts, starts; then reports close it."""

    async def history() -> None:
        realm, parties = await _realm()
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        await _accept(parties)
        await realm.settle()
        starts = [
            [m for m in party.read() if isinstance(m, JobStart)] for party in parties
        ]
        job = consumer.job()
        for phase in (JobPhase.LINKED, JobPhase.COMPUTED, JobPhase.DELIVERED):
            for party in parties:
                is_server = party.role is Role.MPCS
                if (
                    phase is JobPhase.LINKED
                    or (phase is JobPhase.COMPUTED) == is_server
                ):
                    party.send(
                        JobReport(job=job, epoch=1, phase=phase, at=realm.clock.ms)
                    )
            await realm.settle()
        closed = [m for m in consumer.read() if isinstance(m, JobClosed)]

        assert [len(each) for each in starts] == [1, 1, 1, 1]
        assert [m.outcome for m in closed] == [Outcome.DONE]

    run(history())


def test_a_delivery_that_comes_again_has_one_effect() -> None:
    """The same bytes five times: one job, five identical answers (PROTOCOL, test 7)."""

    async def history() -> None:
        realm, parties = await _realm()
        consumer = parties[3]
        sent = consumer.send(consumer.job_request())
        for _ in range(4):
            consumer.transport.put([sent])
        await realm.settle()
        bodies = {
            message.body
            for message in realm.broker.seen
            if message.routing_key == "client.client002" and message.type == "job.offer"
        }
        with realm.store.transaction() as unit:
            jobs = unit.jobs.latest(10)

        assert len(jobs) == 1
        assert len(bodies) == 1
        await realm.service.tick()
        assert realm.counters()["dup"] == 4

    run(history())


@pytest.mark.parametrize("is_published", [False, True])
def test_a_crash_after_the_commit_loses_nothing(
    tmp_path: Path, is_published: bool
) -> None:
    """Killed between commit and publish, or publish and ack (test 44)."""

    async def history() -> None:
        realm, parties = await _realm(tmp_path / "manager.db")
        consumer = parties[3]
        consumer.send(consumer.job_request())
        realm.broker.settle()
        taken = await realm.transport.deliveries(64)
        realm.service.handle(taken)
        if is_published:
            await realm.service.publish()
        await realm.crash()
        await realm.settle()
        offers = [
            {m.epoch for m in party.read() if isinstance(m, JobOffer)}
            for party in parties
        ]
        with realm.store.transaction() as unit:
            jobs = unit.jobs.latest(10)
        sent = [m for m in realm.broker.seen if m.type == "job.offer"]

        assert offers == [{1}] * 4
        assert len(jobs) == 1
        assert len({m.body for m in sent}) == 4

    run(history())


def test_after_a_restart_an_idle_server_is_offered_without_a_new_login(
    tmp_path: Path,
) -> None:
    """Sessions are in the store, wrapped (test 62)."""

    async def history() -> None:
        realm, parties = await _realm(tmp_path / "manager.db")
        await realm.crash()
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        await _accept(parties)
        await realm.settle()
        starts = [
            len([m for m in party.read() if isinstance(m, JobStart)])
            for party in parties
        ]

        assert starts == [1, 1, 1, 1]

    run(history())


def test_a_new_session_key_keeps_the_sessions(tmp_path: Path) -> None:
    """After 12 hours everything is wrapped anew, and the old key is gone."""

    async def history() -> None:
        realm, parties = await _realm(tmp_path / "manager.db")
        server = parties[0]
        slot = realm.keys.slot
        await realm.pass_time(12 * 3600 - 60)
        server.send(Status(slots_free=2, slots=2, load=0))
        await realm.settle()
        await realm.crash()
        server.send(Status(slots_free=1, slots=2, load=0))
        await realm.settle()
        with realm.store.transaction() as unit:
            sessions = {each.principal: each for each in unit.sessions.all()}

        assert [number for number, _ in realm.saved[-1].session_keys] == [slot + 1]
        assert sessions[server.principal].slot == slot + 1
        assert server.errors() == []

    run(history())


def test_silence_takes_a_server_offline_and_fails_the_waiting_job() -> None:
    """Ninety seconds without a word; the job cannot find two servers then."""

    async def history() -> None:
        realm, parties = await _realm()
        await realm.pass_time(80)
        for party in parties[1:]:
            party.send(Status(slots_free=2, slots=2, load=0))
        await realm.settle()
        await realm.pass_time(20)
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        [closed] = [m for m in consumer.read() if isinstance(m, JobClosed)]

        assert closed.code is FailureCode.NO_QUORUM

    run(history())


def test_a_server_whose_inbox_nobody_reads_is_replaced() -> None:
    """The poll of waiting offers finds it long before the offer times out."""

    async def history() -> None:
        realm, parties = await _realm()
        third = await realm.join("s3", Role.MPCS)
        parties[0].transport.crash()
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        await realm.service.look_at_inboxes()
        await realm.settle()
        offers = [m for m in consumer.read() if isinstance(m, JobOffer)]

        assert offers[-1].epoch >= 1
        assert third.principal in {entry.p for entry in offers[-1].roster}
        assert parties[0].principal not in {entry.p for entry in offers[-1].roster}

    run(history())


def test_a_party_with_a_new_session_gets_its_open_offer_again() -> None:
    """What was sealed for the old session is sealed anew."""

    async def history() -> None:
        realm, parties = await _realm()
        consumer, source = parties[3], parties[2]
        consumer.send(consumer.job_request())
        await realm.settle()
        source.read()
        await source.log_in()
        source.send(Status(slots_free=0, slots=0, load=0, datasets=VISITS))
        await realm.settle()
        offers = [m for m in source.read() if isinstance(m, JobOffer)]

        assert len(offers) == 1

    run(history())


def test_a_consumer_lists_its_own_jobs_only() -> None:
    """``job.query`` without a job tells of nobody else's."""

    async def history() -> None:
        realm, parties = await _realm()
        other = await realm.join("other", Role.CLIENT, Io.OUTPUT)
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        consumer.send(JobCancel(job=consumer.job()))
        consumer.send(JobQuery())
        other.send(JobQuery())
        await realm.settle()
        [mine] = [m for m in consumer.read() if isinstance(m, JobState)]
        [theirs] = [m for m in other.read() if isinstance(m, JobState)]

        assert [(job.number, job.state) for job in mine.jobs] == [(1, JobStage.CLOSED)]
        assert theirs.jobs == ()

    run(history())


def test_log_off_ends_the_session() -> None:
    """What comes later in it is of an unknown session."""

    async def history() -> None:
        realm, parties = await _realm()
        server = parties[0]
        server.send(LogOff())
        await realm.settle()
        server.send(Status(slots_free=1, slots=1, load=0))
        await realm.settle()

        assert server.errors() == ["unknown_session"]

    run(history())
