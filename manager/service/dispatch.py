"""One delivery: from bytes to a committed effect.

The order is fixed (docs/protocol.md, "Receiver pipeline"): budget, parse, what the
broker says of it, address and time, redelivery, decrypt and verify, replay, message,
authorisation, machine. Each step fails closed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from manager.service.budget import Budget
from manager.service.directory import ManagerDirectory
from manager.service.entrance import Entrance
from manager.service.job_desk import JobDesk
from manager.service.postman import Postman
from manager.service.work import Office, Work
from manager.store.records import (
    InboxRecord,
    Letter,
    SessionRecord,
    SessionStanding,
)
from shared.envelope import (
    DroppedError,
    DropReason,
    Proven,
    Sealed,
    check,
    message_of,
    parse,
    principal_of,
    prove,
)
from shared.errors import ErrorCode
from shared.messages import (
    AsRequest,
    ErrorNotice,
    LogOff,
    Message,
    RegistrationDone,
    RegistrationRequest,
    Standing,
    Status,
    Suite,
)
from shared.names import ENROL_PREFIX, MANAGER, duties_allowed
from shared.protocol.machine import Received, Send
from shared.protocol.window import Verdict, judge
from shared.topology import (
    QUEUE_AUTHENTICATION,
    QUEUE_JOBS,
    QUEUE_REGISTRATION,
    routing_key,
)
from shared.transport.base import Delivery

SESSIONLESS: Final = frozenset(
    {
        ErrorCode.UNAUTHENTICATED,
        ErrorCode.BUSY,
        ErrorCode.VERSION,
        ErrorCode.UNKNOWN_SESSION,
        ErrorCode.EXPIRED,
    }
)
"""What a sender without a session may be told."""
KEPT_AFTER: Final = timedelta(hours=1)
KEPT_AT_MOST: Final = timedelta(hours=24)
"""Longer than any token lives and any ``as.req`` is acceptable."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_QUEUES: Final = {
    "registration": QUEUE_REGISTRATION,
    "authentication": QUEUE_AUTHENTICATION,
    "jobs": QUEUE_JOBS,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery, for its line in the log.

    ``again``: the stored answer to a redelivery, to be published once more.
    ``reason``: why it was not handled, if it was not.
    """

    outcome: str
    sealed: Sealed | None = None
    code: ErrorCode | None = None
    again: tuple[Letter, ...] = ()
    reason: DropReason | None = None


class Dispatcher:
    """Handles deliveries inside a transaction.

    Args:
        office: keys and memory.
        postman: sends errors.
        entrance: registration and AS exchange.
        desk: presence and jobs.
        budget: what each sender may cost.
        now_ms: the time.
    """

    def __init__(
        self,
        office: Office,
        postman: Postman,
        entrance: Entrance,
        desk: JobDesk,
        budget: Budget,
        now_ms: Callable[[], int],
    ) -> None:
        self._office = office
        self._postman = postman
        self._entrance = entrance
        self._desk = desk
        self._budget = budget
        self._now_ms = now_ms

    def screen(self, delivery: Delivery) -> Sealed:
        """Return the envelope of a delivery that is worth a transaction.

        Nothing here costs a query or a public-key operation.

        Raises:
            DroppedError: over budget, malformed, or not from whom it says.
        """
        if delivery.user_id is None:
            raise DroppedError(DropReason.USER_ID)
        if not self._budget.allows(
            delivery.user_id, len(delivery.body), self._now_ms()
        ):
            raise DroppedError(DropReason.RATE, code=ErrorCode.BUSY)
        if delivery.has_copies:
            raise DroppedError(DropReason.COPIES)
        sealed = parse(delivery.body)
        header = sealed.header
        if delivery.user_id != _user_of(header.s):
            raise DroppedError(DropReason.USER_ID)
        key = routing_key(header.t, header.s)
        if (
            delivery.routing_key != key
            or delivery.queue != _QUEUES[key.partition(".")[0]]
        ):
            # A blind copy comes under a key or in a queue that is not its own.
            raise DroppedError(DropReason.COPIES)
        return sealed

    def handle(self, work: Work, sealed: Sealed) -> Outcome:
        """Handle an envelope that passed ``screen``; return what became of it."""
        header = sealed.header
        now = work.context.now_ms
        work.answering = (header.s, header.mid)
        try:
            directory = ManagerDirectory(self._office.memory, self._office.keys, now)
            check(sealed, MANAGER, directory, now)
            before = work.unit.mail.received(header.s, header.mid)
            if before is not None and before.digest == sealed.digest:
                work.counts[DropReason.DUPLICATE] += 1
                again = work.unit.mail.answers_to(header.s, header.mid)
                return Outcome(
                    "duplicate", sealed, None, tuple(again), DropReason.DUPLICATE
                )
            is_login = sealed.rule.model is AsRequest
            if is_login and not self._budget.allows_login(header.s, now):
                busy = DroppedError(DropReason.RATE, header, ErrorCode.BUSY)
                return self._drop(work, sealed, busy)
            proven = prove(sealed, directory, self._office.keys.fingerprint)
            return self._proven(work, sealed, proven, before)
        except DroppedError as error:
            return self._drop(work, sealed, error)
        finally:
            work.answering = None

    def _proven(
        self, work: Work, sealed: Sealed, proven: Proven, before: InboxRecord | None
    ) -> Outcome:
        header = proven.header
        session = None
        if proven.suite is Suite.SESSION and header.sid is not None:
            session = self._office.memory.sessions[header.sid]
            if session.standing is SessionStanding.SUPERSEDED:
                work.counts[DropReason.SUPERSEDED] += 1
                self._answer_error(work, session, ErrorCode.SUPERSEDED, proven)
                return Outcome(
                    "superseded",
                    sealed,
                    ErrorCode.SUPERSEDED,
                    reason=DropReason.SUPERSEDED,
                )
        self._check_replay(proven, session, before)
        self._remember(work, proven, session)
        message = message_of(proven)
        if session is None:
            return self._without_session(work, sealed, proven, message)
        return self._in_session(work, sealed, proven, message)

    def _check_replay(
        self,
        proven: Proven,
        session: SessionRecord | None,
        before: InboxRecord | None,
    ) -> None:
        header = proven.header
        if session is None:
            if before is not None:
                raise DroppedError(DropReason.EQUIVOCATION, header)
            return
        verdict = judge(
            session.window,
            header.seq,
            proven.digest,
            before.digest if before else None,
            None,  # the window knows every number that it has seen
        )
        if verdict is not Verdict.HANDLE:
            raise DroppedError(DropReason(verdict), header)

    def _remember(
        self, work: Work, proven: Proven, session: SessionRecord | None
    ) -> None:
        """Write the inbox row and close the number."""
        header = proven.header
        # ``exp`` is the sender's word: rows must not stay as long as it likes.
        latest = work.context.now_ms + KEPT_AT_MOST // _MILLISECOND
        ends = min(header.exp, latest) if session is None else session.exp
        work.unit.mail.add_received(
            InboxRecord(
                header.s,
                header.mid,
                header.sid,
                header.seq,
                proven.digest,
                ends + KEPT_AFTER // _MILLISECOND,
            )
        )
        if session is not None:
            window = session.window.with_seen(header.seq)
            self._office.memory.put_session(replace(session, window=window))

    def _without_session(
        self, work: Work, sealed: Sealed, proven: Proven, message: Message
    ) -> Outcome:
        received = _received(proven, message)
        match message:
            case RegistrationRequest() | RegistrationDone():
                return Outcome(self._entrance.register(work, received), sealed)
            case AsRequest(nonce=nonce):
                if proven.kem != self._office.keys.kem.kid:
                    # It knows former keys only, and would not know who answers.
                    self._postman.describe_realm_to(work, received.sender)
                return Outcome(self._entrance.log_in(work, received, nonce), sealed)
            case _:
                # An err of a peer without a session: no err answers an err.
                return Outcome("noted", sealed)

    def _in_session(
        self, work: Work, sealed: Sealed, proven: Proven, message: Message
    ) -> Outcome:
        received = _received(proven, message)
        record = self._office.memory.principals[received.sender]
        rule = proven.rule
        self._desk.presence_event(work, received.sender, received)
        if record.role not in rule.roles or (
            rule.duty is not None
            and rule.duty not in duties_allowed(record.role, record.io)
        ):
            notice = ErrorNotice(code=ErrorCode.FORBIDDEN, re=received.mid)
            self._postman.send(work, Send(received.sender, notice, received.mid))
            self._desk.settle(work)
            work.counts[DropReason.FORBIDDEN] += 1
            return Outcome(
                "forbidden", sealed, ErrorCode.FORBIDDEN, reason=DropReason.FORBIDDEN
            )
        if not isinstance(message, Status | LogOff | ErrorNotice):
            self._desk.receive(work, received)
        self._desk.settle(work)
        return Outcome("handled", sealed)

    def _drop(self, work: Work, sealed: Sealed, error: DroppedError) -> Outcome:
        """Count, and tell whom the broker vouches for what it may be told."""
        work.counts[error.reason] += 1
        rule = sealed.rule
        header = sealed.header
        # In a session a wrong time is no news, and what comes again too late may
        # have been handled: its sender must not take it for refused.
        is_late = error.code is ErrorCode.EXPIRED
        may_be_told = (
            error.code in SESSIONLESS
            and rule.model is not ErrorNotice
            and not (is_late and rule.standing is Standing.SESSION)
            and error.reason
            in {
                DropReason.SESSION,
                DropReason.EXPIRED,
                DropReason.CLOCK_SKEW,
                DropReason.RATE,
                DropReason.UNSEAL,
                DropReason.SIGNATURE,
            }
        )
        if may_be_told:
            now = work.context.now_ms if is_late else None
            # Sealed to a key that is erased, perhaps: who was away for long.
            knows_no_key = error.reason is DropReason.UNSEAL and rule.model is AsRequest
            self._postman.refuse(
                work, header.s, error.code, header.mid, now, with_realm=knows_no_key
            )
        return Outcome(
            f"dropped {error.reason}", sealed, error.code, reason=error.reason
        )

    def _answer_error(
        self, work: Work, session: SessionRecord, code: ErrorCode, proven: Proven
    ) -> None:
        if proven.rule.model is ErrorNotice:
            return
        latest = self._office.memory.sessions[session.sid]
        notice = ErrorNotice(code=code, re=proven.header.mid)
        self._postman.send_in(work, latest, notice, proven.header.mid)


def _received(proven: Proven, message: Message) -> Received:
    header = proven.header
    return Received(
        principal_of(header), message, header.mid, proven.payload, header.sid
    )


def _user_of(sender: str) -> str:
    """Return the broker user as whom a signed sender must have published."""
    if sender.startswith(ENROL_PREFIX):
        return f"enrol-{sender.removeprefix(ENROL_PREFIX)}"
    return sender
