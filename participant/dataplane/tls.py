"""TLS keys of this process, their leaves, and the contexts for links.

Source: docs/protocol.md, section "Links". Keys live in memory only; ``ssl`` takes
paths, so a key reaches it through an anonymous file in memory.
"""

import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from weakref import WeakSet

from participant.protocol.peer_hello import LinkFacts
from shared.crypto.certificates import LeafInfo, TlsKey, der_to_pem, read_leaf
from shared.crypto.derivation import equal
from shared.errors import (
    CryptoError,
    FailureCode,
    LocalProtocolError,
    RemoteProtocolError,
)
from shared.names import Principal

ALPN: Final = "mpx1"
SNI_HEX_DIGITS: Final = 32
MAX_IDENTITIES: Final = 8
"""TLS keys that are kept: of this session, and of those whose jobs still run."""


def server_name(spki: bytes) -> str:
    """Return the SNI by which a dialler asks for the leaf with this SPKI hash."""
    return f"{spki.hex()[:SNI_HEX_DIGITS]}.{ALPN}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A TLS key with its leaf; ``dialler`` and ``listener`` are its contexts."""

    spki: bytes
    leaf: bytes
    info: LeafInfo
    dialler: ssl.SSLContext
    listener: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Leaves:
    """Both leaves of a live link, as read from its TLS object."""

    own: LeafInfo
    peer: LeafInfo
    facts: LinkFacts

    def are_in_time(self, now: datetime) -> bool:
        """Say whether both leaves are valid now."""
        return all(
            leaf.not_before <= now <= leaf.not_after for leaf in (self.own, self.peer)
        )


class Standing(Protocol):
    """A link whose handshake is done."""

    @property
    def leaves(self) -> Leaves:
        """Both of its leaves."""
        ...

    def abort(self, code: FailureCode) -> None:
        """Close it, with a reason."""
        ...


class Identities:
    """The TLS keys of this process, the newest last; and whom no link stands with."""

    def __init__(self) -> None:
        self._revoked: frozenset[str] = frozenset()
        self._links: WeakSet[Standing] = WeakSet()
        self._keys: dict[bytes, TlsKey] = {}
        self._identities: dict[bytes, Identity] = {}

    def make_key(self, principal: Principal) -> tuple[bytes, bytes]:
        """Make a key and return its PKCS#10 request and its SPKI hash."""
        key = TlsKey.generate()
        self._keys[key.spki_hash] = key
        while len(self._keys) > MAX_IDENTITIES:
            del self._keys[next(iter(self._keys))]
        return key.csr(principal), key.spki_hash

    def use_leaf(self, spki: bytes, leaf: bytes, cas: Sequence[bytes]) -> Identity:
        """Take the leaf for a key that was made here; new links use it.

        Args:
            spki: which key.
            leaf: DER.
            cas: DER of the realm's authorities; the older identities trust them
                too from now on.

        Raises:
            CryptoError: it is a leaf for another key.
            LocalProtocolError: no such key was made here.
        """
        key = self._keys.get(spki)
        if key is None:
            raise LocalProtocolError("a leaf for a TLS key that is not here")
        info = read_leaf(leaf)
        if not equal(info.spki_hash, spki):
            raise CryptoError("a leaf for another TLS key")
        dialler = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        dialler.check_hostname = False  # the SPKI hash is what is checked
        listener = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listener.num_tickets = 0
        listener.sni_callback = self._pick
        for context in (dialler, listener):
            _set_up(context, key, leaf, cas)
        self.trust(cas)
        self._identities.pop(spki, None)
        identity = Identity(spki, leaf, info, dialler, listener)
        self._identities[spki] = identity
        while len(self._identities) > MAX_IDENTITIES:
            del self._identities[next(iter(self._identities))]
        return identity

    def trust(self, cas: Sequence[bytes]) -> None:
        """Let every identity trust these authorities too; DER.

        What an identity trusted before goes with it.
        """
        for identity in self._identities.values():
            _trust((identity.dialler, identity.listener), cas)

    def of(self, spki: bytes) -> Identity | None:
        """Return the identity with this SPKI hash, if it is still here."""
        return self._identities.get(spki)

    def newest(self) -> Identity | None:
        """Return the identity of the current session, if there is one."""
        return next(reversed(self._identities.values()), None)

    def revoke(self, principals: Iterable[Principal]) -> None:
        """End the links with these, and let no new one stand."""
        self._revoked = frozenset(principals)
        for link in list(self._links):
            if link.leaves.peer.common_name in self._revoked:
                link.abort(FailureCode.LINK_FAILED)

    def stands(self, link: Standing) -> None:
        """Know a link that has leaves, as long as somebody uses it."""
        self._links.add(link)

    def leaves(self, tls: ssl.SSLObject) -> Leaves:
        """Return both leaves of a link whose handshake is done.

        Raises:
            RemoteProtocolError: the peer has no leaf, speaks another protocol or was
                revoked.
        """
        if tls.version() != "TLSv1.3" or tls.selected_alpn_protocol() != ALPN:
            raise RemoteProtocolError("not TLS 1.3 with our application protocol")
        peer_leaf = tls.getpeercert(binary_form=True)
        if not peer_leaf:
            raise RemoteProtocolError("a TLS peer without a certificate")
        own = next(
            (
                identity
                for identity in self._identities.values()
                if tls.context in (identity.dialler, identity.listener)
            ),
            None,
        )
        if own is None:
            raise RemoteProtocolError("a link with a leaf that is no longer here")
        try:
            peer = read_leaf(peer_leaf)
        except CryptoError as error:
            raise RemoteProtocolError("a TLS peer without a leaf") from error
        if peer.common_name in self._revoked:
            raise RemoteProtocolError("a TLS peer that was revoked")
        facts = LinkFacts(
            own_leaf=own.leaf,
            peer_leaf=peer_leaf,
            own_spki=own.spki,
            peer_spki=peer.spki_hash,
            peer_name=peer.spiffe,
        )
        return Leaves(own.info, peer, facts)

    def _pick(
        self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> int | None:
        """Choose the leaf that a dialler expects; refuse to show another."""
        for identity in self._identities.values():
            if name == server_name(identity.spki):
                tls.context = identity.listener
                return None
        return int(ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


def _set_up(
    context: ssl.SSLContext, key: TlsKey, leaf: bytes, cas: Sequence[bytes]
) -> None:
    """Make a context speak nothing but MPX1's TLS."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols([ALPN])
    _trust((context,), cas)
    descriptor = os.memfd_create("mpx1-tls-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key.private_pem + der_to_pem(leaf).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _trust(contexts: Iterable[ssl.SSLContext], cas: Sequence[bytes]) -> None:
    for context in contexts:
        context.load_verify_locations(cadata=b"".join(cas))
