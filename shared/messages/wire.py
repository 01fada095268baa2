"""Field types that strict pydantic and msgpack agree on.

msgpack returns ``list`` for arrays, ``str`` for enums, ``bytes`` for binaries and
``int`` for times; the types here accept exactly that and nothing else.
Times are milliseconds since the Unix epoch.
"""

from typing import Annotated, TypeVar

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Strict

from shared import codec
from shared.errors import DecodeError
from shared.names import (
    Duty,
    Io,
    JobId,
    KeyId,
    MessageId,
    Principal,
    Role,
    SessionId,
    TokenId,
    is_label,
    is_principal,
)

MAX_PARTIES = 256
MAX_COLUMNS = 64
MAX_TEXT = 200


def _principal(value: str) -> Principal:
    if not is_principal(value):
        raise ValueError("not a principal")
    return Principal(value)


def _label(value: str) -> str:
    if not is_label(value):
        raise ValueError("not a label")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("not printable")
    return value


Nonce16 = Annotated[bytes, Len(16, 16)]
Bytes32 = Annotated[bytes, Len(32, 32)]
Signature64 = Annotated[bytes, Len(64, 64)]
Kid = Annotated[KeyId, Len(8, 8)]
Sid = Annotated[SessionId, Len(16, 16)]
Mid = Annotated[MessageId, Len(16, 16)]
Job = Annotated[JobId, Len(16, 16)]
Token = Annotated[TokenId, Len(8, 8)]
TimeMs = Annotated[int, Ge(0), Le(2**62)]
Count = Annotated[int, Ge(0), Le(2**62)]
SmallCount = Annotated[int, Ge(0), Le(2**31 - 1)]
Epoch = Annotated[int, Ge(1), Le(2**32 - 1)]
Serial = Annotated[int, Ge(1), Le(2**62)]
Der = Annotated[bytes, Len(1, 4096)]
Blob = Annotated[bytes, Len(1, 192 * 1024)]
SmallBlob = Annotated[bytes, Len(1, 4096)]
Name = Annotated[Principal, AfterValidator(_principal)]
Label = Annotated[str, AfterValidator(_label)]
Text = Annotated[str, Len(1, MAX_TEXT), AfterValidator(_printable)]
Column = Annotated[str, Len(1, 128), AfterValidator(_printable)]
Address = Annotated[str, Len(3, 280), AfterValidator(_printable)]
WireRole = Annotated[Role, Strict(strict=False)]
WireIo = Annotated[Io, Strict(strict=False)]
WireDuty = Annotated[Duty, Strict(strict=False)]
Duties = Annotated[tuple[WireDuty, ...], Strict(strict=False), Len(1, 3)]
Versions = Annotated[
    tuple[Annotated[int, Ge(1), Le(255)], ...], Strict(strict=False), Len(1, 16)
]


class Structure(BaseModel):
    """A map on the wire: frozen, strict, no unknown keys, no input in errors."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        defer_build=True,
    )

    def pack(self) -> bytes:
        """Return the canonical msgpack of this structure; absent keys stay absent."""
        return codec.encode(self.model_dump(exclude_none=True))


_S = TypeVar("_S", bound=Structure)


def unpack(model: type[_S], data: bytes) -> _S:
    """Return the structure that canonical msgpack bytes hold.

    Raises:
        DecodeError: they hold something else.
    """
    return validate(model, codec.decode_map(data))


def validate(model: type[_S], value: dict[str, codec.Value]) -> _S:
    """Return the structure that a decoded map holds.

    Raises:
        DecodeError: a key is missing, unknown or of the wrong shape.
    """
    try:
        return model.model_validate(value)
    except ValueError as error:
        raise DecodeError(f"not a {model.__name__}: {error}") from error
