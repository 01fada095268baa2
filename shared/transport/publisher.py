"""Publishing until everything is confirmed, over as many links as it takes."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from shared.transport.base import (
    LinkLostError,
    NotConfirmedError,
    Outgoing,
    Publication,
)
from shared.transport.endpoint import Backoff
from shared.transport.link import Link

CONFIRM_WINDOW = 1000
"""Most messages that are written before their confirms are awaited."""
NACK_FIRST = timedelta(milliseconds=50)
NACK_LONGEST = timedelta(seconds=1)


class Publisher:
    """Publishes batches, one attempt at a time.

    A channel error names no message: only if one batch at a time is on the wire
    is it known whose batch the broker refused.

    Args:
        usable: set while ``current_link`` returns or raises for good.
        current_link: the link of the moment; raises ``LinkLostError`` if there
            is none and ``TransportError`` if there will be none.
        timeout: until a whole batch is confirmed, reconnects included.
    """

    def __init__(
        self,
        usable: asyncio.Event,
        current_link: Callable[[], Link],
        timeout: timedelta,
    ) -> None:
        self._usable = usable
        self._current_link = current_link
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def publish(self, batch: Sequence[Outgoing]) -> list[Publication]:
        """Publish all and wait for every confirm.

        Raises:
            RefusedByBrokerError: the broker does not allow one of them.
            NotConfirmedError: in time not every message was confirmed.
            TransportError: there is no connection and there will be none.
        """
        outcomes: list[Publication | None] = [None] * len(batch)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._publish(batch, outcomes)
        except TimeoutError as error:
            left = outcomes.count(None)
            raise NotConfirmedError(
                f"{left} of {len(batch)} messages were not confirmed in time",
                tuple(outcomes),
            ) from error
        return [outcome for outcome in outcomes if outcome is not None]

    async def _publish(
        self, batch: Sequence[Outgoing], outcomes: list[Publication | None]
    ) -> None:
        backoff = Backoff(NACK_FIRST, NACK_LONGEST)
        while True:
            left = [i for i, outcome in enumerate(outcomes) if outcome is None]
            window = left[:CONFIRM_WINDOW]
            if not window:
                return
            async with self._turn:
                is_answered = await self._attempt(batch, outcomes, window)
            if is_answered and any(outcomes[i] is None for i in window):
                # Nacked: the queue is full or has no leader at the moment.
                await asyncio.sleep(backoff.next_seconds())

    async def _attempt(
        self,
        batch: Sequence[Outgoing],
        outcomes: list[Publication | None],
        window: Sequence[int],
    ) -> bool:
        """Write these once; say whether the link lived to see every answer."""
        await self._usable.wait()
        try:
            link = self._current_link()
            attempt, answered = await link.write([batch[i] for i in window])
        except LinkLostError:
            return False
        try:
            await answered
        except LinkLostError:
            return False
        finally:  # also at a timeout: what is confirmed stays confirmed
            for index, outcome in zip(window, attempt.outcomes, strict=True):
                outcomes[index] = outcome
        return True
