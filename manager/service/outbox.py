"""Publishes what is committed, in order, until the broker has it."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from manager.store.records import Letter
from manager.store.store import Store, Unit
from shared.names import Principal
from shared.transport.base import NotConfirmedError, Publication, Transport

SLOW_FOR: Final = timedelta(seconds=30)
"""How long the letters of an inbox go apart after the broker did not take one."""
_MILLISECOND: Final = timedelta(milliseconds=1)

_log = logging.getLogger(__name__)


class Outbox:
    """The letters of the store that are not known to be published.

    Args:
        store: of the realm.
        transport: to the broker.
    """

    def __init__(self, store: Store, transport: Transport) -> None:
        self._store = store
        self._transport = transport
        self._open: dict[int, Letter] = {}
        self._held: dict[int, dict[int, Letter]] = {}
        self._late: dict[int, Letter] = {}
        self._slow: dict[str, int] = {}
        self._published: list[int] = []
        self._turn = asyncio.Lock()

    def recover(self, now_ms: int) -> None:
        """Take up what an earlier process committed and perhaps did not publish."""
        with self._store.transaction() as unit:
            unit.mail.forget(now_ms)
            tasks = {number for number, _ in unit.orders.tasks()}
            letters = unit.mail.open_letters()
        for letter in letters:
            if letter.after_task in tasks:
                self._hold(letter)
            else:
                self._open[letter.id] = letter

    def add(self, letters: Iterable[Letter]) -> None:
        """Take letters that were just committed."""
        for letter in letters:
            if letter.after_task is None:
                self._open[letter.id] = letter
            else:
                self._hold(letter)

    def add_again(self, letters: Iterable[Letter]) -> None:
        """Take letters that were sent before: their request came again."""
        held = {number for waiting in self._held.values() for number in waiting}
        for letter in letters:
            if letter.id not in held and letter.id not in self._late:
                self._open[letter.id] = letter

    def release(self, tasks: Iterable[int]) -> None:
        """Let go what waited for tasks that are done."""
        for task in tasks:
            self._open.update(self._held.pop(task, {}))

    async def publish(self, now_ms: int) -> list[Principal]:
        """Publish everything that may go; return who is not there.

        What the broker does not take now is late: ``publish_late`` tries it again,
        and what else is for that inbox waits behind it. Nobody who lets an inbox
        run full holds up the others.

        Raises:
            TransportError: the transport gave up.
        """
        async with self._turn:
            letters = list(self._open.values())
            self._open.clear()
            batch: list[Letter] = []
            for letter in letters:
                if self._slow.get(letter.outgoing.routing_key, 0) > now_ms:
                    self._late[letter.id] = letter
                else:
                    batch.append(letter)
            results = await self._transmit(batch)
        gone: list[Principal] = []
        for letter, result in zip(batch, results, strict=True):
            if result is None:
                self._late[letter.id] = letter
                until = now_ms + SLOW_FOR // _MILLISECOND
                self._slow[letter.outgoing.routing_key] = until
            elif self._is_returned(letter, result) and letter.recipient is not None:
                gone.append(letter.recipient)
        return gone

    async def publish_late(self, now_ms: int) -> list[Principal]:
        """Try again what the broker did not take; return who is not there.

        May wait as long as the transport does, so it has a loop of its own.

        Raises:
            TransportError: the transport gave up.
        """
        for letter in list(self._late.values()):
            if letter.expires < now_ms:
                del self._late[letter.id]
        batch = list(self._late.values())
        gone: list[Principal] = []
        for letter, result in zip(batch, await self._transmit(batch), strict=True):
            if result is None:
                until = now_ms + SLOW_FOR // _MILLISECOND
                self._slow[letter.outgoing.routing_key] = until
                continue
            self._late.pop(letter.id, None)
            if self._is_returned(letter, result) and letter.recipient is not None:
                gone.append(letter.recipient)
        self._slow = {key: end for key, end in self._slow.items() if end > now_ms}
        return gone

    def write_into(self, unit: Unit) -> None:
        """Note in a transaction what the broker has.

        If it fails they are published once more after a restart, with the same
        bytes: harmless.
        """
        if self._published:
            unit.mail.mark_published(self._published)
            self._published.clear()

    def write_down(self) -> None:
        """Note what the broker has, in a transaction of its own."""
        if self._published:
            with self._store.transaction() as unit:
                self.write_into(unit)

    def waiting(self) -> dict[str, int]:
        """Return how many letters may go now, wait for a task, and are late."""
        held = sum(len(letters) for letters in self._held.values())
        return {"open": len(self._open), "held": held, "late": len(self._late)}

    @property
    def is_empty(self) -> bool:
        """Whether nothing may go out now."""
        return not self._open

    @property
    def has_late(self) -> bool:
        """Whether something waits for the broker to take it."""
        return bool(self._late)

    async def _transmit(
        self, batch: Sequence[Letter]
    ) -> tuple[Publication | None, ...]:
        if not batch:
            return ()
        try:
            return tuple(
                await self._transport.publish([each.outgoing for each in batch])
            )
        except NotConfirmedError as error:
            _log.warning("not confirmed", extra={"reason": str(error)})
            return error.publications

    def _is_returned(self, letter: Letter, result: Publication) -> bool:
        self._published.append(letter.id)
        return result is Publication.RETURNED

    def _hold(self, letter: Letter) -> None:
        if letter.after_task is not None:
            self._held.setdefault(letter.after_task, {})[letter.id] = letter
