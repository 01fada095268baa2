"""Publishes what is committed, in order, until the broker has it."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from manager.store.records import Letter
from manager.store.store import Store, Unit
from shared.names import Principal
from shared.transport.base import NotConfirmedError, Publication, Transport

PAUSE: Final = timedelta(seconds=1)
"""Before what was not confirmed is published again."""

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
            if letter.id not in held:
                self._open[letter.id] = letter

    def release(self, tasks: Iterable[int]) -> None:
        """Let go what waited for tasks that are done."""
        for task in tasks:
            self._open.update(self._held.pop(task, {}))

    async def publish(self) -> list[Principal]:
        """Publish everything that may go; return who is not there.

        Raises:
            TransportError: the transport gave up.
        """
        async with self._turn:
            batch = list(self._open.values())
            if not batch:
                return []
            try:
                results: tuple[Publication | None, ...] = tuple(
                    await self._transport.publish([each.outgoing for each in batch])
                )
            except NotConfirmedError as error:
                _log.warning("not confirmed", extra={"reason": str(error)})
                results = error.publications
            gone: list[Principal] = []
            for letter, result in zip(batch, results, strict=True):
                if result is None:
                    continue
                # An answer may have been asked for again meanwhile: same bytes.
                self._open.pop(letter.id, None)
                self._published.append(letter.id)
                if result is Publication.RETURNED and letter.recipient is not None:
                    gone.append(letter.recipient)
            if None in results:
                await asyncio.sleep(PAUSE.total_seconds())
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

    @property
    def is_empty(self) -> bool:
        """Whether nothing may go out now."""
        return not self._open

    def _hold(self, letter: Letter) -> None:
        if letter.after_task is not None:
            self._held.setdefault(letter.after_task, {})[letter.id] = letter
