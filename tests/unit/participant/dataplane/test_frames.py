"""Frames: what is cut from a stream, and what is refused at its first wrong byte."""

import tracemalloc
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from participant.dataplane.block import DataReceiver
from participant.dataplane.frames import (
    DATA_CHUNK_BYTES,
    MAX_CONTROL_BYTES,
    MAX_FRAME_BYTES,
    READ_BYTES,
    Frame,
    FrameDecoder,
    FrameType,
    data_frames,
    decode_code,
    decode_end,
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
    FrameType.END: bytes(8),
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
        b"\x00\x00\x00\x08\x05",  # END one byte short
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
    assert block == receiver.finish(decode_end(end.body).count)


BLOCKS = st.lists(st.binary(min_size=1, max_size=3 * READ_BYTES), max_size=6)


@given(BLOCKS, st.lists(st.integers(1, 2 * READ_BYTES), max_size=20), st.integers(0, 9))
def test_data_go_to_a_receiver_in_their_order(
    bodies: list[bytes], cuts: list[int], late: int
) -> None:
    """However the stream is cut, and whenever the receiver is there to take them."""
    after = encode_frame(FrameType.END, bytes(8)) + encode_frame(FrameType.DATA, b"d")
    stream = b"".join(encode_frame(FrameType.DATA, body) for body in bodies) + after
    decoder, receiver = FrameDecoder(), DataReceiver(1 << 20)
    frames: list[Frame] = []
    start, taken = 0, 0
    for index, cut in enumerate([*cuts, len(stream)]):
        if index == late:
            taken = len(frames)
            for frame in frames:
                if frame.type is FrameType.DATA:
                    receiver.add(frame.body)
            decoder.receiver = receiver
        frames += decoder.feed(stream[start : start + cut])
        start += cut
    ends = [FrameType.END, FrameType.DATA]
    if decoder.receiver is not None or late > len(cuts):
        return  # it came too late for this block

    whole = b"".join(bodies)
    assert ends == [frame.type for frame in frames[taken:]]
    assert whole == receiver.finish(len(whole))


def test_a_receiver_that_takes_no_more_breaks_the_stream() -> None:
    """The limit holds as soon as a frame's length is known."""
    decoder = FrameDecoder()
    decoder.receiver = DataReceiver(READ_BYTES)
    with pytest.raises(RemoteProtocolError, match="more than"):
        decoder.feed((2 * READ_BYTES).to_bytes(4, "big") + b"\x04")

    assert decoder.buffered_bytes == 0

    with pytest.raises(RemoteProtocolError):
        decoder.feed(encode_frame(FrameType.PING))


def test_a_header_alone_counts_as_bytes_of_a_frame() -> None:
    """A link on which a frame has begun is not idle."""
    decoder = FrameDecoder()
    decoder.feed(encode_frame(FrameType.DATA, b"body")[:5])

    assert decoder.buffered_bytes == 5


def test_end_is_a_count() -> None:
    """8 bytes: u64."""
    assert encode_end(EndOfData(count=2)) == b"\x00" * 7 + b"\x02"


def test_33_an_end_beyond_all_limits_is_refused() -> None:
    """A count that no signed integer holds is no count."""
    with pytest.raises(RemoteProtocolError):
        decode_end(b"\xff" * 8)


def test_codes_travel_as_their_text() -> None:
    """An unknown code, or a DONE that is none, counts as a failed link."""
    assert decode_code(encode_code(FailureCode.TRUNCATED)) is FailureCode.TRUNCATED
    assert decode_code(b"no such code") is FailureCode.LINK_FAILED
    assert decode_code(b"\xff") is FailureCode.LINK_FAILED
    assert decode_code(b"done") is FailureCode.LINK_FAILED
