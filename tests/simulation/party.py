"""A participant: the program's own machines and mail, driven without an event loop.

What ``participant.service`` does with asyncio is done here by calls: take one
delivery, handle it, acknowledge it, seal what is to be said, publish it.
"""

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace

from participant.home.journal import StoredJob, _job, _stored
from participant.protocol import as_exchange
from participant.protocol.as_exchange import Sessions, TlsRequest
from participant.protocol.consent import Policy, Rules
from participant.protocol.identity import Identity
from participant.protocol.job import step
from participant.protocol.model import (
    OVER,
    Cancelled,
    DataProcessLost,
    JobEffect,
    JobEvent,
    Party,
    PartyJob,
    Prepare,
    RecordPins,
    Recovered,
    RequestRefused,
    Run,
    SessionBegan,
    Stop,
)
from participant.protocol.trust import check_descriptor
from participant.service.orders import start_order
from participant.service.outbox import Letter
from participant.service.question import Question, check_spec, make_request
from participant.service.session import Mail
from shared.clock import to_ms
from shared.crypto.certificates import TlsKey
from shared.errors import ErrorCode, RemoteProtocolError
from shared.messages import (
    AsReply,
    DatasetNotice,
    ErrorNotice,
    JobAbort,
    JobClosed,
    JobOffer,
    JobStart,
    JobState,
    JobTickets,
    RealmDescriptor,
    SignedRealm,
    Status,
    unpack,
)
from shared.names import Io, JobId, Role
from shared.protocol.machine import (
    CancelTimer,
    Context,
    Received,
    Send,
    SetTimer,
    TimerFired,
)
from shared.transport.base import Outgoing
from shared.transport.memory import MemoryBroker, MemoryTransport
from tests.manager_realm import FakeClock
from tests.simulation.data_plane import DataPlane

STATUS_MS = 30_000
REPLY_MS = 10_000
DATASET = "visits"
COLUMN = "mdvis"
_REQUESTS = frozenset({"job.request", "job.cancel", "job.collect", "job.query"})
_ABOUT_JOB = (JobOffer, JobStart, JobAbort, JobClosed, JobTickets)


@dataclass
class SimParty:
    """A registered participant at work.

    ``closed``: each end of a job that it was told. ``secrets``: what must not be
    in any log. ``problems``: what cannot happen to an honest participant.
    """

    identity: Identity
    broker: MemoryBroker
    clock: FakeClock
    entropy: Callable[[int], bytes]
    plane: DataPlane = field(default_factory=DataPlane)
    policy: Policy = field(default_factory=Policy)
    slots: int = 2
    is_up: bool = True
    closed: dict[JobId, set[tuple[str, str]]] = field(default_factory=dict)
    secrets: set[bytes] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    log_in_at: int = 0

    def __post_init__(self) -> None:  # noqa: D105 - makes the rest
        self.principal = self.identity.principal
        self.has_data = self.identity.io is Io.INPUT
        self.jobs: dict[JobId, PartyJob] = {}
        self.transport = self._connected()
        self._fresh()

    def go_on_as(self, other: "SimParty") -> None:
        """Take over the session that the same participant has in a template."""
        self.mail.sessions = other.mail.sessions
        self.mail._sequence = dict(other.mail._sequence)
        self.mail._heard = deepcopy(other.mail._heard)
        self.log_in_at = other.log_in_at

    def say_status(self) -> None:
        """Tell the manager how things are."""
        self.letters.append(Letter(self._status()))

    def _connected(self) -> MemoryTransport:
        login = self.identity.broker
        transport = MemoryTransport(self.broker, login.user)
        transport.up()
        transport.listen(login.queue)
        return transport

    def _fresh(self) -> None:
        """Begin as a new process does: without sessions, letters and timers."""
        self.mail = Mail(lambda: self.identity, self.context)
        self.letters: deque[Letter] = deque()
        self.timers: dict[tuple[JobId, str], int] = {}
        self.asking: as_exchange.Asking | None = None
        self.log_in_at = 0
        self.status_at = 0

    def context(self) -> Context:
        """Return the time of the realm and this party's entropy."""
        return Context(self.clock.now(), self.entropy)

    @property
    def now_ms(self) -> int:
        """The time in milliseconds."""
        return self.clock.ms

    def party(self) -> Party:
        """Return this participant as the job machine sees it."""
        current, older = self.mail.sessions.current, self.mail.sessions.older
        live = [s for s in (current, older) if s is not None]
        datasets = frozenset({DATASET} if self.has_data else ())
        return Party(
            rules=Rules(self.identity, self.policy, check_spec, datasets),
            spkis=frozenset(session.spki for session in live),
            slots_free=self.slots - self.slots_taken,
            spki=current.spki if current else b"",
            endorse=current.endorse if current else b"",
            endorse_sig=current.endorse_sig if current else b"",
        )

    @property
    def slots_taken(self) -> int:
        """How many jobs use a slot."""
        return sum(state.takes_slot for state in self.jobs.values())

    # ---- life and death ----

    def restart(self) -> None:
        """End the process and its data process; start both again."""
        self.transport.crash()
        self.plane.lose(self.principal)
        kept = [state for state in self.jobs.values() if state.is_kept]
        self._fresh()
        self.jobs = {}
        for state in kept:
            self.jobs[state.job] = _job(unpack(StoredJob, _stored(state).pack()))
        for job in list(self.jobs):
            self.feed(job, Recovered())
        self.reconnect()

    def reconnect(self) -> None:
        """Connect to the broker again."""
        self.transport.crash()
        self.transport = self._connected()

    def die(self) -> None:
        """End for good; the connection to the broker ends too."""
        self.freeze()
        self.transport.crash()

    def freeze(self) -> None:
        """Do nothing any more; the connection stays."""
        self.is_up = False
        self.plane.down.add(self.principal)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        self.is_up = True
        self.plane.down.discard(self.principal)

    def lose_data_process(self) -> None:
        """Lose the data process: links, shares in memory and TLS keys."""
        self.plane.lose(self.principal)
        self.feed_all(DataProcessLost())
        self.log_in_at = 0
        self.asking = None
        self.begin_login()

    # ---- the session ----

    def begin_login(self) -> None:
        """Ask for a session with a new TLS key."""
        key = TlsKey.generate()
        self.secrets.add(key.private_pem)
        addresses = ("127.0.0.1:1270",) if self.identity.role is Role.MPCS else ()
        tls = TlsRequest(key.csr(self.principal), key.spki_hash)
        context = self.context()
        self.asking = as_exchange.ask(self.identity, tls, addresses, context)
        self.log_in_at = self.now_ms + REPLY_MS
        request = self.mail.seal(self.asking.request, is_sessionless=True)
        self.transport.put([request])

    def _replied(self, reply: AsReply) -> None:
        if self.asking is None:
            return
        asking, self.asking, context = self.asking, None, self.context()
        try:
            session, cert = as_exchange.accept(asking, self.identity, reply, context)
        except RemoteProtocolError:
            self.log_in_at = self.now_ms + 1000  # it answers an older request
            return
        if cert is not None:
            self.identity = replace(self.identity, cert=cert)
        self.secrets |= {session.up, session.down, asking.ephemeral.secret}
        self.log_in_at = session.renew_at
        self.mail.sessions = self.mail.sessions.with_session(session, self.now_ms)
        self.letters.appendleft(Letter(self._status()))
        self.feed_all(SessionBegan())

    def _status(self) -> Status:
        self.status_at = self.now_ms + STATUS_MS
        is_server = self.identity.role is Role.MPCS
        notices = (DatasetNotice(name=DATASET, cols=(COLUMN,)),)
        return Status(
            slots_free=max(0, self.slots - self.slots_taken) if is_server else 0,
            slots=self.slots if is_server else 0,
            load=0,
            datasets=notices if self.has_data else None,
        )

    # ---- jobs ----

    def submit(self, question: Question) -> JobId:
        """Ask for a job as the command line does."""
        asked = make_request(question, self.identity, self.context())
        self.secrets.add(asked.result_key.secret)
        self.feed(asked.job, asked)
        return asked.job

    def cancel(self, job: JobId) -> None:
        """Give a job up."""
        self.feed(job, Cancelled())

    def feed_all(self, event: JobEvent) -> None:
        """Let every job that is not over know of an event."""
        for job, state in list(self.jobs.items()):
            if state.stage not in OVER:
                self.feed(job, event)

    def feed(self, job: JobId, event: JobEvent) -> None:
        """Let a job know of an event and do what its machine wishes."""
        slots = self.slots_taken
        done = step(self.jobs.get(job), event, self.context(), self.party())
        if done.state is not None:
            self.jobs[job] = done.state
        for effect in done.effects:
            self._apply(effect, job, done.state)
        if slots != self.slots_taken and self.mail.sessions.current is not None:
            self.say_status()

    def _apply(self, effect: JobEffect, job: JobId, state: PartyJob | None) -> None:
        match effect:
            case Send():
                deadline = state.deadline if state else None
                self.letters.append(Letter(effect.message, job, deadline, effect.re))
            case SetTimer():
                self.timers[job, effect.name] = to_ms(effect.due)
            case CancelTimer():
                self.timers.pop((job, effect.name), None)
            case Run():
                start_order(effect, self.party())  # can be made of every wish
                self.plane.obey(self.principal, effect)
            case Prepare() | Stop():
                self.plane.obey(self.principal, effect)
            case RecordPins():
                pins = (*self.identity.pins, *effect.pins)
                self.identity = replace(self.identity, pins=pins)

    # ---- the broker ----

    def hear(self, limit: int = 1, *, acks: bool = True) -> int:
        """Take and handle deliveries; without ``acks`` they come again."""
        deliveries = self.transport.take(limit)
        for delivery in deliveries:
            received = self.mail.open(delivery)
            if received is not None:
                self._take(received)
        if acks:
            self.transport.done(deliveries)
        return len(deliveries)

    def speak(self, twice: bool = False) -> int:
        """Seal and publish what waits, if there is a session."""
        batch: list[Outgoing] = []
        while self.letters and self.mail.sessions.current is not None:
            letter = self.letters.popleft()
            batch.append(
                self.mail.seal(
                    letter.message,
                    re=letter.re,
                    job=letter.job,
                    expires_ms=letter.expires_ms,
                )
            )
        self.transport.put(batch)
        if twice:
            self.transport.put(batch)  # the broker's confirmation was lost
        return len(batch)

    def on_time(self) -> None:
        """Do what is due: log in, say the status, fire timers."""
        now = self.now_ms
        if now >= self.log_in_at:
            self.begin_login()
        if now >= self.status_at and self.mail.sessions.current is not None:
            self.say_status()
        due = [key for key, at in self.timers.items() if at <= now]
        for job, name in due:
            if self.timers.pop((job, name), None) is not None:
                self.feed(job, TimerFired(name))

    def _take(self, received: Received) -> None:
        message = received.message
        if isinstance(message, AsReply):
            self._replied(message)
        elif isinstance(message, ErrorNotice):
            self._take_error(message)
        elif isinstance(message, RealmDescriptor):
            self._take_descriptor(message)
        elif isinstance(message, JobState):
            for entry in message.jobs:
                self.feed(entry.job, received)
        elif isinstance(message, _ABOUT_JOB):
            if isinstance(message, JobClosed):
                told = (message.outcome.value, message.code.value)
                self.closed.setdefault(message.job, set()).add(told)
            if isinstance(message, JobStart):
                self.secrets |= {message.k_tkt} if message.k_tkt else set()
                self.secrets |= {ticket.k_cs for ticket in message.t or ()}
            self.feed(message.job, received)

    def _take_descriptor(self, message: RealmDescriptor) -> None:
        known, signed = self.identity.realm, SignedRealm(rd=message.rd, sig=message.sig)
        try:
            realm = check_descriptor(signed, known.fingerprint, known.epoch)
        except RemoteProtocolError:
            return  # of an epoch that is over: it came late
        self.identity = replace(self.identity, realm=realm)

    def _take_error(self, notice: ErrorNotice) -> None:
        answered = self.mail.answered(notice.re)
        if answered is None:
            return
        current = self.mail.sessions.current
        is_ours = current is not None and answered.sid == current.sid
        if answered.type == "as.req":
            self.asking = None
            self.log_in_at = self.now_ms + 1000
        elif is_ours and notice.code is ErrorCode.UNKNOWN_SESSION:
            self.mail.sessions = Sessions()
            self.begin_login()
        elif is_ours and notice.code is ErrorCode.SUPERSEDED:
            self.problems.append("superseded in its own newest session")
        if answered.job is not None and answered.type in _REQUESTS:
            self.feed(answered.job, RequestRefused(notice.code))
