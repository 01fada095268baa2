"""Machines under any order and repetition of events: what never happens."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from manager.protocol import registration
from manager.protocol.as_exchange import AsState, Authority, Grant
from manager.protocol.as_exchange import step as as_step
from manager.protocol.credentials import Issuer
from manager.protocol.registration import (
    Activate,
    Answer,
    Enrol,
    TokenStage,
    TokenState,
)
from participant.protocol import as_exchange
from participant.protocol.as_exchange import Sessions, TlsRequest
from participant.protocol.model import (
    OVER,
    Broke,
    Cancelled,
    DataProcessLost,
    DataReady,
    DataRefused,
    JobEffect,
    Reached,
    Recovered,
    RequestRefused,
    Run,
    SessionBegan,
    Stage,
)
from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import (
    JobAbort,
    JobAccept,
    JobClosed,
    JobStage,
    JobState,
    JobSummary,
    Outcome,
)
from shared.names import MessageId, Role
from shared.protocol.machine import Received, TimerFired
from tests.participant_world import NOW_MS, Case, Side, sent, wished
from tests.unit.manager.protocol.test_as_exchange import DAY_MS, Desk
from tests.unit.manager.protocol.test_registration import (
    DESK,
    DONE,
    FRESH,
    KEM,
    NOW,
    REQUEST,
    SERVER,
    _received,
)

OTHER_KEYS: dict[str, object] = {
    "sig_pk": REQUEST.sig_pk[::-1],
    "kem_pk": KEM.public[::-1],
}
STEPS = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
LIVE = (Stage.LINKED, Stage.RUNNING, Stage.COMPUTED, Stage.DELIVERED)
WRONG: tuple[dict[str, object], ...] = (
    {},
    OTHER_KEYS,
    {"secret": b"x" * 16},
    {"role": Role.CLIENT},
    {"vers": (9,)},
    {"token_id": b"y" * 8},
)


class ParticipantJob(RuleBasedStateMachine):
    """A job at one party: an MPC server, a source or the consumer."""

    @initialize(kind=st.sampled_from(["server", "source", "consumer"]))
    def begin(self, kind: str) -> None:
        """Choose whose side it is."""
        self.case = Case()
        member = {
            "server": self.case.servers[0],
            "source": self.case.sources[0],
            "consumer": self.case.consumer,
        }[kind]
        self.side: Side = self.case.side(member)
        self.later = 0
        self.runs: list[tuple[int, bool]] = []
        self.was_over: Stage | None = None
        self.is_recovered = False
        if kind == "consumer":
            self.side.feed(self.case.asked)

    def saw(self, effects: tuple[JobEffect, ...]) -> None:
        """Look at what the machine wishes."""
        state = self.side.state
        for run in wished(effects, Run):
            self.runs.append((run.state.epoch, run.fetch_only))
        if self.was_over is not None:
            assert state is None or state.stage in OVER
            assert not wished(effects, Run)
            assert not sent(effects, JobAccept)
        if state is not None and state.stage in OVER:
            self.was_over = state.stage

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.later += seconds

    @rule()
    def offer(self) -> None:
        """Hear an offer, perhaps again."""
        self.saw(self.side.hear(self.case.offer(self.side.member), seconds=self.later))

    @precondition(lambda self: self.side.state is not None and self.side.state.nonce)
    @rule()
    def start(self) -> None:
        """Hear the start, perhaps again."""
        self.saw(self.side.hear(self.case.start(self.side), seconds=self.later))

    @rule(rows=st.integers(0, 10), epoch=st.integers(1, 2))
    def data_ready(self, rows: int, epoch: int) -> None:
        """The data are there."""
        self.feed(DataReady(epoch, rows, rows))

    @rule(code=st.sampled_from(list(RefusalCode)))
    def data_refused(self, code: RefusalCode) -> None:
        """The data are not usable."""
        self.feed(DataRefused(1, code, "why"))

    @rule(stage=st.sampled_from(LIVE))
    def reached(self, stage: Stage) -> None:
        """The data process is so far."""
        result = "result.json" if stage is Stage.DELIVERED else None
        self.feed(Reached(1, stage, NOW_MS + 5, 5, 10, 20, result))

    @rule(code=st.sampled_from(list(FailureCode)))
    def broke(self, code: FailureCode) -> None:
        """The data process gave up."""
        self.feed(Broke(1, NOW_MS + 5, code, None, "why"))

    @rule(
        event=st.sampled_from(
            [
                DataProcessLost(),
                SessionBegan(),
                Cancelled(),
                RequestRefused(ErrorCode.BUSY),
            ]
        )
    )
    def happens(self, event: DataProcessLost | SessionBegan | Cancelled) -> None:
        """Something else."""
        self.feed(event)

    @rule()
    def recovered(self) -> None:
        """A new process goes on."""
        if self.side.state is not None and self.side.state.is_kept:
            self.is_recovered = True
            self.feed(Recovered())

    @rule(name=st.sampled_from(["deadline", "poll", "expiry"]))
    def timer(self, name: str) -> None:
        """A timer fires."""
        self.feed(TimerFired(name))

    @rule(
        outcome=st.sampled_from(list(Outcome)),
        code=st.sampled_from(list(FailureCode)),
        epoch=st.integers(1, 2),
        aborts=st.booleans(),
    )
    def ended(
        self, outcome: Outcome, code: FailureCode, epoch: int, aborts: bool
    ) -> None:
        """The manager ends it."""
        job = self.case.asked.job
        message = (
            JobAbort(job=job, epoch=epoch, outcome=outcome, code=code)
            if aborts
            else JobClosed(job=job, epoch=epoch, number=1, outcome=outcome, code=code)
        )
        self.saw(self.side.hear(message, seconds=self.later))

    @rule(state=st.sampled_from(list(JobStage)), known=st.booleans())
    def told(self, state: JobStage, known: bool) -> None:
        """The manager says where it stands."""
        summary = JobSummary(job=self.case.asked.job, number=1, state=state, times={})
        jobs = (summary,) if known else ()
        self.saw(self.side.hear(JobState(jobs=jobs), seconds=self.later))

    def feed(self, event: object) -> None:
        """Let the machine know."""
        self.saw(self.side.feed(event, seconds=self.later))  # type: ignore[arg-type]  # an event

    @invariant()
    def each_roster_is_run_once(self) -> None:
        """What is fetched again is no second computation."""
        computed = [epoch for epoch, fetch_only in self.runs if not fetch_only]

        assert len(computed) == len(set(computed))


class Registration(RuleBasedStateMachine):
    """A token at the manager, and two who both have it."""

    def __init__(self) -> None:
        super().__init__()
        self.state: TokenState | None = FRESH
        self.now = NOW
        self.bound: set[bytes] = set()
        self.activated = 0
        self.enrolled = 0

    def saw(self, event: registration.RegistrationEvent) -> None:
        """Take a step, and look at what follows."""
        before = self.state
        after = registration.step(self.state, event, self.now, DESK)
        self.state = after.state
        for effect in after.effects:
            if isinstance(effect, Answer):
                self.bound.add(effect.kem_pk)
                assert before is not None
                assert before.stage in {TokenStage.NEW, TokenStage.CLAIMED}
                assert self.now.now_ms < before.expires
            self.activated += isinstance(effect, Activate)
            self.enrolled += isinstance(effect, Enrol)

    @rule(changes=st.sampled_from(WRONG))
    def request(self, changes: dict[str, object]) -> None:
        """Somebody shows the token, or something like it."""
        self.saw(_received(REQUEST.model_copy(update=changes)))

    @rule(sender=st.sampled_from([SERVER, "MPC_server_009"]), serial=st.integers(7, 8))
    def done(self, sender: str, serial: int) -> None:
        """Somebody says that it is registered."""
        self.saw(_received(DONE.model_copy(update={"serial": serial}), sender))

    @rule(
        event=st.sampled_from(
            [registration.TokenRevoked(), TimerFired(registration.EXPIRY)]
        )
    )
    def ends(self, event: registration.RegistrationEvent) -> None:
        """The token is over."""
        if self.state is not None:
            self.saw(event)

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes: int) -> None:
        """Let time pass."""
        self.now = replace(self.now, now=self.now.now + timedelta(minutes=minutes))

    @invariant()
    def one_token_makes_one_participant(self) -> None:
        """With the first keys that were shown."""
        assert len(self.bound) <= 1
        assert self.activated <= 1
        assert self.enrolled <= 1


class Logons(RuleBasedStateMachine):
    """AS exchanges of one principal, recorded and said again."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.spent: set[bytes] = set()
        self.requests = [self.desk.request]
        self.sessions = Sessions()
        self.granted: list[bytes] = []

    @rule()
    def asks(self) -> None:
        """It asks anew."""
        me, tls = self.desk.member.identity, self.desk.member.tls
        asking = as_exchange.ask(
            me,
            TlsRequest(tls.csr(me.principal), tls.spki_hash),
            (),
            self.desk.world.context(),
        )
        self.requests.append(asking.request)

    @rule(which=st.integers(0, 30), minutes=st.sampled_from([0, 1, 3]))
    def is_heard(self, which: int, minutes: int) -> None:
        """The manager hears one of them, now or later."""
        request = self.requests[which % len(self.requests)]
        issuer = Issuer(
            self.desk.world.fingerprint,
            self.desk.world.manager,
            NOW_MS + 99 * DAY_MS,
            7,
        )
        state = AsState(self.desk.account, (), request.nonce in self.spent)
        received = Received(
            self.desk.member.name, request, MessageId(bytes(16)), request.pack()
        )
        context = self.desk.world.context(minutes=minutes)
        after = as_step(
            state, received, context, Authority(issuer, NOW_MS + 90 * DAY_MS)
        )
        for effect in after.effects:
            if isinstance(effect, Grant):
                self.granted.append(request.nonce)
                self.spent.add(request.nonce)
                assert minutes < 3
                assert effect.exp <= self.desk.account.cert_ends

    @invariant()
    def each_request_opens_one_session(self) -> None:
        """However often it is said."""
        assert len(self.granted) == len(set(self.granted))


TestParticipantJob = ParticipantJob.TestCase
TestParticipantJob.settings = STEPS
TestRegistration = Registration.TestCase
TestRegistration.settings = STEPS
TestLogons = Logons.TestCase
TestLogons.settings = STEPS
