"""Who is online, as selection sees it; made from the manager's memory."""

from collections.abc import Mapping

from manager.protocol.model import Member
from manager.protocol.presence import Presence
from manager.store.records import PrincipalRecord, SessionRecord, SessionStanding
from shared.names import Duty, Principal, Role, SessionId


class OnlinePool:
    """A ``Pool`` over principals, sessions and presence; one snapshot a step.

    Args:
        principals: everybody registered.
        sessions: every session.
        presences: what everybody last said of itself.
        reserved: slots that jobs hold or are offered, by MPC server.
        given_back: slots that jobs gave back since a server's last status.
    """

    def __init__(
        self,
        principals: Mapping[Principal, PrincipalRecord],
        sessions: Mapping[SessionId, SessionRecord],
        presences: Mapping[Principal, Presence],
        reserved: Mapping[Principal, int],
        given_back: Mapping[Principal, int],
    ) -> None:
        self._principals = principals
        self._sessions = sessions
        self._presences = presences
        self._reserved = reserved
        self._given_back = given_back

    def servers(self) -> list[Member]:
        """Return the online MPC servers."""
        return [member for member in self._members() if member.role is Role.MPCS]

    def sources(self, dataset: str) -> list[Member]:
        """Return the online clients that may give input and offer this dataset."""
        return [
            member
            for member in self._members()
            if Duty.INPUT in member.duties
            and any(notice.name == dataset for notice in member.datasets)
        ]

    def member(self, principal: Principal) -> Member | None:
        """Return one online principal, or none."""
        presence = self._presences.get(principal)
        return None if presence is None else self._member(presence)

    def _members(self) -> list[Member]:
        found = (self._member(presence) for presence in self._presences.values())
        return sorted(
            (member for member in found if member is not None),
            key=lambda member: member.principal,
        )

    def _member(self, presence: Presence) -> Member | None:
        record = self._principals.get(presence.principal)
        if record is None or not presence.is_online or presence.sid is None:
            return None
        session = self._sessions.get(presence.sid)
        if session is None or session.standing is not SessionStanding.LIVE:
            return None
        # A status may be older or newer than the end of a job: trust neither it
        # nor the manager's own books for more than both allow.
        said = presence.slots_free + self._given_back.get(presence.principal, 0)
        booked = presence.slots - self._reserved.get(presence.principal, 0)
        return Member(
            principal=record.principal,
            role=record.role,
            io=record.io,
            attributes=record.attributes,
            cert=record.cert,
            sid=session.sid,
            endorse=session.endorse,
            endorse_sig=session.endorse_sig,
            endorse_exp=session.endorse_exp,
            spki=session.spki,
            slots=presence.slots,
            slots_free=max(0, min(said, booked)),
            load=presence.load,
            datasets=presence.datasets,
        )
