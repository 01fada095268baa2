"""Making a realm: its root key, the manager's keys, an empty store."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from manager.realm.keys import Entropy, ManagerKeys, describe, make_keys, save_keys
from manager.realm.private_files import make_home, write_secret
from manager.store.store import Place, Store, Unit
from shared import codec
from shared.crypto.keyfile import (
    DEFAULT_MEMORY_KIB,
    DEFAULT_OPS,
    SALT_BYTES,
    seal_key_file,
)
from shared.crypto.keys import KEY_BYTES, SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.errors import ConfigError, StoreError
from shared.messages import RealmDescription, RealmDescriptor, unpack
from shared.names import Fingerprint, Realm

ROOT_FILE: Final = "realm_root.key"
KEY_FILE: Final = "manager.key"
LOCK_FILE: Final = "manager.lock"
DESCRIPTOR: Final = "realm_descriptor"
"""The store's fact that holds the packed descriptor of the newest epoch."""


@dataclass(frozen=True, slots=True)
class PasswordCost:
    """What Argon2id shall cost; tests take the floor."""

    ops: int = DEFAULT_OPS
    memory_kib: int = DEFAULT_MEMORY_KIB


def init_realm(
    home: Path,
    place: Place,
    realm: Realm,
    root_password: bytes,
    now: datetime,
    entropy: Entropy,
    cost: PasswordCost | None = None,
) -> Fingerprint:
    """Make a realm in a home and return its fingerprint.

    Args:
        home: is made if it is not there.
        place: where the store will be.
        realm: the name.
        root_password: encrypts the root's file, which the manager never needs.
        now: keys begin here.
        entropy: draws every key and salt.
        cost: of guessing the password.

    Raises:
        ConfigError: there is a realm already; it is unchanged.
    """
    make_home(home)
    for name in (ROOT_FILE, KEY_FILE):
        if (home / name).exists():
            raise ConfigError(
                f"there is a realm already in {home}",
                "name another folder with --home",
            )
    cost = cost or PasswordCost()
    root = SigningKey.from_seed(entropy(KEY_BYTES))
    keys = make_keys(realm, root.public, now, entropy)
    sealed_root = seal_key_file(
        codec.encode({"v": 1, "realm": realm, "sig_seed": root.seed}),
        root_password,
        entropy(SALT_BYTES),
        entropy(NONCE_BYTES),
        cost.ops,
        cost.memory_kib,
    )
    store = Store.create(place)
    set_up_store(store, describe(keys, root, 1))
    store.close()
    write_secret(home / ROOT_FILE, sealed_root)
    save_keys(home / KEY_FILE, keys, entropy)
    return keys.fingerprint


def set_up_store(store: Store, descriptor: RealmDescriptor) -> None:
    """Keep a realm's descriptor in its store."""
    with store.transaction() as unit:
        unit.journal.set_fact(DESCRIPTOR, descriptor.pack())


def descriptor_of(store: Store) -> RealmDescriptor:
    """Return the realm's descriptor.

    Raises:
        StoreError: the store holds none.
    """
    with store.transaction() as unit:
        return descriptor_of_unit(unit)


def descriptor_of_unit(unit: Unit) -> RealmDescriptor:
    """Return the realm's descriptor, inside a transaction.

    Raises:
        StoreError: the store holds none.
    """
    data = unit.journal.fact(DESCRIPTOR)
    if data is None:
        raise StoreError("the store holds no realm", "restore it, or make a realm anew")
    return unpack(RealmDescriptor, data)


def epoch_of(descriptor: RealmDescriptor) -> int:
    """Return which epoch of the realm a descriptor describes."""
    return unpack(RealmDescription, descriptor.rd).epoch


def belongs_to(keys: ManagerKeys, descriptor: RealmDescriptor) -> bool:
    """Say whether a descriptor names these very keys."""
    description = unpack(RealmDescription, descriptor.rd)
    return keys.signer.kid in {key.kid for key in description.keys}
