"""A worker: one engine's part of one job at one server, then its end.

It holds shares and the channels to its peers, and nothing else: no key, no ticket, no
link, no file. What it prints goes nowhere.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final, NoReturn

from participant.engines.base import Engine
from participant.engines.worker import confinement
from participant.engines.worker.messages import (
    MAX_BLOCK_BYTES,
    MAX_HEADER_BYTES,
    Answer,
    bounded,
    decode_plan,
    encode_answer,
    framed,
    receive_block,
)
from shared.errors import FailureCode, JobAbortedError

FAILED_EXIT: Final = 1


def live(
    engine: Engine,
    parent: int,
    memory_bytes: int,
    control: socket.socket,
    peers: Mapping[int, socket.socket],
) -> NoReturn:
    """Do a worker's work in a process that was just forked, and end the process.

    Args:
        engine: which to run.
        parent: the zygote's process id.
        memory_bytes: bound of the address space.
        control: where the task comes from and the answer goes to.
        peers: channel to each other server by its number.
    """
    status = FAILED_EXIT
    try:
        confinement.die_with_parent(parent)
        confinement.leave_signals_to_the_parent()
        confinement.without_core_dumps()
        confinement.keep_only(
            connection.fileno() for connection in (control, *peers.values())
        )
        confinement.bound_memory(memory_bytes)
        status = _work(engine, control, peers, memory_bytes)
    finally:  # whatever was raised: the zygote's code must not run on here
        os._exit(status)


def _work(
    engine: Engine,
    control: socket.socket,
    peers: Mapping[int, socket.socket],
    memory_bytes: int,
) -> int:
    """Answer one task; return the exit code."""
    for connection in (control, *peers.values()):
        connection.setblocking(True)
    try:
        plan, count = decode_plan(receive_block(control, MAX_HEADER_BYTES))
        blocks = [receive_block(control, MAX_BLOCK_BYTES) for _ in range(count)]
        share: object = engine.run(plan, blocks, peers)
        if isinstance(share, bytes) and 1 <= len(share) <= MAX_BLOCK_BYTES:
            _send(control, encode_answer(Answer()), share)
            return 0
        failure = Answer(FailureCode.ENGINE, "run() gave no output share")
    except JobAbortedError as error:
        failure = Answer(error.code, bounded(str(error)))
    except MemoryError:
        text = f"it needs more than {memory_bytes >> 20} MiB of memory"
        failure = Answer(FailureCode.ENGINE, text)
    except Exception as error:  # noqa: BLE001 - a library's text may hold a share
        failure = Answer(FailureCode.ENGINE, f"it raised {type(error).__name__}")
    _send(control, encode_answer(failure))
    return FAILED_EXIT


def _send(control: socket.socket, *blocks: bytes) -> None:
    for part in framed(blocks):
        control.sendall(part)
