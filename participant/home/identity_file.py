"""The key files: an identity, and a registration that is under way.

Source: docs/protocol.md, section "Password". With a password the file is sealed
under it; without one only its mode protects it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from annotated_types import Len
from pydantic import Strict

from participant.home import secret_file
from participant.protocol.identity import MAX_PINS, BrokerLogin, Identity, Pin
from participant.protocol.registration import Enrolment
from participant.protocol.trust import check_descriptor
from shared import token as tokens
from shared.crypto.keyfile import (
    KDF_ARGON2ID,
    SALT_BYTES,
    open_key_file,
    seal_key_file,
)
from shared.crypto.keys import KemKey, SigningKey
from shared.crypto.sealing import NONCE_BYTES
from shared.errors import ConfigError, DecodeError, RemoteProtocolError, UnsealError
from shared.messages import Attributes, SignedCertificate, SignedRealm, unpack
from shared.messages.wire import Bytes32, Name, Nonce16, Structure, WireIo, WireRole
from shared.names import Fingerprint

KDF_AT = 5
"""Where a key file says how its key comes about: behind mark and version."""

_S = TypeVar("_S", bound=Structure)
_Text = Annotated[str, Len(1, 65536)]


class StoredPin(Structure):
    """A pin as it lies in the key file."""

    p: Name
    key_hash: Bytes32
    listed: Literal[True] | None = None


class StoredBroker(Structure):
    """The broker's address and this participant's login, as in the key file."""

    url: _Text
    vhost: _Text
    user: _Text
    queue: _Text
    password: _Text
    authority: _Text | None = None


class StoredIdentity(Structure):
    """What ``identity.key`` holds."""

    v: int
    sig_seed: Bytes32
    kem_sk: Bytes32
    principal: Name
    role: WireRole
    io: WireIo | None = None
    cert: SignedCertificate
    broker: StoredBroker
    realm: SignedRealm
    epoch: int
    fingerprint: Bytes32
    pins: Annotated[tuple[StoredPin, ...], Strict(strict=False), Len(0, MAX_PINS)]
    journal_key: Bytes32


class StoredEnrolment(Structure):
    """What ``enrolment.key`` holds until the registration is complete."""

    v: int
    token: _Text
    sig_seed: Bytes32
    kem_sk: Bytes32
    role: WireRole
    io: WireIo | None = None
    prefix: _Text | None = None
    attrs: Attributes
    password: _Text
    salt: Annotated[bytes, Len(4, 4)]
    journal_key: Bytes32
    nonce: Nonce16


VERSION = 1


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file and what opens it. ``password`` is kept to write it again."""

    path: Path
    password: bytes | None = None

    def __repr__(self) -> str:
        """Name the file, never its password."""
        return f"KeyFile({self.path})"

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def save(self, identity: Identity) -> None:
        """Write an identity.

        Raises:
            ConfigError: it cannot be written; the older one is still there.
        """
        broker = identity.broker
        stored = StoredIdentity(
            v=VERSION,
            sig_seed=identity.signing.seed,
            kem_sk=identity.kem.secret,
            principal=identity.principal,
            role=identity.role,
            io=identity.io,
            cert=identity.cert,
            broker=StoredBroker(
                url=broker.url,
                vhost=broker.vhost,
                user=broker.user,
                queue=broker.queue,
                password=broker.password,
                authority=broker.authority,
            ),
            realm=identity.realm.signed,
            epoch=identity.realm.epoch,
            fingerprint=identity.realm.fingerprint,
            pins=tuple(
                StoredPin(
                    p=pin.principal,
                    key_hash=pin.key_hash,
                    listed=True if pin.is_listed else None,
                )
                for pin in identity.pins
            ),
            journal_key=identity.journal_key,
        )
        self._write(stored)

    def load(self) -> Identity:
        """Return the identity in the file.

        Raises:
            ConfigError: it cannot be read, its mode is too open, or it is damaged.
        """
        stored = _unpack(StoredIdentity, self._read(), self.path)
        try:
            realm = check_descriptor(
                stored.realm, Fingerprint(stored.fingerprint), stored.epoch
            )
        except RemoteProtocolError as error:
            raise _damaged(self.path) from error
        broker = stored.broker
        return Identity(
            signing=SigningKey.from_seed(stored.sig_seed),
            kem=KemKey.from_bytes(stored.kem_sk),
            principal=stored.principal,
            role=stored.role,
            io=stored.io,
            cert=stored.cert,
            realm=realm,
            broker=BrokerLogin(
                url=broker.url,
                vhost=broker.vhost,
                user=broker.user,
                queue=broker.queue,
                password=broker.password,
                authority=broker.authority,
            ),
            journal_key=stored.journal_key,
            pins=tuple(
                Pin(pin.p, pin.key_hash, is_listed=pin.listed is True)
                for pin in stored.pins
            ),
        )

    def save_enrolment(self, enrolment: Enrolment) -> None:
        """Write a registration before it begins, so that it can be taken up again.

        Raises:
            ConfigError: it cannot be written.
        """
        self._write(
            StoredEnrolment(
                v=VERSION,
                token=enrolment.token.text(),
                sig_seed=enrolment.signing.seed,
                kem_sk=enrolment.kem.secret,
                role=enrolment.role,
                io=enrolment.io,
                prefix=enrolment.prefix,
                attrs=enrolment.attributes,
                password=enrolment.password,
                salt=enrolment.salt,
                journal_key=enrolment.journal_key,
                nonce=enrolment.nonce,
            )
        )

    def load_enrolment(self) -> Enrolment:
        """Return the registration in the file.

        Raises:
            ConfigError: it cannot be read, its mode is too open, or it is damaged.
        """
        stored = _unpack(StoredEnrolment, self._read(), self.path)
        return Enrolment(
            token=tokens.parse(stored.token),
            signing=SigningKey.from_seed(stored.sig_seed),
            kem=KemKey.from_bytes(stored.kem_sk),
            role=stored.role,
            io=stored.io,
            prefix=stored.prefix,
            attributes=stored.attrs,
            password=stored.password,
            salt=stored.salt,
            journal_key=stored.journal_key,
            nonce=stored.nonce,
        )

    def _write(self, stored: Structure) -> None:
        data = seal_key_file(
            stored.pack(),
            self.password,
            os.urandom(SALT_BYTES),
            os.urandom(NONCE_BYTES),
        )
        secret_file.write(self.path, data)

    def _read(self) -> bytes:
        data = secret_file.read(self.path)
        try:
            return open_key_file(data, self.password)
        except (DecodeError, UnsealError) as error:
            raise ConfigError(f"{self.path}: {error}", error.hint) from error


def needs_password(path: Path) -> bool:
    """Say whether a key file is sealed under a password.

    Raises:
        ConfigError: it cannot be read or its mode is too open.
    """
    data = secret_file.read(path)
    return len(data) > KDF_AT and data[KDF_AT] == KDF_ARGON2ID


def _unpack(model: type[_S], data: bytes, path: Path) -> _S:
    try:
        return unpack(model, data)
    except DecodeError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is damaged", "restore it from a backup, or register anew"
    )
