"""A block is put together where it stays, within its bound."""

import tracemalloc
from pathlib import Path

import pytest

from participant.dataplane.block import HUGE_BYTES, DataReceiver
from shared.errors import JobAbortedError, RemoteProtocolError


def resident_bytes() -> int:
    """Return what this process has in memory, from /proc."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("sizes", [(2, 5000, 2, 2, 5000, 5000, 3), (5000, 1), (1,)])
def test_pieces_keep_their_order(sizes: tuple[int, ...]) -> None:
    """Long or short, added or put into the room for them."""
    bodies = [bytes([index]) * size for index, size in enumerate(sizes)]
    block = b"".join(bodies)
    receiver = DataReceiver(len(block))
    for index, body in enumerate(bodies):
        if index % 2:
            receiver.add(body)
        else:
            receiver.room(len(body))[:] = body
            receiver.fill(len(body))

    assert block == receiver.finish(len(block))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_33_end_that_does_not_fit_is_refused(count: int) -> None:
    """A byte too few or too many is no block."""
    receiver = DataReceiver(100)
    receiver.add(b"ab")
    with pytest.raises(RemoteProtocolError):
        receiver.finish(count)


def test_more_data_than_agreed_are_refused() -> None:
    """The limit holds before memory is used."""
    receiver = DataReceiver(3)
    receiver.add(b"ab")
    with pytest.raises(RemoteProtocolError, match="more than 3"):
        receiver.add(b"cd")

    assert not receiver.has_data


def test_33_a_block_in_tiny_pieces_costs_no_more_memory_than_its_bytes() -> None:
    """A peer that cuts its data small must not multiply what they take here."""
    pieces = 200_000
    tracemalloc.start()
    receiver = DataReceiver(2 * pieces)
    for _ in range(pieces):
        receiver.add(b"ab")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < pieces
    assert receiver.finish(2 * pieces) == b"ab" * pieces


def test_33_a_short_block_takes_no_memory_for_a_long_one() -> None:
    """What a peer may send costs nothing before it is sent; huge pages come late."""
    before = resident_bytes()
    receivers = [DataReceiver(64 << 20) for _ in range(20)]
    for receiver in receivers:
        receiver.add(b"ab")

    assert resident_bytes() - before < HUGE_BYTES


def test_a_block_beyond_huge_pages_is_whole() -> None:
    """The border between small pages and huge ones is none in the block."""
    piece = bytes(range(256)) * 4096
    receiver = DataReceiver(4 * len(piece))
    for _ in range(4):
        receiver.add(piece)

    assert receiver.finish(4 * len(piece)) == 4 * piece


def test_a_machine_without_room_fails_the_job() -> None:
    """With words, not with an error of the system."""
    with pytest.raises(JobAbortedError, match="no memory"):
        DataReceiver(1 << 60)


def test_the_first_data_are_told_once() -> None:
    """A ticket is spent when the first data are complete, not before."""
    told: list[bool] = []
    receiver = DataReceiver(10, lambda: told.append(receiver.has_data))
    receiver.room(2)[:] = b"ab"

    assert told == []

    receiver.fill(2)
    receiver.add(b"c")

    assert told == [False]
