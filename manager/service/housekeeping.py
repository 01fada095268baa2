"""What happens without a message: timers, ends, commands, a new session key."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, assert_never

from manager.protocol.as_exchange import HALF_OPEN_LIFE
from manager.protocol.model import CancelledByOperator, PartyGone
from manager.protocol.presence import SILENCE, SessionEnded
from manager.protocol.registration import TokenRevoked, TokenStage
from manager.realm.founding import descriptor_of_unit, epoch_of
from manager.realm.keys import ManagerKeys, slot_of
from manager.realm.rotation import (
    SESSION_SLOT,
    forget_handed_over,
    has_newer_keys,
    newest_keys,
)
from manager.service.entrance import TOKEN_TIMERS, Entrance
from manager.service.job_desk import JOB_TIMERS, JobDesk
from manager.service.postman import Postman
from manager.service.work import Office, Work
from manager.store.records import CommandKind, SessionStanding, Standing, TimerRecord
from manager.store.store import Store
from shared.messages import JobStage
from shared.names import JobId, Principal, TokenId
from shared.protocol.machine import TimerFired

DESCRIBED: Final = "described_epoch"
"""The store's fact that says which epoch of the realm everybody was told of."""
ENROLLING: Final = frozenset({TokenStage.NEW, TokenStage.CLAIMED})
SUPERSEDED_KEPT: Final = timedelta(seconds=60)
MAX_TIMERS: Final = 200
"""Most timers that one transaction fires."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_NONCE_BYTES: Final = 24

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often things are looked after; ``silence`` makes a principal offline."""

    poll: timedelta = timedelta(milliseconds=250)
    consumers: timedelta = timedelta(seconds=1)
    cleaning: timedelta = timedelta(seconds=30)
    silence: timedelta = SILENCE


class Housekeeper:
    """Everything that is due.

    Args:
        office: keys and memory.
        postman: sends descriptors.
        entrance: for tokens.
        desk: for jobs and presence.
        rounds: how often.
    """

    def __init__(
        self,
        office: Office,
        postman: Postman,
        entrance: Entrance,
        desk: JobDesk,
        rounds: Rounds,
    ) -> None:
        self._office = office
        self._postman = postman
        self._entrance = entrance
        self._desk = desk
        self._rounds = rounds
        self._cleaned = 0
        self._described = 0

    def tick(self, work: Work) -> None:
        """Do what is due now."""
        # First: who hears of new keys too late drops what is signed with them.
        self._describe_realm(work)
        for kind, argument in work.unit.orders.take_commands():
            self._obey(work, kind, argument)
        for timer in work.unit.mail.due_timers(work.context.now_ms, MAX_TIMERS):
            self._fire(work, timer)
        self._end_sessions(work)
        self._notice_silence(work)
        self._desk.settle(work)
        now = work.context.now_ms
        if now - self._cleaned >= self._rounds.cleaning // _MILLISECOND:
            self._cleaned = now
            work.unit.mail.forget(now)
            work.unit.sessions.forget_nonces(now)
            work.unit.jobs.forget_ticket_keys(now)
            forget_handed_over(work.unit, now)

    def gone(self, work: Work, principal: Principal) -> None:
        """Note that the broker has nobody at a principal's inbox."""
        self._desk.presence_event(work, principal, PartyGone(principal))
        self._desk.settle(work)

    def awaited(self) -> list[Principal]:
        """Return who is asked and has not answered: worth a look at its inbox."""
        return sorted(
            {
                party.p
                for state in self._office.memory.jobs.values()
                if state.stage is JobStage.OFFERED
                for party in state.parties
                if not party.has_accepted
            }
        )

    def _describe_realm(self, work: Work) -> None:
        """Send a new descriptor of the realm to everybody, once."""
        epoch = epoch_of(self._office.descriptor)
        if self._described == epoch:
            return
        # Of the first epoch everybody hears at registration.
        if int(work.unit.journal.fact(DESCRIBED) or 1) >= epoch:
            self._described = epoch
            return
        for principal, record in self._office.memory.principals.items():
            if record.standing is not Standing.REVOKED:
                self._postman.describe_realm_to(work, principal)
        for token, _ in work.unit.people.tokens():
            if token.stage in ENROLLING and token.expires > work.context.now_ms:
                self._postman.describe_realm(work, token.token_id, token.expires)
        work.unit.journal.set_fact(DESCRIBED, str(epoch).encode())
        work.note("realm described", "manager", str(epoch))

    def _obey(self, work: Work, kind: CommandKind, argument: bytes) -> None:
        _log.info("operator's command", extra={"command": kind.value})
        work.note("command", argument.hex(), kind.value)
        match kind:
            case CommandKind.REVOKE_TOKEN:
                token = work.unit.people.token(TokenId(argument))
                self._entrance.token_event(work, token, TokenRevoked())
            case CommandKind.REVOKE_PARTICIPANT:
                principal = Principal(argument.decode())
                if self._entrance.revoke(work, principal):
                    self._desk.revoke(work, principal)
            case CommandKind.CANCEL_JOB:
                self._desk.job_event(work, JobId(argument), CancelledByOperator())
            case CommandKind.DESCRIBE_REALM:
                token = work.unit.people.token(TokenId(argument))
                if token is not None and token.expires > work.context.now_ms:
                    self._postman.describe_realm(work, token.token_id, token.expires)
            case _:
                assert_never(kind)

    def _fire(self, work: Work, timer: TimerRecord) -> None:
        work.unit.mail.cancel_timer(timer.machine, timer.key, timer.name)
        event = TimerFired(timer.name)
        if timer.machine == JOB_TIMERS:
            self._desk.job_event(work, JobId(timer.key), event)
            self._desk.settle(work)
        elif timer.machine == TOKEN_TIMERS:
            token = work.unit.people.token(TokenId(timer.key))
            self._entrance.token_event(work, token, event)

    def _end_sessions(self, work: Work) -> None:
        memory, now = self._office.memory, work.context.now_ms
        half_open = now - HALF_OPEN_LIFE // _MILLISECOND
        superseded = now - SUPERSEDED_KEPT // _MILLISECOND
        over = []
        for session in list(memory.sessions.values()):
            standing, ended = session.standing, session.ended or 0
            if standing is SessionStanding.LIVE and session.exp <= now:
                event = SessionEnded(session.sid)
                self._desk.presence_event(work, session.principal, event)
                over.append(session.sid)
            elif (
                (standing is SessionStanding.HALF_OPEN and session.created < half_open)
                or (standing is SessionStanding.SUPERSEDED and ended < superseded)
                or standing is SessionStanding.ENDED
            ):
                over.append(session.sid)
        if over:
            for sid in over:
                memory.end_session(sid, SessionStanding.ENDED, now)
                memory.erase_session(sid)
            work.unit.sessions.erase(over)

    def _notice_silence(self, work: Work) -> None:
        latest = work.context.now_ms - self._rounds.silence // _MILLISECOND
        for presence in list(self._office.memory.presences.values()):
            if presence.is_online and presence.seen < latest:
                event = TimerFired("silence")
                self._desk.presence_event(work, presence.principal, event)


def take_new_keys(
    office: Office, store: Store, save: Callable[[ManagerKeys], None]
) -> None:
    """Go over to the newest keys, if somebody has rotated them.

    Raises:
        ConfigError: they cannot be had.
    """
    with store.reading() as unit:
        if not has_newer_keys(unit, office.keys):
            return
        keys, descriptor = newest_keys(unit, office.keys), descriptor_of_unit(unit)
    save(keys)
    office.keys, office.descriptor = keys, descriptor
    _log.info("new keys in use", extra={"epoch": epoch_of(descriptor)})


def turn_session_key(
    office: Office,
    store: Store,
    now_ms: int,
    save: Callable[[ManagerKeys], None],
) -> None:
    """Go over to the session key of this time, if it is another one.

    The old key is in the key file until nothing in the store is wrapped under it,
    so a crash at any point loses no session.
    """
    keys = office.keys.without_ended(now_ms)
    if keys is not office.keys:
        office.keys = keys
        save(keys)
        _log.info("former keys erased")
    slot = slot_of(now_ms)
    # Another manager, whose clock is ahead, may have turned it already: never back.
    if slot > office.keys.slot:
        office.keys = office.keys.advanced(slot)
        save(office.keys)
    if len(office.keys.session_keys) > 1 and _rewrap(office, store):
        office.keys = office.keys.without_old()
        save(office.keys)
        _log.info("session key turned", extra={"slot": office.keys.slot})


def _rewrap(office: Office, store: Store) -> bool:
    """Wrap every session and ticket key under the newest session key.

    Return whether that was done: keys that came meanwhile may bring another one.
    """
    keys, memory = office.keys, office.memory
    with store.transaction() as unit:
        if has_newer_keys(unit, keys):
            return False
        for session in list(memory.sessions.values()):
            material = memory.session_keys(session.sid)
            if material is not None:
                nonce = office.entropy(_NONCE_BYTES)
                wrapped = keys.wrap_session(session.sid, material, nonce)
                memory.put_session(replace(session, slot=keys.slot, wrapped=wrapped))
        memory.flush(unit)
        rewrapped = []
        for kept in unit.jobs.ticket_keys_not_in(keys.slot):
            name = (kept.job, kept.epoch, kept.server)
            key = keys.unwrap_ticket_key(kept.slot, name, kept.wrapped)
            wrapped = keys.wrap_ticket_key(name, key, office.entropy(_NONCE_BYTES))
            rewrapped.append(replace(kept, slot=keys.slot, wrapped=wrapped))
        unit.jobs.save_ticket_keys(rewrapped)
        unit.journal.set_fact(SESSION_SLOT, str(keys.slot).encode())
    return True
