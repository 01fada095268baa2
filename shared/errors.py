"""Every error of the framework, and the codes that peers may see.

A *local* error is a bug of ours; a *remote* one is a peer's fault: it is
refused and counted, and the state stays as it was. A peer sees an
``ErrorCode``, a ``RefusalCode`` or a ``FailureCode``, never our text.
"""

from enum import StrEnum, unique


@unique
class ErrorCode(StrEnum):
    """Codes of an ``err`` message."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    EXPIRED = "expired"
    UNKNOWN_SESSION = "unknown_session"
    SUPERSEDED = "superseded"
    FORBIDDEN = "forbidden"
    JOB_STATE = "job_state"
    BUSY = "busy"
    TOO_LARGE = "too_large"
    VERSION = "version"
    INTERNAL = "internal"


@unique
class RefusalCode(StrEnum):
    """Why a party refuses a job, at the offer or at the start."""

    POLICY = "policy"
    BUSY = "busy"
    UNSUPPORTED = "unsupported"
    PARAMETERS = "parameters"
    UNKNOWN_DATASET = "unknown_dataset"
    UNKNOWN_COLUMN = "unknown_column"
    EMPTY_DATASET = "empty_dataset"
    NOT_NUMERIC = "not_numeric"
    MISSING_VALUES = "missing_values"
    DATASET_CHANGED = "dataset_changed"
    DATASET_UNREADABLE = "dataset_unreadable"
    OVERFLOW = "overflow"
    SPEC_INVALID = "spec_invalid"
    MANIFEST_INVALID = "manifest_invalid"
    PIN_MISMATCH = "pin_mismatch"
    REVOKED = "revoked"
    INTERNAL = "internal"


@unique
class FailureCode(StrEnum):
    """Why a job ended without a result; ``DONE`` is the one success."""

    DONE = "done"
    NO_QUORUM = "no_quorum"
    NO_SOURCES = "no_sources"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    PARTY_LOST = "party_lost"
    LINK_FAILED = "link_failed"
    ROSTER_MISMATCH = "roster_mismatch"
    TRUNCATED = "truncated"
    ENGINE = "engine"
    DEADLINE = "deadline"
    RESULT_EXPIRED = "result_expired"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    PARAMETERS = "parameters"
    INTERNAL = "internal"


class FrameworkError(Exception):
    """Root of all errors.

    Args:
        message: what is wrong, lower case, no full stop.
        hint: what the user can do about it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class DecodeError(FrameworkError):
    """Bytes that are not what they should be, whatever library said so."""


class CodecError(DecodeError):
    """Not the canonical msgpack that we accept."""


class CryptoError(FrameworkError):
    """A cryptographic check failed."""


class BadSignatureError(CryptoError):
    """A signature or MAC does not verify."""


class UnsealError(CryptoError):
    """A ciphertext does not open under the key."""


class UnknownKeyError(CryptoError):
    """No such key."""


class ProtocolError(FrameworkError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """By us: a bug."""


class RemoteProtocolError(ProtocolError):
    """By a peer: refuse, count, carry on.

    Args:
        message: for the local log only.
        code: what the peer may be told.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code


class AuthenticationError(FrameworkError):
    """A principal or session could not be authenticated."""


class ReplayError(AuthenticationError):
    """Seen before."""


class ClockSkewError(AuthenticationError):
    """The clocks of the two sides are too far apart."""


class TicketExpiredError(AuthenticationError):
    """A ticket outside its validity."""


class UnknownPrincipalError(AuthenticationError):
    """Nobody of that name is registered."""


class JobError(FrameworkError):
    """A job could not be done."""


class RefusedError(JobError):
    """One party refuses a job.

    Args:
        message: what is wrong; goes to the log and, bounded, to the consumer,
            so it never holds a cell value.
        code: the refusal's code on the wire.
    """

    def __init__(self, message: str, code: RefusalCode) -> None:
        super().__init__(message)
        self.code = code


class NoQuorumError(JobError):
    """No set of MPC servers meets the requirements."""


class JobAbortedError(JobError):
    """A running job was ended.

    Args:
        message: for log and user.
        code: why.
        party: whose fault or loss it was, if known.
    """

    def __init__(
        self, message: str, code: FailureCode, party: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.party = party


class StoreError(FrameworkError):
    """The store cannot do what was asked."""


class StoreUnreachableError(StoreError):
    """The database of the store does not answer."""


class ConflictError(StoreError):
    """Somebody else changed the row first."""


class TransportError(FrameworkError):
    """The broker cannot be reached or refused something."""


class UnroutableError(TransportError):
    """A published message reached no queue."""


class ConfigError(FrameworkError):
    """A setting, file or home is not usable."""
