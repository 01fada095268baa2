"""What an engine is: the three places where values, shares and results meet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.names import JobId

Entropy = Callable[[int], bytes]
"""Returns that many bytes, uniform and independent of everything else."""

MAX_SOURCES: Final = 1 << 16
"""Sources in a job, at most; an engine's headroom for sums is made for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every party of a job knows about its computation.

    Attributes:
        job: the job.
        parties: number of MPC servers.
        party: this server's number from 0; None at a client.
        sources: number of sources whose values come in.
        threshold: up to so many servers may pool what they see without learning
            anything.
        width: number of values of every source.
        program: what runs, for engines that can run more than one thing; empty
            for the others.
    """

    job: JobId
    parties: int
    party: int | None
    sources: int
    threshold: int
    width: int
    program: bytes = b""


class Engine(Protocol):
    """Turns values into shares, shares into output shares, those into values.

    Engines are pure: no clock, no network, no randomness but ``entropy``.
    """

    @property
    def name(self) -> str:
        """Return the word for it in a request."""
        ...

    def check(self, plan: Plan) -> None:
        """Check that the engine can serve such a job; every party does, first.

        Raises:
            RefusedError: it cannot, with the bounds.
        """
        ...

    def share(self, values: Sequence[int], plan: Plan, entropy: Entropy) -> list[bytes]:
        """Split a source's values, at the source.

        Args:
            values: ``plan.width`` integers.
            plan: the job's plan.
            entropy: where the shares' randomness comes from.

        Returns:
            One block a server, in the order of their numbers.

        Raises:
            RefusedError: a value is too large to be added up safely.
        """
        ...

    def run(self, plan: Plan, blocks: Sequence[bytes]) -> bytes:
        """Compute on shares, at a server.

        Args:
            plan: the job's plan.
            blocks: this server's block from each source, in any order.

        Returns:
            This server's output share.

        Raises:
            JobAbortedError: the blocks are not what the plan says.
        """
        ...

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """Put the output together, at the consumer.

        Args:
            shares: the output share of every server, in the order of numbers.
            plan: the job's plan.

        Raises:
            JobAbortedError: the shares are not what the plan says.
        """
        ...
