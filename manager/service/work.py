"""One transaction's work, and what every part of the running manager shares."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from manager.protocol.credentials import Issuer
from manager.protocol.job_state import JobSettings, JobState
from manager.protocol.model import PartyBack, PartyGone, PartyRevoked, SlotFreed
from manager.realm.keys import ManagerKeys
from manager.service.memory import Memory
from manager.store.people import SERIALS
from manager.store.records import AuditRecord, Letter
from manager.store.store import Unit
from shared.errors import ErrorCode
from shared.messages import RealmDescriptor
from shared.names import MessageId
from shared.protocol.machine import Context


@dataclass(slots=True)
class Office:
    """What lasts longer than a transaction; ``keys`` change twice a day."""

    keys: ManagerKeys
    descriptor: RealmDescriptor
    settings: JobSettings
    entropy: Callable[[int], bytes]
    memory: Memory = field(default_factory=Memory)


@dataclass(slots=True)
class Work:
    """What one transaction has done so far.

    ``letters``: to be kept and published. ``answering``: sender and mid of the
    envelope at hand. ``pending``: events for jobs, in order. ``moved``: each job before
    (``None`` for a new one) and after a step that changed it. ``errors``: what
    participants are told.
    """

    unit: Unit
    context: Context
    letters: list[Letter] = field(default_factory=list)
    answering: tuple[str, MessageId] | None = None
    pending: deque[PartyGone | PartyBack | PartyRevoked | SlotFreed] = field(
        default_factory=deque
    )
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[ErrorCode] = field(default_factory=Counter)
    moved: list[tuple[JobState | None, JobState]] = field(default_factory=list)

    def note(self, event: str, subject: str, detail: str = "") -> None:
        """Add a line to the audit trail."""
        self.unit.journal.add_audit(
            AuditRecord(self.context.now_ms, event, subject, detail)
        )


def issuer_of(office: Office, work: Work) -> Issuer:
    """Return what certificates are signed with now."""
    return Issuer(
        office.keys.fingerprint,
        office.keys.signer,
        office.keys.ends,
        work.unit.people.next_number(SERIALS),
    )
