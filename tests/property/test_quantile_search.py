"""The search for a quantile, in clear: its choices, and what it opens."""

import itertools
import secrets
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from participant.bounds import INFINITY, MAX_HEIGHT, position
from participant.engines.search_tree import (
    NODE_ELEMENTS,
    Shape,
    search_table,
)

CELLS = st.one_of(
    st.integers(-3, 3), st.integers(-(2**62) + 1, 2**62 - 1), st.just(2**62 - 1)
)
COLUMNS = st.lists(st.lists(CELLS, min_size=1, max_size=40), min_size=1, max_size=4)
QUANTILES = st.one_of(
    st.sampled_from(["0", "1", "0.5", "0.25", "0.999999", "0.000001"]),
    st.integers(0, 1000).map(lambda thousandths: f"{thousandths / 1000:.3f}"),
)


class Walk:
    """A source's tree and where the search is in it."""

    def __init__(self, column: list[int], dummies: int) -> None:
        self.shape = Shape(len(column), dummies)
        self.table = search_table(
            np.array(column, np.int64), dummies, secrets.token_bytes
        ).tolist()
        assert len(self.table) == self.shape.elements
        self.opened: list[int] = []
        self.fresh = iter(self.table[1 : 1 + dummies])
        self.lower = 1 << (self.shape.height - 1)
        self.node = self.open(self.table[0])

    def open(self, place: int) -> list[int]:
        """Return the node at a place."""
        self.opened.append(place)
        start = self.shape.node_start(place)
        return list(self.table[start : start + NODE_ELEMENTS])

    def move(self, side: int) -> None:
        """Go to a child, or to the end."""
        if self.lower == 1:
            self.lower = 0
            self.open(next(self.fresh))
        else:
            self.lower //= 2
            self.node = self.open(self.node[side])

    def stay(self) -> None:
        """Look as if moving."""
        self.open(next(self.fresh))


def search(columns: list[list[int]], rank: int) -> tuple[int, int, list[Walk]]:
    """Return the value of a rank from 1, the next one, and the walks."""
    walks = [Walk(column, MAX_HEIGHT * len(columns)) for column in columns]
    found, following = 0, INFINITY
    for _ in range(sum(walk.shape.height for walk in walks)):
        alive = [walk for walk in walks if walk.lower]
        is_lower = rank >= sum(walk.lower for walk in alive)
        ordered = sorted(alive, key=lambda walk: walk.node[0])
        chosen = ordered[0] if is_lower else ordered[-1]
        if is_lower:
            rank -= chosen.lower
            found = chosen.node[0]
        else:
            following = min(following, chosen.node[0])
        for walk in walks:
            if walk is chosen:
                walk.move(2 if is_lower else 1)
            else:
                walk.stay()
    assert rank == 0
    return found, following, walks


@given(COLUMNS, QUANTILES)
def test_the_search_finds_the_quantile(columns: list[list[int]], q: str) -> None:
    """NumPy's default definition, over what the sources hold together."""
    together = sorted(itertools.chain.from_iterable(columns))
    exact = Fraction(q)
    rank, weight = position(len(together), exact.as_integer_ratio())
    found, following, _ = search(columns, rank)

    assert found == together[rank - 1]
    assert following == (together[rank] if rank < len(together) else INFINITY)
    assert rank - 1 + Fraction(weight, exact.denominator) == exact * (len(together) - 1)


@given(COLUMNS, st.data())
def test_no_node_is_opened_twice(columns: list[list[int]], data: st.DataObject) -> None:
    """A second visit would tell that two walks met."""
    rank = data.draw(st.integers(1, sum(map(len, columns))))
    _, _, walks = search(columns, rank)

    for walk in walks:
        assert len(set(walk.opened)) == len(walk.opened)
        assert max(walk.opened) < walk.shape.nodes


def test_what_is_opened_does_not_depend_on_the_data() -> None:
    """Over many searches every place is opened equally often, whatever the column.

    Two columns of one length, the answer at opposite ends; chi-squared over places
    with 32 degrees of freedom stays below 120 but once in 1e11 times, for each alone.
    """
    rounds = 3000
    counts = []
    for column, rank in (([1, 2, 3, 4, 5], 1), ([9, 9, 9, 9, 9], 5)):
        seen = np.zeros(Shape(5, MAX_HEIGHT).nodes)
        for _ in range(rounds):
            _, _, (walk,) = search([column], rank)
            seen[walk.opened] += 1
        counts.append(seen)

    for seen in counts:
        expected = seen.sum() / len(seen)
        assert ((seen - expected) ** 2 / expected).sum() < 120
