"""Frames on a data link, without I/O.

Source: docs/protocol.md, section "Frames": ``len:u32 type:u8 body``, where ``len``
counts the type and the body, big-endian.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from shared.crypto.derivation import equal
from shared.errors import FailureCode, RemoteProtocolError
from shared.messages.link import EndOfData

MAX_FRAME_BYTES: Final = 1 << 20
"""The largest ``len``: type and body."""
MAX_CONTROL_BYTES: Final = 8 << 10
"""The largest body of a link.hello, ap.req, ap.rep or peer.hello."""
MAX_CODE_BYTES: Final = 64
DATA_CHUNK_BYTES: Final = 256 << 10
"""How much of a block is put into one DATA frame."""
LENGTH_BYTES: Final = 4
COUNT_BYTES: Final = 8
DIGEST_BYTES: Final = 32
END_BYTES: Final = COUNT_BYTES + DIGEST_BYTES


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
    return (len(body) + 1).to_bytes(LENGTH_BYTES, "big") + bytes((kind,)) + body


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    It buffers one incomplete frame at most. Lengths and types are judged as soon as
    their bytes are there, so nothing is kept of a frame that will be refused.
    """

    __slots__ = ("_buffer", "_is_broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_broken = False

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an incomplete frame are kept."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Return the frames that are complete now.

        Args:
            data: the next bytes of the stream, any number of them.

        Raises:
            RemoteProtocolError: a length is 0 or above 1 MiB, a type is unknown, or
                a body's length is not one that its type has. Nothing can be read
                from the stream any more.
        """
        if self._is_broken:
            raise RemoteProtocolError("bytes after a malformed frame")
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        try:
            while (frame := self._next(start)) is not None:
                frames.append(frame)
                start += LENGTH_BYTES + 1 + len(frame.body)
        except RemoteProtocolError:
            self._is_broken = True
            self._buffer.clear()
            raise
        del self._buffer[:start]
        return frames

    def _next(self, start: int) -> Frame | None:
        """Return the frame that starts here, if all of it is there."""
        body_start = start + LENGTH_BYTES + 1
        if len(self._buffer) < start + LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[start : start + LENGTH_BYTES], "big")
        if not 1 <= length <= MAX_FRAME_BYTES:
            raise RemoteProtocolError(f"a frame of {length} bytes")
        if len(self._buffer) < body_start:
            return None
        number = self._buffer[body_start - 1]
        if number not in _BODY_BYTES:
            raise RemoteProtocolError(f"a frame of unknown type {number}")
        kind = FrameType(number)
        shortest, longest = _BODY_BYTES[kind]
        if not shortest <= length - 1 <= longest:
            raise RemoteProtocolError(f"{length - 1} bytes in a frame {kind.name}")
        body_end = body_start + length - 1
        if len(self._buffer) < body_end:
            return None
        with memoryview(self._buffer) as view:
            return Frame(kind, bytes(view[body_start:body_end]))


def encode_end(end: EndOfData) -> bytes:
    """Return the body of an END: the count as ``u64``, then the digest."""
    return end.count.to_bytes(COUNT_BYTES, "big") + end.digest


def decode_end(body: bytes) -> EndOfData:
    """Return what an END says.

    Raises:
        RemoteProtocolError: the count is beyond all limits.
    """
    try:
        return EndOfData(
            count=int.from_bytes(body[:COUNT_BYTES], "big"), digest=body[COUNT_BYTES:]
        )
    except ValueError as error:
        raise RemoteProtocolError("an END that cannot be true") from error


def data_frames(block: bytes, chunk_bytes: int = DATA_CHUNK_BYTES) -> Iterator[bytes]:
    """Return the encoded frames that carry one block: DATA…, END.

    Args:
        block: not empty, unless nothing shall be sent.
        chunk_bytes: how much of it goes into one DATA.
    """
    with memoryview(block) as view:
        for start in range(0, len(block), chunk_bytes):
            chunk = bytes(view[start : start + chunk_bytes])
            yield encode_frame(FrameType.DATA, chunk)
    end = EndOfData(count=len(block), digest=hashlib.sha256(block).digest())
    yield encode_frame(FrameType.END, encode_end(end))


class DataReceiver:
    """Puts DATA frames together and checks them against their END."""

    __slots__ = ("_block", "_digest", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """Start with nothing received.

        Args:
            max_bytes: how long the block may become.
        """
        self._block = bytearray()
        self._digest = hashlib.sha256()
        self._max_bytes = max_bytes

    @property
    def has_data(self) -> bool:
        """Whether anything came."""
        return len(self._block) > 0

    def add(self, body: bytes) -> None:
        """Take the body of the next DATA frame.

        Raises:
            RemoteProtocolError: more bytes than were agreed; what came is dropped.
        """
        if len(self._block) + len(body) > self._max_bytes:
            self._block.clear()
            raise RemoteProtocolError(f"more than {self._max_bytes} bytes of data")
        self._block += body
        self._digest.update(body)

    def finish(self, body: bytes) -> bytes:
        """Return the block that an END completes.

        Raises:
            RemoteProtocolError: count or digest differ; what came is dropped.
        """
        end = decode_end(body)
        block = bytes(self._block)
        self._block.clear()
        if end.count != len(block) or not equal(end.digest, self._digest.digest()):
            raise RemoteProtocolError("the END does not fit the data before it")
        return block


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
