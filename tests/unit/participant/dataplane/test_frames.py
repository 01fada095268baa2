"""Frames: what is cut from a stream, and what is refused at its first wrong byte."""

import hashlib
import tracemalloc
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from participant.dataplane.frames import (
    DATA_CHUNK_BYTES,
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    DataReceiver,
    Frame,
    FrameDecoder,
    FrameType,
    data_frames,
    decode_code,
    encode_code,
    encode_end,
    encode_frame,
)
from shared.errors import FailureCode, RemoteProtocolError
from shared.messages.link import EndOfData

BODIES = {
    FrameType.LINK_HELLO: b"h",
    FrameType.AP_REQ: b"q" * MAX_CONTROL_BYTES,
    FrameType.AP_REP: b"r",
    FrameType.PEER_HELLO: b"p",
    FrameType.DATA: b"d" * (MAX_FRAME_BYTES - 1),
    FrameType.END: bytes(40),
    FrameType.ACK: b"",
    FrameType.DONE: b"",
    FrameType.ABORT: b"internal",
    FrameType.PING: b"",
    FrameType.PONG: b"",
}


def decoded(data: bytes) -> list[Frame]:
    """Return the frames in some bytes."""
    return FrameDecoder().feed(data)


def test_every_type_comes_back_as_it_was() -> None:
    """All eleven types, each with a body of a length that it may have."""
    sent = b"".join(encode_frame(kind, body) for kind, body in BODIES.items())

    assert [Frame(kind, body) for kind, body in BODIES.items()] == decoded(sent)


def test_a_frame_is_its_length_its_type_and_its_body() -> None:
    """The layout that other implementations rely on."""
    assert encode_frame(FrameType.DATA, b"ab") == b"\x00\x00\x00\x03\x04ab"
    assert encode_frame(FrameType.DONE) == b"\x00\x00\x00\x01\x07"


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_do_not_depend_on_how_the_stream_was_cut(cuts: list[int]) -> None:
    """TCP keeps order and nothing else."""
    kinds = (FrameType.PING, FrameType.DATA, FrameType.END, FrameType.ACK)
    stream = b"".join(encode_frame(kind, BODIES[kind][:90]) for kind in kinds)
    decoder = FrameDecoder()
    frames: list[Frame] = []
    start = 0
    for cut in cuts:
        frames += decoder.feed(stream[start : start + cut])
        start += cut
    frames += decoder.feed(stream[start:])

    assert [Frame(kind, BODIES[kind][:90]) for kind in kinds] == frames
    assert decoder.buffered_bytes == 0


@pytest.mark.parametrize(
    "start",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x10\x00\x01",
        b"\x00\x00\x00\x01\x0b",
        b"\x00\x00\x00\x02\x07",  # DONE with a body
        b"\x00\x00\x20\x02\x01",  # ap.req above 8 KiB
        b"\x00\x00\x00\x01\x01",  # ap.req of nothing
        b"\x00\x00\x00\x01\x04",  # DATA of nothing
        b"\x00\x00\x00\x28\x05",  # END one byte short
        b"\x00\x00\x00\x42\x08",  # ABORT with a long code
    ],
)
def test_33_wrong_start_is_refused_before_its_body_comes(start: bytes) -> None:
    """A length or type that cannot be is an error at once, and nothing is kept."""
    decoder = FrameDecoder()
    with pytest.raises(RemoteProtocolError):
        decoder.feed(start)

    assert decoder.buffered_bytes == 0

    with pytest.raises(RemoteProtocolError):
        decoder.feed(encode_frame(FrameType.PING))


def test_33_memory_is_bounded_by_one_frame() -> None:
    """A peer that announces the largest frame and dawdles costs 1 MiB, not 4."""
    decoder = FrameDecoder()
    tracemalloc.start()
    decoder.feed(MAX_FRAME_BYTES.to_bytes(4, "big") + b"\x04")
    for _ in range(63):
        decoder.feed(bytes(16384))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("kind", "body"),
    [(FrameType.DATA, b""), (FrameType.DONE, b"x"), (FrameType.AP_REP, bytes(8193))],
)
def test_our_own_wrong_frame_is_a_bug(kind: FrameType, body: bytes) -> None:
    """What the other side would refuse is not even made."""
    with pytest.raises(ValueError, match=kind.name):
        encode_frame(kind, body)


def test_a_frame_prints_nothing_of_its_body() -> None:
    """Shares never reach a log by way of a repr."""
    assert repr(Frame(FrameType.DATA, b"4711")) == "Frame(DATA, 4 bytes)"


@pytest.mark.parametrize("length", [0, 1, DATA_CHUNK_BYTES, 2 * DATA_CHUNK_BYTES + 7])
def test_a_block_survives_its_way_through_frames(length: int) -> None:
    """DATA in chunks, then an END that fits."""
    block = bytes(index % 251 for index in range(length))
    receiver = DataReceiver(length)
    *data, end = decoded(b"".join(chain.from_iterable(data_frames(block))))
    for frame in data:
        assert frame.type is FrameType.DATA
        assert len(frame.body) <= DATA_CHUNK_BYTES

        receiver.add(frame.body)

    assert receiver.has_data is (length > 0)
    assert end.type is FrameType.END
    assert block == receiver.finish(end.body)


@pytest.mark.parametrize(
    ("count", "digest"),
    [
        (3, hashlib.sha256(b"ab").digest()),
        (2, hashlib.sha256(b"ac").digest()),
        (2**64 - 1, bytes(32)),
    ],
)
def test_33_end_that_does_not_fit_is_refused(count: int, digest: bytes) -> None:
    """Count and hash both count, and what came is dropped."""
    receiver = DataReceiver(100)
    receiver.add(b"ab")
    with pytest.raises(RemoteProtocolError):
        receiver.finish(count.to_bytes(8, "big") + digest)


def test_a_header_alone_counts_as_bytes_of_a_frame() -> None:
    """A link on which a frame has begun is not idle."""
    decoder = FrameDecoder()
    decoder.feed(encode_frame(FrameType.DATA, b"body")[:5])

    assert decoder.buffered_bytes == 5


def test_33_a_block_in_tiny_pieces_costs_no_more_memory_than_its_bytes() -> None:
    """A peer that cuts its data small must not multiply what they take here."""
    pieces = 200_000
    receiver = DataReceiver(2 * pieces)
    tracemalloc.start()
    for _ in range(pieces):
        receiver.add(b"ab")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    digest = hashlib.sha256(b"ab" * pieces).digest()
    end = encode_end(EndOfData(count=2 * pieces, digest=digest))

    assert peak < 8 * pieces
    assert receiver.finish(end) == b"ab" * pieces


@pytest.mark.parametrize("sizes", [(2, 5000, 2, 2, 5000, 5000, 3), (5000, 1), (1,)])
def test_long_and_short_pieces_keep_their_order(sizes: tuple[int, ...]) -> None:
    """They are kept in different ways, and the block is one."""
    bodies = [bytes([index]) * size for index, size in enumerate(sizes)]
    block = b"".join(bodies)
    receiver = DataReceiver(len(block))
    for body in bodies:
        receiver.add(body)
    end = EndOfData(count=len(block), digest=hashlib.sha256(block).digest())

    assert block == receiver.finish(encode_end(end))


def test_end_is_a_count_and_a_digest() -> None:
    """40 bytes: u64 and SHA-256."""
    assert encode_end(EndOfData(count=2, digest=b"\x01" * 32)) == (
        b"\x00" * 7 + b"\x02" + b"\x01" * 32
    )


def test_more_data_than_agreed_are_refused() -> None:
    """The limit holds before memory is used."""
    receiver = DataReceiver(3)
    receiver.add(b"ab")
    with pytest.raises(RemoteProtocolError, match="more than 3"):
        receiver.add(b"cd")

    assert not receiver.has_data


def test_codes_travel_as_their_text() -> None:
    """An unknown code, or a DONE that is none, counts as a failed link."""
    assert decode_code(encode_code(FailureCode.TRUNCATED)) is FailureCode.TRUNCATED
    assert decode_code(b"no such code") is FailureCode.LINK_FAILED
    assert decode_code(b"\xff") is FailureCode.LINK_FAILED
    assert decode_code(b"done") is FailureCode.LINK_FAILED
