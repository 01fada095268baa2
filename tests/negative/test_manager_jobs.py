"""Jobs: roles, membership, states; what outsiders learn, which is nothing."""

from dataclasses import dataclass

import pytest

from shared.crypto.derivation import job_id, spec_hash
from shared.crypto.keys import SigningKey
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import (
    ErrorNotice,
    JobAbort,
    JobAccept,
    JobCancel,
    JobClosed,
    JobCollect,
    JobOffer,
    JobPhase,
    JobQuery,
    JobRefuse,
    JobReport,
    JobRequest,
    JobStage,
    JobStart,
    JobState,
    Message,
    Spec,
    unpack,
)
from shared.names import Io, JobId, Role
from shared.protocol.manifest import SPEC_LABEL
from tests.negative.realm import VISITS, Actor, AttackedRealm, run


@dataclass
class Played:
    """A job on its way."""

    realm: AttackedRealm
    parties: tuple[Actor, Actor, Actor, Actor]

    @property
    def consumer(self) -> Actor:
        """Who asked for it."""
        return self.parties[3]

    @property
    def job(self) -> JobId:
        """Its id."""
        return self.consumer.job()

    def accept(
        self, spec: bytes, *, epoch: int = 1, nonce: bytes = b"n" * 16
    ) -> JobAccept:
        """Return an acceptance."""
        return JobAccept(
            job=self.job, epoch=epoch, spec_hash=spec_hash(spec), nonce=nonce
        )

    def report(self, phase: JobPhase, *, epoch: int = 1) -> JobReport:
        """Return a report."""
        now = self.realm.clock.ms
        return JobReport(job=self.job, epoch=epoch, phase=phase, at=now)

    async def send(self, actor: Actor, message: Message) -> list[Message]:
        """Send a message and return what its sender gets."""
        actor.read()
        actor.send(message)
        await self.realm.settle()
        return actor.read()

    async def reports(self, phase: JobPhase, *actors: Actor) -> None:
        """Let these report a phase."""
        for actor in actors:
            actor.send(self.report(phase))
        await self.realm.settle()

    def state(self) -> tuple[object, ...]:
        """Return the job as the manager has it."""
        with self.realm.store.transaction() as unit:
            return (unit.jobs.get(self.job),)

    def stage(self) -> JobStage:
        """Return how far the manager has it."""
        with self.realm.store.transaction() as unit:
            found = unit.jobs.get(self.job)
            assert found is not None
            return found.stage


async def _offered(realm: AttackedRealm) -> tuple[Played, bytes]:
    """Return a job that everybody was offered, and its spec."""
    played = Played(realm, await realm.cast())
    request = played.consumer.job_request()
    played.consumer.send(request)
    await realm.settle()
    return played, request.spec


async def _started(realm: AttackedRealm) -> tuple[Played, bytes]:
    """Return a job that was started."""
    played, spec = await _offered(realm)
    for party in played.parties:
        party.send(played.accept(spec))
    await realm.settle()
    assert played.stage() is JobStage.STARTED
    return played, spec


def _codes(messages: list[Message]) -> list[ErrorCode]:
    return [m.code for m in messages if isinstance(m, ErrorNotice)]


def test_15_who_may_not_ask_for_results_may_not_ask_at_all() -> None:
    """An MPC server and a source send what only consumers send."""

    async def history(realm: AttackedRealm) -> None:
        played, _ = await _offered(realm)
        server, _, source, _ = played.parties
        before = played.state()
        answers = [
            _codes(await played.send(actor, message))
            for actor in (server, source)
            for message in (
                actor.job_request(chosen=b"x" * 16),
                JobCancel(job=played.job),
                JobQuery(job=played.job),
                JobQuery(),
                JobCollect(job=played.job),
            )
        ]
        with realm.store.transaction() as unit:
            jobs = unit.jobs.latest(10)

        assert answers == [[ErrorCode.FORBIDDEN]] * 10
        assert before == played.state()
        assert len(jobs) == 1

    run(history)


def test_15_a_client_does_not_report_what_only_a_server_does() -> None:
    """``computed`` by the source or the consumer does not end the computation."""

    async def history(realm: AttackedRealm) -> None:
        played, _ = await _started(realm)
        before = played.state()
        answers = [
            _codes(await played.send(client, played.report(JobPhase.COMPUTED)))
            for client in played.parties[2:]
        ]

        assert answers == [[ErrorCode.FORBIDDEN]] * 2
        assert before == played.state()

    run(history)


def test_15_a_source_that_says_delivered_does_not_end_the_job() -> None:
    """Only the consumer knows whether it has its result."""

    async def history(realm: AttackedRealm) -> None:
        played, _ = await _started(realm)
        for party in played.parties[:3]:
            await played.send(party, played.report(JobPhase.DELIVERED))

        assert played.stage() is not JobStage.CLOSED

    run(history)


def test_16_outsiders_get_one_answer_whether_a_job_exists_or_not() -> None:
    """The same code and size for a job of others and for one that nobody has."""

    async def history(realm: AttackedRealm) -> None:
        played, spec = await _offered(realm)
        spy = await realm.join_actor("spy", Role.CLIENT, Io.BOTH)
        outsider = await realm.join_actor("s3", Role.MPCS)
        before = played.state()
        nobodys = JobId(b"?" * 16)
        answers: dict[JobId, list[tuple[list[ErrorCode], int]]] = {}
        for job in (played.job, nobodys):
            for actor in (spy, outsider):
                for message in _about(job, spec):
                    got = await played.send(actor, message)
                    size = len(realm.sent("err")[-1].body)
                    answers.setdefault(job, []).append((_codes(got), size))
                    realm.clock.move(1)
        named = realm.sent("err")[-1]

        assert answers[played.job] == answers[nobodys]
        assert {code for codes, _ in answers[nobodys] for code in codes} == {
            ErrorCode.FORBIDDEN
        }
        assert before == played.state()
        assert named.correlation_id is None

    run(history)


def _about(job: JobId, spec: bytes) -> tuple[Message, ...]:
    digest = spec_hash(spec)
    return (
        JobAccept(job=job, epoch=1, spec_hash=digest, nonce=bytes(16)),
        JobRefuse(job=job, epoch=1, stage="offer", code=RefusalCode.POLICY),
        JobRefuse(job=job, epoch=1, stage="start", code=RefusalCode.POLICY),
        JobReport(job=job, epoch=1, phase=JobPhase.COMPUTED, at=1),
        JobReport(job=job, epoch=1, phase=JobPhase.FAILED, at=1),
        JobQuery(job=job),
        JobCollect(job=job),
        JobCancel(job=job),
    )


def test_16_a_party_that_is_not_the_consumer_cannot_steer_the_job() -> None:
    """A client of the job with both duties is no consumer of this one."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        both = await realm.join_actor("both", Role.CLIENT, Io.BOTH, VISITS)
        played = Played(realm, cast)
        played.consumer.send(played.consumer.job_request())
        await realm.settle()
        assert both.got(JobOffer)
        before = played.state()
        answers = [
            _codes(await played.send(both, message))
            for message in (
                JobQuery(job=played.job),
                JobCollect(job=played.job),
                JobCancel(job=played.job),
            )
        ]
        listed = await played.send(both, JobQuery())

        assert answers == [[ErrorCode.FORBIDDEN]] * 3
        assert [m.jobs for m in listed if isinstance(m, JobState)] == [()]
        assert before == played.state()

    run(history)


def test_17_messages_before_their_time_change_nothing() -> None:
    """Offered, not started: no report, no refusal at the start, no collecting."""

    async def history(realm: AttackedRealm) -> None:
        played, spec = await _offered(realm)
        server, consumer = played.parties[0], played.consumer
        before = played.state()
        refuse = JobRefuse(
            job=played.job, epoch=1, stage="start", code=RefusalCode.POLICY
        )
        answers = [
            _codes(await played.send(actor, message))
            for actor, message in (
                (server, played.report(JobPhase.LINKED)),
                (server, played.report(JobPhase.COMPUTED)),
                (server, played.report(JobPhase.FAILED)),
                (server, refuse),
                (server, played.accept(spec, epoch=2)),
                (consumer, JobCollect(job=played.job)),
            )
        ]
        wrong = await played.send(server, played.accept(b"another spec"))

        assert answers == [[ErrorCode.JOB_STATE]] * 6
        assert _codes(wrong) == [ErrorCode.BAD_REQUEST]
        assert before == played.state()

    run(history)


def test_17_what_comes_twice_after_the_start_changes_nothing() -> None:
    """A second accept, with the same nonce or another; an offer refused too late."""

    async def history(realm: AttackedRealm) -> None:
        played, spec = await _started(realm)
        server = played.parties[0]
        before = played.state()
        again = await played.send(server, played.accept(spec))
        other = await played.send(server, played.accept(spec, nonce=b"o" * 16))
        late = JobRefuse(
            job=played.job, epoch=1, stage="offer", code=RefusalCode.POLICY
        )
        refused = await played.send(server, late)
        epoch = await played.send(server, played.report(JobPhase.LINKED, epoch=2))

        assert [type(m) for m in again] == [JobStart]
        assert _codes(other) == _codes(refused) == [ErrorCode.JOB_STATE]
        assert _codes(epoch) == [ErrorCode.JOB_STATE]
        assert before == played.state()

    run(history)


def test_17_phases_do_not_go_back() -> None:
    """``linked`` after ``computed``, and ``computed`` twice."""

    async def history(realm: AttackedRealm) -> None:
        played, _ = await _started(realm)
        await played.reports(JobPhase.LINKED, *played.parties)
        await played.reports(JobPhase.COMPUTED, *played.parties[:2])
        before = played.state()
        for phase in (JobPhase.LINKED, JobPhase.RUNNING, JobPhase.COMPUTED):
            await played.reports(phase, *played.parties[:2])

        assert played.stage() is JobStage.COMPUTED
        assert before == played.state()

    run(history)


def test_17_nothing_wakes_a_job_that_was_aborted() -> None:
    """Cancelled while it ran: accepts, reports, refusals and requests come late."""

    async def history(realm: AttackedRealm) -> None:
        played, spec = await _started(realm)
        consumer, server = played.consumer, played.parties[0]
        request = consumer.job_request()
        ended = await played.send(consumer, JobCancel(job=played.job))
        [abort] = [m for m in server.read() if isinstance(m, JobAbort)]
        before = played.state()
        accepted = await played.send(server, played.accept(spec))
        late = [
            _codes(await played.send(server, message))
            for message in (
                played.report(JobPhase.LINKED),
                played.report(JobPhase.COMPUTED),
                played.report(JobPhase.FAILED),
                _about(played.job, spec)[1],
                _about(played.job, spec)[2],
            )
        ]
        closed = [
            [type(m) for m in await played.send(consumer, message)]
            for message in (
                JobCancel(job=played.job),
                JobCollect(job=played.job),
                request,
            )
        ]

        assert abort.code is FailureCode.CANCELLED
        assert [type(m) for m in ended] == [JobAbort, JobClosed]
        assert [type(m) for m in accepted] == [JobClosed]
        assert late == [[ErrorCode.JOB_STATE]] * 5
        assert closed == [[JobClosed]] * 3
        assert before == played.state()

    run(history)


def test_61_the_same_id_of_another_consumer_is_a_job_of_its_own() -> None:
    """Nobody squats or probes another's: the id is derived from who asks."""

    async def history(realm: AttackedRealm) -> None:
        played, _ = await _offered(realm)
        other = await realm.join_actor("other", Role.CLIENT, Io.OUTPUT)
        before = played.state()
        got = await played.send(other, other.job_request())
        with realm.store.transaction() as unit:
            jobs = {job.consumer: job.job for job in unit.jobs.latest(10)}

        assert before == played.state()
        assert len(set(jobs.values())) == 2
        assert jobs[other.principal] == job_id(
            realm.keys.fingerprint, other.principal, b"i" * 16
        )
        assert ErrorCode.FORBIDDEN not in _codes(got)

    run(history)


def _changed(asker: Actor, signer: SigningKey, **fields: object) -> JobRequest:
    """Return a request with another spec, signed by any key."""
    spec = unpack(Spec, asker.job_request(chosen=b"z" * 16).spec)
    packed = spec.model_copy(update=fields).pack()
    return JobRequest(spec=packed, spec_sig=signer.sign(SPEC_LABEL, packed))


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("signature by another key", ErrorCode.BAD_REQUEST),
        ("altered after signing", ErrorCode.BAD_REQUEST),
        ("another realm", ErrorCode.BAD_REQUEST),
        ("malformed", ErrorCode.BAD_REQUEST),
        ("another consumer, signed by that one", ErrorCode.FORBIDDEN),
        ("another consumer, signed by the sender", ErrorCode.FORBIDDEN),
    ],
)
def test_64_a_spec_that_its_sender_did_not_sign_begins_no_job(
    why: str, code: ErrorCode
) -> None:
    """M refuses it already; each party would refuse it too."""

    async def history(realm: AttackedRealm) -> None:
        played = Played(realm, await realm.cast())
        sender = played.consumer
        other = await realm.join_actor("other", Role.CLIENT, Io.OUTPUT)
        honest = _changed(sender, sender.signer)
        altered = _changed(sender, sender.signer, threshold=0).spec
        requests = {
            "signature by another key": _changed(sender, other.signer),
            "altered after signing": honest.model_copy(update={"spec": altered}),
            "another realm": _changed(sender, sender.signer, realm=bytes(32)),
            "malformed": JobRequest(
                spec=b"\x80", spec_sig=sender.signer.sign(SPEC_LABEL, b"\x80")
            ),
            "another consumer, signed by that one": _changed(
                sender, other.signer, consumer=other.principal
            ),
            "another consumer, signed by the sender": _changed(
                sender, sender.signer, consumer=other.principal
            ),
        }
        before = await realm.snapshot()
        got = await played.send(sender, requests[why])
        after = await realm.snapshot()

        assert _codes(got) == [code]
        assert before["jobs"] == after["jobs"]
        assert before["sequences"] == after["sequences"]
        assert realm.sent("job.offer") == []

    run(history)


def test_64_a_second_spec_under_the_same_id_changes_nothing() -> None:
    """The job stays the one that was asked for first."""

    async def history(realm: AttackedRealm) -> None:
        played, spec = await _offered(realm)
        consumer = played.consumer
        changed = unpack(Spec, spec).model_copy(update={"threshold": 0}).pack()
        request = JobRequest(
            spec=changed, spec_sig=consumer.signer.sign(SPEC_LABEL, changed)
        )
        before = played.state()
        got = await played.send(consumer, request)

        assert _codes(got) == [ErrorCode.JOB_STATE]
        assert before == played.state()

    run(history)
