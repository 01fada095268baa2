"""The bookkeeping of publisher confirms, without the channel.

Source: RabbitMQ, "Consumer Acknowledgements and Publisher Confirms": tags count
from 1 on each channel, ``multiple`` covers all lower ones, and the return of an
unroutable message comes before its confirm.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from shared.errors import TransportError
from shared.transport.answers import fail, resolve
from shared.transport.base import Outgoing, Publication

_Key = tuple[str | None, str | None, str | None]


class Attempt:
    """Messages that were written one after the other on one channel.

    Args:
        first_tag: the delivery tag of the first message.
        messages: in the order of writing.
    """

    def __init__(self, first_tag: int, messages: Sequence[Outgoing]) -> None:
        self.outcomes: list[Publication | None] = [None] * len(messages)
        """One entry a message; ``None`` is open or refused (to be tried again)."""
        self._first = first_tag
        self._lowest = 0
        self._settled = [False] * len(messages)
        self._left = len(messages)
        self._returned: set[int] = set()
        self._unsettled: dict[_Key, deque[int]] = defaultdict(deque)
        for index, message in enumerate(messages):
            key = (message.exchange, message.routing_key, message.message_id)
            self._unsettled[key].append(index)

    @property
    def is_settled(self) -> bool:
        """Whether the broker has answered for every message."""
        return self._left == 0

    def returned(
        self, exchange: str | None, routing_key: str | None, message_id: str | None
    ) -> None:
        """Note that the broker gave a message back; its confirm follows.

        Of equal messages the first that is still open is meant.
        """
        indexes = self._unsettled.get((exchange, routing_key, message_id))
        while indexes:
            index = indexes.popleft()
            if not self._settled[index]:
                self._returned.add(index)
                return

    def settle(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Note the broker's ack or nack; tags of other attempts are passed over.

        Args:
            tag: the channel's delivery tag.
            multiple: whether all lower open tags are meant as well.
            accepted: ack or nack.
        """
        last = min(tag - self._first, len(self._settled) - 1)
        if multiple:
            for index in range(self._lowest, last + 1):
                self._settle_one(index, accepted=accepted)
            self._lowest = max(self._lowest, last + 1)
        elif 0 <= tag - self._first == last:
            self._settle_one(last, accepted=accepted)

    def _settle_one(self, index: int, *, accepted: bool) -> None:
        if self._settled[index]:
            return
        self._settled[index] = True
        self._left -= 1
        if accepted:
            self.outcomes[index] = (
                Publication.RETURNED
                if index in self._returned
                else Publication.CONFIRMED
            )


class Confirms:
    """The confirms of one channel: one attempt at a time, tags counted on."""

    def __init__(self) -> None:
        self._next_tag = 1
        self._attempt: Attempt | None = None
        self._answered: asyncio.Future[None] | None = None

    def attempt(
        self, messages: Sequence[Outgoing], write: Callable[[Outgoing], None]
    ) -> tuple[Attempt, asyncio.Future[None]]:
        """Write the messages at once.

        Returns:
            What is known of them, and a future for when all of it is known.
        """
        attempt = self._attempt = Attempt(self._next_tag, messages)
        answered = self._answered = asyncio.get_running_loop().create_future()
        for message in messages:
            write(message)
            self._next_tag += 1
        return attempt, answered

    def returned(
        self, exchange: str | None, routing_key: str | None, message_id: str | None
    ) -> None:
        """Note that the broker gave a message back."""
        if self._attempt is not None:
            self._attempt.returned(exchange, routing_key, message_id)

    def settle(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Note the broker's ack or nack."""
        if self._attempt is not None and self._answered is not None:
            self._attempt.settle(tag, multiple=multiple, accepted=accepted)
            if self._attempt.is_settled:
                resolve(self._answered, None)

    def fail(self, error: TransportError) -> None:
        """Note that the channel is gone."""
        if self._answered is not None:
            fail(self._answered, error)
