"""At least once: repeats, any order, crashes, new sessions; each effect happens once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.crypto.derivation import spec_hash
from shared.messages import (
    AsReply,
    JobAccept,
    JobClosed,
    JobOffer,
    JobPhase,
    JobQuery,
    JobReport,
    JobStage,
    JobStart,
    JobState,
    Outcome,
    RegistrationReply,
    Status,
    Structure,
)
from shared.names import Io, Role
from shared.transport.base import Outgoing
from shared.transport.memory import MemoryTransport
from tests.negative.realm import (
    BUSIER,
    STATUS,
    VISITS,
    Actor,
    AttackedRealm,
    Change,
    run,
    shuffled,
)

Cast = tuple[Actor, Actor, Actor, Actor]


def _accept(actor: Actor, offer: JobOffer) -> JobAccept:
    return JobAccept(
        job=offer.job,
        epoch=offer.epoch,
        spec_hash=spec_hash(offer.spec),
        nonce=actor.entropy(16),
    )


async def _offered(realm: AttackedRealm, cast: Cast) -> None:
    cast[3].send(cast[3].job_request())
    await realm.settle()


def _stage(realm: AttackedRealm, consumer: Actor) -> JobStage | None:
    with realm.store.transaction() as unit:
        job = unit.jobs.get(consumer.job())
    return None if job is None else job.stage


def test_07_an_envelope_that_comes_five_times_has_one_effect() -> None:
    """reg.req, as.req, job.request, job.accept: five acks, five equal answers."""

    async def history(realm: AttackedRealm) -> None:
        server, _, source, consumer = await realm.cast()
        token = await realm.token(Role.MPCS)
        newcomer = Actor(realm, "new", token, Role.MPCS)
        await realm.enrol("later", Role.MPCS)
        sealed = Change(seal=newcomer.kem_seal())
        messages: list[tuple[Actor, Outgoing, str, int]] = [
            (newcomer, newcomer.make(newcomer.request(), sealed), "reg.rep", 1),
            (server, server.make(server.login(), sealed), "as.rep", 1),
            (consumer, consumer.make(consumer.job_request()), "job.offer", 4),
            (consumer, consumer.make(JobQuery()), "job.state", 1),
        ]
        for actor, message, kind, parties in messages:
            before = len(realm.sent(kind))
            for _ in range(5):
                actor.put(message)
                await realm.settle()
            answers = [each.body for each in realm.sent(kind)[before:]]

            assert len(answers) == 5 * parties
            assert len(set(answers)) == parties
            assert realm.waiting() == 0
        with realm.store.transaction() as unit:
            jobs, people = unit.jobs.latest(10), unit.people.principals()
        counts = await realm.count()
        [offer] = {offer.job: offer for offer in source.got(JobOffer)}.values()

        assert len(jobs) == 1
        assert [str(each.principal) for each in people].count("MPC_server_004") == 1
        assert offer.job == consumer.job()
        assert counts["dup"] == 4 * len(messages)
        realm.check_no_number_twice()

    run(history)


def test_07_five_copies_in_one_batch_are_five_acks_and_one_effect() -> None:
    """They are taken together; the answer goes out once more at most each."""

    async def history(realm: AttackedRealm) -> None:
        *_, consumer = await realm.cast()
        consumer.put(*[consumer.make(consumer.job_request())] * 5)
        await realm.settle()
        with realm.store.transaction() as unit:
            jobs = unit.jobs.latest(10)

        assert len(jobs) == 1
        assert len({message.body for message in realm.sent("job.offer")}) == 4
        assert (realm.waiting(), (await realm.count())["dup"]) == (0, 4)

    run(history)


def test_07_a_status_that_comes_five_times_counts_once() -> None:
    """An older one that comes again does not undo a newer one."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("s", Role.MPCS)
        old, new = server.make(STATUS), server.make(BUSIER)
        server.put(old, new, old, old, old, old)
        await realm.settle()
        presence = realm.service._office.memory.presence(server.principal)

        assert presence.slots_free == BUSIER.slots_free
        assert (await realm.count())["dup"] == 4

    run(history)


def _script(realm: AttackedRealm, cast: Cast) -> list[tuple[Actor, Structure]]:
    """Return an honest history of a job, from its request to its end."""
    servers, consumer = cast[:2], cast[3]
    request = consumer.job_request()
    digest, job = spec_hash(request.spec), consumer.job()
    script: list[tuple[Actor, Structure]] = [(consumer, request)]
    script += [
        (
            party,
            JobAccept(job=job, epoch=1, spec_hash=digest, nonce=bytes([i]) * 16),
        )
        for i, party in enumerate(cast)
    ]
    phases: tuple[tuple[JobPhase, tuple[Actor, ...]], ...] = (
        (JobPhase.LINKED, cast),
        (JobPhase.RUNNING, servers),
        (JobPhase.COMPUTED, servers),
        (JobPhase.DELIVERED, (consumer,)),
    )
    for phase, parties in phases:
        report = JobReport(job=job, epoch=1, phase=phase, at=realm.clock.ms)
        script += [(party, report) for party in parties]
    return script


@pytest.mark.parametrize("seed", range(12))
def test_10_a_hundred_messages_in_any_order_end_as_in_order(seed: int) -> None:
    """Shuffled they are handled or refused; in order again, the job is done."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        consumer = cast[3]
        script = _script(realm, cast)
        statuses = [(cast[i % 4], BUSIER if i % 3 else STATUS) for i in range(60)]
        queries = [(consumer, JobQuery(job=consumer.job())) for _ in range(26)]
        sealed = [
            (actor, actor.make(message))
            for actor, message in (*script, *statuses, *queries)
        ]
        owners = {message.message_id: actor for actor, message in sealed}
        messages = shuffled([message for _, message in sealed], f"order {seed}")
        assert len(messages) >= 100
        for each in messages:
            realm.clock.move(0.01)
            owners[each.message_id].put(each)
            if seed % 2:
                await realm.settle()
        await realm.settle()
        shuffled_stage = _stage(realm, consumer)
        for actor, message in script:
            actor.send(message)
            await realm.settle()
        counts = await realm.count()
        consumer.send(JobQuery(job=consumer.job()))
        await realm.settle()
        states = [m for m in consumer.read() if isinstance(m, JobState | JobClosed)]
        last = states[-1]

        assert shuffled_stage is not None
        assert counts.keys().isdisjoint({"internal", "equivocation", "stale", "rate"})
        assert isinstance(last, JobState)
        assert [(s.state, s.outcome) for s in last.jobs] == [
            (JobStage.CLOSED, Outcome.DONE)
        ]
        realm.check_no_number_twice()

    run(history)


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that M does once. ``answers``: type and how many parties get it."""

    prepare: Callable[[AttackedRealm, Cast], Awaitable[tuple[Actor, Outgoing]]]
    kind: str
    recipients: int


async def _registering(realm: AttackedRealm, _cast: Cast) -> tuple[Actor, Outgoing]:
    token = await realm.token(Role.CLIENT, Io.INPUT, "hospital")
    actor = Actor(realm, "new", token, Role.CLIENT, Io.INPUT)
    return actor, actor.make(actor.request(), Change(seal=actor.kem_seal()))


async def _logging_in(_realm: AttackedRealm, cast: Cast) -> tuple[Actor, Outgoing]:
    actor = cast[0]
    return actor, actor.make(actor.login(), Change(seal=actor.kem_seal()))


async def _asking(_realm: AttackedRealm, cast: Cast) -> tuple[Actor, Outgoing]:
    return cast[3], cast[3].make(cast[3].job_request())


async def _accepting(realm: AttackedRealm, cast: Cast) -> tuple[Actor, Outgoing]:
    await _offered(realm, cast)
    for actor in cast[:3]:
        actor.send(_accept(actor, actor.offer()))
    await realm.settle()
    consumer = cast[3]
    return consumer, consumer.make(_accept(consumer, consumer.offer()))


DEEDS = {
    "reg.req": Deed(_registering, "reg.rep", 1),
    "as.req": Deed(_logging_in, "as.rep", 1),
    "job.request": Deed(_asking, "job.offer", 4),
    "job.accept": Deed(_accepting, "job.start", 4),
}


@pytest.mark.parametrize("published", [False, True], ids=["committed", "published"])
@pytest.mark.parametrize("deed", list(DEEDS))
def test_44_a_manager_that_is_killed_does_everything_once(
    tmp_path: Path, deed: str, *, published: bool
) -> None:
    """Killed after the commit, before anything is published or acknowledged."""

    async def history() -> None:
        realm = AttackedRealm(tmp_path / "manager.db")
        await realm.start()
        cast = await realm.cast()
        wanted = DEEDS[deed]
        actor, message = await wanted.prepare(realm, cast)
        before = len(realm.sent(wanted.kind))
        actor.put(message)
        realm.broker.settle()
        taken = await realm.transport.deliveries(64)
        realm.service.handle(taken)
        effects = _effects(realm)
        if published:
            await realm.service.publish()
        await realm.crash()
        await realm.settle()
        answers = [each.body for each in realm.sent(wanted.kind)[before:]]

        assert len(taken) == 1
        assert effects == _effects(realm)
        assert len(set(answers)) == wanted.recipients
        assert realm.waiting() == 0
        realm.check_no_number_twice()
        await _goes_on(realm, cast)

    asyncio.run(history())


def _effects(realm: AttackedRealm) -> tuple[object, ...]:
    """Return what exists because of a message."""
    with realm.store.transaction() as unit:
        return (
            [each.principal for each in unit.people.principals()],
            [each.sid for each in unit.sessions.all()],
            [(each.job, each.stage, each.epoch) for each in unit.jobs.latest(10)],
            unit.people.next_number("job"),
            unit.people.next_number("serial"),
        )


async def _goes_on(realm: AttackedRealm, cast: Cast) -> None:
    """Check that after the crash M still answers, under new numbers."""
    consumer = cast[3]
    consumer.read()
    consumer.send(JobQuery())
    await realm.settle()

    assert consumer.got(JobState)
    realm.check_no_number_twice()


def test_44_a_manager_that_is_killed_before_the_commit_has_done_nothing(
    tmp_path: Path,
) -> None:
    """The deliveries come again and are handled then."""

    async def history() -> None:
        realm = AttackedRealm(tmp_path / "manager.db")
        await realm.start()
        cast = await realm.cast()
        cast[3].send(cast[3].job_request())
        realm.broker.settle()
        await realm.transport.deliveries(64)
        await realm.crash()
        await realm.settle()

        assert len(realm.sent("job.offer")) == 4
        assert _stage(realm, cast[3]) is JobStage.OFFERED

    asyncio.run(history())


def test_44_a_request_that_comes_again_after_its_end_is_not_refused(
    tmp_path: Path,
) -> None:
    """Committed, killed, back after two minutes: its sender hears no ``expired``."""

    async def history() -> None:
        realm = AttackedRealm(tmp_path / "manager.db")
        await realm.start()
        cast = await realm.cast()
        consumer = cast[3]
        consumer.send(consumer.job_request())
        realm.broker.settle()
        taken = await realm.transport.deliveries(64)
        realm.service.handle(taken)
        await realm.service.publish()
        realm.clock.move(90)
        await realm.crash()
        await realm.settle()

        assert realm.waiting() == 0
        assert consumer.errors() == []

    asyncio.run(history())


def test_56_a_second_login_ends_the_first_session_and_loses_nothing() -> None:
    """Sent before, between and after; each is handled once or refused once."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        source, consumer = cast[2], cast[3]
        await _offered(realm, cast)
        offer = source.offer()
        first = source.make(_accept(source, offer))
        late = source.make(_accept(source, offer))
        await source.log_in()
        newest = source.sid
        source.put(first)  # sealed in the old session, before the new one is used
        await realm.settle()
        source.send(Status(slots_free=0, slots=0, load=0, datasets=VISITS))
        await realm.settle()
        again = source.got(JobOffer)
        source.put(late)
        await realm.settle()
        told = source.errors()
        source.send(_accept(source, again[0]))
        for actor in (*cast[:2], consumer):
            actor.send(_accept(actor, actor.offer()))
        await realm.settle()
        starts = [len(actor.got(JobStart)) for actor in cast]
        live = realm.service._office.memory.live_session(source.principal)

        assert [each.job for each in again] == [offer.job]
        assert told == ["superseded"]
        assert starts == [1, 1, 1, 1]
        assert live is not None
        assert live.sid == newest
        realm.check_no_number_twice()

    run(history)


def test_56_an_older_session_does_not_come_back() -> None:
    """Two logins; the newer session is used first, the older one's message later."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("s", Role.MPCS)
        await server.log_in()
        delayed = server.make(STATUS)
        realm.clock.move(1)
        await server.log_in()
        newest = server.sid
        server.send(BUSIER)
        await realm.settle()
        server.put(delayed)
        await realm.settle()
        live = realm.service._office.memory.live_session(server.principal)
        told = server.errors()
        server.send(STATUS)
        await realm.settle()

        assert live is not None
        assert live.sid == newest
        assert told == ["superseded"]
        assert server.errors() == []

    run(history)


def test_56_a_second_reader_of_an_inbox_gets_nothing() -> None:
    """The inbox has one active consumer; another one waits in vain."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        server = cast[0]
        second = MemoryTransport(realm.broker, server.principal)
        second.up()
        second.listen(f"mpcs.{server.principal}")
        await _offered(realm, cast)

        assert second.take(32) == []
        assert len(server.got(JobOffer)) == 1

    run(history)


@pytest.mark.parametrize("idle", [0, 80], ids=["at once", "after 80 s"])
def test_62_an_idle_server_answers_the_next_offer_after_a_restart(
    tmp_path: Path, idle: int
) -> None:
    """Its session is kept wrapped: no new login is needed."""

    async def history() -> None:
        realm = AttackedRealm(tmp_path / "manager.db")
        await realm.start()
        cast = await realm.cast()
        logins = len(realm.sent("as.rep"))
        await realm.crash()
        await realm.pass_time(idle)
        await _offered(realm, cast)
        for actor in cast:
            actor.send(_accept(actor, actor.offer()))
        await realm.settle()
        starts = [len(actor.got(JobStart)) for actor in cast]

        assert starts == [1, 1, 1, 1]
        assert logins == len(realm.sent("as.rep"))
        realm.check_no_number_twice()

    asyncio.run(history())


def test_62_a_registration_that_a_restart_interrupts_is_finished(
    tmp_path: Path,
) -> None:
    """The broker user was not made yet; the answer goes out after it is."""

    async def history() -> None:
        realm = AttackedRealm(tmp_path / "manager.db")
        await realm.start()
        actor, message = await _registering(realm, await realm.cast())
        actor.put(message)
        realm.broker.settle()
        taken = await realm.transport.deliveries(64)
        realm.service.handle(taken)
        await realm.transport.ack(taken)
        await realm.crash()
        await realm.settle()
        [reply] = actor.got(RegistrationReply)
        actor.become(reply)

        assert reply.principal in realm.provisioner.users
        assert actor.got(AsReply) == []

    asyncio.run(history())
