"""What travels on a data link before data: the AP exchange and peer hellos."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Strict

from shared.messages.job import Party, Ticket
from shared.messages.wire import (
    MAX_COLUMNS,
    Bytes32,
    Column,
    Count,
    Epoch,
    Job,
    Name,
    Nonce16,
    Signature64,
    SmallBlob,
    SmallCount,
    Structure,
    TimeMs,
)


class TicketAuthorisation(Structure):
    """What a ticket lets its client do at the server."""

    dir: Literal["in", "out", "both"]
    cols: Annotated[tuple[Column, ...], Strict(strict=False), Len(0, MAX_COLUMNS)]
    max_bytes: Count


class TicketBody(Structure):
    """The plaintext of a ticket, under the job's ticket key of one server.

    ``cnf_c``, ``cnf_s``: SHA-256 of the SubjectPublicKeyInfo of both TLS leaves
    (RFC 8705). ``mh``: the manifest's hash.
    """

    tid: Nonce16
    mh: Bytes32
    c: Name
    role: Literal["client"]
    cnf_c: Bytes32
    cnf_s: Bytes32
    k_cs: Bytes32
    az: TicketAuthorisation
    nbf: TimeMs
    exp: TimeMs


class LinkHello(Structure):
    """``link.hello``: the listener's first frame on a link."""

    v: Literal[1]
    n_s: Nonce16


class ApRequest(Structure):
    """``ap.req``: a client shows its ticket and proves its key."""

    job: Job
    epoch: Epoch
    ticket: Ticket
    n_a: Nonce16
    endorse: SmallBlob | None = None
    endorse_sig: Signature64 | None = None
    mac: Bytes32


class Limits(Structure):
    """What a server takes: bytes in a frame, bytes in all."""

    max_frame: SmallCount
    max_bytes: Count


class ApReply(Structure):
    """``ap.rep``: the server proves the same key and gives the next nonce."""

    lim: Limits
    n_s: Nonce16
    mac: Bytes32


class PeerHello(Structure):
    """``peer.hello``: one MPC server to another, both ways."""

    job: Job
    epoch: Epoch
    mh: Bytes32
    party: Party
    peer: Party


class EndOfData(Structure):
    """``END``: how many bytes of data went before."""

    count: Count
