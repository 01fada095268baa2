"""What control process and data process say to each other over their socketpair.

Frames are ``u32`` length (big-endian) and canonical msgpack of one structure with a
``type``. Long-term keys never go to the data process; shares and results never come
to the control process (output shares pass only as files, sealed to the result key).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from annotated_types import Ge, Le, Len
from pydantic import Strict

from shared import codec
from shared.errors import DecodeError, FailureCode, RefusalCode
from shared.messages.authentication import MAX_REVOKED
from shared.messages.job import Code, Party, ServerTicket, SpecBytes
from shared.messages.wire import (
    Address,
    Bytes32,
    Count,
    Der,
    Epoch,
    Job,
    Name,
    Signature64,
    SmallBlob,
    SmallCount,
    Structure,
    Text,
    TimeMs,
    WireRole,
    validate,
)

MAX_IPC_BYTES = 1 << 20
_Path = Annotated[str, Len(1, 4096)]

# ---- control to data ----


class Configure(Structure):
    """First message. ``listen``: ``host:port`` addresses to bind (MPC servers only).

    ``folder``: where sealed shares, journals of spent tickets and results go.
    ``port_tries``: how many ports above the asked one are tried when it is taken.
    """

    type: Literal["configure"] = "configure"
    role: WireRole
    listen: Annotated[tuple[Address, ...], Strict(strict=False), Len(0, 8)]
    port_tries: Annotated[int, Ge(1), Le(1000)]
    folder: _Path


class NewTlsKey(Structure):
    """Make a TLS key for the next session and answer with ``TlsKeyMade``."""

    type: Literal["new_tls_key"] = "new_tls_key"
    principal: Name


class UseLeaf(Structure):
    """The session certificate for the key made under ``spki``; new links use it."""

    type: Literal["use_leaf"] = "use_leaf"
    spki: Bytes32
    leaf: Der
    cas: Annotated[tuple[Der, ...], Strict(strict=False), Len(1, 8)]
    realm: Text
    exp: TimeMs


class TrustAuthorities(Structure):
    """Every leaf that is in use trusts these authorities of the realm too."""

    type: Literal["trust_authorities"] = "trust_authorities"
    cas: Annotated[tuple[Der, ...], Strict(strict=False), Len(1, 8)]


class Prepare(Structure):
    """At a source: read and check the data that the spec asks for.

    ``path``: the dataset's file. The answer is ``Prepared`` or ``PrepareFailed``,
    unless ``StopJob`` or another ``Prepare`` of the job comes first. The local sums
    stay in memory until ``StartJob`` takes them or ``StopJob`` drops them.
    """

    type: Literal["prepare"] = "prepare"
    job: Job
    epoch: Epoch
    spec: SpecBytes
    path: _Path


class Peer(Structure):
    """One party of a job as the data process needs it, checked by the control process.

    ``spki``: of its endorsed TLS key. ``sig_pk``: its identity key, for a newer
    endorsement shown in ``ap.req``.
    """

    p: Name
    role: WireRole
    party: Party | None = None
    duties: Annotated[tuple[str, ...], Strict(strict=False), Len(1, 3)]
    spki: Bytes32
    sig_pk: Bytes32
    addrs: Annotated[tuple[Address, ...], Strict(strict=False), Len(0, 8)]


class StartJob(Structure):
    """Run this party's part of a job whose manifest the control process accepted.

    ``k_tkt``: at a server. ``tickets``: at a client. ``result_key``: at the
    consumer, the secret of the key that output shares are sealed to.
    ``endorse``: own current endorsement, where newer than the manifest's.
    ``fetch_only``: at a consumer, fetch a result that was computed earlier, with the
    shares that are on disk already; at a server after a restart, serve the sealed
    share in its folder, which has to be there. No input is sent or taken then.
    ``parties``: in the manifest's order, at a server everybody; at a client itself and
    every server at least. ``sources``: how many give data in all.
    ``own_spki``: a key made by ``NewTlsKey`` whose leaf came. The job's files are in
    ``<folder>/<job in hex>/``. The same job and epoch again is ignored, except with
    ``fetch_only``; another epoch ends the one that runs. At a source the data of
    ``Prepare`` for the same job and spec are used, of whatever epoch.
    """

    type: Literal["start_job"] = "start_job"
    me: Name
    realm: Text
    fingerprint: Bytes32
    job: Job
    number: SmallCount
    epoch: Epoch
    manifest_hash: Bytes32
    spec: SpecBytes
    party: Party | None = None
    parties: Annotated[tuple[Peer, ...], Strict(strict=False), Len(1, 256)]
    sources: Annotated[int, Ge(1), Le(256)]
    own_spki: Bytes32
    deadline: TimeMs
    result_exp: TimeMs
    k_tkt: Bytes32 | None = None
    tickets: (
        Annotated[tuple[ServerTicket, ...], Strict(strict=False), Len(1, 64)] | None
    ) = None
    result_key: Bytes32 | None = None
    endorse: SmallBlob | None = None
    endorse_sig: Signature64 | None = None
    fetch_only: bool = False


class StopJob(Structure):
    """End a job now: close its links, forget its shares.

    ``discard``: delete its files too (the result was acknowledged or expired); at a
    consumer that includes ``result.json``. Nothing is answered: a job that is stopped
    reports nothing any more. What was prepared for it is forgotten.
    """

    type: Literal["stop_job"] = "stop_job"
    job: Job
    code: Code
    discard: bool


class Revoke(Structure):
    """Have no link with these any more, and take none; earlier ones are forgotten."""

    type: Literal["revoke"] = "revoke"
    principals: Annotated[tuple[Name, ...], Strict(strict=False), Len(0, MAX_REVOKED)]


class Quit(Structure):
    """Close everything and exit."""

    type: Literal["quit"] = "quit"


# ---- data to control ----


class Configured(Structure):
    """``port``: the port that is listened on, absent for clients."""

    type: Literal["configured"] = "configured"
    port: Annotated[int, Ge(1), Le(65535)] | None = None


class ConfigureFailed(Structure):
    """The listening address cannot be bound; ``reason`` names it."""

    type: Literal["configure_failed"] = "configure_failed"
    reason: Text


class TlsKeyMade(Structure):
    """A fresh TLS key: its PKCS#10 request and SPKI hash."""

    type: Literal["tls_key_made"] = "tls_key_made"
    csr: Der
    spki: Bytes32


class Prepared(Structure):
    """The data are there: rows that count, bytes of the file."""

    type: Literal["prepared"] = "prepared"
    job: Job
    epoch: Epoch
    rows: Count
    bytes: Count


class PrepareFailed(Structure):
    """The data are not usable for this spec; ``reason`` holds no cell value."""

    type: Literal["prepare_failed"] = "prepare_failed"
    job: Job
    epoch: Epoch
    code: Annotated[RefusalCode, Strict(strict=False)]
    reason: Text


class JobProgress(Structure):
    """A phase of a job was reached.

    ``linked``: every link of this party is authenticated. ``running``: shares are
    on their way (source), or all inputs are being taken (server). ``computed``:
    the output share is sealed and on disk (server). ``delivered``: acknowledged by
    the consumer (server), all inputs taken by all servers (source), result written
    (consumer). ``result``: at the consumer, where the result file is.
    """

    type: Literal["job_progress"] = "job_progress"
    job: Job
    epoch: Epoch
    phase: Literal["linked", "running", "computed", "delivered"]
    at: TimeMs
    ms: Count
    bytes_in: Count
    bytes_out: Count
    result: _Path | None = None


class JobFailed(Structure):
    """The own part of a job failed. ``peer``: whose fault or loss it looks like."""

    type: Literal["job_failed"] = "job_failed"
    job: Job
    epoch: Epoch
    at: TimeMs
    code: Annotated[FailureCode, Strict(strict=False)]
    peer: Name | None = None
    reason: Text


ToData = (
    Configure
    | NewTlsKey
    | UseLeaf
    | TrustAuthorities
    | Prepare
    | StartJob
    | StopJob
    | Revoke
    | Quit
)
ToControl = (
    Configured
    | ConfigureFailed
    | TlsKeyMade
    | Prepared
    | PrepareFailed
    | JobProgress
    | JobFailed
)

_MODELS: Mapping[str, type[Structure]] = MappingProxyType(
    {
        model.model_fields["type"].default: model
        for model in (
            Configure,
            NewTlsKey,
            UseLeaf,
            TrustAuthorities,
            Prepare,
            StartJob,
            StopJob,
            Revoke,
            Quit,
            Configured,
            ConfigureFailed,
            TlsKeyMade,
            Prepared,
            PrepareFailed,
            JobProgress,
            JobFailed,
        )
    }
)


def read(data: bytes) -> ToData | ToControl:
    """Return the structure that one frame's bytes hold.

    Raises:
        DecodeError: they hold something else.
    """
    value = codec.decode_map(data)
    model = _MODELS.get(str(value.get("type")))
    if model is None:
        raise DecodeError("no such message between control and data process")
    return validate(model, value)  # type: ignore[return-value]  # rows are the unions
