"""An engine's run at an MPC server: in a thread here, or in a worker with channels."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from participant.dataplane.order import Order
from participant.dataplane.relay import Relay
from shared.errors import JobAbortedError


class Computation:
    """Runs once.

    Args:
        order: the job.
        party: this server's index.

    Attributes:
        relays: for an engine that talks to its peers, a channel to each by index.
    """

    def __init__(self, order: Order, party: int) -> None:
        self._order = order
        self._engine = order.question.engine
        has_peers = self._engine.in_worker and not order.start.fetch_only
        self.relays: Mapping[int, Relay] = {
            index: Relay()
            for index in range(len(order.servers))
            if has_peers and index != party
        }

    @property
    def taken(self) -> int:
        """Bytes that came from the other servers."""
        return sum(relay.taken for relay in self.relays.values())

    @property
    def sent(self) -> int:
        """Bytes that went to the other servers."""
        return sum(relay.sent for relay in self.relays.values())

    async def warm(self) -> None:
        """Import what the engine needs while inputs are on their way."""
        if self._engine.in_worker:
            with contextlib.suppress(JobAbortedError):  # ``run`` will say so
                await self._order.environment.workers.warm(self._engine.name)

    async def run(self, blocks: Sequence[memoryview]) -> bytes:
        """Return this server's output share; cancelling ends a worker at once.

        Args:
            blocks: one a source, in the roster's order.

        Raises:
            JobAbortedError: the engine failed.
        """
        engine, plan = self._engine, self._order.plan
        if not engine.in_worker:
            return await asyncio.to_thread(
                lambda: engine.run(plan, [bytes(block) for block in blocks], {})
            )
        channels = {index: relay.worker_end for index, relay in self.relays.items()}
        try:
            share = await self._order.environment.workers.run(
                engine.name, plan, blocks, channels
            )
        except JobAbortedError as error:
            raise JobAbortedError(
                str(error), error.code, self._order.start.me
            ) from error
        for relay in self.relays.values():
            relay.finish()
        return share

    def close(self) -> None:
        """Forget the channels that no link serves."""
        for relay in self.relays.values():
            relay.close()
