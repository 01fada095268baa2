"""Share transfer, source to servers, beside bare TLS and bare TCP."""

import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from statistics import median

from bench.floor_tls import make_credentials
from bench.measured import Better, Figure, Series
from bench.transfer_ends import (
    BLOCK_BYTES,
    Sending,
    Way,
    receiver_main,
    sender_main,
)
from shared.errors import TransportError

PART = "transfer"
SERVERS = 3
PATIENCE_SECONDS = 60.0
MEGABYTE = 1e6


class _Source:
    """The sender's process, and where the receivers listen."""

    def __init__(self, pipe: Connection, ports: list[Mapping[Way, int]]) -> None:
        self._pipe = pipe
        self._ports = ports

    def megabytes_per_second(self, way: Way, servers: int) -> float:
        """Send a block to each of so many servers at once; return the rate of all."""
        self._pipe.send(
            Sending(way, tuple(each[way] for each in self._ports[:servers]))
        )
        seconds = _received(self._pipe)
        assert isinstance(seconds, float)  # noqa: S101 - by the contract of the pipe
        return servers * BLOCK_BYTES / seconds / MEGABYTE


def measure(rounds: int) -> list[Figure]:
    """Return the rate to one, two and three servers, all ways in turn."""
    rates: dict[tuple[int, Way], list[float]] = defaultdict(list)
    with _source() as source:
        for number in range(rounds + 1):
            for servers in range(1, SERVERS + 1):
                for way in Way:
                    rate = source.megabytes_per_second(way, servers)
                    if number > 0:  # the first is not like the others
                        rates[servers, way].append(rate)
    return [_figure(servers, rates) for servers in range(1, SERVERS + 1)]


def _figure(servers: int, rates: Mapping[tuple[int, Way], list[float]]) -> Figure:
    tls = max(
        (Way.TLS_BLOCKING, Way.TLS_ASYNCIO), key=lambda way: median(rates[servers, way])
    )
    return Figure(
        PART,
        f"{servers} server{'' if servers == 1 else 's'}",
        "MB/s",
        Series.of(rates[servers, Way.LINK]),
        tuple((way.value, Series.of(rates[servers, way])) for way in (tls, Way.TCP)),
        Better.MORE,
    )


@contextmanager
def _source() -> Iterator[_Source]:
    """Run a sender and the receivers."""
    context = multiprocessing.get_context("forkserver")
    credentials = make_credentials()
    processes = []
    keys: dict[int, bytes] = {}
    ports: list[Mapping[Way, int]] = []
    try:
        for _ in range(SERVERS):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=receiver_main, args=(credentials, theirs), daemon=True
            )
            process.start()
            processes.append(process)
            said = _received(ours)
            assert isinstance(said, tuple)  # noqa: S101 - by the contract of the pipe
            spki, listening = said
            keys[listening[Way.LINK]] = spki
            ports.append(listening)
        ours, theirs = context.Pipe()
        sender = context.Process(
            target=sender_main, args=(credentials, keys, theirs), daemon=True
        )
        sender.start()
        processes.append(sender)
        _received(ours)
        yield _Source(ours, ports)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(pipe: Connection) -> object:
    if not pipe.poll(PATIENCE_SECONDS):
        raise TransportError("a process of the transfer does not answer")
    received: object = pipe.recv()
    return received
