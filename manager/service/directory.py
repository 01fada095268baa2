"""What the manager knows of senders and their keys, for the envelope pipeline."""

import re
from typing import Final

from manager.realm.keys import ManagerKeys
from manager.service.memory import Memory
from manager.store.records import SessionStanding
from manager.store.records import Standing as PrincipalStanding
from shared.crypto.keys import KemKey, kid
from shared.envelope import DroppedError, DropReason, Header
from shared.errors import DecodeError, ErrorCode
from shared.messages import (
    RegistrationRequest,
    Rule,
    Standing,
    read,
)
from shared.names import ENROL_PREFIX, Principal

_ENROLLING: Final = re.compile(re.escape(ENROL_PREFIX) + r"[0-9a-f]{16}")
_REG_REQ: Final = "reg.req"


class ManagerDirectory:
    """The manager's ``Directory``.

    Args:
        memory: principals and sessions.
        keys: the manager's own.
        now_ms: the time of this batch.
    """

    def __init__(self, memory: Memory, keys: ManagerKeys, now_ms: int) -> None:
        self._memory = memory
        self._keys = keys
        self._now = now_ms

    def knows(self, header: Header, rule: Rule) -> bool:
        """Say whether the claimed sender may send this type, session aside."""
        if rule.standing is Standing.ENROLLING:
            return _ENROLLING.fullmatch(header.s) is not None
        record = self._memory.principals.get(Principal(header.s))
        return record is not None and record.standing is not PrincipalStanding.REVOKED

    def session_key(self, header: Header) -> bytes:
        """Return the key under which the sender seals in ``header.sid``.

        That of a superseded session too: its sender is told so.

        Raises:
            DroppedError: there is no such session of this sender.
        """
        session = None if header.sid is None else self._memory.sessions.get(header.sid)
        if (
            session is None
            or session.principal != header.s
            or session.standing is SessionStanding.ENDED
            or session.exp < self._now
        ):
            raise DroppedError(DropReason.SESSION, header, ErrorCode.UNKNOWN_SESSION)
        return self._memory.up_key(session.sid)

    def kem_keys(self) -> tuple[KemKey, ...]:
        """Return the manager's KEM keys in time."""
        return self._keys.kems(self._now)

    def verify_key(self, header: Header, payload: bytes) -> bytes | None:
        """Return the sender's Ed25519 key if ``header.kid`` is its id.

        Somebody who registers proves to have the key that the request brings.
        """
        if header.t == _REG_REQ:
            try:
                message = read(header.t, payload)
            except DecodeError:
                return None
            if not isinstance(message, RegistrationRequest):
                return None
            key = message.sig_pk
        else:
            record = self._memory.principals.get(Principal(header.s))
            if record is None:
                return None
            key = record.sig_pk
        return key if kid(key) == header.kid else None
