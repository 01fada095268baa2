"""Messages between two workers: bounded, whatever the other one sends."""

import asyncio
import struct
from collections.abc import Callable

import pytest

from participant.engines import mpyc_channel
from participant.engines.mpyc_channel import Channel

HEADER = struct.Struct("<qI")


class Wire(asyncio.Transport):
    """A transport that remembers whether it was aborted."""

    is_aborted = False

    def abort(self) -> None:
        """Close at once."""
        self.is_aborted = True


def message(counter: int, payload: bytes = b"") -> bytes:
    """Return a message as it travels."""
    return HEADER.pack(counter, len(payload)) + payload


def after(feed: Callable[[Channel], None]) -> bool:
    """Say whether a channel gives its peer up for what it is fed."""
    loop = asyncio.new_event_loop()
    try:
        wire = Wire()
        channel = Channel(1, loop)
        channel.connection_made(wire)
        feed(channel)
        return wire.is_aborted
    finally:
        loop.close()


def test_empty_messages_that_nobody_asked_for_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each costs memory, whatever its length."""
    monkeypatch.setattr(mpyc_channel, "MAX_WAITING_BYTES", 100_000)

    def flood(channel: Channel) -> None:
        for counter in range(1000):
            channel.data_received(message(counter))

    assert after(flood)


def test_a_counter_that_comes_twice_ends_the_channel() -> None:
    """The second message must not take the place of the first."""

    def twice(channel: Channel) -> None:
        channel.data_received(message(7, b"first"))
        channel.data_received(message(7, b"second"))

    assert after(twice)


def test_messages_wait_until_they_are_asked_for() -> None:
    """Peers are not in step: one may be ahead."""
    received: list[object] = []

    def ahead(channel: Channel) -> None:
        channel.data_received(message(2, b"two") + message(1, b"one"))
        received.extend([channel.receive(1), channel.receive(2)])

    assert not after(ahead)
    assert received == [b"one", b"two"]
