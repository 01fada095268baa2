"""Seals messages and puts them into the outbox."""

from collections import OrderedDict
from dataclasses import replace
from datetime import timedelta
from typing import Final

from manager.service.work import Office, Work
from manager.store.mail import APP_ID
from manager.store.records import Letter, SessionRecord
from shared.envelope import (
    Addressing,
    Clear,
    KemSeal,
    SessionSeal,
    seal,
)
from shared.errors import ErrorCode
from shared.messages import ErrorNotice, Structure, type_of
from shared.names import (
    ENROL_PREFIX,
    MANAGER,
    JobId,
    MessageId,
    Principal,
    SessionId,
    TokenId,
)
from shared.protocol.machine import Send
from shared.topology import (
    MANAGER_USER,
    PARTICIPANTS_EXCHANGE,
    enrolment_queue,
    inbox,
)
from shared.transport.base import Outgoing

LIFETIME: Final = timedelta(seconds=60)
DESCRIPTOR_LIFETIME: Final = timedelta(hours=24)
"""As long as an inbox keeps anything."""
ERROR_LIFETIME: Final = timedelta(seconds=30)
REFUSAL_PAUSE: Final = timedelta(seconds=10)
"""One error a peer without a session in so long."""
MAX_REFUSED: Final = 10_000
_MILLISECOND: Final = timedelta(milliseconds=1)
_NONCE_BYTES: Final = 24
_MID_BYTES: Final = 16


class Postman:
    """Sends for the manager; what it makes is in the outbox before it is sent.

    Args:
        office: keys and sessions.
    """

    def __init__(self, office: Office) -> None:
        self._office = office
        self._refused: OrderedDict[str, int] = OrderedDict()

    def send(self, work: Work, wish: Send) -> None:
        """Seal a message in the recipient's live session.

        Without one it is dropped: what is open is sent again in the next session.
        """
        session = self._office.memory.live_session(wish.recipient)
        if session is None:
            work.counts["sent_to_nobody"] += 1
            return
        self.send_in(work, session, wish.message, wish.re)

    def send_in(
        self,
        work: Work,
        session: SessionRecord,
        message: Structure,
        re: MessageId | None,
    ) -> None:
        """Seal a message in this very session."""
        memory = self._office.memory
        number = session.out_seq + 1
        memory.put_session(replace(session, out_seq=number))
        role = memory.principals[session.principal].role
        self._post(
            work,
            message,
            session.principal,
            inbox(session.principal, role).name,
            SessionSeal(
                SessionId(session.sid),
                number,
                memory.down_key(session.sid),
                self._office.entropy(_NONCE_BYTES),
            ),
            re,
        )

    def answer_enrolment(
        self,
        work: Work,
        token_id: TokenId,
        kem_pk: bytes,
        message: Structure,
        re: MessageId,
        after_task: int | None,
    ) -> None:
        """Seal a message to a key that enrols; it waits for a task at the broker."""
        self._post(
            work,
            message,
            f"{ENROL_PREFIX}{token_id.hex()}",
            enrolment_queue(token_id).name,
            KemSeal(kem_pk),
            re,
            after_task,
        )

    def answer_login(
        self, work: Work, principal: Principal, message: Structure, re: MessageId
    ) -> None:
        """Seal a message to a principal's certified key."""
        record = self._office.memory.principals[principal]
        queue = inbox(principal, record.role).name
        self._post(work, message, principal, queue, KemSeal(record.kem_pk), re)

    def refuse(
        self,
        work: Work,
        sender: str,
        code: ErrorCode,
        re: MessageId,
        now: int | None = None,
        *,
        with_realm: bool = False,
    ) -> None:
        """Tell a sender without a session a code, at most once in ten seconds.

        Args:
            work: of this transaction.
            sender: proven, or at least vouched for by the broker.
            code: what it is told.
            re: the mid that is answered.
            now: the manager's time, where it helps.
            with_realm: send a registered sender the realm's descriptor first.
        """
        queue = self._queue_of(sender)
        if queue is None or not self._may_refuse(sender, work.context.now_ms):
            return
        if with_realm and sender in self._office.memory.principals:
            self.describe_realm_to(work, Principal(sender))
        notice = ErrorNotice(code=code, re=re, now=now)
        self._post(work, notice, sender, queue, Clear(), re)

    def describe_realm(self, work: Work, token_id: TokenId, until: int) -> None:
        """Send the realm's descriptor to whoever enrols, good until then (ms)."""
        self._post(
            work,
            self._office.descriptor,
            f"{ENROL_PREFIX}{token_id.hex()}",
            enrolment_queue(token_id).name,
            Clear(),
            None,
            lifetime=until - work.context.now_ms,
        )

    def describe_realm_to(self, work: Work, principal: Principal) -> None:
        """Send the realm's descriptor to somebody who is registered."""
        role = self._office.memory.principals[principal].role
        self._post(
            work,
            self._office.descriptor,
            principal,
            inbox(principal, role).name,
            Clear(),
            None,
            lifetime=DESCRIPTOR_LIFETIME // _MILLISECOND,
        )

    def _queue_of(self, sender: str) -> str | None:
        record = self._office.memory.principals.get(Principal(sender))
        if record is not None:
            return inbox(record.principal, record.role).name
        if sender.startswith(ENROL_PREFIX):
            token_id = TokenId(bytes.fromhex(sender.removeprefix(ENROL_PREFIX)))
            return enrolment_queue(token_id).name
        return None

    def _may_refuse(self, sender: str, now: int) -> bool:
        last = self._refused.get(sender)
        if last is not None and now - last < REFUSAL_PAUSE // _MILLISECOND:
            return False
        self._refused[sender] = now
        self._refused.move_to_end(sender)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        return True

    def _post(
        self,
        work: Work,
        message: Structure,
        recipient: str,
        queue: str,
        protection: SessionSeal | KemSeal | Clear,
        re: MessageId | None,
        after_task: int | None = None,
        lifetime: int | None = None,
    ) -> None:
        office, now = self._office, work.context.now_ms
        if isinstance(message, ErrorNotice):
            work.errors[message.code] += 1
        job = getattr(message, "job", None)
        job = JobId(job) if isinstance(job, bytes) else None
        if lifetime is None:
            lifetime = self._lifetime(message, job, now)
        mid = MessageId(office.entropy(_MID_BYTES))
        body = seal(
            message,
            Addressing(MANAGER, recipient, mid, now, lifetime, job, re),
            protection,
            office.keys.signer,
            office.keys.fingerprint,
        )
        outgoing = Outgoing(
            exchange=PARTICIPANTS_EXCHANGE,
            routing_key=queue,
            body=body,
            message_id=mid.hex(),
            type=type_of(message),
            correlation_id=job.hex() if job else None,
            expiration_ms=lifetime,
            timestamp=now // 1000,
            user_id=MANAGER_USER,
            app_id=APP_ID,
        )
        is_registered = recipient in office.memory.principals
        work.letters.append(
            Letter(
                outgoing,
                now + lifetime,
                work.answering,
                Principal(recipient) if is_registered else None,
                after_task,
            )
        )

    def _lifetime(self, message: Structure, job: JobId | None, now: int) -> int:
        if isinstance(message, ErrorNotice):
            return ERROR_LIFETIME // _MILLISECOND
        least = LIFETIME // _MILLISECOND
        state = self._office.memory.jobs.get(job) if job else None
        return max(least, state.deadline - now) if state else least
