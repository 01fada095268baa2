"""Reaching the broker, and reaching it again."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from shared.errors import TransportError
from shared.transport.base import CredentialsRefusedError, Transport
from shared.transport.endpoint import Backoff

RECONNECT_FIRST = timedelta(milliseconds=200)
RECONNECT_LONGEST = timedelta(seconds=15)

_log = logging.getLogger(__name__)


async def reach(
    transport: Transport,
    queue: str,
    patience: timedelta | None,
    problem: Callable[[TransportError], None],
) -> None:
    """Connect to the broker and begin to read a queue.

    Args:
        transport: from here on it keeps its connection by itself.
        queue: the inbox.
        patience: how long to try; for ever unless given.
        problem: is told of every failure.

    Raises:
        TransportError: the time is over, or a login was refused to the impatient.
    """
    backoff = Backoff(RECONNECT_FIRST, RECONNECT_LONGEST)
    loop = asyncio.get_running_loop()
    ends = None if patience is None else loop.time() + patience.total_seconds()
    while True:
        try:
            await transport.connect()
            await transport.consume(queue)
        except TransportError as error:
            is_refused = isinstance(error, CredentialsRefusedError)
            if ends is not None and (is_refused or loop.time() >= ends):
                raise
            problem(error)
            _log.warning(
                "broker not reached", extra={"reason": str(error), "hint": error.hint}
            )
            await asyncio.sleep(backoff.next_seconds())
        else:
            _log.info("broker reached", extra={"queue": queue})
            return
