"""How a machine's state becomes bytes and comes back.

A state is a frozen dataclass of integers, texts, bytes, tuples, frozensets, enums
and wire structures; its bytes are canonical msgpack.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from shared import codec
from shared.errors import CodecError, StoreError

MAX_STATE_BYTES: Final = 16 * 1024 * 1024

S = TypeVar("S")


class Packer(Generic[S]):
    """Packs one kind of state.

    Args:
        kind: the dataclass.
    """

    def __init__(self, kind: type[S]) -> None:
        self._kind = kind
        self._adapter: TypeAdapter[S] = TypeAdapter(kind)

    def pack(self, state: S) -> bytes:
        """Return the bytes of a state.

        Raises:
            CodecError: it holds something that the codec does not know.
        """
        try:
            dumped = self._adapter.dump_python(state, warnings="error")
        except PydanticSerializationError as error:
            raise CodecError(f"not a {self._kind.__name__}: {error}") from error
        return codec.encode(_plain(dumped))

    def unpack(self, data: bytes) -> S:
        """Return the state that the bytes hold.

        Raises:
            StoreError: they hold another kind, or one of another release.
        """
        try:
            return self._adapter.validate_python(
                codec.decode(data, max_bytes=MAX_STATE_BYTES)
            )
        except (CodecError, ValidationError) as error:
            raise StoreError(
                f"the store holds a {self._kind.__name__} that cannot be read",
                "restore the store from a backup of this release",
            ) from error


def _plain(value: object) -> codec.Value:
    """Return the value with sets as sorted lists and enums as their text."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return [_plain(item) for item in sorted(value)]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise CodecError(f"a state holds a {type(value).__name__}")
