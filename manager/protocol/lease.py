"""Which of several managers is active: one lease, counted in epochs, pure.

Every time here is the database's (ms): the clocks of the managers do not matter. The
lease says when another manager *may* take over. That the former one can do no harm
follows from the epoch alone, which every transaction checks.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

LIFE: Final = timedelta(seconds=3)
"""How long the lease of a manager lasts that no longer renews it.

The same for all managers of a realm: another value is a new schema version.
"""
_LIFE_MS: Final = LIFE // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """Who is active. ``epoch`` 0: nobody ever was.

    ``holder``: names a process. ``since``: when it took over. ``expires``: when it
    may be replaced, unless it renews before.
    """

    epoch: int = 0
    holder: str = ""
    since: int = 0
    expires: int = 0


def is_free(lease: Lease, now: int) -> bool:
    """Say whether another manager may take over.

    A lease that ends later than any taken now was taken by a clock that has been set
    back since: who is alive renews it, and nobody waits for that clock to catch up.
    """
    return lease.expires <= now or lease.expires > now + _LIFE_MS


def taken(lease: Lease, holder: str, now: int) -> Lease | None:
    """Return the lease in the hands of another, in a new epoch, if it is free."""
    if not is_free(lease, now):
        return None
    return Lease(lease.epoch + 1, holder, now, now + _LIFE_MS)


def renewed(lease: Lease, now: int) -> Lease:
    """Return the lease with its whole life before it.

    Its holder may renew one that has run out: nobody has taken it.
    """
    return replace(lease, expires=now + _LIFE_MS)


def released(lease: Lease) -> Lease:
    """Return the lease as its holder leaves it: free at once."""
    return replace(lease, expires=0)


def withdrawn(lease: Lease) -> Lease:
    """Return the lease in nobody's hands, in a new epoch: whoever held it is out."""
    return Lease(lease.epoch + 1)
