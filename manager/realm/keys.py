"""The running manager's keys, and the file that keeps them.

Source: docs/protocol.md, sections "Keys" and "AS exchange". The file has mode 0600
and no password: the manager starts without an operator. It is never in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from shared.names import Fingerprint, KeyId, Principal, Realm, SessionId

KEY_LIFE: Final = timedelta(days=90)
SLOT: Final = timedelta(hours=12)
"""How long one session key wraps new sessions."""
REALM_LABEL: Final = b"MPX1-realm\0"
VERSION: Final = 2
MIN_VERSION: Final = 1
_MILLISECOND: Final = timedelta(milliseconds=1)
_NONE_YET: Final = timedelta(minutes=2)
"""Keys are valid this much earlier than they were made: clocks differ."""

Entropy = Callable[[int], bytes]


def slot_of(now_ms: int) -> int:
    """Return the number of the session key for this time."""
    return now_ms // (SLOT // _MILLISECOND)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """M.sig and M.kem, which come and go together; times in ms."""

    signer: SigningKey
    kem: KemKey
    begins: int
    ends: int

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "KeyPair(<redacted>)"


@dataclass(frozen=True, slots=True)
class DatedAuthority:
    """M.ca; times in ms."""

    authority: CertificateAuthority
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class ManagerKeys:
    """Everything secret that the manager runs with.

    ``pairs``, ``authorities``: the one in use first, then former ones that overlap.
    ``session_keys``: by slot number, more than one while sessions are rewrapped.
    ``generation``: counts rotations.
    """

    realm: Realm
    root_public: bytes
    pairs: tuple[KeyPair, ...]
    authorities: tuple[DatedAuthority, ...]
    session_keys: tuple[tuple[int, bytes], ...]
    generation: int = 0

    def __repr__(self) -> str:
        """Return text that holds nothing of the keys."""
        return "ManagerKeys(<redacted>)"

    @property
    def fingerprint(self) -> Fingerprint:
        """What ``realm`` means in everything signed."""
        return fingerprint(self.realm, self.root_public)

    @property
    def signer(self) -> SigningKey:
        """M.sig in use."""
        return self.pairs[0].signer

    @property
    def kem(self) -> KemKey:
        """M.kem in use."""
        return self.pairs[0].kem

    @property
    def ends(self) -> int:
        """The end of M.sig and M.kem in use, ms."""
        return self.pairs[0].ends

    @property
    def authority(self) -> CertificateAuthority:
        """M.ca in use."""
        return self.authorities[0].authority

    def kems(self, now_ms: int) -> tuple[KemKey, ...]:
        """Return every M.kem that may still be sealed to, newest first."""
        return tuple(pair.kem for pair in self.pairs if now_ms <= pair.ends)

    def certificates(self, now_ms: int) -> tuple[bytes, ...]:
        """Return the certificate of every M.ca in time, DER, newest first."""
        return tuple(
            each.authority.certificate_der
            for each in self.authorities
            if now_ms <= each.ends
        )

    def without_ended(self, now_ms: int) -> "ManagerKeys":
        """Return the keys without former ones whose overlap is over."""
        pairs = self.pairs[:1] + tuple(p for p in self.pairs[1:] if now_ms <= p.ends)
        authorities = self.authorities[:1] + tuple(
            each for each in self.authorities[1:] if now_ms <= each.ends
        )
        if (pairs, authorities) == (self.pairs, self.authorities):
            return self
        return replace(self, pairs=pairs, authorities=authorities)

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
        return replace(self, session_keys=kept)

    def without_old(self) -> "ManagerKeys":
        """Return the keys with the newest session key only."""
        return replace(self, session_keys=((self.slot, self.session_key(self.slot)),))

    def with_new_session_key(self, entropy: Entropy) -> "ManagerKeys":
        """Return the keys with a session key under which nothing is wrapped."""
        return replace(self, session_keys=((self.slot, entropy(KEY_BYTES)),))

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


def make_keys(
    realm: Realm, root_public: bytes, now: datetime, entropy: Entropy
) -> ManagerKeys:
    """Return fresh keys for a realm."""
    return ManagerKeys(
        realm,
        root_public,
        (make_pair(now, entropy),),
        (make_authority(realm, now),),
        ((slot_of(to_ms(now)), entropy(KEY_BYTES)),),
    )


def make_pair(now: datetime, entropy: Entropy) -> KeyPair:
    """Return a fresh M.sig and M.kem that begin now."""
    signer = SigningKey.from_seed(entropy(KEY_BYTES))
    return KeyPair(signer, KemKey.from_bytes(entropy(KEY_BYTES)), *_times(now))


def make_authority(realm: Realm, now: datetime) -> DatedAuthority:
    """Return a fresh M.ca that begins now."""
    begins, ends = _times(now)
    authority = CertificateAuthority.create(realm, from_ms(begins), from_ms(ends))
    return DatedAuthority(authority, begins, ends)


def _times(now: datetime) -> tuple[int, int]:
    # An X.509 time has whole seconds.
    return to_ms(now - _NONE_YET), to_ms(now + KEY_LIFE) // 1000 * 1000


def describe(keys: ManagerKeys, root: SigningKey, epoch: int) -> RealmDescriptor:
    """Return the realm's descriptor, signed by its root."""
    described: list[RealmKey] = []
    for pair in keys.pairs:
        signer, kem, begins, ends = pair.signer, pair.kem, pair.begins, pair.ends
        described += (
            _described(signer.kid, KeyUse.SIG, signer.public, begins, ends),
            _described(kem.kid, KeyUse.KEM, kem.public, begins, ends),
        )
    for each in keys.authorities:
        certificate = each.authority.certificate_der
        described.append(
            _described(
                each.authority.kid, KeyUse.CA, certificate, each.begins, each.ends
            )
        )
    description = RealmDescription(
        v=1,
        realm=keys.realm,
        epoch=epoch,
        root=root.public,
        keys=tuple(described),
        suites=tuple(int(suite) for suite in Suite),
        min_ver=MIN_VERSION,
    ).pack()
    return RealmDescriptor(rd=description, sig=root.sign(REALM_LABEL, description))


def _described(key: KeyId, use: KeyUse, pk: bytes, begins: int, ends: int) -> RealmKey:
    return RealmKey(kid=key, use=use, pk=pk, nbf=begins, exp=ends)


def save_keys(path: Path, keys: ManagerKeys, entropy: Entropy) -> None:
    """Write the manager's key file.

    Raises:
        ConfigError: it cannot be written; the old one is unchanged.
    """
    salt, nonce = entropy(SALT_BYTES), entropy(NONCE_BYTES)
    write_secret(path, seal_key_file(pack_keys(keys), None, salt, nonce))


def load_keys(path: Path) -> ManagerKeys:
    """Read the manager's key file.

    Raises:
        ConfigError: it is missing, damaged or readable by others.
    """
    data = read_secret(path)
    try:
        return unpack_keys(open_key_file(data, None))
    except FrameworkError as error:
        raise ConfigError(
            f"{path} does not hold a manager's keys: {error}",
            "restore it from a backup",
        ) from error


def pack_keys(keys: ManagerKeys) -> bytes:
    """Return the keys as one string of bytes, in clear."""
    return codec.encode(
        {
            "v": VERSION,
            "realm": keys.realm,
            "root": keys.root_public,
            "generation": keys.generation,
            "pairs": [
                [pair.signer.seed, pair.kem.secret, pair.begins, pair.ends]
                for pair in keys.pairs
            ],
            "cas": [
                [
                    each.authority.key_pem,
                    each.authority.certificate_der,
                    each.begins,
                    each.ends,
                ]
                for each in keys.authorities
            ],
            "sess": [list(entry) for entry in keys.session_keys],
        }
    )


def unpack_keys(data: bytes) -> ManagerKeys:
    """Return the keys that ``pack_keys`` packed, in this release or an earlier one.

    Raises:
        DecodeError: not well-formed.
        CryptoError: not keys.
    """
    match codec.decode_map(data):
        case {
            "v": 2,
            "realm": str(realm),
            "root": bytes(root),
            "generation": int(generation),
            "pairs": [_, *_] as pairs,
            "cas": [_, *_] as authorities,
            "sess": list(entries),
        }:
            return ManagerKeys(
                Realm(realm),
                root,
                tuple(_pair_of(entry) for entry in pairs),
                tuple(_authority_of(entry) for entry in authorities),
                tuple(_session_key_of(entry) for entry in entries),
                generation,
            )
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
                (_pair_of([seed, secret, begins, ends]),),
                (_authority_of([authority_key, certificate, begins, ends]),),
                tuple(_session_key_of(entry) for entry in entries),
            )
        case _:
            raise CryptoError("a field is missing")


def _pair_of(entry: codec.Value) -> KeyPair:
    match entry:
        case [bytes(seed), bytes(secret), int(begins), int(ends)]:
            signer, kem = SigningKey.from_seed(seed), KemKey.from_bytes(secret)
            return KeyPair(signer, kem, begins, ends)
        case _:
            raise CryptoError("a pair of keys is malformed")


def _authority_of(entry: codec.Value) -> DatedAuthority:
    match entry:
        case [bytes(key), bytes(certificate), int(begins), int(ends)]:
            authority = CertificateAuthority.from_pem(key, certificate)
            return DatedAuthority(authority, begins, ends)
        case _:
            raise CryptoError("an authority is malformed")


def _session_key_of(entry: codec.Value) -> tuple[int, bytes]:
    match entry:
        case [int(number), bytes(key)]:
            return number, key
        case _:
            raise CryptoError("a session key is malformed")
