"""What an engine is: the three places where values, shares and results meet.

docs/engines.md shows how to write one.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from participant.columns import Values
from shared.names import JobId

__all__ = ["MAX_SOURCES", "Engine", "Entropy", "Plan", "Values"]

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
        sources: number of sources whose values come in; the same at every party,
            but 1 in ``check_values`` before a source accepts, when nobody knows.
        threshold: up to so many servers may pool what they see without learning
            anything.
        width: number of values of every source; None: each source has as many as
            its data need.
        program: what runs at the servers, canonical msgpack (``shared.codec``) that
            the statistic derives from the spec, so every party knows it; empty for
            engines that do one thing only.
    """

    job: JobId
    parties: int
    party: int | None
    sources: int
    threshold: int
    width: int | None
    program: bytes = b""


class Engine(Protocol):
    """Turns values into shares, shares into output shares, those into values.

    One object serves all jobs of a process, also at once: it has no state. All
    methods but ``run`` are called at clients, so they and the engine's module are
    light: no clock, no network, no randomness but ``entropy``, no heavy imports.
    No error text holds a value or a share.
    """

    @property
    def name(self) -> str:
        """Return the word for it in a request; a label as ``names.is_label`` has it."""
        ...

    @property
    def version(self) -> str:
        """Return the version of its shares and of what servers say to each other.

        It goes into the program hash: parties of different versions refuse.
        """
        ...

    @property
    def in_worker(self) -> bool:
        """Say whether ``run`` needs a process of its own, with a channel to each peer.

        Without one, ``run`` is called in a thread of the data process.
        """
        ...

    @property
    def preload(self) -> tuple[str, ...]:
        """Return the modules that ``run`` needs and that are slow to import.

        The zygote imports them once, before the first worker; nobody else does.
        """
        ...

    def max_threshold(self, parties: int) -> int:
        """Return the most servers that may pool what they see and learn nothing.

        Below 1: the engine does not serve so many servers.
        """
        ...

    def max_block_bytes(self, plan: Plan) -> int:
        """Return an upper bound of one source's block at one server.

        Raises:
            RefusedError: the engine cannot serve such a job.
        """
        ...

    def check(self, plan: Plan) -> None:
        """Check that the engine can serve such a job; every party does, first.

        Raises:
            RefusedError: it cannot, with the bounds.
        """
        ...

    def check_values(self, values: Values, plan: Plan) -> None:
        """Check that ``share`` will take these values, before the source accepts.

        Raises:
            RefusedError: their number is not the plan's, or one is too large to be
                computed on safely.
        """
        ...

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """Split a source's values, at the source.

        Args:
            values: ``plan.width`` integers; any number if that is None.
            plan: the job's plan, with ``party`` None.
            entropy: where the shares' randomness comes from.

        Returns:
            One block a server, in the order of their numbers.

        Raises:
            RefusedError: as ``check_values``.
        """
        ...

    def run(
        self,
        plan: Plan,
        blocks: Sequence[bytes],
        peers: Mapping[int, socket.socket],
    ) -> bytes:
        """Compute on shares, at a server.

        Args:
            plan: the job's plan, with this server's ``party``.
            blocks: this server's block from each source, in the order of the
                sources in the roster, which is the same at every server.
            peers: for an engine ``in_worker`` a connected stream socket to each
                other server by its number, blocking; it leads to that server and no
                other. Empty for the others.

        Returns:
            This server's output share.

        Raises:
            JobAbortedError: the blocks or a peer's messages are not what the plan
                says.
            OSError: the channel to a peer broke.
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
