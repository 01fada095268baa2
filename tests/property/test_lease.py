"""The lease under any order of events: managers that die, stand still, go on late.

The database takes one transaction at a time and has a clock of its own, which may be
set back. The managers have none: no time of theirs is asked for.
"""

from dataclasses import dataclass, field

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from manager.protocol.lease import (
    LIFE,
    Lease,
    is_free,
    released,
    renewed,
    taken,
    withdrawn,
)

LIFE_MS = int(LIFE.total_seconds() * 1000)
MANAGERS = ("a", "b", "c")
managers = strategies.sampled_from(MANAGERS)


@dataclass
class Database:
    """The lease, what was written under it, and the clock."""

    now: int = 1_000_000
    lease: Lease = field(default_factory=Lease)
    written: list[tuple[int, str]] = field(default_factory=list)


class Managers(RuleBasedStateMachine):
    """Three managers, each with the epoch that it believes to be its own."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.believed: dict[str, int] = {}
        self.renewed_at = 0
        self.was_set_back = False

    @rule(passed=strategies.integers(0, 2 * LIFE_MS))
    def time_passes(self, passed: int) -> None:
        """Nobody does anything for a while."""
        self.database.now += passed

    @rule(back=strategies.integers(1, 1_000_000))
    def the_clock_is_set_back(self, back: int) -> None:
        """Somebody corrects the database's clock."""
        self.database.now = max(1, self.database.now - back)
        self.was_set_back = True

    @rule(name=managers)
    def take(self, name: str) -> None:
        """A manager that waits looks at the lease; one that held it may, too."""
        before, now = self.database.lease, self.database.now
        lease = taken(before, name, now)

        assert (lease is not None) == is_free(before, now)
        if lease is None:
            return
        is_early = now - self.renewed_at < LIFE_MS and before.expires > 0
        assert self.was_set_back or not is_early
        assert lease.epoch > before.epoch
        self._put(lease)
        self.believed[name] = lease.epoch

    @rule(name=managers)
    def renew(self, name: str) -> None:
        """A manager that takes itself for active renews, however late."""
        if self._is_fenced_out(name):
            return
        self._put(renewed(self.database.lease, self.database.now))

    @rule(name=managers)
    def write(self, name: str) -> None:
        """It writes, perhaps after it stood still for long."""
        if not self._is_fenced_out(name):
            self.database.written.append((self.believed[name], name))

    @rule(name=managers)
    def end(self, name: str) -> None:
        """It ends in good order."""
        if not self._is_fenced_out(name):
            self._put(released(self.database.lease))
            self.believed.pop(name)

    @rule(name=managers)
    def die(self, name: str) -> None:
        """It is killed."""
        self.believed.pop(name, None)

    @rule()
    def upgrade(self) -> None:
        """A later release changes the store."""
        self._put(withdrawn(self.database.lease))

    @invariant()
    def one_epoch_is_one_managers(self) -> None:
        """And what is written is in the order of epochs."""
        written = self.database.written
        names = dict(written)

        assert written == sorted(written, key=lambda entry: entry[0])
        assert all(names[epoch] == name for epoch, name in written)

    @invariant()
    def somebody_may_take_over_in_time(self) -> None:
        """Now or one life later, if nobody renews, whatever the clock did."""
        lease, now = self.database.lease, self.database.now

        assert any(is_free(lease, moment) for moment in (now, now + LIFE_MS))

    def _put(self, lease: Lease) -> None:
        self.database.lease = lease
        self.renewed_at = self.database.now
        self.was_set_back = False

    def _is_fenced_out(self, name: str) -> bool:
        return self.believed.get(name) != self.database.lease.epoch


TestManagers = Managers.TestCase
TestManagers.settings = settings(max_examples=100, deadline=None)
