"""The search for a quantile in the sources' trees; see ``search_tree``.

Of all trees' current values the sum S of the positions at and below them says
where to go. If at least S rows up to the wanted one are left, the smallest current
value and what is below it in its tree come before the wanted one: they are
dropped and counted, and that tree moves to the right. Else the largest current value
and what is above it in its tree come after the wanted one, and that tree moves to
the left. The value that was dropped last from below is the one wanted, the smallest
that was dropped from above is the next one. Each round one tree moves one level
down, or to its end; all others open a dummy. Which one moves, and where, stays secret.
"""

from collections.abc import Awaitable, Sequence

import numpy as np

from participant.bounds import INFINITY, VALUE_BITS, position
from participant.engines.comparisons import greatest
from participant.engines.mpyc_runtime import Arithmetic, Shares, summed
from participant.engines.search_tree import NODE_ELEMENTS, Table


async def search(
    runtime: Arithmetic, tables: Sequence[Table], q: tuple[int, int]
) -> Shares:
    """Return the quantile times its denominator, one element.

    Args:
        runtime: of this server.
        tables: one a source.
        q: numerator and denominator of the quantile that is asked for.
    """
    rank, weight = position(sum(table.shape.rows for table in tables), q)
    walks = _Walks(runtime, tables, rank)
    await walks.begin()
    for round_number in range(sum(table.shape.height for table in tables)):
        await walks.step(round_number)
    denominator = q[1]
    if weight == 0:
        return runtime.scaled(walks.found, denominator)
    dropped = np.stack(walks.dropped_above)
    following = -(await greatest(runtime, -dropped, VALUE_BITS))
    both = np.concatenate((walks.found, following))
    result: Shares = both @ np.array([[denominator - weight], [weight]], dtype=object)
    return result


class _Walks:
    """Where the search is; all arrays have one row a source.

    ``levels`` marks by a 1 how far each tree's current node is above the leaves,
    and has none once the tree is at its end. ``before`` says of every two trees
    whether the first one's value comes first; among equal ones the latest does.
    """

    def __init__(self, runtime: Arithmetic, tables: Sequence[Table], rank: int) -> None:
        self._runtime = runtime
        self._tables = tables
        count = len(tables)
        height = max(table.shape.height for table in tables)
        start = np.zeros((count, height), dtype=object)
        for index, table in enumerate(tables):
            start[index, table.shape.height - 1] = 1
        self._weights = np.array([1 << level for level in range(height)], dtype=object)
        self._levels = runtime.shares(start)
        self._rank = runtime.shares([rank])
        self._nodes = runtime.shares(np.zeros((count, NODE_ELEMENTS), dtype=object))
        self._before = runtime.shares(np.zeros((count, count), dtype=object))
        self._moved = runtime.shares(np.zeros(count, dtype=object))
        self._moved_value = runtime.shares([0])
        self._others = 1 - np.eye(count, dtype=int).astype(object)
        self._is_low = runtime.shares([0])
        self._is_high = runtime.shares([0])
        self.found = runtime.shares([0])
        self.dropped_above: list[Shares] = []

    async def begin(self) -> None:
        """Go to every tree's root and compare them."""
        runtime, count = self._runtime, len(self._tables)
        roots = runtime.shares([table.read(0, 1)[0] for table in self._tables])
        await self._go_to(roots, runtime.shares(np.ones(count, dtype=object)))
        if count == 1:
            return
        first, second = np.triu_indices(count, 1)
        values = self._nodes[:, 0]
        is_after = await runtime.is_negative(values[second] - values[first], VALUE_BITS)
        places = np.zeros((count, count), int)  # on the diagonal any will do
        places[first, second] = np.arange(len(first))
        places[second, first] = np.arange(len(first)) + len(first)
        self._before = np.concatenate((1 - is_after, is_after))[places]

    async def step(self, round_number: int) -> None:
        """Drop from one tree a part that does not hold what is wanted."""
        runtime, nodes = self._runtime, self._nodes
        lower = self._levels @ self._weights
        left = self._rank - summed(lower)
        compared = await runtime.is_negative(
            np.concatenate((left, nodes[:, 0] - self._moved_value)), VALUE_BITS
        )
        from_below = 1 - compared[:1]
        turns = runtime.multiply(from_below, nodes[:, 2] - nodes[:, 1])
        chosen = await self._chosen(from_below, compared[1:])
        low = runtime.multiply(from_below, chosen)
        steps = await runtime.multiply(summed(self._levels[:, 1:], 1)[:, 0], chosen)
        children = nodes[:, 1] + await turns
        sums = self._sums_dropped(await low, chosen, lower)
        changes = await self._move(round_number, children, steps, chosen)
        dropped = self._count(await sums)
        self._moved = chosen
        self._moved_value = dropped + summed(changes)

    async def _chosen(self, from_below: Shares, is_after: Shares) -> Shares:
        """Return a 1 for the tree to drop from, if any is not at its end.

        Args:
            from_below: 1 to choose the smallest value, 0 to choose the largest.
            is_after: per tree, 1 if the value that was moved to comes after its own.
        """
        runtime, before = self._runtime, self._before
        moved = self._moved
        rows = runtime.multiply(moved.reshape(-1, 1), 1 - is_after - before)
        columns = runtime.multiply(moved, is_after.reshape(-1, 1) - before)
        self._before = before = before + await rows + await columns
        wins = before + await runtime.multiply(from_below, 1 - 2 * before)
        is_there = summed(self._levels, 1)[:, 0]
        lost = await runtime.multiply(is_there, wins)
        unbeaten = await runtime.product(np.transpose(1 - lost * self._others))
        return await runtime.multiply(is_there, unbeaten)

    def _sums_dropped(
        self, low: Shares, chosen: Shares, lower: Shares
    ) -> Awaitable[Shares]:
        """Start to compute what ``_count`` takes.

        Args:
            low: ``chosen`` if dropped from below, else 0.
            chosen: 1 for the tree that is dropped from.
            lower: positions at and below each tree's current value.
        """
        values = self._nodes[:, 0]
        rows = np.stack((low, low, chosen))
        self._is_low = summed(low)
        self._is_high = summed(chosen - low)
        factors = np.concatenate((rows.reshape(-1), self._is_low))
        return self._runtime.multiply(
            factors, np.concatenate((values, lower, values, self.found))
        )

    def _count(self, products: Shares) -> Shares:
        """Take note of what is dropped, and return its value."""
        count = len(self._tables)
        found, positions, dropped = (
            summed(products[start : start + count])
            for start in range(0, 3 * count, count)
        )
        self.found = self.found + found - products[3 * count :]
        self._rank = self._rank - positions
        self.dropped_above.append(dropped - found + (1 - self._is_high) * INFINITY)
        return dropped

    async def _move(
        self, round_number: int, children: Shares, steps: Shares, chosen: Shares
    ) -> Shares:
        """Move the chosen tree to its child or to its end.

        Args:
            round_number: says which dummies are next.
            children: where each tree's child on the side in question is.
            steps: 1 for the tree that goes there.
            chosen: 1 for the tree that goes there or to its end.

        Returns:
            How much each tree's current value changes.
        """
        runtime, levels = self._runtime, self._levels
        dummies = runtime.shares(
            [table.read(1 + round_number, 1)[0] for table in self._tables]
        )
        below = np.concatenate((levels[:, 1:], levels[:, :1] * 0), axis=1)
        moves = runtime.multiply(chosen.reshape(-1, 1), below - levels)
        offsets = await runtime.multiply(steps, children - dummies)
        self._levels = levels + await moves
        return await self._go_to(dummies + offsets, steps)

    async def _go_to(self, places: Shares, steps: Shares) -> Shares:
        """Open places, and go there where ``steps`` is 1; return values' changes."""
        runtime = self._runtime
        opened = await runtime.opened(places)
        nodes = runtime.shares(
            [
                table.node(place)
                for table, place in zip(self._tables, opened, strict=True)
            ]
        )
        changes = await runtime.multiply(steps.reshape(-1, 1), nodes - self._nodes)
        self._nodes = self._nodes + changes
        return changes[:, 0]
