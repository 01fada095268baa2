"""No order of messages breaks the AP exchange, and no rule of it is superfluous."""

import pytest

from tests.models.ap_exchange import (
    Goal,
    Mutant,
    Search,
    finished,
    finished_by_a_later_try,
    violation,
)

pytestmark = pytest.mark.slow


def test_no_order_of_messages_breaks_a_property() -> None:
    """Everything that the attacker can do within the bound was looked at."""
    search = Search(Mutant.NONE, violation)

    assert search.run() is None
    assert len(search.seen) > 20_000


@pytest.mark.parametrize("goal", [finished, finished_by_a_later_try])
def test_an_honest_run_comes_to_its_end(goal: Goal) -> None:
    """A protocol in which nothing happens breaks no property either."""
    assert Search(Mutant.NONE, goal).run() is not None


@pytest.mark.parametrize("mutant", [m for m in Mutant if m is not Mutant.NONE])
def test_every_rule_is_needed(mutant: Mutant) -> None:
    """A check that finds nothing in a weakened protocol would show nothing."""
    assert Search(mutant, violation).run() is not None
