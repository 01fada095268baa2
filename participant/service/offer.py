"""What a participant offers now: its datasets, its policy, its slots."""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from participant.datasets import tables
from participant.home.folder import Home
from participant.protocol.consent import Policy
from participant.protocol.identity import Identity
from participant.service import presence
from participant.statistics import registry
from shared.errors import ConfigError, RefusedError
from shared.messages import DatasetNotice, Status
from shared.names import Duty, Role

AGAIN_SECONDS: Final = 1
"""How long a dataset that could not be read before keeps a sign of life waiting."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A dataset that was asked for its columns.

    Attributes:
        changed: when its file had changed last.
        columns: the answer, once there is one.
    """

    changed: int
    columns: Future[list[str]]


class Offer:
    """Datasets and policy as their files say, read again when these change.

    Args:
        home: where the files are.

    Raises:
        ConfigError: one of them is malformed.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._statistics = frozenset(registry.names())
        self._seen: tuple[int, ...] = ()
        self._is_noticed = False
        self._is_told = False
        self._reading = asyncio.Lock()
        self._asked: dict[Path, _Asked] = {}
        self._problems: Mapping[str, str] = {}
        self.policy: Policy = home.policy(self._statistics)
        self.files: Mapping[str, Path] = home.datasets()
        self.notices: tuple[DatasetNotice, ...] = ()

    def begin_session(self) -> None:
        """Name the datasets in the next status."""
        self._is_told = False

    def status(self, identity: Identity, slots: int, slots_taken: int) -> Status:
        """Return what the manager is told; the datasets only if it must learn them.

        Args:
            identity: who tells it.
            slots: of an MPC server.
            slots_taken: of these.
        """
        if identity.role is not Role.MPCS:
            slots = 0
        names_datasets = not self._is_told and Duty.INPUT in identity.duties
        self._is_told = True
        return Status(
            slots_free=max(0, slots - slots_taken),
            slots=slots,
            load=presence.load_percent(),
            datasets=self.notices if names_datasets else None,
        )

    def refresh(self) -> bool:
        """Read policy and list of datasets if they changed; say whether they did.

        A policy that is not usable refuses everything until it is corrected.
        """
        seen = self._changes()
        if seen == self._seen:
            return False
        try:
            self.policy = self._home.policy(self._statistics)
        except ConfigError as error:
            self.policy = Policy(accepts=False)
            _log.error(
                "policy not usable, every job is refused", extra={"reason": str(error)}
            )
        try:
            self.files = self._home.datasets()
        except ConfigError as error:
            _log.error("datasets not usable", extra={"reason": str(error)})
        self._seen = self._changes()
        self._is_noticed = False
        return True

    async def read(self, *, force: bool = False) -> None:
        """Read what changed, the datasets' columns too.

        Datasets are asked all at once. One that could not be read is asked again at
        each call; for one that has not answered yet no second thread waits.

        Args:
            force: the columns even if nothing seems to have changed.
        """
        async with self._reading:
            self.refresh()
            files, is_new = self.files, force or not self._is_noticed
            self._is_noticed = True
            if force:
                self._asked.clear()
            found = {} if is_new else {each.name: each for each in self.notices}
            asked = {
                name: self._ask(path)
                for name, path in files.items()
                if name not in found
            }
            if asked:
                seconds = tables.COLUMNS_SECONDS if is_new else AGAIN_SECONDS
                await asyncio.to_thread(wait, asked.values(), seconds)
            found |= self._answered(asked)
            notices = tuple(found[name] for name in sorted(found))
            if self.notices != notices:
                self.notices, self._is_told = notices, False

    def _ask(self, path: Path) -> Future[list[str]]:
        """Return what a file as it is now was asked, or ask it."""
        changed = _changed_at(path)
        asked = self._asked.get(path)
        if asked is None or asked.changed != changed:
            asked = self._asked[path] = _Asked(changed, tables.ask_columns(path))
        return asked.columns

    def _answered(
        self, asked: Mapping[str, Future[list[str]]]
    ) -> dict[str, DatasetNotice]:
        """Return the datasets that can be read; log each new reason why one cannot."""
        found, problems = {}, {}
        for name, columns in asked.items():
            try:
                if not columns.done():
                    raise tables.no_answer()
                found[name] = presence.notice(name, columns.result())
            except RefusedError as error:
                problems[name] = str(error)
        for name, reason in sorted(problems.items()):
            if self._problems.get(name) != reason:
                _log.warning(
                    "dataset not offered", extra={"dataset": name, "reason": reason}
                )
        self._problems = problems
        self._asked = {
            path: asked
            for path, asked in self._asked.items()
            if not asked.columns.done()
        }
        return found

    def _changes(self) -> tuple[int, ...]:
        """Return what differs after a file was written."""
        home = self._home
        paths = (home.policy_path, home.datasets_path, *self.files.values())
        return tuple(_changed_at(path) for path in paths)


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
