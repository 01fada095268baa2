"""What of the AMQP transport needs no broker."""

import asyncio
import struct

import pytest
from pika.frame import Header
from pika.spec import Basic

from shared.errors import ConfigError
from shared.transport.amqp import MAX_PROPERTIES_BYTES, AmqpTransport, _Connection
from shared.transport.base import Transport


def test_it_is_a_transport() -> None:
    """The type checker proves it; the assignment is the proof."""
    transport: Transport = AmqpTransport("amqp://localhost", "u", "p", "r", "test")

    assert transport.failure is not None


def test_a_malformed_url_is_refused_before_connecting() -> None:
    """A setting is wrong, not the broker."""
    with pytest.raises(ConfigError):
        AmqpTransport("localhost:5672", "u", "p", "r", "test")


def header_frame(table: bytes) -> bytes:
    """Return the header frame of a message of 3 bytes with this header table."""
    flags = 1 << 13  # headers only
    content = struct.pack(">HHQHI", Basic.INDEX, 0, 3, flags, len(table)) + table
    return struct.pack(">BHL", 2, 1, len(content)) + content + b"\xce"


def nested(depth: int) -> bytes:
    """Return a table in a table in a table."""
    table = b"\x01xt\x01"
    for _ in range(depth):
        table = b"\x01xF" + struct.pack(">I", len(table)) + table
    return table


HOSTILE = {
    "a number that is none": b"\x01xd" + struct.pack(">d", float("nan")),
    "an infinite number": b"\x01xf" + struct.pack(">f", float("inf")),
    "a date far away": b"\x01xT" + struct.pack(">Q", 10**12),
    "an unknown type": b"\x01x?\x00",
    "a length beyond the end": b"\x01xt\x01\xff",
    "a cut integer": b"\x01xI\x00",
    "a decimal with a huge array": b"\x01xA" + struct.pack(">I", 2**31),
    "a deep table": nested(1200),
    "a long table": b"\x01xS" + struct.pack(">I", 20_000) + b"y" * 20_000,
}


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_properties_are_taken_for_absent(table: bytes) -> None:
    """They must not end the connection, again at every redelivery."""

    async def scenario() -> tuple[int, object, bytes]:
        connection = _Connection.__new__(_Connection)
        connection._frame_buffer = header_frame(table) + b"next"
        consumed, frame = connection._read_frame()
        return consumed, frame, connection._frame_buffer[consumed:]

    consumed, frame, rest = asyncio.run(scenario())

    assert isinstance(frame, Header)
    assert (frame.channel_number, frame.body_size) == (1, 3)
    assert frame.properties.headers is None
    assert frame.properties.user_id is None
    assert consumed == len(header_frame(table))
    assert rest == b"next"


def test_honest_properties_are_read() -> None:
    """Also when the frame comes in pieces."""
    whole = header_frame(b"\x02CCt\x01")
    connection = _Connection.__new__(_Connection)
    for length in range(1, len(whole)):
        connection._frame_buffer = whole[:length]

        assert connection._read_frame() == (0, None)

    connection._frame_buffer = whole
    _, frame = connection._read_frame()

    assert isinstance(frame, Header)
    assert frame.properties.headers == {"CC": True}
    assert len(whole) < MAX_PROPERTIES_BYTES
