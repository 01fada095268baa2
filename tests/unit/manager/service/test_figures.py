"""What the manager counts of a whole history, and what it does not tell."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace

from prometheus_client import generate_latest

from manager.service.figures import PHASES
from shared.crypto.derivation import spec_hash
from shared.errors import ErrorCode
from shared.messages import (
    DatasetNotice,
    JobAccept,
    JobCancel,
    JobOffer,
    JobPhase,
    JobReport,
)
from shared.names import Io, Role
from shared.transport.base import ConnectionState
from tests.manager_realm import ManagerRealm, RawParty

VISITS = (DatasetNotice(name="visits", cols=("x",)),)


def run(coroutine: Coroutine[object, object, None]) -> None:
    """Run a history to its end."""
    asyncio.run(coroutine)


async def realm_with_parties() -> tuple[ManagerRealm, list[RawParty]]:
    """Return a realm with two servers, one source and one consumer, all online."""
    realm = ManagerRealm()
    await realm.start()
    return realm, [
        await realm.join("s1", Role.MPCS),
        await realm.join("s2", Role.MPCS),
        await realm.join("source", Role.CLIENT, Io.INPUT, VISITS),
        await realm.join("consumer", Role.CLIENT, Io.OUTPUT),
    ]


async def ask_and_accept(realm: ManagerRealm, parties: list[RawParty]) -> None:
    """Let the consumer ask, and everybody accept half a second later."""
    parties[3].send(parties[3].job_request())
    await realm.settle()
    realm.clock.move(0.5)
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
    await realm.settle()


def value(realm: ManagerRealm, name: str, **labels: str) -> float:
    """Return one sample of the manager's registry."""
    found = realm.service.figures.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


def test_a_job_that_ends_well_is_counted_with_its_phases() -> None:
    """It is open first, holds slots, and ends as ``done``; each phase has its time."""

    async def history() -> None:
        realm, parties = await realm_with_parties()
        before = value(realm, "mpc_manager_slots", state="free")
        await ask_and_accept(realm, parties)
        started = value(realm, "mpc_manager_jobs", stage="started")
        reserved = value(realm, "mpc_manager_slots", state="reserved")
        job = parties[3].job()
        for phase in (
            JobPhase.LINKED,
            JobPhase.RUNNING,
            JobPhase.COMPUTED,
            JobPhase.DELIVERED,
        ):
            realm.clock.move(0.1)
            for party in parties:
                is_server = party.role is Role.MPCS
                if phase is JobPhase.LINKED or (
                    (phase is JobPhase.DELIVERED) != is_server
                ):
                    party.send(
                        JobReport(job=job, epoch=1, phase=phase, at=realm.clock.ms)
                    )
            await realm.settle()

        assert before == 4
        assert (started, reserved) == (1, 2)
        assert value(realm, "mpc_manager_jobs", stage="started") == 0
        assert value(realm, "mpc_manager_slots", state="reserved") == 0
        assert value(realm, "mpc_manager_jobs_requested_total") == 1
        assert value(realm, "mpc_manager_jobs_ended_total", code="done") == 1
        assert value(realm, "mpc_envelopes_opened_total", type="job.accept") == 4
        counted = {
            phase: value(realm, "mpc_manager_job_phase_seconds_count", phase=phase)
            for phase in PHASES
        }
        assert counted == dict.fromkeys(PHASES, 1)
        consent = value(realm, "mpc_manager_job_phase_seconds_sum", phase="consent")
        assert consent == 0.5

    run(history())


def test_a_job_that_fails_is_counted_by_its_code() -> None:
    """Who cancels does not count as a success, and has no time of delivery."""

    async def history() -> None:
        realm, parties = await realm_with_parties()
        await ask_and_accept(realm, parties)
        parties[3].send(JobCancel(job=parties[3].job()))
        await realm.settle()

        assert value(realm, "mpc_manager_jobs_ended_total", code="cancelled") == 1
        assert value(realm, "mpc_manager_jobs_ended_total", code="done") == 0
        count = "mpc_manager_job_phase_seconds_count"
        assert value(realm, count, phase="consent") == 1
        assert value(realm, count, phase="delivery") == 0

    run(history())


def test_what_is_refused_is_counted_by_reason_and_by_what_is_told() -> None:
    """Dropped before a transaction, in one, and as forbidden."""

    async def history() -> None:
        realm, parties = await realm_with_parties()
        source, consumer = parties[2], parties[3]
        sent = consumer.send(consumer.job_request())
        consumer.transport.put([replace(sent, body=b"no envelope")])
        consumer.transport.put([sent])
        source.send(consumer.job_request(chosen=b"j" * 16))
        await realm.settle()
        refused = {
            reason: value(realm, "mpc_envelopes_refused_total", reason=reason)
            for reason in ("size", "dup", "forbidden")
        }

        assert refused == {"size": 1, "dup": 1, "forbidden": 1}
        told = value(realm, "mpc_errors_told_total", code=ErrorCode.FORBIDDEN.value)
        assert told == 1

    run(history())


def test_who_is_there_and_when_keys_end_is_shown() -> None:
    """By kind, never by name; and no job's id is on the page."""

    async def history() -> None:
        realm, parties = await realm_with_parties()
        await ask_and_accept(realm, parties)
        await realm.pass_time(3600)
        page = generate_latest(realm.service.figures.registry).decode()
        registered = value(realm, "mpc_manager_participants", kind="mpcs")
        online = value(realm, "mpc_manager_participants_online", kind="mpcs")

        assert (registered, online) == (2, 0)
        assert value(realm, "mpc_manager_participants", kind="output") == 1
        end = value(realm, "mpc_manager_keys_end_timestamp_seconds")
        assert end == realm.keys.ends / 1000
        assert not [name.principal for name in parties if name.principal in page]
        assert parties[3].job().hex() not in page

    run(history())


def test_connections_after_the_first_are_reconnects() -> None:
    """And the gauge says whether there is one now."""

    async def history() -> None:
        realm = ManagerRealm()
        await realm.start()
        changed = realm.service.figures.mail.broker_changed
        first = value(realm, "mpc_broker_connected")
        changed(ConnectionState.LOST)
        lost = value(realm, "mpc_broker_connected")
        changed(ConnectionState.CONNECTED)

        assert (first, lost, value(realm, "mpc_broker_connected")) == (1, 0, 1)
        assert value(realm, "mpc_broker_reconnects_total") == 1

    run(history())
