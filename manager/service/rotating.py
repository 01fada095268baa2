"""Rotating keys from the command line, whether a manager runs or not."""

from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from manager.protocol.lease import is_free
from manager.realm.founding import KEY_FILE, LOCK_FILE
from manager.realm.keys import Entropy, load_keys, save_keys
from manager.realm.private_files import HomeBusyError, locked
from manager.realm.rotation import (
    OVERLAP,
    Rotated,
    newest_keys,
    publish,
    rotated,
)
from manager.store.store import Store
from shared.crypto.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Rotation:
    """What to rotate; ``root`` signs what the descriptor names."""

    kinds: AbstractSet[Rotated]
    root: SigningKey | None
    overlap: timedelta = OVERLAP


def rotate_keys(
    home: Path, store: Store, rotation: Rotation, now: datetime, entropy: Entropy
) -> int:
    """Make new keys; return their generation.

    A manager that runs takes them from the store, and so do others of the realm. If
    none runs they are only in this home's key file.

    Raises:
        ConfigError: the keys cannot be rotated so; nothing has changed.
        StoreError: the store does not answer; the key file may be ahead of it until
            keys are rotated again.
    """
    path = home / KEY_FILE
    with ExitStack() as held:
        is_running = False
        try:
            held.enter_context(locked(home / LOCK_FILE))
        except HomeBusyError:
            is_running = True
        with store.transaction() as unit:
            before = newest_keys(unit, load_keys(path))
            after = rotated(before, rotation.kinds, now, rotation.overlap, entropy)
            is_active = is_running or (
                store.is_shared and not is_free(unit.leases.get(), unit.leases.now_ms())
            )
            publish(
                unit,
                before,
                after,
                rotation.root,
                now,
                entropy,
                is_handed_over=is_active,
            )
            # Before the commit, and for good: a commit may succeed though it seems to
            # fail, and keys that the realm knows must not be lost.
            if not is_running:
                save_keys(path, after, entropy)
    return after.generation
