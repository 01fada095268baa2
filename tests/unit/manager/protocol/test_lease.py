"""The lease: when it is free, and what becomes of it."""

import pytest

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
NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("left", "free"),
    [(-1, True), (0, True), (1, False), (LIFE_MS, False), (LIFE_MS + 1, True)],
)
def test_a_lease_is_free_when_it_has_run_out(left: int, free: bool) -> None:
    """Or when it ends later than it can: the database's clock was set back."""
    lease = Lease(4, "a", NOW, NOW + left)
    after = taken(lease, "b", NOW)

    assert is_free(lease, NOW) is free
    assert after == (Lease(5, "b", NOW, NOW + LIFE_MS) if free else None)


def test_nobody_ever_held_the_first_lease() -> None:
    """A new store is free, and its first turn is epoch 1."""
    assert taken(Lease(), "a", NOW) == Lease(1, "a", NOW, NOW + LIFE_MS)


def test_a_renewed_lease_keeps_its_epoch_and_its_beginning() -> None:
    """Also one that has run out and that nobody has taken."""
    late = renewed(Lease(4, "a", NOW, NOW + 1), NOW + 5000)

    assert late == Lease(4, "a", NOW, NOW + 5000 + LIFE_MS)


def test_a_released_lease_is_free_and_names_who_had_it() -> None:
    """Until somebody takes it the store says who was active."""
    left = released(Lease(4, "a", NOW, NOW + LIFE_MS))

    assert is_free(left, NOW)
    assert (left.epoch, left.holder) == (4, "a")


def test_a_withdrawn_lease_begins_an_epoch_that_is_nobodys() -> None:
    """Whoever held it is fenced out."""
    lease = withdrawn(Lease(4, "a", NOW, NOW + LIFE_MS))

    assert lease == Lease(5)
    assert is_free(lease, NOW)
