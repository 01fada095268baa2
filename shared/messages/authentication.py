"""The AS exchange, presence and errors."""

from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, Len
from pydantic import Strict

from shared.errors import ErrorCode
from shared.messages.realm import SignedCertificate
from shared.messages.wire import (
    MAX_COLUMNS,
    Bytes32,
    Column,
    Count,
    Der,
    Label,
    Mid,
    Name,
    Nonce16,
    Sid,
    Signature64,
    SmallBlob,
    SmallCount,
    Structure,
    TimeMs,
    Versions,
)

MAX_REVOKED: Final = 2048
"""Names in one notice: it fits into an envelope."""


class AsRequest(Structure):
    """``as.req``: pre-authenticated by signature; ``m`` is the realm fingerprint.

    ``life``: milliseconds asked for; ``e``: ephemeral X25519 key; ``csr``: PKCS#10
    for the session's TLS key; ``endorse``: packed ``Endorsement`` of that key.
    """

    type: Literal["as.req"] = "as.req"
    p: Name
    m: Bytes32
    e: Bytes32
    nonce: Nonce16
    now: TimeMs
    life: Count
    vers: Versions
    suites: Versions
    csr: Der
    endorse: SmallBlob
    endorse_sig: Signature64


class AsReplyCore(Structure):
    """What ``as.rep`` carries; its bytes enter the transcript."""

    type: Literal["as.rep"] = "as.rep"
    p: Name
    nonce: Nonce16
    e: Bytes32
    sid: Sid
    exp: TimeMs
    now: TimeMs
    ver: Annotated[int, Ge(1), Le(255)]
    suite: Annotated[int, Ge(1), Le(255)]
    vers_seen: Versions
    suites_seen: Versions
    leaf: Der
    cas: Annotated[tuple[Der, ...], Strict(strict=False), Len(1, 8)]
    cert: SignedCertificate | None = None


class AsReply(Structure):
    """``as.rep``: a packed ``AsReplyCore`` and the key confirmation over it."""

    type: Literal["as.rep"] = "as.rep"
    core: Annotated[bytes, Len(1, 32768)]
    confirm: Bytes32


class DatasetNotice(Structure):
    """A dataset that a source offers, with its column names."""

    name: Label
    cols: Annotated[tuple[Column, ...], Strict(strict=False), Len(0, MAX_COLUMNS * 4)]


class Status(Structure):
    """``status``: presence. ``load`` is the one-minute load in percent of a core."""

    type: Literal["status"] = "status"
    slots_free: SmallCount
    slots: SmallCount
    load: SmallCount
    datasets: (
        Annotated[tuple[DatasetNotice, ...], Strict(strict=False), Len(0, 64)] | None
    ) = None


class Revoked(Structure):
    """``revoked``: whom the manager does not know any more.

    ``revocations``: how many there ever were. ``principals``: all of them whose
    certificate would still be good.
    """

    type: Literal["revoked"] = "revoked"
    revocations: SmallCount
    principals: Annotated[tuple[Name, ...], Strict(strict=False), Len(0, MAX_REVOKED)]


class LogOff(Structure):
    """``log.off``: the session ends now; the sender is offline."""

    type: Literal["log.off"] = "log.off"


class ErrorNotice(Structure):
    """``err``: ends the request named in ``re`` and changes nothing else.

    ``retry_after``: milliseconds.
    """

    type: Literal["err"] = "err"
    code: Annotated[ErrorCode, Strict(strict=False)]
    re: Mid | None = None
    retry_after: Count | None = None
    now: TimeMs | None = None
