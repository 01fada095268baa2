"""The running manager's keys, and the file that keeps them.

Source: docs/protocol.md, sections "Keys" and "AS exchange". The file has mode 0600
and no password: the manager starts without an operator. It is never in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from manager.realm.private_files import read_secret, write_secret
from shared import codec
from shared.clock import from_ms, to_ms
from shared.crypto.certificates import CertificateAuthority
from shared.crypto.derivation import fingerprint, next_session_key
from shared.crypto.keyfile import SALT_BYTES, open_key_file, seal_key_file
from shared.crypto.keys import KEY_BYTES, KemKey, SigningKey
from shared.crypto.sealing import NONCE_BYTES, open_with_nonce, seal_with_nonce
from shared.errors import ConfigError, CryptoError, FrameworkError, UnknownKeyError
from shared.messages import KeyUse, RealmDescription, RealmDescriptor, RealmKey, Suite
from shared.names import Fingerprint, Principal, Realm, SessionId

KEY_LIFE: Final = timedelta(days=90)
SLOT: Final = timedelta(hours=12)
"""How long one session key wraps new sessions."""
REALM_LABEL: Final = b"MPX1-realm\0"
VERSION: Final = 1
MIN_VERSION: Final = 1
_MILLISECOND: Final = timedelta(milliseconds=1)
_NONE_YET: Final = timedelta(minutes=2)
"""Keys are valid this much earlier than they were made: clocks differ."""

Entropy = Callable[[int], bytes]


def slot_of(now_ms: int) -> int:
    """Return the number of the session key for this time."""
    return now_ms // (SLOT // _MILLISECOND)


@dataclass(frozen=True, slots=True)
class ManagerKeys:
    """Everything secret that the manager runs with.

    ``session_keys``: by slot number, at most two while sessions are rewrapped.
    ``begins``, ``ends``: of the signing, KEM and CA keys, ms.
    """

    realm: Realm
    root_public: bytes
    signer: SigningKey
    kem: KemKey
    authority: CertificateAuthority
    begins: int
    ends: int
    session_keys: tuple[tuple[int, bytes], ...]

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "ManagerKeys(<redacted>)"

    @property
    def fingerprint(self) -> Fingerprint:
        """What ``realm`` means in everything signed."""
        return fingerprint(self.realm, self.root_public)

    @property
    def slot(self) -> int:
        """The number of the session key in use."""
        return max(number for number, _ in self.session_keys)

    def session_key(self, slot: int) -> bytes:
        """Return the session key of a slot.

        Raises:
            UnknownKeyError: it was erased or is of a later time.
        """
        for number, key in self.session_keys:
            if number == slot:
                return key
        raise UnknownKeyError(f"no session key of slot {slot}")

    def advanced(self, slot: int) -> "ManagerKeys":
        """Return the keys with the session key of this slot beside the old one."""
        number = self.slot
        key = self.session_key(number)
        kept = self.session_keys
        while number < slot:
            number, key = number + 1, next_session_key(key)
            kept = (*self.session_keys, (number, key))
        return self._with(kept)

    def without_old(self) -> "ManagerKeys":
        """Return the keys with the newest session key only."""
        return self._with(((self.slot, self.session_key(self.slot)),))

    def with_new_session_key(self, entropy: Entropy) -> "ManagerKeys":
        """Return the keys with a session key under which nothing is wrapped."""
        return self._with(((self.slot, entropy(KEY_BYTES)),))

    def wrap_session(self, sid: SessionId, keys: bytes, nonce: bytes) -> bytes:
        """Return a session's keys wrapped under the session key in use."""
        key = self.session_key(self.slot)
        return seal_with_nonce(key, self._session_aad(self.slot, sid), keys, nonce)

    def unwrap_session(self, slot: int, sid: SessionId, wrapped: bytes) -> bytes:
        """Return a session's keys.

        Raises:
            CryptoError: another session, slot or realm, or altered.
        """
        return open_with_nonce(
            self.session_key(slot), self._session_aad(slot, sid), wrapped
        )

    def wrap_ticket_key(
        self, name: tuple[bytes, int, Principal], key: bytes, nonce: bytes
    ) -> bytes:
        """Return the ticket key of (job, epoch, server), wrapped."""
        aad = self._ticket_aad(self.slot, name)
        return seal_with_nonce(self.session_key(self.slot), aad, key, nonce)

    def unwrap_ticket_key(
        self, slot: int, name: tuple[bytes, int, Principal], wrapped: bytes
    ) -> bytes:
        """Return the ticket key of (job, epoch, server).

        Raises:
            CryptoError: another one, another slot or realm, or altered.
        """
        aad = self._ticket_aad(slot, name)
        return open_with_nonce(self.session_key(slot), aad, wrapped)

    def _session_aad(self, slot: int, sid: SessionId) -> bytes:
        return b"MPX1-sess\0" + codec.encode([self.fingerprint, slot, sid])

    def _ticket_aad(self, slot: int, name: tuple[bytes, int, Principal]) -> bytes:
        return b"MPX1-tkey\0" + codec.encode([self.fingerprint, slot, *name])

    def _with(self, session_keys: tuple[tuple[int, bytes], ...]) -> "ManagerKeys":
        return ManagerKeys(
            self.realm,
            self.root_public,
            self.signer,
            self.kem,
            self.authority,
            self.begins,
            self.ends,
            session_keys,
        )


def make_keys(
    realm: Realm, root_public: bytes, now: datetime, entropy: Entropy
) -> ManagerKeys:
    """Return fresh keys for a realm."""
    begins, ends = now - _NONE_YET, now + KEY_LIFE
    return ManagerKeys(
        realm,
        root_public,
        SigningKey.from_seed(entropy(KEY_BYTES)),
        KemKey.from_bytes(entropy(KEY_BYTES)),
        CertificateAuthority.create(realm, begins, ends),
        to_ms(begins),
        to_ms(ends) // 1000 * 1000,
        ((slot_of(to_ms(now)), entropy(KEY_BYTES)),),
    )


def describe(keys: ManagerKeys, root: SigningKey, epoch: int) -> RealmDescriptor:
    """Return the realm's descriptor, signed by its root."""
    times = {"nbf": keys.begins, "exp": keys.ends}
    description = RealmDescription(
        v=1,
        realm=keys.realm,
        epoch=epoch,
        root=root.public,
        keys=(
            RealmKey(
                kid=keys.signer.kid, use=KeyUse.SIG, pk=keys.signer.public, **times
            ),
            RealmKey(kid=keys.kem.kid, use=KeyUse.KEM, pk=keys.kem.public, **times),
            RealmKey(
                kid=keys.authority.kid,
                use=KeyUse.CA,
                pk=keys.authority.certificate_der,
                **times,
            ),
        ),
        suites=tuple(int(suite) for suite in Suite),
        min_ver=MIN_VERSION,
    ).pack()
    return RealmDescriptor(rd=description, sig=root.sign(REALM_LABEL, description))


def save_keys(path: Path, keys: ManagerKeys, entropy: Entropy) -> None:
    """Write the manager's key file.

    Raises:
        ConfigError: it cannot be written; the old one is unchanged.
    """
    payload = codec.encode(
        {
            "v": VERSION,
            "realm": keys.realm,
            "root": keys.root_public,
            "sig_seed": keys.signer.seed,
            "kem_sk": keys.kem.secret,
            "ca_key": keys.authority.key_pem,
            "ca": keys.authority.certificate_der,
            "nbf": keys.begins,
            "exp": keys.ends,
            "sess": [list(entry) for entry in keys.session_keys],
        }
    )
    salt, nonce = entropy(SALT_BYTES), entropy(NONCE_BYTES)
    write_secret(path, seal_key_file(payload, None, salt, nonce))


def load_keys(path: Path) -> ManagerKeys:
    """Read the manager's key file.

    Raises:
        ConfigError: it is missing, damaged or readable by others.
    """
    data = read_secret(path)
    try:
        content = codec.decode_map(open_key_file(data, None))
        return _keys_of(content)
    except FrameworkError as error:
        raise ConfigError(
            f"{path} does not hold a manager's keys: {error}",
            "restore it from a backup",
        ) from error


def _keys_of(content: dict[str, codec.Value]) -> ManagerKeys:
    match content:
        case {
            "v": 1,
            "realm": str(realm),
            "root": bytes(root),
            "sig_seed": bytes(seed),
            "kem_sk": bytes(secret),
            "ca_key": bytes(authority_key),
            "ca": bytes(certificate),
            "nbf": int(begins),
            "exp": int(ends),
            "sess": list(entries),
        }:
            return ManagerKeys(
                Realm(realm),
                root,
                SigningKey.from_seed(seed),
                KemKey.from_bytes(secret),
                CertificateAuthority.from_pem(authority_key, certificate),
                begins,
                ends,
                tuple(_session_key_of(entry) for entry in entries),
            )
        case _:
            raise CryptoError("a field is missing")


def _session_key_of(entry: codec.Value) -> tuple[int, bytes]:
    match entry:
        case [int(number), bytes(key)]:
            return number, key
        case _:
            raise CryptoError("a session key is malformed")


def end_of(keys: ManagerKeys) -> datetime:
    """Return when the manager's keys end."""
    return from_ms(keys.ends)
