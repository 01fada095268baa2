"""Who is at the other end of a data link: leaves, and hellos between MPC servers.

Source: docs/protocol.md, sections "Links" and "Server to server". Everything here is
pure; a link that fails a check is closed, and what failed is for the local log only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from shared.crypto.certificates import spiffe_id
from shared.crypto.derivation import equal
from shared.errors import (
    FailureCode,
    FrameworkError,
    JobAbortedError,
    RemoteProtocolError,
)
from shared.messages.link import LinkHello, PeerHello
from shared.messages.wire import Structure, unpack
from shared.names import JobId, Principal, Realm, Role

_S = TypeVar("_S", bound=Structure)


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What the live TLS objects of a link say.

    ``own_leaf``, ``peer_leaf``: DER. ``own_spki``, ``peer_spki``: SHA-256 of their
    SubjectPublicKeyInfo. ``peer_name``: the SPIFFE id in the peer's leaf.
    """

    own_leaf: bytes
    peer_leaf: bytes
    own_spki: bytes
    peer_spki: bytes
    peer_name: str


@dataclass(frozen=True, slots=True)
class Server:
    """An MPC server of a job as its manifest has it."""

    principal: Principal
    spki: bytes


@dataclass(frozen=True, slots=True)
class PeeredJob:
    """What a server needs to link with the others. ``servers``: by party index."""

    party: int
    realm: Realm
    job: JobId
    epoch: int
    manifest_hash: bytes
    servers: Mapping[int, Server]


def check_peer_leaf(
    realm: Realm, role: Role, principal: Principal, spki: bytes, facts: LinkFacts
) -> None:
    """Check that the other end of a link has the leaf that is expected.

    Raises:
        RemoteProtocolError: it has another one: no byte of it may be used.
    """
    if not equal(spki, facts.peer_spki):
        raise RemoteProtocolError(f"not the endorsed TLS key of {principal}")
    if facts.peer_name != spiffe_id(realm, role, principal):
        raise RemoteProtocolError(f"not a leaf of {principal}")


def link_hello(nonce: bytes) -> bytes:
    """Return the body of a listener's first frame."""
    return LinkHello(v=1, n_s=nonce).pack()


def read_link_hello(body: bytes) -> bytes:
    """Return the nonce of a link.hello.

    Raises:
        RemoteProtocolError: it is something else.
    """
    return read_body(LinkHello, body).n_s


def peer_hello(job: PeeredJob, peer: int) -> bytes:
    """Return the body of a peer.hello to the server with this party index."""
    return PeerHello(
        job=job.job,
        epoch=job.epoch,
        mh=job.manifest_hash,
        party=job.party,
        peer=peer,
    ).pack()


def job_of_hello(body: bytes) -> tuple[JobId, int]:
    """Return job and epoch that a peer.hello names; nothing of it is proven.

    Raises:
        RemoteProtocolError: it is something else.
    """
    hello = read_body(PeerHello, body)
    return hello.job, hello.epoch


def check_peer_hello(
    job: PeeredJob, facts: LinkFacts, body: bytes, expected: int | None
) -> int:
    """Return the party index of the server that a peer.hello proves.

    Args:
        job: the one that the link is for.
        facts: of the link that it came over.
        body: as received.
        expected: whom this server dialled; None at the listener, which takes any
            server with a lower index than its own.

    Raises:
        RemoteProtocolError: the peer is not who it says: close the link.
        JobAbortedError: the peer is who it says and holds another manifest.
    """
    hello = read_body(PeerHello, body)
    peer = job.servers.get(hello.party)
    if peer is None or hello.party == job.party:
        raise RemoteProtocolError("a peer.hello of a party that the manifest lacks")
    check_peer_leaf(job.realm, Role.MPCS, peer.principal, peer.spki, facts)
    is_expected = (
        hello.party < job.party if expected is None else hello.party == expected
    )
    if not is_expected:
        raise RemoteProtocolError("a peer.hello of another party than expected")
    if hello.peer != job.party:
        raise RemoteProtocolError("a peer.hello for another party")
    if (hello.job, hello.epoch) != (job.job, job.epoch):
        raise RemoteProtocolError("a peer.hello for another job")
    if not equal(hello.mh, job.manifest_hash):
        raise JobAbortedError(
            f"{peer.principal} holds another manifest of this job",
            FailureCode.ROSTER_MISMATCH,
            peer.principal,
        )
    return hello.party


def read_body(model: type[_S], body: bytes) -> _S:
    """Return the structure in a frame's body."""
    try:
        return unpack(model, body)
    except FrameworkError as error:
        raise RemoteProtocolError(f"not a {model.__name__}") from error
