"""What is checked, and how its answers are known."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from participant.engines.base import Engine, Plan
from shared.errors import FrameworkError
from shared.names import JobId


class NotConformingError(FrameworkError):
    """An engine does something else than it has to."""


def sums(values: Sequence[Sequence[int]]) -> list[int]:
    """Return the sum over all sources of each of their values."""
    return [sum(column) for column in zip(*values, strict=True)]


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine, and a question to it whose answer is known.

    Attributes:
        engine: what is checked.
        parties: the numbers of servers, of 2 to 7, that it serves; it has to refuse
            the others.
        width: number of values of every source; None: their numbers may differ.
        program: what the servers run.
        expected: returns the right answer for the values of all sources.
        least: the least value that a source of the checks has.
        most: the greatest.
        too_large: a value that it has to refuse; None: there is none.
    """

    engine: Engine
    parties: tuple[int, ...] = (2, 3, 4, 5, 6, 7)
    width: int | None = 3
    program: bytes = b""
    expected: Callable[[Sequence[Sequence[int]]], list[int]] = sums
    least: int = -1000
    most: int = 1000
    too_large: int | None = 1 << 4096

    def plan(self, parties: int, sources: int = 2) -> Plan:
        """Return a plan that the engine serves."""
        return Plan(
            job=JobId(bytes(16)),
            parties=parties,
            party=None,
            sources=sources,
            threshold=self.engine.max_threshold(parties),
            width=self.width,
            program=self.program,
        )

    def values(self, sources: int) -> list[list[int]]:
        """Return values for so many sources; the first one has both extremes."""
        span = self.most - self.least + 1
        drawn = [
            [self.least + secrets.randbelow(span) for _ in range(self.width or 3)]
            for _ in range(sources)
        ]
        drawn[0][0], drawn[0][-1] = self.least, self.most
        return drawn

    def blocks(self, plan: Plan, values: Sequence[Sequence[int]]) -> list[list[bytes]]:
        """Return each server's blocks of all sources' values.

        Raises:
            NotConformingError: a source's values make not one block a server.
        """
        by_source = []
        for own in values:
            self.engine.check_values(own, plan)
            shared = self.engine.share(own, plan, secrets.token_bytes)
            if len(shared) != plan.parties:
                raise NotConformingError(
                    f"share() gave {len(shared)} blocks for {plan.parties} servers"
                )
            by_source.append(shared)
        return [[own[server] for own in by_source] for server in range(plan.parties)]


def at_server(plan: Plan, party: int) -> Plan:
    """Return a plan as a server has it."""
    return replace(plan, party=party)
