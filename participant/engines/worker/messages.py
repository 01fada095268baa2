"""What goes between the data process, the zygote and its workers.

Data process and zygote exchange single packets of canonical msgpack; file descriptors
ride on the orders. Data process and worker share a stream of their own: a block is a
``u64`` length (big-endian) and its bytes. The data process sends a task, which is a
header and then one block a source; the worker answers with a header and, if it
succeeded, one block, its output share.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from participant.engines.base import MAX_SOURCES, Plan
from shared import codec
from shared.errors import DecodeError, FailureCode, JobAbortedError
from shared.names import JobId
from shared.printable import printable

MAX_PACKET_BYTES: Final = 8 << 10
MAX_DESCRIPTORS: Final = 128
"""File descriptors in a packet: a control channel and one a peer."""
LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = codec.MAX_BYTES
MAX_BLOCK_BYTES: Final = 64 << 20
"""The longest block of shares in either direction."""
MAX_TEXT: Final = 200

_INTEGERS: Final = ("parties", "party", "sources", "threshold")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a worker's computation ended; ``code`` and ``text`` only if it failed."""

    code: FailureCode | None = None
    text: str = ""


def encode_plan(plan: Plan, blocks: int) -> bytes:
    """Return the header of a task.

    Args:
        plan: of a server's part of a job.
        blocks: how many blocks follow.
    """
    return codec.encode(
        {
            "job": plan.job,
            "parties": plan.parties,
            "party": plan.party,
            "sources": plan.sources,
            "threshold": plan.threshold,
            "width": plan.width,
            "program": plan.program,
            "blocks": blocks,
        }
    )


def decode_plan(header: bytes) -> tuple[Plan, int]:
    """Return a task's plan, and how many blocks follow.

    Raises:
        DecodeError: it is none.
    """
    fields = codec.decode_map(header)
    job, program = fields.get("job"), fields.get("program")
    width, blocks = fields.get("width"), fields.get("blocks")
    parties, party, sources, threshold = (
        value if isinstance(value := fields.get(name), int) else -1
        for name in _INTEGERS
    )
    if (
        min(parties, party, sources, threshold) < 0
        or not isinstance(job, bytes)
        or not isinstance(program, bytes)
        or not isinstance(width, int | None)
        or not isinstance(blocks, int)
        or not 0 <= blocks <= MAX_SOURCES
    ):
        raise DecodeError("not the plan of a server's part of a job")
    plan = Plan(JobId(job), parties, party, sources, threshold, width, program)
    return plan, blocks


def encode_answer(answer: Answer) -> bytes:
    """Return the header of an answer."""
    code = None if answer.code is None else answer.code.value
    return codec.encode({"code": code, "text": answer.text})


def decode_answer(header: bytes) -> Answer:
    """Return what a worker says.

    Raises:
        DecodeError: it is no answer.
    """
    fields = codec.decode_map(header)
    code, text = fields.get("code"), fields.get("text")
    if not isinstance(text, str) or not isinstance(code, str | None):
        raise DecodeError("not an answer of a worker")
    if code is None:
        return Answer()
    try:
        return Answer(FailureCode(code), text)
    except ValueError as error:
        raise DecodeError("not a failure's code") from error


def bounded(text: str) -> str:
    """Return a text that may be logged and shown: one line of printable characters."""
    return printable(text)[:MAX_TEXT]


def read_length(data: bytes | bytearray | memoryview, most: int) -> int:
    """Return the length that a block starts with.

    Raises:
        JobAbortedError: it is longer than it may be.
    """
    length = int.from_bytes(data, "big")
    if length > most:
        raise JobAbortedError(
            f"a block of {length} bytes for or from a worker; at most {most} are taken",
            FailureCode.ENGINE,
        )
    return length


def framed(blocks: Sequence[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the blocks, each after its length."""
    for block in blocks:
        yield len(block).to_bytes(LENGTH_BYTES, "big")
        yield block


def receive_block(connection: socket.socket, most: int) -> bytes:
    """Return the next block; waits for it.

    Raises:
        EOFError: the other side is gone.
        JobAbortedError: it is longer than ``most`` bytes.
    """
    length = read_length(_exactly(connection.recv_into, LENGTH_BYTES), most)
    return _exactly(connection.recv_into, length)


def _exactly(receive: Callable[[memoryview], int], count: int) -> bytes:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        taken = receive(rest)
        if not taken:
            raise EOFError
        rest = rest[taken:]
    return bytes(data)
