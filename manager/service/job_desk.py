"""Carries out what the job and presence machines wish."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from itertools import takewhile
from typing import Final, assert_never

from manager.protocol import job, job_request, presence, tickets
from manager.protocol.job_state import JobState, reservations, summary
from manager.protocol.model import (
    Collect,
    JobEffect,
    JobEvent,
    MarkOffline,
    PartyBack,
    PartyGone,
    PartyRevoked,
    SlotFreed,
    Start,
)
from manager.protocol.presence import PresenceEffect, PresenceEvent
from manager.service.postman import Postman
from manager.service.work import Office, Work
from manager.store.people import JOB_NUMBERS
from manager.store.records import SessionStanding, TicketKey, TimerRecord
from shared.clock import to_ms
from shared.messages import JobQuery, JobRequest, JobStage, Revoked, Status
from shared.messages import JobState as JobStateNotice
from shared.names import JobId, Principal, display_number
from shared.protocol.machine import (
    CancelTimer,
    Received,
    Send,
    SetTimer,
    TimerFired,
)

JOB_TIMERS: Final = "job"
MAX_LISTED: Final = 100
"""Most jobs that a consumer or a party with a new session is told of at once."""
MAX_LOOKED_AT: Final = 500
"""Closed jobs that are searched for those of a party with a new session."""
_NONCE_BYTES: Final = 24
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = logging.getLogger(__name__)


class JobDesk:
    """Where jobs are kept going.

    Args:
        office: keys and memory.
        postman: sends what the machines wish.
    """

    def __init__(self, office: Office, postman: Postman) -> None:
        self._office = office
        self._postman = postman

    def receive(self, work: Work, received: Received) -> None:
        """Handle a message about a job; its sender may send this type."""
        settings = self._office.settings
        number = job_request.job_of(received, settings.fingerprint)
        if isinstance(received.message, JobQuery) and number is None:
            self._list(work, received)
            return
        state = None if number is None else self._office.memory.job(number, work.unit)
        if state is not None:
            self._step(work, state, received)
        elif isinstance(received.message, JobRequest):
            self._request(work, received)
        else:
            self._postman.send(work, job.forbidden(received))

    def job_event(self, work: Work, number: JobId, event: JobEvent) -> None:
        """Give an event to one job; harmless if there is none such."""
        state = self._office.memory.job(number, work.unit)
        if state is not None:
            self._step(work, state, event)

    def presence_event(
        self, work: Work, principal: Principal, event: PresenceEvent
    ) -> None:
        """Give an event to a principal's presence, and to jobs what follows."""
        memory = self._office.memory
        before = memory.presence(principal)
        after = presence.step(before, event, work.context)
        if isinstance(event, Received) and isinstance(event.message, Status):
            memory.slots_given_back.pop(principal, None)
        if after.state != before:
            memory.put_presence(after.state)
        if after.state.is_online != before.is_online:
            _log.info(
                "participant online"
                if after.state.is_online
                else "participant offline",
                extra={"principal": principal},
            )
        for effect in after.effects:
            self._follow(work, principal, effect)

    def _follow(self, work: Work, principal: Principal, effect: PresenceEffect) -> None:
        """Carry out what the presence machine wishes."""
        memory, now = self._office.memory, work.context.now_ms
        match effect:
            case presence.Adopt(sid=sid):
                # What is still under way in an older one must not bring it back.
                for older in takewhile(sid.__ne__, memory.half_open(principal)):
                    memory.end_session(older, SessionStanding.SUPERSEDED, now)
                memory.adopt_session(sid)
            case presence.Supersede(sid=sid):
                memory.end_session(sid, SessionStanding.SUPERSEDED, now)
            case presence.Close(sid=sid):
                memory.end_session(sid, SessionStanding.ENDED, now)
            case presence.Tell(event=told):
                if isinstance(told, PartyBack) and memory.revocations:
                    self._tell_revoked(work, told.principal)
                work.pending.append(told)
            case _:
                assert_never(effect)

    def revoke(self, work: Work, principal: Principal) -> None:
        """Take a principal out of every session and job, and tell all others."""
        memory, now = self._office.memory, work.context.now_ms
        work.pending.append(PartyRevoked(principal))  # before it counts as lost
        live = memory.presence(principal).sid
        for session in list(memory.sessions.values()):
            if session.principal == principal:
                memory.end_session(session.sid, SessionStanding.ENDED, now)
        if live is not None:
            self.presence_event(work, principal, presence.SessionEnded(live))
        for other in list(memory.presences):
            if memory.live_session(other) is not None:
                self._tell_revoked(work, other)
        self.settle(work)

    def _tell_revoked(self, work: Work, recipient: Principal) -> None:
        memory = self._office.memory
        notice = Revoked(
            revocations=memory.revocations,
            principals=memory.revoked(work.context.now_ms),
        )
        self._postman.send(work, Send(recipient, notice))

    def settle(self, work: Work) -> None:
        """Give jobs every event that is pending, until there is none."""
        while work.pending:
            event = work.pending.popleft()
            for state in self._concerned(work, event):
                # An event before may have changed or ended it.
                latest = self._office.memory.job(state.job, work.unit)
                if latest is not None:
                    self._step(work, latest, event)

    def _concerned(
        self, work: Work, event: PartyGone | PartyBack | PartyRevoked | SlotFreed
    ) -> list[JobState]:
        """Return the jobs that an event is about, in the order of request."""
        jobs = sorted(self._office.memory.jobs.values(), key=lambda each: each.number)
        match event:
            case PartyGone(principal=principal):
                return [each for each in jobs if each.find(principal) is not None]
            case PartyRevoked(principal=principal):
                return [
                    each
                    for each in jobs
                    if each.consumer == principal or each.find(principal) is not None
                ]
            case PartyBack(principal=principal):
                since = to_ms(work.context.now - job.CLOSED_REPEATED)
                # One may have ended in this very transaction.
                self._office.memory.flush_jobs(work.unit)
                closed = work.unit.jobs.closed_since(since, MAX_LOOKED_AT)
                told = [each for each in closed if each.knows(principal)]
                mine = [each for each in jobs if each.knows(principal)]
                return [*mine, *reversed(told[:MAX_LISTED])]
            case SlotFreed():
                return [each for each in jobs if each.stage is JobStage.REQUESTED]
            case _:
                assert_never(event)

    def _list(self, work: Work, received: Received) -> None:
        self._office.memory.flush_jobs(work.unit)
        jobs = work.unit.jobs.latest(MAX_LISTED, received.sender)
        notice = JobStateNotice(jobs=tuple(summary(each) for each in jobs))
        self._postman.send(work, Send(received.sender, notice, received.mid))

    def _request(self, work: Work, received: Received) -> None:
        people = work.unit.people
        after = job_request.request(
            received,
            people.next_number(JOB_NUMBERS),
            work.context,
            self._office.memory.pool(),
            self._office.settings,
            self._office.memory.open_jobs(received.sender),
        )
        state = after.state
        if state is not None:
            people.take_number(JOB_NUMBERS)
            self._office.memory.put_job(state)
            work.moved.append((None, state))
            self._tell_story(None, state)
            work.note("job requested", state.job.hex(), received.sender)
        self._apply(work, state, after.effects)

    def _step(self, work: Work, state: JobState, event: JobEvent) -> None:
        after = job.step(
            state,
            event,
            work.context,
            self._office.memory.pool(),
            self._office.settings,
        )
        if after.state != state:
            self._office.memory.put_job(after.state)
            self._give_back(work, state, after.state)
            work.moved.append((state, after.state))
            self._tell_story(state, after.state)
        self._apply(work, after.state, after.effects)

    def _give_back(self, work: Work, before: JobState, after: JobState) -> None:
        """Note the slots that a job no longer holds; waiting jobs may try."""
        released = reservations([before]) - reservations([after])
        if released:
            self._office.memory.slots_given_back.update(released)
            work.pending.append(SlotFreed())

    def _tell_story(self, before: JobState | None, after: JobState) -> None:
        if before is not None and before.stage is after.stage:
            return
        _log.info(
            "job moved on",
            extra={
                "job_id": after.job.hex(),
                "number": display_number(after.number),
                "stage": after.stage.value,
                "outcome": after.outcome,
                "code": after.code,
                "party": after.party,
                "reason": after.reason,
            },
        )

    def _apply(
        self, work: Work, state: JobState | None, effects: Iterable[JobEffect]
    ) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._postman.send(work, effect)
            elif isinstance(effect, MarkOffline):
                self.presence_event(work, effect.principal, presence.NotAnswering())
            elif state is not None:
                self._carry_out(work, state, effect)

    def _carry_out(
        self,
        work: Work,
        state: JobState,
        effect: SetTimer | CancelTimer | Start | Collect,
    ) -> None:
        mail = work.unit.mail
        match effect:
            case SetTimer(name=name, due=due):
                mail.set_timer(TimerRecord(JOB_TIMERS, state.job, name, to_ms(due)))
            case CancelTimer(name=name):
                mail.cancel_timer(JOB_TIMERS, state.job, name)
            case Start(recipients=recipients):
                self._start(work, state, recipients)
            case Collect(request=request):
                sends = tickets.collect_messages(
                    state,
                    request,
                    self._office.memory.pool(),
                    self._office.keys.fingerprint,
                    work.context,
                    self._ticket_keys(work, state),
                )
                for send in sends:
                    self._postman.send(work, send)
            case _:
                assert_never(effect)

    def _start(
        self, work: Work, state: JobState, recipients: tuple[Principal, ...]
    ) -> None:
        keys = self._ticket_keys(work, state)
        issued = tickets.start_messages(
            state,
            recipients,
            self._office.keys.signer,
            self._office.keys.fingerprint,
            work.context,
            self._office.memory.revocations,
            keys or None,
        )
        if not keys:
            self._keep_ticket_keys(work, state, issued)
        for send in issued.sends:
            self._postman.send(work, send)

    def _keep_ticket_keys(
        self, work: Work, state: JobState, issued: tickets.Issued
    ) -> None:
        keys = self._office.keys
        work.unit.jobs.save_ticket_keys(
            TicketKey(
                state.job,
                state.epoch,
                server,
                keys.slot,
                keys.wrap_ticket_key(
                    (state.job, state.epoch, server),
                    key,
                    self._office.entropy(_NONCE_BYTES),
                ),
                state.result_exp,
            )
            for server, key in issued.ticket_keys.items()
        )

    def _ticket_keys(self, work: Work, state: JobState) -> dict[Principal, bytes]:
        return {
            kept.server: self._office.keys.unwrap_ticket_key(
                kept.slot, (kept.job, kept.epoch, kept.server), kept.wrapped
            )
            for kept in work.unit.jobs.ticket_keys(state.job, state.epoch)
        }


def timer_event(timer: TimerRecord) -> tuple[JobId, TimerFired]:
    """Return which job a timer is of, and the event that it is for it."""
    return JobId(timer.key), TimerFired(timer.name)
