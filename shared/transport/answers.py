"""Futures between a library's callbacks and our awaits; each has a bound."""

import asyncio
from datetime import timedelta
from typing import TypeVar

from shared.errors import TransportError
from shared.transport.base import LOST_HINT, LinkLostError

ANSWER_TIMEOUT = timedelta(seconds=10)
"""For one question to a broker that is connected."""

_T = TypeVar("_T")


def new_future() -> asyncio.Future[_T]:
    """Return a future of the running loop."""
    return asyncio.get_running_loop().create_future()


def resolve(future: asyncio.Future[_T], value: _T) -> None:
    """Set a result, unless the future is done or nobody waits any more."""
    if not future.done():
        future.set_result(value)


def fail(future: asyncio.Future[_T], error: TransportError) -> bool:
    """Fail a future; say whether it was still open."""
    if future.done():
        return False
    future.set_exception(error)
    return True


async def bounded(future: asyncio.Future[_T]) -> _T:
    """Wait for the broker's answer.

    Raises:
        LinkLostError: there is none in time.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
            return await future
    except TimeoutError as error:
        raise LinkLostError("the broker does not answer", LOST_HINT) from error
