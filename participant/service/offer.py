"""What a participant offers now: its datasets, its policy, its slots."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from participant.home.folder import Home
from participant.protocol.consent import Policy
from participant.protocol.identity import Identity
from participant.service import presence
from participant.statistics import registry
from shared.errors import ConfigError
from shared.messages import DatasetNotice, Status
from shared.names import Duty, Role

_log = logging.getLogger(__name__)


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

        Args:
            force: the columns even if nothing seems to have changed.
        """
        self.refresh()
        if self._is_noticed and not force:
            return
        self._is_noticed = True
        before = self.notices
        self.notices = await asyncio.to_thread(presence.notices, self.files)
        if self.notices != before:
            self._is_told = False

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
