"""Rotating the manager's keys: new ones beside the old ones, for a while.

Source: docs/protocol.md, section "Rotation". The command line makes new keys and has
the realm's root sign their descriptor. Managers that run take them from the store,
where they lie for a day, wrapped under the session key that all of them have.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from manager.realm.founding import DESCRIPTOR, descriptor_of_unit, epoch_of
from manager.realm.keys import (
    Entropy,
    ManagerKeys,
    describe,
    make_authority,
    make_pair,
    pack_keys,
    unpack_keys,
)
from manager.realm.private_files import read_secret
from manager.store.records import AuditRecord
from manager.store.store import Unit
from shared import codec
from shared.clock import to_ms
from shared.crypto.keyfile import open_key_file
from shared.crypto.keys import KEY_BYTES, SigningKey
from shared.crypto.sealing import NONCE_BYTES, open_with_nonce, seal_with_nonce
from shared.errors import ConfigError, CryptoError, FrameworkError, StoreError

OVERLAP: Final = timedelta(days=14)
SHORTEST_OVERLAP: Final = timedelta(days=1)
"""Longer than any session: all who are online have new certificates by then."""
HANDED_OVER: Final = timedelta(days=1)
"""How long new keys lie in the store, wrapped."""
MAX_KEYS: Final = 8
"""Most keys of a kind at a time; as.rep has room for so many authorities."""
SESSION_SLOT: Final = "session_slot"
"""The store's fact that says under which session key everything is wrapped."""
ROTATED: Final = "rotated_keys"
"""The store's fact that says how often keys were rotated, and holds the newest.

Those of a day, in order: who has missed several needs the session key of each."""
_LABEL: Final = b"MPX1-keys\0"


@unique
class Rotated(StrEnum):
    """What can be rotated; ``manager``: M.sig and M.kem."""

    MANAGER = "manager"
    CA = "ca"
    SESSIONS = "sessions"


SIGNED: Final = frozenset({Rotated.MANAGER, Rotated.CA})
"""What the realm's descriptor names, so that its root signs them."""


@dataclass(frozen=True, slots=True)
class _Package:
    """``wrapped`` is empty once the keys are no longer handed over."""

    generation: int
    slot: int
    until: int
    wrapped: bytes


def rotated(
    keys: ManagerKeys,
    kinds: AbstractSet[Rotated],
    now: datetime,
    overlap: timedelta,
    entropy: Entropy,
) -> ManagerKeys:
    """Return the keys with new ones in use, beside those that were.

    Args:
        keys: as they are.
        kinds: which to replace.
        now: new keys begin here, less the clock skew.
        overlap: how long the old ones still count, if they last so long.
        entropy: draws the keys.

    Raises:
        ConfigError: the overlap is out of bounds, or too many keys overlap.
    """
    if not SHORTEST_OVERLAP <= overlap <= OVERLAP:
        raise ConfigError(
            "old keys cannot overlap for so long", "use an --overlap of 1d to 14d"
        )
    keys = keys.without_ended(to_ms(now))
    if max(len(keys.pairs), len(keys.authorities)) >= MAX_KEYS:
        raise ConfigError(
            f"{MAX_KEYS} keys of a kind are in time already",
            "wait until one has ended: mpc-manager keys list",
        )
    last = to_ms(now + overlap)
    pairs, authorities, sessions = keys.pairs, keys.authorities, keys.session_keys
    if Rotated.MANAGER in kinds:
        former = (replace(each, ends=min(each.ends, last)) for each in pairs)
        pairs = (make_pair(now, entropy), *former)
    if Rotated.CA in kinds:
        older = (replace(each, ends=min(each.ends, last)) for each in authorities)
        authorities = (make_authority(keys.realm, now), *older)
    if Rotated.SESSIONS in kinds:
        sessions = (*sessions, (keys.slot + 1, entropy(KEY_BYTES)))
    return replace(
        keys,
        pairs=pairs,
        authorities=authorities,
        session_keys=sessions,
        generation=keys.generation + 1,
    )


def publish(
    unit: Unit,
    before: ManagerKeys,
    after: ManagerKeys,
    root: SigningKey | None,
    now: datetime,
    entropy: Entropy,
    *,
    is_handed_over: bool,
) -> None:
    """Note a rotation in the store.

    Args:
        unit: in one transaction with ``newest_keys`` that gave ``before``.
        before: the keys so far.
        after: from ``rotated``.
        root: signs the next descriptor, where one is due.
        now: the time.
        entropy: draws a nonce.
        is_handed_over: whether managers run that shall take the keys from here.
    """
    if root is not None:
        epoch = epoch_of(descriptor_of_unit(unit)) + 1
        unit.journal.set_fact(DESCRIPTOR, describe(after, root, epoch).pack())
    slot, wrapped = before.slot, b""
    if is_handed_over:
        wrapped = seal_with_nonce(
            before.session_key(slot),
            _associated(before, slot, after.generation),
            pack_keys(after),
            entropy(NONCE_BYTES),
        )
    made = _Package(after.generation, slot, to_ms(now + HANDED_OVER), wrapped)
    _keep(unit, (*(each for each in _packages(unit) if each.wrapped), made))
    unit.journal.add_audit(
        AuditRecord(to_ms(now), "keys rotated", "manager", str(after.generation))
    )


def newest_keys(unit: Unit, keys: ManagerKeys) -> ManagerKeys:
    """Return the newest keys: those given, or what the store has for this manager.

    Raises:
        ConfigError: others were made and cannot be had from the store.
    """
    for package in _packages(unit):
        if package.generation > keys.generation:
            keys = _unwrapped(package, keys)
    found = unit.journal.fact(SESSION_SLOT)
    return keys if found is None else follow_session_key(keys, int(found))


def follow_session_key(keys: ManagerKeys, slot: int) -> ManagerKeys:
    """Return the keys as the manager has them that turned the session key to a slot.

    Nothing is wrapped under an older one any more.
    """
    if slot > keys.slot or (slot == keys.slot and len(keys.session_keys) > 1):
        return keys.advanced(slot).without_old()
    return keys


def has_newer_keys(unit: Unit, keys: ManagerKeys) -> bool:
    """Say whether somebody has rotated the keys since."""
    packages = _packages(unit)
    return bool(packages) and packages[-1].generation > keys.generation


def is_ahead(unit: Unit, keys: ManagerKeys) -> bool:
    """Say whether the keys are of a rotation that the store does not know."""
    packages = _packages(unit)
    return keys.generation > (packages[-1].generation if packages else 0)


def forget_handed_over(unit: Unit, now_ms: int) -> None:
    """Erase wrapped keys from the store once their time is over."""
    packages = _packages(unit)
    if not packages:
        return
    kept = [each for each in packages[:-1] if each.until > now_ms]
    last = packages[-1]
    kept.append(last if last.until > now_ms else replace(last, wrapped=b""))
    if tuple(kept) != packages:
        _keep(unit, tuple(kept))


def open_root(path: Path, keys: ManagerKeys, password: bytes) -> SigningKey:
    """Return the realm's root key.

    Raises:
        ConfigError: the password is wrong, or the file is another realm's or none.
    """
    data = read_secret(path)
    try:
        match codec.decode_map(open_key_file(data, password)):
            case {"sig_seed": bytes(seed)}:
                root = SigningKey.from_seed(seed)
            case _:
                raise CryptoError("a field is missing")
    except FrameworkError as error:
        raise ConfigError(f"{path}: {error}", error.hint) from error
    if root.public != keys.root_public:
        raise ConfigError(
            f"{path} is the root key of another realm", "name this realm's with --root"
        )
    return root


def _unwrapped(package: _Package, keys: ManagerKeys) -> ManagerKeys:
    try:
        key = keys.advanced(package.slot).session_key(package.slot)
        associated = _associated(keys, package.slot, package.generation)
        return unpack_keys(open_with_nonce(key, associated, package.wrapped))
    except CryptoError as error:
        raise ConfigError(
            "the realm's keys were rotated elsewhere, and are not handed over any more",
            "copy manager.key from a manager that has them, or restore a backup",
        ) from error


def _associated(keys: ManagerKeys, slot: int, generation: int) -> bytes:
    return _LABEL + codec.encode([keys.fingerprint, slot, generation])


def _packages(unit: Unit) -> tuple[_Package, ...]:
    data = unit.journal.fact(ROTATED)
    match None if data is None else codec.decode(data):
        case None:
            return ()
        case list(entries):
            return tuple(map(_package_of, entries))
        case _:
            raise StoreError("the store holds no keys where it should")


def _package_of(entry: codec.Value) -> _Package:
    match entry:
        case [int(generation), int(slot), int(until), bytes(wrapped)]:
            return _Package(generation, slot, until, wrapped)
        case _:
            raise StoreError("the store holds no keys where it should")


def _keep(unit: Unit, packages: tuple[_Package, ...]) -> None:
    entries: list[codec.Value] = [
        [each.generation, each.slot, each.until, each.wrapped] for each in packages
    ]
    unit.journal.set_fact(ROTATED, codec.encode(entries))
