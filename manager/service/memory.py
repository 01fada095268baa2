"""What the running manager has at hand: a mirror of the store.

It is loaded once, changed inside transactions and written at the end of each. If
a transaction fails the mirror is loaded anew.
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Final

from manager.protocol.job_state import JobState, reservations
from manager.protocol.presence import Presence
from manager.realm.keys import ManagerKeys
from manager.service.pool import OnlinePool
from manager.store.records import (
    PrincipalRecord,
    SessionRecord,
    SessionStanding,
    Standing,
)
from manager.store.store import Unit
from shared.crypto.keys import KEY_BYTES
from shared.messages.authentication import MAX_REVOKED
from shared.names import JobId, Principal, SessionId

IN_USE = frozenset({SessionStanding.HALF_OPEN, SessionStanding.LIVE})
"""Standings of sessions in which the manager handles messages."""

SEEN_SAVED: Final = timedelta(seconds=15)
"""How old the stored time of a principal's last envelope may be."""


class Memory:
    """Principals, sessions with their keys, presence and open jobs."""

    def __init__(self) -> None:
        self.principals: dict[Principal, PrincipalRecord] = {}
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.presences: dict[Principal, Presence] = {}
        self.jobs: dict[JobId, JobState] = {}
        self.slots_given_back: Counter[Principal] = Counter()
        """Slots that jobs gave back since a server's last status."""
        self._keys: dict[SessionId, bytes] = {}
        self._half_open: dict[Principal, list[SessionId]] = {}
        self._saved_seen: dict[Principal, int] = {}
        self._changed_sessions: set[SessionId] = set()
        self._changed_presences: set[Principal] = set()
        self._changed_jobs: dict[JobId, JobState] = {}

    def load(self, unit: Unit, keys: ManagerKeys) -> None:
        """Read everything from the store."""
        self.__init__()  # type: ignore[misc]  # begins anew, whatever it held
        self.principals = {each.principal: each for each in unit.people.principals()}
        for session in unit.sessions.all():
            self.sessions[session.sid] = session
            if session.standing is SessionStanding.HALF_OPEN:
                self._half_open.setdefault(session.principal, []).append(session.sid)
            if session.standing is not SessionStanding.ENDED:
                self._keys[session.sid] = keys.unwrap_session(
                    session.slot, session.sid, session.wrapped
                )
        self.presences = {each.principal: each for each in unit.sessions.presences()}
        self.jobs = {each.job: each for each in unit.jobs.open()}

    def flush(self, unit: Unit) -> None:
        """Write what changed since the last time."""
        unit.sessions.save(
            self.sessions[sid] for sid in self._changed_sessions if sid in self.sessions
        )
        for principal in self._changed_presences:
            unit.sessions.save_presence(self.presences[principal])
        self.flush_jobs(unit)
        self._changed_sessions.clear()
        self._changed_presences.clear()

    def flush_jobs(self, unit: Unit) -> None:
        """Write the jobs that changed; who reads jobs from the store needs them."""
        for state in self._changed_jobs.values():
            unit.jobs.save(state)
        self._changed_jobs.clear()

    def add_session(self, session: SessionRecord, up: bytes, down: bytes) -> None:
        """Remember a new, half-open session; the caller keeps it in the store."""
        self.sessions[session.sid] = session
        self._keys[session.sid] = up + down
        self._half_open.setdefault(session.principal, []).append(session.sid)

    def put_session(self, session: SessionRecord) -> None:
        """Change a session."""
        before = self.sessions[session.sid]
        self.sessions[session.sid] = session
        self._changed_sessions.add(session.sid)
        if (
            before.standing is SessionStanding.HALF_OPEN
            and session.standing is not SessionStanding.HALF_OPEN
        ):
            self._half_open[session.principal].remove(session.sid)
        if session.standing is SessionStanding.ENDED:
            self._keys.pop(session.sid, None)

    def adopt_session(self, sid: SessionId) -> None:
        """Bring a half-open session into use."""
        self.put_session(replace(self.sessions[sid], standing=SessionStanding.LIVE))

    def end_session(self, sid: SessionId, standing: SessionStanding, now: int) -> None:
        """Take a session out of use; harmless where there is none."""
        session = self.sessions.get(sid)
        if session is not None and session.standing is not SessionStanding.ENDED:
            self.put_session(replace(session, standing=standing, ended=now))

    def erase_session(self, sid: SessionId) -> None:
        """Forget a session; the caller erases it in the store."""
        self.sessions.pop(sid, None)
        self._keys.pop(sid, None)
        self._changed_sessions.discard(sid)

    def up_key(self, sid: SessionId) -> bytes:
        """Return the key of a session's up direction."""
        return self._keys[sid][:KEY_BYTES]

    def down_key(self, sid: SessionId) -> bytes:
        """Return the key of a session's down direction."""
        return self._keys[sid][KEY_BYTES:]

    def session_keys(self, sid: SessionId) -> bytes | None:
        """Return both keys of a session, as they are wrapped, if it has any."""
        return self._keys.get(sid)

    def half_open(self, principal: Principal) -> tuple[SessionId, ...]:
        """Return a principal's sessions that nobody used yet, oldest first."""
        return tuple(self._half_open.get(principal, ()))

    def live_session(self, principal: Principal) -> SessionRecord | None:
        """Return the session in which the manager may send to a principal."""
        presence = self.presences.get(principal)
        if presence is None or presence.sid is None:
            return None
        session = self.sessions.get(presence.sid)
        is_live = session is not None and session.standing is SessionStanding.LIVE
        return session if is_live else None

    def presence(self, principal: Principal) -> Presence:
        """Return what is known of a principal's presence."""
        return self.presences.get(principal) or Presence(principal)

    def put_presence(self, presence: Presence) -> None:
        """Change what is known of a principal's presence."""
        before = self.presences.get(presence.principal)
        self.presences[presence.principal] = presence
        seen = self._saved_seen.get(presence.principal, 0)
        # Every envelope moves ``seen``; that alone is worth a write now and then.
        if (
            before is None
            or presence.seen - seen > SEEN_SAVED // timedelta(milliseconds=1)
            or replace(presence, seen=before.seen) != before
        ):
            self._changed_presences.add(presence.principal)
            self._saved_seen[presence.principal] = presence.seen

    def put_job(self, state: JobState) -> None:
        """Change a job; a closed one is only kept until it is written."""
        self._changed_jobs[state.job] = state
        if state.is_closed:
            self.jobs.pop(state.job, None)
        else:
            self.jobs[state.job] = state

    def job(self, job: JobId, unit: Unit) -> JobState | None:
        """Return a job, open or closed."""
        found = self.jobs.get(job) or self._changed_jobs.get(job)
        return found or unit.jobs.get(job)

    def open_jobs(self, consumer: Principal) -> int:
        """Return how many jobs of a consumer are not closed."""
        return sum(each.consumer == consumer for each in self.jobs.values())

    @property
    def revocations(self) -> int:
        """How many principals were ever revoked."""
        return len(self.all_revoked())

    def revoked(self, now: int) -> tuple[Principal, ...]:
        """Return the revoked ones whose certificate has not ended, the newest last."""
        found = sorted(self.all_revoked(), key=lambda each: each.revoked)
        good = [each.principal for each in found if each.cert_ends > now]
        return tuple(good[-MAX_REVOKED:])

    def all_revoked(self) -> list[PrincipalRecord]:
        """Return everybody who was ever revoked."""
        return [
            each
            for each in self.principals.values()
            if each.standing is Standing.REVOKED
        ]

    def pool(self) -> OnlinePool:
        """Return who is online now, with what jobs have reserved taken off."""
        return OnlinePool(
            self.principals,
            self.sessions,
            self.presences,
            reservations(self.jobs.values()),
            self.slots_given_back,
        )
