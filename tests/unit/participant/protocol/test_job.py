"""The participant's job machine, as source, MPC server and consumer."""

from dataclasses import replace

import pytest

from participant.protocol.model import (
    Broke,
    Cancelled,
    DataProcessLost,
    DataReady,
    DataRefused,
    Prepare,
    Reached,
    RecordPins,
    Recovered,
    RequestRefused,
    Revocations,
    Run,
    SessionBegan,
    Stage,
    Stop,
)
from participant.protocol.moves import REPORT
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import (
    CollectTicket,
    JobAbort,
    JobAccept,
    JobCancel,
    JobClosed,
    JobCollect,
    JobPhase,
    JobQuery,
    JobRefuse,
    JobReport,
    JobRequest,
    JobStage,
    JobState,
    JobSummary,
    JobTickets,
    LogOff,
    Outcome,
)
from shared.names import Duty, Principal
from shared.protocol.machine import CancelTimer, SetTimer, TimerFired
from tests.participant_world import (
    NOW_MS,
    Case,
    Side,
    accept_of,
    sent,
    wished,
)


def reached(stage: Stage, result: str | None = None) -> Reached:
    """Return that the data process reached a phase."""
    return Reached(1, stage, NOW_MS + 5, 5, 10, 20, result)


def broke(code: FailureCode, peer: str | None = None) -> Broke:
    """Return that the data process gave up."""
    name = None if peer is None else Principal(peer)
    return Broke(1, NOW_MS + 5, code, name, "why")


def closed(
    case: Case, outcome: Outcome, code: FailureCode, epoch: int = 1
) -> JobClosed:
    """Return the manager's last word."""
    return JobClosed(
        job=case.asked.job, epoch=epoch, number=1, outcome=outcome, code=code
    )


def accepted_source(case: Case) -> Side:
    """Return a source that accepted."""
    side = case.side(case.sources[0])
    side.hear(case.offer(side.member))
    side.feed(DataReady(1, 100, 2000))
    return side


def accepted_server(case: Case) -> Side:
    """Return an MPC server that accepted."""
    side = case.side(case.servers[0])
    side.hear(case.offer(side.member))
    return side


def asking(case: Case) -> Side:
    """Return the consumer that has asked."""
    side = case.side(case.consumer)
    side.feed(case.asked)
    return side


def started_consumer(case: Case) -> Side:
    """Return the consumer whose job has started."""
    side = asking(case)
    side.hear(case.offer(side.member))
    side.hear(case.start(side))
    return side


def standing(case: Case, state: JobStage, **more: object) -> JobState:
    """Return where the manager says that the job stands."""
    summary = JobSummary(job=case.asked.job, number=1, state=state, times={})
    return JobState(jobs=(summary.model_copy(update=more),))


def test_a_source_looks_at_its_data_before_it_accepts() -> None:
    """The accept says how large the input is, so the data must be read first."""
    case = Case()
    side = case.side(case.sources[0])
    first = side.hear(case.offer(side.member))
    [prepare] = wished(first, Prepare)
    accept = accept_of(side.feed(DataReady(1, 100, 2000)))

    assert prepare.dataset == "visits"
    assert sent(first, JobAccept) == []
    assert (accept.rows, accept.bytes, accept.epoch) == (100, 2000, 1)


def test_unusable_data_are_refused_with_their_code() -> None:
    """The consumer learns why, and at whom."""
    case = Case()
    side = case.side(case.sources[0])
    side.hear(case.offer(side.member))
    effects = side.feed(DataRefused(1, RefusalCode.NOT_NUMERIC, "column 'x'"))
    [refuse] = sent(effects, JobRefuse)

    assert (refuse.code, refuse.stage) == (RefusalCode.NOT_NUMERIC, "offer")
    assert refuse.reason == "column 'x'"
    assert side.job.stage is Stage.REFUSED


def test_a_server_runs_its_part_with_its_ticket_key_and_every_peer() -> None:
    """Servers check and talk to everybody of the manifest."""
    case = Case()
    side = accepted_server(case)
    effects = side.hear(case.start(side))
    [run] = wished(effects, Run)
    [pins] = wished(effects, RecordPins)

    assert {peer.principal for peer in run.peers} == {m.name for m in case.parties}
    assert run.state.k_tkt == bytes(32)
    assert {pin.principal for pin in pins.pins} == {
        m.name for m in case.parties if m is not case.servers[0]
    }
    assert not side.job.is_kept


def test_an_mpc_server_keeps_a_job_from_when_it_has_a_share_to_serve() -> None:
    """What is in memory only ends with the process; there is nothing to go on with."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    kept = {}
    for stage in (Stage.LINKED, Stage.RUNNING, Stage.COMPUTED, Stage.DELIVERED):
        side.feed(reached(stage))
        kept[stage] = side.job.is_kept

    assert [stage for stage, is_kept in kept.items() if is_kept] == [Stage.COMPUTED]


def test_a_consumer_writes_down_what_a_new_process_would_need() -> None:
    """That is its request, the manifest and the end: not each phase."""
    case = Case()
    side = asking(case)
    asked = side.job
    side.hear(case.offer(side.member))
    accepted = side.job
    side.hear(case.start(side))
    started = side.job
    side.feed(reached(Stage.LINKED))
    linked = side.job

    assert not asked.differs_for_good(accepted)
    assert not accepted.differs_for_good(replace(accepted, stage=Stage.ASKED))
    assert accepted.differs_for_good(started)
    assert not started.differs_for_good(linked)
    assert linked.differs_for_good(replace(linked, stage=Stage.DELIVERED))


def test_a_source_is_told_of_servers_and_consumer_only() -> None:
    """It neither needs nor verifies the other sources."""
    case = Case()
    side = accepted_source(case)
    [run] = wished(side.hear(case.start(side)), Run)

    assert {peer.principal for peer in run.peers} == {
        *(server.name for server in case.servers),
        case.consumer.name,
        side.member.name,
    }
    assert run.sources == len(case.sources) == 2
    assert not side.job.is_kept


def test_07_repeated_offers_and_starts_have_one_effect() -> None:
    """The broker delivers at least once."""
    case = Case()
    side = accepted_server(case)
    nonce = side.job.nonce
    again = accept_of(side.hear(case.offer(side.member)))
    start = case.start(side)
    first = side.hear(start)
    second = side.hear(start)

    assert again.nonce == nonce
    assert len(wished(first, Run)) == 1
    assert second == ()


def test_a_repeated_offer_gets_the_same_refusal() -> None:
    """A refusal whose message was lost is said again, without looking anew."""
    case = Case()
    side = case.side(case.sources[0], datasets=frozenset())
    [first] = sent(side.hear(case.offer(side.member)), JobRefuse)
    [second] = sent(side.hear(case.offer(side.member)), JobRefuse)

    assert first == second


def test_17_an_older_epoch_changes_nothing_and_a_newer_one_asks_anew() -> None:
    """A roster that was replaced is of no use any more."""
    case = Case()
    side = accepted_server(case)
    before = side.state
    late = side.hear(case.offer(side.member, epoch=0))
    unchanged = side.state == before
    newer = accept_of(side.hear(case.offer(side.member, epoch=2)))

    assert late == ()
    assert unchanged
    assert newer.epoch == 2
    assert before is not None
    assert newer.nonce != before.nonce


def test_a_server_without_a_free_slot_refuses_as_busy() -> None:
    """The manager then takes the next candidate."""
    case = Case()
    side = case.side(case.servers[0], slots_free=0)
    [refuse] = sent(side.hear(case.offer(side.member)), JobRefuse)

    assert refuse.code is RefusalCode.BUSY


def test_a_new_offer_of_the_same_job_needs_no_second_slot() -> None:
    """Its own slot is the one that it holds already."""
    case = Case()
    side = accepted_server(case)
    side.slots_free = 0

    assert accept_of(side.hear(case.offer(side.member, epoch=2))).epoch == 2


@pytest.mark.parametrize("stage", [Stage.COMPUTED, Stage.DELIVERED])
def test_phases_are_reported_once_and_never_backwards(stage: Stage) -> None:
    """Reports carry times and bytes, never values."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    [report] = sent(side.feed(reached(stage)), JobReport)

    assert report.phase is JobPhase(stage.value)
    assert (report.bytes_in, report.bytes_out, report.ms) == (10, 20, 5)
    assert report.earlier is None
    assert side.feed(reached(stage)) == ()
    assert side.feed(reached(Stage.LINKED)) == ()


def test_phases_that_nothing_waits_for_go_with_the_next_report() -> None:
    """A short job costs the broker and the manager one message instead of three."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    [later] = wished(side.feed(reached(Stage.LINKED)), SetTimer)
    assert later.name == REPORT
    assert side.feed(reached(Stage.RUNNING)) == ()
    effects = side.feed(reached(Stage.COMPUTED))
    [report] = sent(effects, JobReport)

    assert CancelTimer(REPORT) in effects
    assert [each.phase for each in report.earlier or ()] == [
        JobPhase.LINKED,
        JobPhase.RUNNING,
    ]
    assert side.feed(TimerFired(REPORT)) == ()


def test_phases_of_a_long_job_are_reported_after_a_moment() -> None:
    """Whoever watches the job sees it move."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(reached(Stage.LINKED))
    [first] = sent(side.feed(TimerFired(REPORT)), JobReport)
    [later] = wished(side.feed(reached(Stage.RUNNING)), SetTimer)
    [second] = sent(side.feed(TimerFired(REPORT)), JobReport)

    assert (first.phase, first.earlier) == (JobPhase.LINKED, None)
    assert later.name == REPORT
    assert (second.phase, second.earlier) == (JobPhase.RUNNING, None)


def test_a_failure_tells_the_phases_before_it() -> None:
    """Who looks for the cause sees how far the party had come."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(reached(Stage.LINKED))
    [report] = sent(side.feed(broke(FailureCode.ENGINE, None)), JobReport)

    assert [each.phase for each in report.earlier or ()] == [JobPhase.LINKED]


def test_a_failure_is_reported_with_its_peer_and_the_manager_ends_the_job() -> None:
    """The party does not end the job by itself: the others must hear of it."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    effects = side.feed(broke(FailureCode.LINK_FAILED, "MPC_server_002"))
    [report] = sent(effects, JobReport)
    abort = JobAbort(
        job=case.asked.job,
        epoch=1,
        outcome=Outcome.FAILED,
        code=FailureCode.LINK_FAILED,
    )
    [stop] = wished(side.hear(abort), Stop)

    assert (report.phase, report.peer) == (JobPhase.FAILED, "MPC_server_002")
    assert stop.discards
    assert side.job.stage is Stage.CLOSED
    assert (
        wished(side.hear(closed(case, Outcome.FAILED, FailureCode.ENGINE)), Stop) == []
    )


def test_58_a_start_that_answers_no_accept_of_this_party_is_refused() -> None:
    """Wrong nonce, wrong epoch: nothing is sent to anybody, what was agreed stays."""
    case = Case()
    side = accepted_source(case)
    before = side.state
    for changes in ({"nonce": bytes(16)}, {"epoch": 2}):
        effects = side.hear(case.start(side, **changes))
        [refuse] = sent(effects, JobRefuse)

        assert (refuse.stage, refuse.code) == ("start", RefusalCode.MANIFEST_INVALID)
        assert wished(effects, Run) == []
        assert side.state == before


def test_58_another_spec_than_the_accepted_one_is_refused() -> None:
    """The manager cannot swap the request after consent."""
    case, other = Case(), Case(Case().world)
    side = accepted_source(case)
    manifest = case.manifest(spec=other.spec, spec_sig=other.spec_sig)
    effects = side.hear(case.start(side, manifest))
    [refuse] = sent(effects, JobRefuse)

    assert (refuse.stage, refuse.code) == ("start", RefusalCode.MANIFEST_INVALID)
    assert wished(effects, Run) == []


@pytest.mark.parametrize("role", ["server", "source", "consumer"])
def test_50_a_start_with_somebody_revoked_is_refused(role: str) -> None:
    """Whatever the manager says now: it said before that this one is out."""
    case = Case()
    other = {
        "server": case.servers[1],
        "source": case.sources[0],
        "consumer": case.consumer,
    }[role]
    side = accepted_server(case)
    side.revocations = Revocations(1, frozenset({other.name}))
    [refuse] = sent(side.hear(case.start(side, revocations=1)), JobRefuse)

    assert (refuse.stage, refuse.code) == ("start", RefusalCode.REVOKED)
    assert refuse.reason == f"{other.name} was revoked"
    assert side.job.stage is Stage.REFUSED


def test_50_a_start_that_tells_of_a_missing_notice_is_refused() -> None:
    """The broker may have withheld it: who is revoked is not known here."""
    case = Case()
    side = accepted_server(case)
    side.revocations = Revocations(1)
    [refuse] = sent(side.hear(case.start(side, revocations=2)), JobRefuse)

    assert (refuse.stage, refuse.code) == ("start", RefusalCode.REVOKED)
    assert "did not arrive" in (refuse.reason or "")


@pytest.mark.parametrize("told", [0, 1, 2])
def test_a_start_before_the_last_notice_is_as_good_as_any(told: int) -> None:
    """Nobody of its roster is revoked; the notice only came earlier."""
    case = Case()
    side = accepted_server(case)
    side.revocations = Revocations(2, frozenset({Principal("MPC_server_099")}))
    [run] = wished(side.hear(case.start(side, revocations=told)), Run)

    assert run.state.stage is Stage.STARTED


def test_a_start_for_an_unknown_job_is_refused_so_that_nobody_waits() -> None:
    """A restarted party has neither keys nor data of the job."""
    case = Case()
    nonce = accepted_source(case)
    side = case.side(case.sources[0])
    effects = side.hear(case.start(nonce))
    [refuse] = sent(effects, JobRefuse)

    assert (refuse.stage, refuse.code) == ("start", RefusalCode.INTERNAL)
    assert side.state is None


def test_a_start_after_the_end_does_nothing() -> None:
    """It was on its way when the job closed."""
    case = Case()
    side = accepted_source(case)
    start = case.start(side)
    side.hear(closed(case, Outcome.CANCELLED, FailureCode.CANCELLED))

    assert side.hear(start) == ()
    assert side.hear(case.offer(side.member)) == ()


def test_a_word_about_an_older_epoch_ends_nothing() -> None:
    """A late accept of a replaced roster gets job.closed for that epoch."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.offer(side.member, epoch=2))
    side.hear(closed(case, Outcome.CANCELLED, FailureCode.CANCELLED, epoch=1))

    assert side.job.stage is Stage.ACCEPTED


def test_the_deadline_ends_a_job_of_which_nobody_says_more() -> None:
    """Nothing waits for ever."""
    case = Case()
    side = accepted_server(case)
    [stop] = wished(side.feed(TimerFired("deadline"), minutes=2), Stop)

    assert stop.code is FailureCode.DEADLINE
    assert side.job.stage is Stage.CLOSED


def test_a_server_that_lost_its_data_process_fails_running_and_keeps_computed() -> None:
    """Links and shares are gone; a sealed output share is on disk."""
    case = Case()
    running, computed = accepted_server(case), accepted_server(case)
    running.hear(case.start(running))
    computed.hear(case.start(computed))
    computed.feed(reached(Stage.COMPUTED))
    [report] = sent(running.feed(DataProcessLost()), JobReport)
    quiet = computed.feed(DataProcessLost())
    [run] = wished(computed.feed(SessionBegan()), Run)

    assert (report.phase, report.code) == (JobPhase.FAILED, FailureCode.INTERNAL)
    assert quiet == ()
    assert run.fetch_only


def test_an_accepted_job_is_refused_again_when_the_data_process_ends() -> None:
    """Its TLS key is the endorsed one, and it is gone."""
    case = Case()
    side = accepted_source(case)
    [refuse] = sent(side.feed(DataProcessLost()), JobRefuse)

    assert (refuse.stage, refuse.code) == ("offer", RefusalCode.INTERNAL)


def test_a_restarted_server_serves_what_it_computed() -> None:
    """The result survives the process, until it is fetched or expires."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(reached(Stage.COMPUTED))
    timers = wished(side.feed(Recovered()), SetTimer)
    [run] = wished(side.feed(SessionBegan()), Run)
    [delivered] = sent(side.feed(reached(Stage.DELIVERED)), JobReport)

    assert [timer.name for timer in timers] == ["expiry"]
    assert run.fetch_only
    assert delivered.phase is JobPhase.DELIVERED
    assert not side.job.is_kept


def test_a_restarted_server_fails_what_it_had_not_computed() -> None:
    """Input shares are never on disk."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(Recovered())
    [report] = sent(side.feed(SessionBegan()), JobReport)

    assert report.phase is JobPhase.FAILED


def test_a_result_that_nobody_fetched_is_discarded() -> None:
    """Result expiry bounds what lies on an MPC server's disk."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    [timer] = wished(side.feed(reached(Stage.COMPUTED)), SetTimer)
    [stop] = wished(side.feed(TimerFired("expiry"), days=2), Stop)

    assert timer.name == "expiry"
    assert (stop.code, stop.discards) == (FailureCode.RESULT_EXPIRED, True)
    assert side.feed(TimerFired("deadline")) == ()


def test_the_deadline_leaves_a_computed_result_alone() -> None:
    """It is the consumer's turn then."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(reached(Stage.COMPUTED))

    assert side.feed(TimerFired("deadline")) == ()


def test_a_consumer_asks_once_and_again_in_a_new_session() -> None:
    """The request is idempotent by its id, so a lost one may be repeated."""
    case = Case()
    side = case.side(case.consumer)
    [request] = sent(side.feed(case.asked), JobRequest)
    [again] = sent(side.feed(SessionBegan()), JobRequest)

    assert side.job.is_kept
    assert request == again
    assert side.feed(case.asked) == ()


def test_a_consumer_gets_its_result_and_forgets_the_key() -> None:
    """The result key lives until the result is there."""
    case = Case()
    side = started_consumer(case)
    [report] = sent(side.feed(reached(Stage.DELIVERED, "result.json")), JobReport)
    side.hear(closed(case, Outcome.DONE, FailureCode.DONE))

    assert report.phase is JobPhase.DELIVERED
    assert side.job.result == "result.json"
    assert side.job.result_key is None
    assert side.job.stage is Stage.DELIVERED
    assert side.job.ending is None
    assert [name for name, _ in side.job.times] == [
        "requested",
        "accepted",
        "started",
        "delivered",
    ]


def test_64_a_consumer_refuses_a_job_that_it_did_not_ask_for() -> None:
    """The manager cannot make up requests in its name."""
    case, other = Case(), Case(Case().world)
    stranger = case.side(case.consumer)
    asker = asking(case)
    [refuse] = sent(stranger.hear(case.offer(stranger.member)), JobRefuse)
    changed = case.offer(asker.member, spec=other.spec, spec_sig=other.spec_sig)
    [altered] = sent(asker.hear(changed), JobRefuse)

    assert refuse.code is RefusalCode.SPEC_INVALID
    assert altered.code is RefusalCode.SPEC_INVALID


def test_why_a_job_ended_is_kept_for_its_user() -> None:
    """Code, party and reason come from the manager."""
    case = Case()
    side = asking(case)
    word = closed(case, Outcome.FAILED, FailureCode.NO_QUORUM, epoch=0)
    side.hear(word.model_copy(update={"reason": "2 online", "number": 7}))
    ending = side.job.ending

    assert ending is not None
    assert (ending.code, ending.reason) == (FailureCode.NO_QUORUM, "2 online")
    assert side.job.number == 7


def test_done_without_a_result_here_is_said_to_be_expired() -> None:
    """Somebody acknowledged it: there is nothing left to fetch."""
    case = Case()
    side = asking(case)
    side.hear(closed(case, Outcome.DONE, FailureCode.DONE))
    ending = side.job.ending

    assert ending is not None
    assert ending.code is FailureCode.RESULT_EXPIRED


def test_63_a_restarted_consumer_fetches_what_was_computed_meanwhile() -> None:
    """With fresh tickets, and the servers' current endorsements."""
    case = Case()
    side = started_consumer(case)
    side.feed(Recovered())
    [query] = sent(side.feed(SessionBegan()), JobQuery)
    waiting = side.hear(standing(case, JobStage.RUNNING))
    [collect] = sent(side.hear(standing(case, JobStage.COMPUTED)), JobCollect)
    fresh = tuple(
        CollectTicket(
            s=server.name,
            k_cs=bytes(32),
            ticket=b"fresh",
            endorse=server.endorse,
            endorse_sig=server.endorse_sig,
        )
        for server in case.servers
    )
    tickets = JobTickets(job=case.asked.job, epoch=1, t=fresh)
    [run] = wished(side.hear(tickets), Run)

    assert query.job == collect.job == case.asked.job
    assert waiting == ()
    assert run.fetch_only
    assert run.endorse == side.member.endorse
    assert [ticket.ticket for ticket in run.tickets or ()] == [b"fresh"] * 3
    assert {peer.principal for peer in run.peers} == {
        *(server.name for server in case.servers),
        case.consumer.name,
    }


def test_46_a_fresh_ticket_with_a_foreign_endorsement_is_refused() -> None:
    """The manifest's identity keys hold for the servers' new TLS keys too."""
    case = Case()
    side = started_consumer(case)
    side.feed(Recovered())
    thief = case.sources[0]
    forged = tuple(
        CollectTicket(
            s=server.name,
            k_cs=bytes(32),
            ticket=b"fresh",
            endorse=server.endorse,
            endorse_sig=thief.endorse_sig,
        )
        for server in case.servers
    )
    effects = side.hear(JobTickets(job=case.asked.job, epoch=1, t=forged))

    assert wished(effects, Run) == []
    assert side.job.stage is Stage.CLOSED


def test_tickets_for_another_epoch_or_too_few_are_of_no_use() -> None:
    """A result has one epoch, and every server has a share."""
    for epoch, count in ((2, 3), (1, 2)):
        case = Case()
        side = started_consumer(case)
        side.feed(Recovered())
        some = tuple(
            CollectTicket(
                s=server.name,
                k_cs=bytes(32),
                ticket=b"fresh",
                endorse=server.endorse,
                endorse_sig=server.endorse_sig,
            )
            for server in case.servers[:count]
        )
        effects = side.hear(JobTickets(job=case.asked.job, epoch=epoch, t=some))

        assert wished(effects, Run) == []


def test_tickets_that_nobody_asked_for_are_ignored() -> None:
    """The first run has its own."""
    case = Case()
    side = started_consumer(case)
    tickets = JobTickets(
        job=case.asked.job,
        epoch=1,
        t=(
            CollectTicket(
                s=case.servers[0].name,
                k_cs=bytes(32),
                ticket=b"t",
                endorse=b"e",
                endorse_sig=bytes(64),
            ),
        ),
    )

    assert side.hear(tickets) == ()


def test_a_consumer_that_lost_a_link_tries_again_with_fresh_tickets() -> None:
    """A server may have restarted after it computed: its TLS key is new."""
    case = Case()
    side = started_consumer(case)
    [timer] = wished(side.feed(broke(FailureCode.LINK_FAILED)), SetTimer)
    [query] = sent(side.feed(TimerFired("poll")), JobQuery)
    [collect] = sent(side.hear(standing(case, JobStage.COMPUTED)), JobCollect)

    assert timer.name == "poll"
    assert query.job == collect.job


def test_a_consumer_gives_up_after_some_tries_and_says_why() -> None:
    """The manager then ends the job for everybody, with the party at fault."""
    case = Case()
    side = started_consumer(case)
    side.feed(broke(FailureCode.LINK_FAILED, "MPC_server_002"))
    reports: list[JobReport] = []
    for _ in range(5):
        reports += sent(side.feed(TimerFired("poll")), JobReport)
    [report] = reports

    assert (report.phase, report.peer) == (JobPhase.FAILED, "MPC_server_002")
    assert side.job.stage is Stage.FAILED


def test_a_wrong_result_is_not_fetched_again() -> None:
    """What an engine cannot put together stays wrong."""
    case = Case()
    side = started_consumer(case)
    [report] = sent(side.feed(broke(FailureCode.ENGINE)), JobReport)

    assert report.code is FailureCode.ENGINE


def test_a_request_that_the_manager_refuses_ends_with_its_code() -> None:
    """Busy is no refusal: it is asked again."""
    case = Case()
    busy, refused = asking(case), asking(case)
    [timer] = wished(busy.feed(RequestRefused(ErrorCode.BUSY)), SetTimer)
    refused.feed(RequestRefused(ErrorCode.FORBIDDEN))
    [again] = sent(busy.feed(TimerFired("poll")), JobRequest)

    assert timer.name == "poll"
    assert again.spec == case.spec
    assert refused.job.stage is Stage.CLOSED


def test_an_error_about_a_running_job_ends_nothing() -> None:
    """A report that came too late, for instance."""
    case = Case()
    side = started_consumer(case)
    before = side.state
    side.feed(RequestRefused(ErrorCode.JOB_STATE))

    assert side.state == before


def test_a_result_that_is_not_ready_is_asked_for_later() -> None:
    """A collect may come before the last server has computed."""
    case = Case()
    side = started_consumer(case)
    side.feed(Recovered())
    [timer] = wished(side.feed(RequestRefused(ErrorCode.JOB_STATE)), SetTimer)

    assert timer.name == "poll"


def test_a_silent_manager_is_not_waited_for_beyond_the_deadline() -> None:
    """The user reads that the manager did not answer."""
    case = Case()
    side = asking(case)
    side.feed(TimerFired("deadline"), minutes=2)
    ending = side.job.ending

    assert ending is not None
    assert (ending.code, ending.party) == (FailureCode.DEADLINE, "manager")


@pytest.mark.parametrize("stage", [JobStage.STARTED, JobStage.COMPUTED])
def test_a_job_that_began_without_its_consumer_is_over_at_the_deadline(
    stage: JobStage,
) -> None:
    """Its start was lost: the user reads that, and not that nobody answered."""
    case = Case()
    side = asking(case)
    side.hear(case.offer(side.member))
    side.hear(standing(case, stage))
    before = side.job.ending
    side.hear(standing(case, JobStage.OFFERED), minutes=2)
    waiting = side.job.ending
    side.hear(standing(case, stage), minutes=2)
    ending = side.job.ending

    assert before is waiting is None
    assert ending is not None
    assert (ending.code, ending.party) == (FailureCode.DEADLINE, "manager")
    assert "start did not arrive" in str(ending.reason)


def test_a_started_job_is_asked_for_once_more_at_its_deadline() -> None:
    """The closing message may have been lost; then nobody knows the end."""
    case = Case()
    side = started_consumer(case)
    effects = side.feed(TimerFired("deadline"), seconds=71)
    later = side.feed(TimerFired("deadline"), minutes=2)

    assert len(sent(effects, JobQuery)) == 1
    assert [t.name for t in wished(effects, SetTimer)] == ["deadline"]
    assert wished(later, Stop)[0].code is FailureCode.DEADLINE


def test_a_restarted_consumer_waits_until_the_result_expires() -> None:
    """Servers keep computed shares longer than the deadline."""
    case = Case()
    side = started_consumer(case)
    side.feed(Recovered())
    [timer] = wished(side.feed(TimerFired("deadline"), minutes=2), SetTimer)
    side.feed(TimerFired("expiry"), days=2)

    assert timer.name == "expiry"
    assert side.job.stage is Stage.CLOSED


def test_what_the_manager_says_of_a_closed_or_unknown_job_ends_it() -> None:
    """After a restart, the last word may be in its store only."""
    case = Case()
    failed, gone, done = (asking(case) for _ in range(3))
    failed.hear(
        standing(
            case,
            JobStage.CLOSED,
            outcome=Outcome.FAILED,
            code=FailureCode.NO_SOURCES,
        )
    )
    gone.hear(case.offer(gone.member))
    gone.hear(JobState(jobs=()))
    done.hear(standing(case, JobStage.CLOSED, outcome=Outcome.DONE))
    endings = [side.job.ending for side in (failed, gone, done)]

    assert [ending.code for ending in endings if ending] == [
        FailureCode.NO_SOURCES,
        FailureCode.INTERNAL,
        FailureCode.RESULT_EXPIRED,
    ]


def test_why_a_request_waits_is_noted() -> None:
    """Such as for a free MPC server."""
    case = Case()
    side = asking(case)
    side.hear(standing(case, JobStage.REQUESTED, reason="waiting for a free server"))
    side.hear(JobState(jobs=()))

    assert side.job.note == "waiting for a free server"
    assert side.job.stage is Stage.ASKED


def test_a_cancelled_job_is_the_managers_to_end() -> None:
    """It tells all parties."""
    case = Case()
    side = asking(case)
    [cancel] = sent(side.feed(Cancelled()), JobCancel)
    side.hear(closed(case, Outcome.CANCELLED, FailureCode.CANCELLED))

    assert cancel.job == case.asked.job
    assert side.feed(Cancelled()) == ()


def test_late_events_of_ended_or_unknown_jobs_do_nothing() -> None:
    """Timers and the data process do not know of the end yet."""
    case = Case()
    unknown = case.side(case.consumer)
    over = asking(case)
    over.hear(closed(case, Outcome.CANCELLED, FailureCode.CANCELLED))
    events = (
        TimerFired("deadline"),
        TimerFired("poll"),
        SessionBegan(),
        Recovered(),
        DataReady(1, 1, 1),
        DataRefused(1, RefusalCode.INTERNAL, "x"),
        reached(Stage.DELIVERED),
        broke(FailureCode.ENGINE),
        DataProcessLost(),
        RequestRefused(ErrorCode.BUSY),
    )
    before = over.state

    assert [unknown.feed(event) for event in events] == [()] * len(events)
    assert [over.feed(event) for event in events] == [()] * len(events)
    assert over.state == before
    assert unknown.hear(closed(case, Outcome.FAILED, FailureCode.ENGINE)) == ()
    assert unknown.hear(standing(case, JobStage.RUNNING)) == ()


def test_keys_do_not_show_when_a_job_is_printed() -> None:
    """Logs and traces must not hold them."""
    case = Case()
    side = started_consumer(case)
    shown = repr(replace(side.job, k_tkt=b"K" * 32))

    assert "K" * 32 not in shown
    assert "result_key" not in shown


def test_a_new_session_of_a_running_consumer_asks_nothing() -> None:
    """Sessions are renewed while jobs run."""
    case = Case()

    assert started_consumer(case).feed(SessionBegan()) == ()
    assert accepted_server(case).feed(SessionBegan()) == ()


def test_a_consumer_that_gives_input_too_does_not_fetch_after_a_lost_link() -> None:
    """Its shares may not be out, so the servers would wait in vain."""
    case = Case()
    side = started_consumer(case)
    both = (Duty.INPUT, Duty.OUTPUT)
    side.state = replace(side.job, duties=both)
    [report] = sent(side.feed(broke(FailureCode.LINK_FAILED)), JobReport)

    assert report.phase is JobPhase.FAILED


def test_a_consumer_that_lost_its_data_process_tries_to_fetch() -> None:
    """Five times at most, counted together with lost links."""
    case = Case()
    side = started_consumer(case)
    first = [wished(side.feed(DataProcessLost()), SetTimer) for _ in range(4)]
    [report] = sent(side.feed(DataProcessLost()), JobReport)

    assert [timers[0].name for timers in first] == ["poll"] * 4
    assert report.phase is JobPhase.FAILED
    assert side.feed(TimerFired("poll")) == ()
    assert side.feed(DataProcessLost()) == ()


def test_a_message_that_is_none_of_its_business_changes_nothing() -> None:
    """The inbox hands every job message over."""
    case = Case()
    side = accepted_server(case)
    before = side.state

    assert side.hear(LogOff()) == ()
    assert side.hear(standing(case, JobStage.RUNNING)) == ()
    assert side.state == before


def test_an_offer_whose_spec_is_no_spec_is_refused() -> None:
    """Whatever the manager's reasons."""
    case = Case()
    side = case.side(case.sources[0])
    [refuse] = sent(side.hear(case.offer(side.member, spec=b"\x80")), JobRefuse)

    assert refuse.code is RefusalCode.SPEC_INVALID


def test_17_a_second_start_with_another_nonce_is_refused_and_disturbs_nothing() -> None:
    """The first one runs."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    before = side.state
    effects = side.hear(case.start(side, nonce=bytes(16)))
    [refuse] = sent(effects, JobRefuse)

    assert refuse.stage == "start"
    assert wished(effects, Run) == []
    assert side.state == before


def test_an_offer_of_a_new_epoch_comes_too_late_for_a_running_job() -> None:
    """There are no reruns."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))

    assert side.hear(case.offer(side.member, epoch=2)) == ()


def test_a_damaged_journal_entry_is_discarded() -> None:
    """A server cannot serve without the manifest that it checked."""
    case = Case()
    side = accepted_server(case)
    side.hear(case.start(side))
    side.feed(reached(Stage.COMPUTED))
    side.state = replace(side.job, manifest=b"\x80", is_recovered=True)
    [stop] = wished(side.feed(SessionBegan()), Stop)

    assert stop.discards
    assert side.job.stage is Stage.FAILED


def test_a_slot_is_taken_from_accept_to_computed() -> None:
    """The manager is told how many are left."""
    case = Case()
    side = accepted_server(case)
    taken = [side.job.takes_slot]
    side.hear(case.start(side))
    taken.append(side.job.takes_slot)
    side.feed(reached(Stage.COMPUTED))
    taken.append(side.job.takes_slot)

    assert taken == [True, True, False]
    assert side.job.time_of("started") == NOW_MS
    assert side.job.time_of("nosuch") is None
