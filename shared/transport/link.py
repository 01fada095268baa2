"""One connection to the broker, as the transport that owns it sees it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.transport.base import Delivery, Outgoing
from shared.transport.confirms import Attempt


class Source(Protocol):
    """One queue's consumer on one link."""

    queue: str

    @property
    def is_gone(self) -> bool:
        """Whether it ended; its owner may have been told too early to know it."""
        ...

    def ack(self, numbers: Sequence[int]) -> None:
        """Acknowledge these delivery numbers, or nothing if the link is gone."""
        ...

    async def cancel(self) -> None:
        """Stop to consume."""
        ...


@dataclass(frozen=True, slots=True)
class Tag:
    """A delivery's tag: where it came from and its number there."""

    source: Source
    number: int


class Link(Protocol):
    """One connection to the broker."""

    @property
    def is_gone(self) -> bool:
        """Whether it broke; its owner may have been told too early to know it."""
        ...

    async def write(
        self, messages: Sequence[Outgoing]
    ) -> tuple[Attempt, asyncio.Future[None]]:
        """Write the messages at once.

        Returns:
            What is known of them, and a future for when all of it is known.
        """
        ...

    async def consume(self, queue: str, deliver: Callable[[Delivery], None]) -> Source:
        """Start to consume."""
        ...

    async def consumer_count(self, queue: str) -> int | None:
        """Return the consumers of a queue, ``None`` if there is none such."""
        ...

    async def close(self) -> None:
        """Close in good order, or by force after a while."""
        ...


class LinkOwner(Protocol):
    """Whom a link tells what happens to it."""

    def link_lost(self, link: Link, reason: str) -> None:
        """Note that an open link broke."""
        ...

    def source_lost(self, source: Source, reason: str) -> None:
        """Note that the broker ended one consumer."""
        ...
