"""The job machine after the start: reports, losses, ends."""

import pytest

from manager.protocol.job_ending import moment
from manager.protocol.job_notices import bounded
from manager.protocol.job_state import Moment
from manager.protocol.model import (
    CancelledByOperator,
    Collect,
    MarkOffline,
    PartyBack,
    PartyGone,
    PartyRevoked,
    SlotFreed,
    Start,
)
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import (
    ErrorNotice,
    JobAbort,
    JobCancel,
    JobClosed,
    JobCollect,
    JobPhase,
    JobStage,
    Outcome,
    PhaseTime,
)
from shared.names import Principal
from shared.protocol.machine import CancelTimer, Send, SetTimer, TimerFired
from tests.job_realm import (
    ANNE,
    BERT,
    CONSUMER,
    HOUR,
    JOB,
    NOW,
    RESULT_EXP,
    S1,
    S2,
    S3,
    S4,
    Desk,
    computed_desk,
    offered_desk,
    received,
    refused,
    reported,
    requested,
    server,
    started_desk,
)

ALL = [S1, S2, S3, ANNE, BERT, CONSUMER]


def _errors(desk: Desk) -> list[ErrorCode]:
    return [notice.code for notice in desk.sent(ErrorNotice)]


def test_a_job_walks_through_its_stages_to_its_end() -> None:
    """Each stage is what the reports of all who matter add up to."""
    desk = started_desk()
    desk.report_all(JobPhase.LINKED, S1, S2, S3, ANNE, BERT)
    assert desk.stage() is JobStage.STARTED
    desk.report_all(JobPhase.LINKED, CONSUMER)
    assert desk.stage() is JobStage.LINKED
    desk.report_all(JobPhase.RUNNING, S1, S2, S3)
    assert desk.stage() is JobStage.RUNNING
    desk.report_all(JobPhase.COMPUTED, S1, S2)
    assert desk.stage() is JobStage.RUNNING
    desk.report_all(JobPhase.COMPUTED, S3)
    assert desk.stage() is JobStage.COMPUTED
    assert set(desk.effects) == {
        CancelTimer("deadline"),
        SetTimer("result", moment(RESULT_EXP)),
    }
    desk.report_all(JobPhase.DELIVERED, CONSUMER)

    assert desk.stage() is JobStage.CLOSED
    assert desk.job.outcome is Outcome.DONE
    assert desk.job.code is FailureCode.DONE
    assert sorted(desk.recipients(JobClosed)) == sorted(ALL)
    assert desk.recipients(JobAbort) == []
    assert {when for when, _ in desk.job.times} == set(Moment)


def test_reports_may_come_in_any_order_and_twice() -> None:
    """The furthest phase counts; nothing goes back."""
    desk = started_desk()
    desk.report_all(JobPhase.COMPUTED, S1, S2, S3)
    assert desk.stage() is JobStage.COMPUTED
    before = desk.job

    desk.report_all(JobPhase.LINKED, S1)
    assert desk.job == before
    assert desk.effects == ()

    desk.report_all(JobPhase.LINKED, ANNE, BERT, CONSUMER)
    assert desk.stage() is JobStage.COMPUTED
    assert desk.job.time(Moment.READY) is not None


def test_the_timeline_is_by_the_clocks_of_the_parties() -> None:
    """A report is about what happened before it travelled; the last party counts."""
    desk = started_desk()
    started = desk.job.time(Moment.STARTED)
    assert started is not None
    parties = [party.p for party in desk.job.parties]
    for milliseconds, party in enumerate(parties):
        at = started + milliseconds
        desk.handle(reported(desk.job, party, JobPhase.LINKED, at=at), seconds=2)

    assert desk.job.time(Moment.READY) == started + len(parties) - 1


@pytest.mark.parametrize(
    ("said", "kept"), [(-HOUR, 0), (0, 0), (1500, 1500), (HOUR, 2000)]
)
def test_a_wrong_clock_moves_a_time_no_further_than_can_be(
    said: int, kept: int
) -> None:
    """Nothing happens before the start, nor after its report has come."""
    desk = started_desk()
    started = desk.job.time(Moment.STARTED)
    assert started is not None
    report = reported(desk.job, S1, JobPhase.LINKED, at=started + said)
    desk.handle(report, seconds=(started - NOW) / 1000 + 2)
    party = desk.job.find(S1)
    assert party is not None

    assert party.reached_at(JobPhase.LINKED) == started + kept


def test_one_report_may_bring_earlier_phases_with_it() -> None:
    """A short job costs each party fewer messages; its time-line is as whole."""
    desk = started_desk()
    started = desk.job.time(Moment.STARTED)
    assert started is not None
    earlier = (
        PhaseTime(phase=JobPhase.LINKED, at=started + 1),
        PhaseTime(phase=JobPhase.RUNNING, at=started + 2),
    )
    desk.handle(
        *(
            reported(desk.job, p, JobPhase.COMPUTED, at=started + 3, earlier=earlier)
            for p in (S1, S2, S3)
        ),
        seconds=2,
    )
    desk.report_all(JobPhase.DELIVERED, ANNE, BERT, CONSUMER)

    assert desk.job.time(Moment.RUNNING) == started + 2
    assert desk.job.time(Moment.COMPUTED) == started + 3
    assert desk.job.outcome is Outcome.DONE


def test_a_failure_tells_how_far_its_party_had_come() -> None:
    """Whoever looks for the cause finds it in the job."""
    desk = started_desk()
    earlier = (PhaseTime(phase=JobPhase.LINKED, at=NOW),)
    desk.handle(reported(desk.job, S1, JobPhase.FAILED, earlier=earlier))
    party = desk.job.find(S1)
    assert party is not None

    assert desk.job.outcome is Outcome.FAILED
    assert party.phase is JobPhase.LINKED


@pytest.mark.parametrize("phase", [JobPhase.COMPUTED, JobPhase.FAILED])
def test_an_earlier_phase_that_is_not_the_partys_is_refused(phase: JobPhase) -> None:
    """A source computes nothing, and what has failed goes no further."""
    desk = started_desk()
    before = desk.job
    earlier = (PhaseTime(phase=phase, at=NOW),)
    desk.handle(reported(desk.job, ANNE, JobPhase.DELIVERED, earlier=earlier))

    assert desk.job == before
    assert _errors(desk) == [ErrorCode.FORBIDDEN]


def test_a_result_that_overtakes_other_reports_waits_for_them() -> None:
    """The time-line of a job that is done is whole; nothing can fail it any more."""
    desk = started_desk().report_all(JobPhase.DELIVERED, CONSUMER)
    assert desk.stage() is JobStage.DELIVERED
    assert CancelTimer("deadline") in desk.effects
    desk.handle(reported(desk.job, S1, JobPhase.FAILED), PartyGone(S2))
    assert desk.stage() is JobStage.DELIVERED
    desk.handle(refused(desk.job, CONSUMER, stage="start"))
    assert _errors(desk) == [ErrorCode.JOB_STATE]
    desk.report_all(JobPhase.COMPUTED, S1, S2, S3)
    assert desk.stage() is JobStage.DELIVERED
    desk.report_all(JobPhase.LINKED, ANNE, BERT)

    assert desk.job.outcome is Outcome.DONE
    assert {when for when, _ in desk.job.times} == set(Moment)


@pytest.mark.parametrize(
    "event",
    [TimerFired("reports"), CancelledByOperator(), PartyRevoked(S1), "cancel"],
)
def test_a_delivered_job_is_done_whatever_ends_its_wait(
    event: TimerFired | CancelledByOperator | PartyRevoked | str,
) -> None:
    """Reports may be lost, and a cancellation comes too late."""
    desk = started_desk().report_all(JobPhase.DELIVERED, CONSUMER)
    if isinstance(event, str):
        desk.handle(received(CONSUMER, JobCancel(job=JOB)))
    else:
        desk.handle(event)

    assert desk.job.outcome is Outcome.DONE
    assert CancelTimer("reports") in desk.effects


def test_50_a_revoked_party_ends_a_job_once() -> None:
    """What ended before has ended for its own reason."""
    desk = started_desk().handle(PartyRevoked(S1))
    again = desk.handle(PartyRevoked(ANNE)).effects
    before = offered_desk().handle(CancelledByOperator(), PartyRevoked(S1))

    assert (desk.job.code, desk.job.party) == (FailureCode.REVOKED, S1)
    assert again == ()
    assert before.job.code is FailureCode.CANCELLED


def test_a_source_that_has_delivered_does_not_end_the_job() -> None:
    """Its input is there; the result is not."""
    desk = started_desk().report_all(JobPhase.DELIVERED, ANNE, BERT)

    assert desk.stage() is JobStage.STARTED


def test_the_closing_answers_the_request() -> None:
    """The consumer finds it by the mid of its request; to others it answers nothing."""
    desk = started_desk().handle(CancelledByOperator())

    answers = {
        effect.recipient: effect.re
        for effect in desk.of(Send)
        if isinstance(effect.message, JobClosed)
    }
    assert answers[CONSUMER] == requested().mid
    assert answers[S1] is None


@pytest.mark.parametrize("sender", [ANNE, CONSUMER])
def test_what_only_servers_report_is_forbidden_to_clients(sender: Principal) -> None:
    """A client computes nothing."""
    desk = started_desk().report_all(JobPhase.COMPUTED, sender)

    assert _errors(desk) == [ErrorCode.FORBIDDEN]
    assert desk.stage() is JobStage.STARTED


def test_reports_of_another_epoch_or_by_replaced_parties_are_refused() -> None:
    """They are about another roster."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(refused(desk.job, S1)).accept_all()
    before = desk.job

    desk.handle(
        reported(desk.job, S2, JobPhase.LINKED, epoch=1),
        reported(desk.job, S1, JobPhase.LINKED),
    )

    assert _errors(desk) == [ErrorCode.JOB_STATE, ErrorCode.FORBIDDEN]
    assert desk.job == before


# Failures


def test_a_failure_aborts_the_job_at_everybody() -> None:
    """Who was started stops; who was ever offered hears the end."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(refused(desk.job, S1)).accept_all()

    failed = reported(
        desk.job, ANNE, JobPhase.FAILED, code=FailureCode.LINK_FAILED, peer=S2
    )
    desk.handle(failed)

    assert sorted(desk.recipients(JobAbort)) == sorted(
        [S2, S3, S4, ANNE, BERT, CONSUMER]
    )
    assert sorted(desk.recipients(JobClosed)) == sorted([*ALL, S4])
    abort = desk.sent(JobAbort)[0]
    assert (abort.outcome, abort.code) == (Outcome.FAILED, FailureCode.LINK_FAILED)
    assert abort.party == S2
    assert abort.reason == "Anne001 reports: link_failed, with MPC_server_002"
    assert {timer.name for timer in desk.of(CancelTimer)} >= {"deadline", "result"}


@pytest.mark.parametrize("code", [None, FailureCode.DONE])
def test_a_failure_without_a_cause_is_the_reporters(code: FailureCode | None) -> None:
    """A peer that is not in the job cannot be blamed, success is no cause."""
    desk = started_desk()
    stranger = Principal("Nobody001")
    desk.handle(reported(desk.job, S1, JobPhase.FAILED, code=code, peer=stranger))

    assert desk.job.code is FailureCode.INTERNAL
    assert desk.job.party == S1
    assert desk.job.reason == "MPC_server_001 reports: internal"


def test_a_failure_of_a_party_whose_part_is_done_ends_nothing() -> None:
    """The others have what they need of it."""
    desk = computed_desk().report_all(JobPhase.FAILED, S1, ANNE)

    assert desk.stage() is JobStage.COMPUTED
    assert desk.effects == ()


def test_a_consumer_may_fail_after_the_servers_have_computed() -> None:
    """It cannot reconstruct what it got."""
    desk = computed_desk()
    desk.handle(reported(desk.job, CONSUMER, JobPhase.FAILED, code=FailureCode.ENGINE))

    assert desk.job.code is FailureCode.ENGINE


def test_a_refused_manifest_aborts_the_job() -> None:
    """The reason is the party's."""
    desk = started_desk()
    desk.handle(
        refused(
            desk.job, ANNE, "start", RefusalCode.PIN_MISMATCH, "MPC_server_001: new key"
        )
    )

    assert desk.job.code is FailureCode.REFUSED
    assert desk.job.party == ANNE
    assert desk.job.reason == (
        "Anne001 refused at the start: pin_mismatch: MPC_server_001: new key"
    )


def test_a_refused_manifest_needs_no_reason() -> None:
    """The code says enough."""
    desk = started_desk()
    desk.handle(refused(desk.job, S1, "start", RefusalCode.MANIFEST_INVALID))

    assert desk.job.reason == ("MPC_server_001 refused at the start: manifest_invalid")


def test_a_start_is_not_refused_by_outsiders_late_or_for_another_epoch() -> None:
    """The job goes on."""
    desk = offered_desk(server(S4, slots_free=1))
    desk.handle(refused(desk.job, S1)).accept_all()
    desk.report_all(JobPhase.COMPUTED, S2)

    desk.handle(
        refused(desk.job, S1, "start"),
        refused(desk.job, S2, "start"),
        refused(desk.job, S3, "start", epoch=1),
    )

    assert _errors(desk) == [ErrorCode.JOB_STATE] * 3
    assert desk.stage() is JobStage.STARTED


# Losses


@pytest.mark.parametrize("lost", [S1, ANNE, CONSUMER])
def test_a_party_that_is_lost_while_it_is_needed_ends_the_job(lost: Principal) -> None:
    """Nothing is run again."""
    desk = started_desk().handle(PartyGone(lost))

    assert desk.job.code is FailureCode.PARTY_LOST
    assert desk.job.party == lost
    assert desk.of(MarkOffline) == [MarkOffline(lost)]


@pytest.mark.parametrize("lost", [S1, ANNE])
def test_a_party_whose_part_is_done_may_go(lost: Principal) -> None:
    """A server that has computed; a source once all servers run."""
    desk = started_desk().report_all(JobPhase.RUNNING, S1, S2, S3)
    desk.report_all(JobPhase.COMPUTED, S1).handle(PartyGone(lost))

    assert desk.stage() is JobStage.RUNNING
    assert desk.effects == ()


def test_a_source_that_has_delivered_may_go() -> None:
    """Its input is at the servers."""
    desk = started_desk().report_all(JobPhase.DELIVERED, ANNE)

    assert desk.handle(PartyGone(ANNE)).stage() is JobStage.STARTED


def test_a_computed_job_outlives_its_consumers_session() -> None:
    """The result waits at the servers."""
    desk = computed_desk().handle(PartyGone(CONSUMER), PartyGone(S1))

    assert desk.stage() is JobStage.COMPUTED


def test_who_is_not_in_the_roster_is_not_missed() -> None:
    """Before and after the end."""
    desk = started_desk().handle(PartyGone(S4), PartyBack(S4), SlotFreed())
    assert desk.effects == ()

    desk.handle(CancelledByOperator())
    assert desk.handle(PartyGone(S1), CancelledByOperator()).effects == ()


def test_a_party_that_is_back_gets_the_start_again() -> None:
    """Unless its part is done."""
    desk = started_desk().report_all(JobPhase.COMPUTED, S1)
    desk.handle(PartyBack(S1), PartyBack(S2))

    assert desk.of(Start) == [Start(JOB, (S2,))]


def test_a_consumer_that_is_back_fetches_its_result_itself() -> None:
    """It gets the start again only if it may never have had one."""
    assert computed_desk().handle(PartyBack(CONSUMER)).effects == ()

    missed = started_desk().report_all(JobPhase.COMPUTED, S1, S2, S3)
    assert missed.handle(PartyBack(CONSUMER)).of(Start) == [Start(JOB, (CONSUMER,))]


def test_a_party_that_is_back_soon_after_the_end_is_told_again() -> None:
    """For an hour, and only who was asked."""
    desk = started_desk().handle(CancelledByOperator())

    assert desk.handle(PartyBack(S1), PartyBack(S4)).recipients(JobClosed) == [S1]
    assert desk.handle(PartyBack(S1), seconds=3601).effects == ()


# Ends


@pytest.mark.parametrize(
    ("linked", "running", "party", "text"),
    [
        ([S1, S2], [], S3, "MPC_server_003 has not reported all its links"),
        (ALL, [S1], S2, "MPC_server_002 has not got all inputs"),
        (ALL, [S1, S2, S3], S1, "MPC_server_001 has not finished computing"),
    ],
)
def test_the_deadline_names_who_is_waited_for(
    linked: list[Principal], running: list[Principal], party: Principal, text: str
) -> None:
    """And for what."""
    desk = started_desk().report_all(JobPhase.LINKED, *linked)
    desk.handle(*(reported(desk.job, each, JobPhase.RUNNING) for each in running))
    if running == [S1]:
        desk.report_all(JobPhase.COMPUTED, S1)
    desk.handle(TimerFired("deadline"))

    assert desk.job.code is FailureCode.DEADLINE
    assert desk.job.party == party
    assert desk.job.reason == f"the deadline has passed: {text}"
    assert len(desk.sent(JobAbort)) == 6


def test_a_computed_job_has_no_deadline() -> None:
    """The result may be fetched until it expires."""
    desk = computed_desk().handle(TimerFired("deadline"))

    assert desk.stage() is JobStage.COMPUTED


def test_a_result_that_nobody_fetches_expires() -> None:
    """The servers are told to forget it."""
    desk = computed_desk().handle(TimerFired("result"))

    assert desk.job.outcome is Outcome.EXPIRED
    assert desk.job.code is FailureCode.RESULT_EXPIRED
    assert desk.job.party == CONSUMER
    assert S1 in desk.recipients(JobAbort)


def test_the_consumer_cancels_its_job() -> None:
    """Twice is as good as once."""
    cancel = received(CONSUMER, JobCancel(job=JOB))
    desk = started_desk().handle(cancel)

    assert desk.job.outcome is Outcome.CANCELLED
    assert desk.job.reason == "the consumer cancelled the job"
    assert len(desk.sent(JobAbort)) == 6

    before = desk.job
    desk.handle(cancel)

    assert desk.job == before
    assert desk.recipients(JobClosed) == [CONSUMER]


def test_a_job_that_was_only_offered_has_nothing_to_abort() -> None:
    """Nobody was started."""
    desk = offered_desk().handle(CancelledByOperator())

    assert desk.recipients(JobAbort) == []
    assert sorted(desk.recipients(JobClosed)) == sorted(ALL)


def test_a_result_is_collected_while_it_is_kept() -> None:
    """Not before, and afterwards the consumer is told how the job ended."""
    collect = received(CONSUMER, JobCollect(job=JOB))

    assert computed_desk().handle(collect).effects == (Collect(JOB, collect),)
    assert _errors(started_desk().handle(collect)) == [ErrorCode.JOB_STATE]

    closed = computed_desk().report_all(JobPhase.DELIVERED, CONSUMER).handle(collect)
    assert closed.recipients(JobClosed) == [CONSUMER]


def test_texts_in_messages_are_printable_and_bounded() -> None:
    """Whatever a party wrote."""
    assert bounded("one\ntwo\x1b[1m") == "one?two?[1m"
    assert len(bounded("x" * 500)) == 200
    assert bounded("e\u0301") == "\u00e9"
