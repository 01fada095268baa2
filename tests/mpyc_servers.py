"""The servers of a job, each a process as in a realm, on connected sockets."""

import json
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from participant.engines import mpyc_server  # noqa: F401 - as the zygote does
from participant.engines.base import Engine, Plan, Values
from participant.engines.mpyc_engine import Mpyc
from shared.errors import JobAbortedError
from shared.names import JobId

Peers = Mapping[int, socket.socket]
LIMIT_SECONDS = 120


def plan_of(
    program: bytes,
    width: int | None,
    sources: int,
    parties: int = 3,
    threshold: int = 1,
) -> Plan:
    """Return a plan as the consumer has it."""
    return Plan(
        job=JobId(bytes(16)), parties=parties, party=None, sources=sources,
        threshold=threshold, width=width, program=program,
    )  # fmt: skip


def in_processes(
    parties: int, work: Callable[[int, Peers], object]
) -> list[dict[str, object]]:
    """Return what the work made in each party's process, as JSON has it.

    Args:
        parties: how many there are.
        work: what each does with its number and its channels to the others.

    Returns:
        One a party: ``value``, or ``error`` with the name of its class.
    """
    channels: dict[tuple[int, int], socket.socket] = {}
    for first in range(parties):
        for second in range(first + 1, parties):
            channels[first, second], channels[second, first] = socket.socketpair()
    children = []
    for party in range(parties):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(LIMIT_SECONDS)
            try:
                os.close(reading)
                answer = _answer(party, channels, work)
                with os.fdopen(writing, "w") as stream:
                    json.dump(answer, stream)
            finally:
                os._exit(0)
        os.close(writing)
        children.append((child, reading))
    for channel in channels.values():
        channel.close()
    answers = []
    for child, reading in children:
        with os.fdopen(reading) as stream:
            text = stream.read()
        os.waitpid(child, 0)
        answers.append(json.loads(text or '{"error": "killed"}'))
    return answers


def _answer(
    party: int,
    channels: Mapping[tuple[int, int], socket.socket],
    work: Callable[[int, Peers], object],
) -> dict[str, object]:
    peers = {}
    for (own, other), channel in channels.items():
        if own == party:
            peers[other] = channel
        else:
            channel.close()
    try:
        return {"value": work(party, peers)}
    except Exception as error:  # noqa: BLE001 - the parent judges
        return {"error": type(error).__name__, "text": str(error)}


def outputs(plan: Plan, blocks: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return every server's output share.

    Args:
        plan: as the consumer has it.
        blocks: one row a source, one block a server.
    """
    engine = Mpyc()

    def work(party: int, peers: Peers) -> object:
        own = [row[party] for row in blocks]
        return engine.run(replace(plan, party=party), own, peers).hex()

    answers = in_processes(plan.parties, work)
    failed = [answer for answer in answers if "error" in answer]
    if failed:
        raise AssertionError(failed)
    return [bytes.fromhex(str(answer["value"])) for answer in answers]


def computed(plan: Plan, values: Sequence[Values]) -> list[int]:
    """Return what comes out of a job, through shares, servers and consumer.

    Args:
        plan: as the consumer has it.
        values: one row a source.
    """
    engine: Engine = Mpyc()
    blocks = [engine.share(own, plan, secrets.token_bytes) for own in values]
    return engine.reconstruct(outputs(plan, blocks), plan)


__all__ = ["JobAbortedError", "computed", "in_processes", "outputs", "plan_of"]
