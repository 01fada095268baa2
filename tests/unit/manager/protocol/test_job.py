"""The job machine: request, offers, answers and the start."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import TypeAdapter

from manager.protocol.job import forbidden
from manager.protocol.job_ending import moment, offer_timer, start_timer
from manager.protocol.job_request import job_of, request
from manager.protocol.job_state import (
    Answer,
    JobState,
    Moment,
    reservations,
    summary,
)
from manager.protocol.model import (
    CancelledByOperator,
    MarkOffline,
    PartyBack,
    PartyGone,
    SlotFreed,
    Start,
)
from shared import codec
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import (
    Authorisation,
    ErrorNotice,
    JobAccept,
    JobCancel,
    JobClosed,
    JobCollect,
    JobOffer,
    JobPhase,
    JobQuery,
    JobRequest,
    JobStage,
    LogOff,
    Message,
    Outcome,
    Requirements,
)
from shared.messages import JobState as JobStateNotice
from shared.names import Duty, Io, Principal, Role
from shared.protocol.machine import CancelTimer, Received, Send, SetTimer, TimerFired
from tests.job_realm import (
    ANNE,
    BERT,
    CARL,
    CONSUMER,
    DAY,
    DEADLINE,
    FINGERPRINT,
    HOUR,
    JOB,
    NOW,
    S1,
    S2,
    S3,
    S4,
    S5,
    SETTINGS,
    Desk,
    accepted,
    certificate,
    computed_desk,
    consumer,
    context,
    member,
    octets,
    offered_desk,
    pool,
    received,
    refused,
    reported,
    requested,
    server,
    source,
    spec,
    started_desk,
)

STATES: TypeAdapter[JobState] = TypeAdapter(JobState)


def _errors(desk: Desk) -> list[ErrorCode]:
    return [notice.code for notice in desk.sent(ErrorNotice)]


def _roster(desk: Desk) -> list[Principal]:
    return [party.p for party in desk.job.parties]


# The request


def test_a_request_is_offered_to_all_parties_at_once() -> None:
    """Servers by index, sources, the consumer; each learns its own duties."""
    desk = offered_desk()

    assert _roster(desk) == [S1, S2, S3, ANNE, BERT, CONSUMER]
    assert desk.recipients(JobOffer) == [S1, S2, S3, ANNE, BERT, CONSUMER]
    assert [o.party for o in desk.sent(JobOffer)] == [0, 1, 2, None, None, None]
    assert [o.duties for o in desk.sent(JobOffer, S1, ANNE, CONSUMER)] == [
        (Duty.COMPUTE,),
        (Duty.INPUT,),
        (Duty.OUTPUT,),
    ]
    assert {o.epoch for o in desk.sent(JobOffer)} == {1}
    assert desk.job.job == JOB
    assert desk.job.number == 7
    assert desk.stage() is JobStage.OFFERED


def test_a_job_has_a_timer_for_the_servers_the_clients_and_the_whole() -> None:
    """Nothing waits for ever."""
    now = context().now

    assert set(offered_desk().of(SetTimer)) == {
        SetTimer("deadline", moment(DEADLINE)),
        SetTimer(offer_timer(1), now + timedelta(seconds=5)),
        SetTimer(start_timer(1), now + timedelta(seconds=60)),
    }


def test_clients_have_no_more_time_than_the_job() -> None:
    """A deadline nearer than the start timeout wins."""
    desk = offered_desk(wanted=spec(deadline=NOW + 30_000))

    assert SetTimer(start_timer(1), moment(NOW + 30_000)) in desk.effects


def test_a_consumer_that_is_a_source_too_is_one_party() -> None:
    """A principal is in a roster once, with both duties."""
    desk = offered_desk(consumer(Io.BOTH, datasets=("survey",)))

    assert _roster(desk).count(CONSUMER) == 1
    assert desk.sent(JobOffer, CONSUMER)[0].duties == (Duty.INPUT, Duty.OUTPUT)


def test_a_request_from_somebody_without_session_is_not_handled() -> None:
    """The pool has no certificate to check it with; the sender runs AS and asks again."""
    desk = Desk(pool().without(CONSUMER)).request()

    assert desk.state is None
    assert _errors(desk) == [ErrorCode.UNKNOWN_SESSION]


def test_a_spec_of_another_consumer_is_forbidden() -> None:
    """Nobody asks in another's name."""
    desk = Desk(pool()).request(requested(sender=ANNE))

    assert desk.state is None
    assert _errors(desk) == [ErrorCode.FORBIDDEN]


def test_a_spec_that_its_consumer_did_not_sign_is_refused() -> None:
    """The signature covers every byte of the spec."""
    message = requested().message
    assert isinstance(message, JobRequest)
    forged = JobRequest(spec=message.spec, spec_sig=bytes(64))

    desk = Desk(pool()).request(received(CONSUMER, forged))

    assert desk.state is None
    assert _errors(desk) == [ErrorCode.BAD_REQUEST]


@pytest.mark.parametrize("wanted", [spec(realm=bytes(32)).pack(), b"\xc0"])
def test_a_spec_of_another_realm_or_none_at_all_is_refused(wanted: bytes) -> None:
    """No job comes of it, and no exception."""
    sent = received(CONSUMER, JobRequest(spec=wanted, spec_sig=bytes(64)))

    desk = Desk(pool()).request(sent)

    assert desk.state is None
    assert _errors(desk) == [ErrorCode.BAD_REQUEST]


def test_any_other_message_begins_no_job() -> None:
    """It is answered like one about a job that does not exist."""
    event = received(CONSUMER, JobCancel(job=JOB))
    done = request(event, 7, context(), pool(), SETTINGS)

    assert done.state is None
    assert done.effects == (forbidden(event),)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attempts": 2}, "attempts above 1 are not available"),
        ({"deadline": NOW}, "the deadline has passed already"),
        ({"deadline": NOW + 25 * HOUR}, "the deadline is more than 24 hours ahead"),
        (
            {"result_exp": DEADLINE - 1},
            "the result would expire before the job's deadline",
        ),
        (
            {"result_exp": NOW + 8 * DAY},
            "the result would be kept more than 7 days",
        ),
        (
            {"az": Authorisation(cols=("c" * 128,) * 32, max_bytes=1)},
            "the columns' names take more than 3072 bytes",
        ),
    ],
)
def test_a_parameter_that_cannot_be_served_closes_the_job(
    changes: dict[str, object], reason: str
) -> None:
    """The consumer reads which one; nobody else hears of the job."""
    desk = Desk(pool()).request(requested(spec(**changes)))

    assert desk.recipients(JobClosed) == [CONSUMER]
    assert desk.sent(JobClosed)[0].reason == reason
    assert desk.sent(JobClosed)[0].epoch == 0
    assert desk.job.code is FailureCode.PARAMETERS
    assert not desk.of(SetTimer)


def test_the_answer_to_a_refused_request_names_it() -> None:
    """The consumer finds its request by the mid."""
    event = requested(spec(attempts=2))

    assert [e.re for e in Desk(pool()).request(event).of(Send)] == [event.mid]


def test_a_dataset_that_nobody_offers_closes_the_job() -> None:
    """There is nothing to compute on."""
    desk = Desk(pool()).request(requested(spec(datasets=("census",))))

    assert desk.job.code is FailureCode.NO_SOURCES
    assert desk.job.reason == "no source that is online offers the dataset census"


def test_too_few_servers_close_the_job_at_once() -> None:
    """Nobody waits for servers that do not exist."""
    wanted = spec(requires=Requirements(csp="aws"))

    desk = Desk(pool()).request(requested(wanted))

    assert desk.job.code is FailureCode.NO_QUORUM
    assert desk.job.reason == (
        "3 MPC servers needed with csp=aws: 0 online, 0 of 3 others have csp=aws"
    )


def test_more_parties_than_a_roster_holds_close_the_job() -> None:
    """The bound is the one of the messages."""
    crowd = [source(Principal(f"Crowd{i:03d}")) for i in range(251)]

    desk = offered_desk(*crowd)

    assert desk.job.code is FailureCode.PARAMETERS
    assert desk.job.reason == "257 parties, at most 256 can be in a job"


# Waiting for a free server


def _waiting() -> Desk:
    return offered_desk(server(S1, slots_free=0))


def test_a_job_waits_until_enough_servers_are_free() -> None:
    """The consumer hears why; then the offers go out."""
    desk = _waiting()

    assert desk.stage() is JobStage.REQUESTED
    assert desk.of(SetTimer) == [SetTimer("deadline", moment(DEADLINE))]
    notice = desk.sent(JobStateNotice, CONSUMER)[0]
    assert notice.jobs[0].reason == (
        "waiting for a free MPC server: 3 needed, 2 of 3 that match have a free slot"
    )

    desk.pool = pool()
    desk.handle(SlotFreed())

    assert desk.stage() is JobStage.OFFERED
    assert desk.job.reason is None
    assert len(desk.sent(JobOffer)) == 6


def test_a_waiting_job_waits_on_while_too_few_are_free() -> None:
    """A slot that went to another job changes nothing but the reason."""
    desk = _waiting()
    desk.pool = desk.pool.without(S3)

    desk.handle(SlotFreed())

    assert desk.stage() is JobStage.REQUESTED
    assert desk.effects == ()
    assert desk.job.reason == "3 MPC servers needed: 2 online"


def test_a_waiting_job_ends_at_its_deadline() -> None:
    """The reason says what it waited for."""
    desk = _waiting().handle(TimerFired("deadline"))

    assert desk.job.code is FailureCode.DEADLINE
    assert desk.job.party is None
    assert desk.job.reason is not None
    assert "waiting for a free MPC server" in desk.job.reason


def test_a_waiting_job_has_nothing_to_accept_or_to_send_again() -> None:
    """Before the first offer there is no party."""
    desk = _waiting()
    early = accepted(desk.job, CONSUMER, epoch=1)

    assert _errors(desk.handle(early)) == [ErrorCode.JOB_STATE]
    assert desk.handle(PartyBack(CONSUMER), PartyGone(CONSUMER)).effects == ()


# The same request again


def test_a_repeated_request_is_told_where_the_job_stands() -> None:
    """It begins nothing; an offer that is open is sent again."""
    desk = offered_desk()
    before = desk.job

    desk.handle(requested(mid="again"))

    assert desk.job == before
    assert len(desk.sent(JobStateNotice, CONSUMER)) == 1
    assert desk.recipients(JobOffer) == [CONSUMER]

    desk.handle(accepted(desk.job, CONSUMER), requested(mid="third"))

    assert desk.recipients(JobOffer) == []


def test_a_repeated_request_for_a_closed_job_is_told_the_end() -> None:
    """The answer is the one that the consumer may have lost."""
    desk = offered_desk().handle(CancelledByOperator(), requested(mid="again"))

    assert desk.recipients(JobClosed)[-1] == CONSUMER


def test_another_spec_under_the_same_id_is_refused() -> None:
    """A job's spec never changes."""
    desk = offered_desk().handle(requested(spec(servers=2)))

    assert _errors(desk) == [ErrorCode.JOB_STATE]


# Accepting


def test_the_job_starts_when_the_last_party_has_accepted() -> None:
    """One start to all, and no earlier."""
    desk = offered_desk().accept_all(but=[ANNE])

    assert desk.stage() is JobStage.OFFERED
    assert desk.effects == ()

    desk.handle(accepted(desk.job, ANNE, rows=12, bytes=96), seconds=3)

    assert desk.stage() is JobStage.STARTED
    assert desk.of(Start) == [Start(JOB, (S1, S2, S3, ANNE, BERT, CONSUMER))]
    assert set(desk.of(CancelTimer)) == {
        CancelTimer(offer_timer(1)),
        CancelTimer(start_timer(1)),
    }
    anne = desk.job.find(ANNE)
    assert anne is not None
    assert (anne.rows, anne.size) == (12, 96)
    assert dict(desk.job.times) == {
        Moment.REQUESTED: NOW,
        Moment.OFFERED: NOW,
        Moment.ACCEPTED: NOW + 3000,
        Moment.STARTED: NOW + 3000,
    }


def test_the_party_of_the_accepting_session_is_in_the_manifest() -> None:
    """What it endorses later does not change a job that has started."""
    desk = started_desk()
    manifest = desk.job.manifest
    desk.pool = desk.pool.changed(member(S1, Role.MPCS, spki=bytes(32)))

    desk.handle(PartyBack(S1), accepted(desk.job, S1))

    assert desk.job.manifest == manifest
    assert desk.of(Start) == [Start(JOB, (S1,)), Start(JOB, (S1,))]


def test_an_accept_that_comes_twice_counts_once() -> None:
    """At-least-once delivery and a party's retry look alike."""
    desk = offered_desk()
    desk.handle(accepted(desk.job, S1))
    before = desk.job

    desk.handle(accepted(desk.job, S1))

    assert desk.job == before
    assert desk.effects == ()


def test_another_accept_before_the_start_replaces_the_first() -> None:
    """A party that restarted has a new nonce; the start answers that one."""
    desk = offered_desk()
    desk.handle(accepted(desk.job, S1), accepted(desk.job, S1, "second"))

    party = desk.job.find(S1)
    assert party is not None
    assert party.nonce == octets(f"nonce {S1} 1 second", 16)


def test_another_accept_after_the_start_is_refused() -> None:
    """One start per accept, and the manifest is made."""
    desk = started_desk()

    assert _errors(desk.handle(accepted(desk.job, S1, "second"))) == [
        ErrorCode.JOB_STATE
    ]


def test_an_accept_of_another_spec_is_refused() -> None:
    """The party consented to something else."""
    desk = offered_desk()
    before = desk.job

    desk.handle(accepted(desk.job, S1, spec_hash=bytes(32)))

    assert _errors(desk) == [ErrorCode.BAD_REQUEST]
    assert desk.job == before


def test_an_accept_of_an_epoch_to_come_is_refused() -> None:
    """No such offer was made."""
    desk = offered_desk()

    assert _errors(desk.handle(accepted(desk.job, S1, epoch=2))) == [
        ErrorCode.JOB_STATE
    ]


def test_an_accept_from_somebody_offline_asks_for_a_new_session() -> None:
    """Without a session there is no TLS key to put into the manifest."""
    desk = offered_desk()
    desk.pool = desk.pool.without(ANNE)

    assert _errors(desk.handle(accepted(desk.job, ANNE))) == [ErrorCode.UNKNOWN_SESSION]


def test_a_session_that_ends_before_the_deadline_counts_as_a_refusal() -> None:
    """The manifest's endorsements hold until the deadline."""
    short = member(
        ANNE, Role.CLIENT, Io.INPUT, endorse_exp=DEADLINE - 1, datasets=("survey",)
    )
    desk = offered_desk(short)

    desk.handle(accepted(desk.job, ANNE))

    assert desk.job.code is FailureCode.REFUSED
    assert desk.job.party == ANNE
    assert desk.job.reason == (
        "Anne001 has a session that ends before the job's deadline"
    )


def test_two_parties_never_share_a_tls_key() -> None:
    """Links could not tell them apart."""
    twin = member(S2, Role.MPCS, spki=octets("shared", 32))
    desk = offered_desk(member(S1, Role.MPCS, spki=octets("shared", 32)), twin)

    desk.handle(accepted(desk.job, S1), accepted(desk.job, S2))

    assert desk.job.code is FailureCode.REFUSED
    assert desk.job.reason is not None
    assert desk.job.reason.startswith("MPC_server_002 has the same TLS key as")


def test_a_manifest_that_fits_into_no_message_closes_the_job() -> None:
    """It is found out before anybody is told to start."""
    crowd = [source(Principal(f"Crowd{i:03d}")) for i in range(240)]
    bulky = [replace(each, endorse=each.endorse + bytes(1500)) for each in crowd]
    desk = offered_desk(*bulky).accept_all()

    assert desk.job.code is FailureCode.PARAMETERS
    assert desk.job.reason == (
        "the manifest of 246 parties does not fit into a message"
    )
    assert not desk.of(Start)


# Refusing and replacing


def test_a_refusing_server_is_replaced_and_all_are_asked_anew() -> None:
    """Epoch + 1; the new server has the old one's index; nonces are new."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(accepted(desk.job, S1), refused(desk.job, S2))

    assert [(p.p, p.party) for p in desk.job.servers] == [(S1, 0), (S4, 1), (S3, 2)]
    assert desk.job.epoch == 2
    assert desk.job.refused == (S2,)
    assert desk.recipients(JobOffer) == [S1, S4, S3, ANNE, BERT, CONSUMER]
    assert all(party.answer is Answer.ASKED for party in desk.job.parties)
    assert CancelTimer(offer_timer(1)) in desk.effects
    assert CancelTimer(start_timer(1)) in desk.effects


def test_a_server_that_refused_is_never_asked_again() -> None:
    """Not even when nobody else is left: the job ends and says who refused."""
    desk = offered_desk()
    desk.handle(refused(desk.job, S2, code=RefusalCode.BUSY, reason="no slot"))

    assert desk.job.code is FailureCode.REFUSED
    assert desk.job.party == S2
    assert desk.job.reason == (
        "MPC_server_002 refused: busy: no slot;"
        " to replace it: 1 MPC server needed: 0 online"
    )
    assert desk.recipients(JobClosed) == [CONSUMER, S1, S2, S3, ANNE, BERT]


def test_answers_to_an_older_offer_change_nothing() -> None:
    """The newer offer to that party is under way."""
    desk = offered_desk(server(S4, slots_free=1))
    first = desk.job
    desk.handle(refused(first, S2))
    before = desk.job

    desk.handle(accepted(first, S1), refused(first, S3))

    assert desk.job == before
    assert desk.effects == ()


def test_a_replaced_server_that_accepts_late_is_told_that_it_is_not_needed() -> None:
    """It frees what it kept for the job."""
    desk = offered_desk(server(S4, slots_free=1))
    late = accepted(desk.job, S2)
    desk.handle(refused(desk.job, S2), late)

    closed = desk.sent(JobClosed, S2)[0]
    assert closed.outcome is Outcome.CANCELLED
    assert closed.reason == (
        "MPC_server_002 is not needed any more: the roster has changed"
    )


def test_a_refusal_by_a_replaced_server_or_of_no_offer_is_refused() -> None:
    """It is not in the roster, or that epoch is not there yet."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(refused(desk.job, S2))

    desk.handle(refused(desk.job, S2), refused(desk.job, S1, epoch=9))

    assert _errors(desk) == [ErrorCode.JOB_STATE, ErrorCode.JOB_STATE]


def test_a_party_may_change_its_mind_before_the_start() -> None:
    """A refusal after an accept counts."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(accepted(desk.job, S1), refused(desk.job, S1))

    assert S1 not in _roster(desk)


def test_a_consumer_that_refuses_ends_its_job() -> None:
    """Nobody else could get the result."""
    desk = offered_desk()
    desk.handle(refused(desk.job, CONSUMER, reason="unknown servers"))

    assert desk.job.party == CONSUMER
    assert desk.job.reason == "Consumer001 refused: policy: unknown servers"


def test_one_refusing_source_ends_a_job_that_needs_all() -> None:
    """``min_sources`` = 0 means every source that was asked."""
    desk = offered_desk()
    desk.handle(refused(desk.job, ANNE, code=RefusalCode.MISSING_VALUES))

    assert desk.job.code is FailureCode.REFUSED
    assert desk.job.party == ANNE
    assert desk.job.reason == "Anne001 refused: missing_values"


def test_a_job_goes_on_with_the_sources_that_it_needs() -> None:
    """The same epoch: the final roster is the manifest's."""
    desk = offered_desk(source(CARL), wanted=spec(min_sources=2)).accept_all(but=[ANNE])
    desk.handle(refused(desk.job, ANNE))

    assert desk.stage() is JobStage.STARTED
    assert desk.job.epoch == 1
    assert [p.p for p in desk.job.sources] == [BERT, CARL]
    assert ANNE not in desk.of(Start)[0].recipients
    assert desk.recipients(JobClosed) == []


def test_fewer_sources_than_needed_end_the_job() -> None:
    """The reason counts them."""
    desk = offered_desk(wanted=spec(min_sources=2))
    desk.handle(refused(desk.job, BERT))

    assert desk.job.party == BERT
    assert desk.job.reason == ("Bert001 refused: policy; 1 of 2 needed sources left")


# Silence


def test_a_silent_server_is_marked_offline_and_replaced() -> None:
    """The others answer the new offer."""
    desk = offered_desk(server(S4, slots_free=1)).accept_all(but=[S3])
    desk.handle(TimerFired(offer_timer(1)))

    assert desk.of(MarkOffline) == [MarkOffline(S3)]
    assert [p.p for p in desk.job.servers] == [S1, S2, S4]


def test_two_silent_servers_are_replaced_in_one_offer() -> None:
    """Each index has a server."""
    extra = (server(S4, slots_free=1), server(S5, slots_free=1))
    desk = offered_desk(*extra).accept_all(but=[S1, S3])
    desk.handle(TimerFired(offer_timer(1)))

    assert [(p.p, p.party) for p in desk.job.servers] == [(S4, 0), (S2, 1), (S5, 2)]
    assert desk.job.epoch == 2


def test_silence_of_the_last_candidate_ends_the_job() -> None:
    """The reason names who did not answer and for how long."""
    desk = offered_desk().accept_all(but=[S3]).handle(TimerFired(offer_timer(1)))

    assert desk.job.code is FailureCode.NO_ANSWER
    assert desk.job.party == S3
    assert desk.job.reason == (
        "no answer to the offer within 5 s: MPC_server_003;"
        " to replace it: 1 MPC server needed: 0 online"
    )


def test_clients_have_more_time_than_servers() -> None:
    """A person may have to approve."""
    desk = offered_desk().accept_all(but=[ANNE]).handle(TimerFired(offer_timer(1)))

    assert desk.effects == ()
    assert desk.stage() is JobStage.OFFERED

    desk.handle(TimerFired(start_timer(1)))

    assert desk.job.code is FailureCode.NO_ANSWER
    assert desk.job.party == ANNE
    assert desk.job.reason == "no answer to the offer within 60 s: Anne001"


def test_silent_sources_that_are_not_needed_are_left_out() -> None:
    """The job starts with those who answered."""
    desk = offered_desk(wanted=spec(min_sources=1)).accept_all(but=[ANNE])
    desk.handle(TimerFired(start_timer(1)))

    assert desk.stage() is JobStage.STARTED
    assert [p.p for p in desk.job.sources] == [BERT]


def test_timers_of_another_epoch_or_stage_mean_nothing() -> None:
    """A timer may fire while its cancellation is under way."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(refused(desk.job, S1))

    stale = (offer_timer(1), start_timer(1), "result", "unheard-of")
    assert desk.handle(*map(TimerFired, stale)).effects == ()

    desk.accept_all()
    late = (offer_timer(2), start_timer(2))
    assert desk.handle(*map(TimerFired, late)).effects == ()


def test_the_deadline_names_who_has_not_answered() -> None:
    """A person can always find out who was waited for."""
    desk = offered_desk().accept_all(but=[BERT]).handle(TimerFired("deadline"))

    assert desk.job.party == BERT
    assert desk.job.reason == (
        "the deadline has passed: Bert001 has not answered the offer"
    )


# Gone and back before the start


def test_a_server_that_is_gone_is_replaced_though_it_accepted() -> None:
    """Nobody would get its start."""
    desk = offered_desk(server(S4, slots_free=1)).accept_all(but=[ANNE])
    desk.handle(PartyGone(S1))

    assert desk.of(MarkOffline) == [MarkOffline(S1)]
    assert [p.p for p in desk.job.servers] == [S4, S2, S3]


def test_a_source_that_is_gone_counts_as_a_refusal() -> None:
    """With the code that says so."""
    desk = offered_desk().handle(PartyGone(ANNE))

    assert desk.job.code is FailureCode.NO_ANSWER
    assert desk.job.party == ANNE
    assert desk.job.reason == "Anne001 is not connected any more"


def test_a_consumer_that_is_gone_may_come_back_in_time() -> None:
    """It is asked again; until then the job does not start."""
    desk = offered_desk().accept_all(but=[ANNE]).handle(PartyGone(CONSUMER))
    assert desk.effects == ()

    desk.handle(accepted(desk.job, ANNE))
    assert desk.stage() is JobStage.OFFERED

    desk.handle(PartyBack(CONSUMER))
    assert desk.recipients(JobOffer) == [CONSUMER]

    desk.handle(accepted(desk.job, CONSUMER, "second"))
    assert desk.stage() is JobStage.STARTED


def test_a_server_that_is_back_is_asked_again_with_a_new_timer() -> None:
    """Its session, and so its TLS key, is a new one."""
    desk = offered_desk().accept_all(but=[ANNE]).handle(PartyBack(S1), seconds=9)

    assert desk.recipients(JobOffer) == [S1]
    due = context(9).now + timedelta(seconds=5)
    assert desk.of(SetTimer) == [SetTimer(offer_timer(1), due)]
    party = desk.job.find(S1)
    assert party is not None
    assert not party.has_accepted


def test_who_is_not_in_the_roster_comes_and_goes_unnoticed() -> None:
    """The job does not depend on it."""
    desk = offered_desk().handle(PartyGone(CARL), PartyBack(CARL))

    assert desk.effects == ()


# Who may say what


@pytest.mark.parametrize(
    "kind", [JobAccept, JobCancel, JobQuery, JobCollect, JobRequest, LogOff]
)
def test_outsiders_get_the_answer_of_a_job_that_does_not_exist(
    kind: type[Message],
) -> None:
    """Nothing tells them that there is one."""
    desk = offered_desk()
    messages: dict[type[Message], Received] = {
        JobAccept: accepted(desk.job, CARL),
        JobCancel: received(CARL, JobCancel(job=JOB)),
        JobQuery: received(CARL, JobQuery(job=JOB)),
        JobCollect: received(CARL, JobCollect(job=JOB)),
        JobRequest: requested(sender=CARL),
        LogOff: received(CARL, LogOff()),
    }
    before = desk.job

    desk.handle(messages[kind])

    assert desk.effects == (forbidden(messages[kind]),)
    assert desk.job == before


@pytest.mark.parametrize("message", [JobCancel(job=JOB), JobQuery(job=JOB)])
def test_the_consumers_messages_are_forbidden_to_other_parties(
    message: JobCancel | JobQuery,
) -> None:
    """Being in the job is not enough."""
    desk = offered_desk().handle(received(S1, message))

    assert _errors(desk) == [ErrorCode.FORBIDDEN]


def test_a_message_that_is_no_jobs_is_forbidden() -> None:
    """Whatever the dispatcher hands on by mistake changes nothing."""
    desk = offered_desk().handle(received(S1, LogOff()))

    assert _errors(desk) == [ErrorCode.FORBIDDEN]


def test_a_message_in_the_wrong_stage_is_refused() -> None:
    """A report before the start, a start's refusal before it, an offer's after it."""
    desk = offered_desk()
    desk.handle(reported(desk.job, S1, JobPhase.LINKED), refused(desk.job, S1, "start"))
    assert _errors(desk) == [ErrorCode.JOB_STATE] * 2

    desk.accept_all()
    assert _errors(desk.handle(refused(desk.job, S1))) == [ErrorCode.JOB_STATE]


def test_after_the_end_only_an_accept_is_told_the_end() -> None:
    """Its sender waits for a start."""
    desk = started_desk().handle(CancelledByOperator())
    desk.handle(
        reported(desk.job, S1, JobPhase.LINKED),
        refused(desk.job, S1),
        refused(desk.job, S1, "start"),
        accepted(desk.job, S1),
    )

    assert _errors(desk) == [ErrorCode.JOB_STATE] * 3
    assert desk.recipients(JobClosed) == [S1]


def test_a_query_says_where_the_job_stands() -> None:
    """Stage and times, to its consumer."""
    desk = offered_desk().handle(received(CONSUMER, JobQuery(job=JOB)))

    notice = desk.sent(JobStateNotice)[0]
    assert notice.jobs == (summary(desk.job),)
    assert notice.jobs[0].times == {"requested": NOW, "offered": NOW}


# What a message is about


def test_a_request_is_about_the_senders_own_job() -> None:
    """Whatever its spec says, nobody can probe another's id."""
    assert job_of(requested(), FINGERPRINT) == JOB
    assert job_of(requested(sender=ANNE), FINGERPRINT) != JOB


def test_messages_name_their_job_or_none() -> None:
    """The dispatcher loads the state by it."""
    desk = offered_desk()
    broken = JobRequest(spec=b"\xc0", spec_sig=bytes(64))

    assert job_of(accepted(desk.job, S1), FINGERPRINT) == JOB
    assert job_of(received(CONSUMER, JobCancel(job=JOB)), FINGERPRINT) == JOB
    assert job_of(received(CONSUMER, JobQuery()), FINGERPRINT) is None
    assert job_of(received(CONSUMER, broken), FINGERPRINT) is None
    assert job_of(received(CONSUMER, LogOff()), FINGERPRINT) is None


# What is kept


@pytest.mark.parametrize("desk", [offered_desk(), started_desk(), computed_desk()])
def test_a_state_survives_the_store(desk: Desk) -> None:
    """As msgpack and back, at any stage."""
    packed = codec.encode(STATES.dump_python(desk.job))

    assert STATES.validate_python(codec.decode(packed)) == desk.job


def test_slots_are_held_from_the_offer_until_a_server_has_computed() -> None:
    """The manager counts what servers have not said yet."""
    offered = offered_desk().job
    running = started_desk()
    running.report_all(JobPhase.COMPUTED, S1)
    over = offered_desk().handle(CancelledByOperator()).job

    assert reservations([offered, running.job, over]) == {S1: 1, S2: 2, S3: 2}


def test_a_certificate_is_kept_as_it_was_received() -> None:
    """Signatures are over bytes, not over what they mean."""
    desk = started_desk()
    party = desk.job.find(S1)

    assert party is not None
    assert certificate(S1, Role.MPCS).c == party.cert
