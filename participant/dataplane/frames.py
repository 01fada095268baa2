"""Frames on a data link, without I/O.

Source: docs/protocol.md, section "Frames": ``len:u32 type:u8 body``, where ``len``
counts the type and the body, big-endian.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from participant.dataplane.block import DataReceiver
from shared.errors import FailureCode, RemoteProtocolError
from shared.messages.link import EndOfData

MAX_FRAME_BYTES: Final = 1 << 20
"""The largest ``len``: type and body."""
MAX_CONTROL_BYTES: Final = 8 << 10
"""The largest body of a link.hello, ap.req, ap.rep or peer.hello."""
MAX_CODE_BYTES: Final = 64
DATA_CHUNK_BYTES: Final = 512 << 10
"""How much of a block is put into one DATA frame."""
LENGTH_BYTES: Final = 4
HEADER_BYTES: Final = LENGTH_BYTES + 1
READ_BYTES: Final = 16 << 10
"""How much is read ahead, a frame's header above all: a TLS record."""
END_BYTES: Final = 8


@unique
class FrameType(IntEnum):
    """What a frame is."""

    LINK_HELLO = 0
    AP_REQ = 1
    AP_REP = 2
    PEER_HELLO = 3
    DATA = 4
    END = 5
    ACK = 6
    DONE = 7
    ABORT = 8
    PING = 9
    PONG = 10


_BODY_BYTES: Final = {
    FrameType.LINK_HELLO: (1, MAX_CONTROL_BYTES),
    FrameType.AP_REQ: (1, MAX_CONTROL_BYTES),
    FrameType.AP_REP: (1, MAX_CONTROL_BYTES),
    FrameType.PEER_HELLO: (1, MAX_CONTROL_BYTES),
    FrameType.DATA: (1, MAX_FRAME_BYTES - 1),
    FrameType.END: (END_BYTES, END_BYTES),
    FrameType.ACK: (0, 0),
    FrameType.DONE: (0, 0),
    FrameType.ABORT: (1, MAX_CODE_BYTES),
    FrameType.PING: (0, 0),
    FrameType.PONG: (0, 0),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``repr`` shows nothing of the body."""

    type: FrameType
    body: bytes = b""

    def __repr__(self) -> str:
        """Return text that holds nothing of the body."""
        return f"Frame({self.type.name}, {len(self.body)} bytes)"


def encode_frame(kind: FrameType, body: bytes = b"") -> bytes:
    """Return the bytes of one frame.

    Args:
        kind: what it is.
        body: of a length that this kind may have; a longer one is a bug of ours.

    Raises:
        ValueError: the body is too short or too long for its kind.
    """
    shortest, longest = _BODY_BYTES[kind]
    if not shortest <= len(body) <= longest:
        raise ValueError(f"{len(body)} bytes in a frame {kind.name}")
    return _header(kind, len(body)) + body


def _header(kind: FrameType, body_bytes: int) -> bytes:
    return (body_bytes + 1).to_bytes(LENGTH_BYTES, "big") + bytes((kind,))


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    It keeps one incomplete frame at most. Lengths and types are judged as soon as
    their bytes are there, so nothing is kept of a frame that will be refused. The
    bytes of a long body are put where they stay.

    Attributes:
        receiver: takes the DATA that are complete from now on, to their END, in place
            of ``filled``'s caller.
    """

    __slots__ = (
        "_body",
        "_end",
        "_filled",
        "_head",
        "_is_broken",
        "_kind",
        "_place",
        "receiver",
    )

    def __init__(self) -> None:
        self._head = memoryview(bytearray(READ_BYTES))
        self._end = 0
        self._kind = FrameType.DATA
        self._body = memoryview(b"")
        self._filled = 0
        self._place: DataReceiver | None = None
        self._is_broken = False
        self.receiver: DataReceiver | None = None

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an incomplete frame are kept."""
        return self._end + (HEADER_BYTES + self._filled if self._body else 0)

    def room(self) -> memoryview:
        """Return where the next bytes of the stream go, as many as fit."""
        return self._body[self._filled :] if self._body else self._head[self._end :]

    def filled(self, count: int) -> list[Frame]:
        """Return the frames that are complete now.

        Args:
            count: how many bytes were put into ``room``.

        Raises:
            RemoteProtocolError: a length is 0 or above 1 MiB, a type is unknown, a
                body's length is not one that its type has, or the receiver takes no
                more. Nothing can be read from the stream any more.
        """
        if self._is_broken:
            raise RemoteProtocolError("bytes after a malformed frame")
        try:
            if self._body:
                self._filled += count
                return self._body_if_complete()
            self._end += count
            return self._cut()
        except RemoteProtocolError:
            self._is_broken = True
            self._end, self._body = 0, memoryview(b"")
            raise

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Return the frames that are complete after these bytes; as ``filled``."""
        frames: list[Frame] = []
        rest = memoryview(data)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            frames += self.filled(count)
            rest = rest[count:]
        return frames

    def _cut(self) -> list[Frame]:
        """Return the frames in what was read ahead, and keep what is left."""
        frames: list[Frame] = []
        start = 0
        while (found := self._header(start)) is not None:
            kind, length = found
            body_start = start + HEADER_BYTES
            if self._end < body_start + length:
                self._begin_body(kind, length, self._head[body_start : self._end])
                return frames
            start = body_start + length
            frames += self._taken(kind, self._head[body_start:start])
        left = self._end - start
        self._head[:left] = bytes(self._head[start : self._end])
        self._end = left
        return frames

    def _taken(self, kind: FrameType, body: memoryview) -> list[Frame]:
        """Return a frame that is complete, unless it goes to the receiver."""
        if self.receiver is not None:
            if kind is FrameType.DATA:
                self.receiver.add(body)
                return []
            if kind is FrameType.END:
                self.receiver = None
        return [Frame(kind, bytes(body))]

    def _begin_body(self, kind: FrameType, length: int, begun: memoryview) -> None:
        """Let what follows go straight to where the body is put together."""
        self._kind = kind
        self._place = self.receiver if kind is FrameType.DATA else None
        if self._place is None:
            self._body = memoryview(bytearray(length))
        else:
            self._body = self._place.room(length)
        self._filled = len(begun)
        self._body[: self._filled] = begun
        self._end = 0

    def _body_if_complete(self) -> list[Frame]:
        """Return the frame whose body this is, as soon as all of it is there."""
        if self._filled < len(self._body):
            return []
        body, place = self._body, self._place
        self._body, self._filled, self._place = memoryview(b""), 0, None
        if place is None:
            return self._taken(self._kind, body)
        place.fill(len(body))
        return []

    def _header(self, start: int) -> tuple[FrameType, int] | None:
        """Return type and body length of the frame that starts here, once known."""
        if self._end < start + LENGTH_BYTES:
            return None
        length = int.from_bytes(self._head[start : start + LENGTH_BYTES], "big")
        if not 1 <= length <= MAX_FRAME_BYTES:
            raise RemoteProtocolError(f"a frame of {length} bytes")
        if self._end < start + HEADER_BYTES:
            return None
        number = self._head[start + LENGTH_BYTES]
        if number not in _BODY_BYTES:
            raise RemoteProtocolError(f"a frame of unknown type {number}")
        kind = FrameType(number)
        shortest, longest = _BODY_BYTES[kind]
        if not shortest <= length - 1 <= longest:
            raise RemoteProtocolError(f"{length - 1} bytes in a frame {kind.name}")
        return kind, length - 1


def encode_end(end: EndOfData) -> bytes:
    """Return the body of an END: the count as ``u64``."""
    return end.count.to_bytes(END_BYTES, "big")


def decode_end(body: bytes) -> EndOfData:
    """Return what an END says.

    Raises:
        RemoteProtocolError: the count is beyond all limits.
    """
    try:
        return EndOfData(count=int.from_bytes(body, "big"))
    except ValueError as error:
        raise RemoteProtocolError("an END that cannot be true") from error


def data_frames(
    block: bytes, chunk_bytes: int = DATA_CHUNK_BYTES
) -> Iterator[tuple[bytes | memoryview, ...]]:
    """Return the frames that carry one block: DATA…, END; each in its parts.

    Nothing of the block is copied.

    Args:
        block: not empty, unless nothing shall be sent.
        chunk_bytes: how much of it goes into one DATA.
    """
    view = memoryview(block)
    for start in range(0, len(block), chunk_bytes):
        chunk = view[start : start + chunk_bytes]
        yield _header(FrameType.DATA, len(chunk)), chunk
    yield (encode_frame(FrameType.END, encode_end(EndOfData(count=len(block)))),)


def encode_code(code: FailureCode) -> bytes:
    """Return the body of an ABORT: the code's text."""
    return code.value.encode()


def decode_code(body: bytes) -> FailureCode:
    """Return the code of an ABORT; an unknown one counts as a failed link."""
    try:
        code = FailureCode(body.decode("ascii"))
    except ValueError:
        return FailureCode.LINK_FAILED
    return FailureCode.LINK_FAILED if code is FailureCode.DONE else code
