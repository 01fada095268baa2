"""The floor of a job's set-up: its processes, and rounds of hops and handshakes."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess

from bench.floor_hops import (
    Login,
    ManagerRound,
    PartyRound,
    manager_main,
    party_main,
)
from bench.floor_tls import Credentials, make_credentials
from bench.realm import BenchRealm
from manager.broker.access import broker_access
from shared.errors import TransportError

PATIENCE_SECONDS = 60.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Bare:
    """A process of the floor, its queue and, of a server, its port."""

    process: ForkServerProcess
    pipe: Connection
    queue: str = ""
    port: int = 0

    def answer(self) -> object:
        """Return what the process says next.

        Raises:
            TransportError: it says nothing.
        """
        if not self.pipe.poll(PATIENCE_SECONDS):
            raise TransportError("a process of the floor does not answer")
        said: object = self.pipe.recv()
        return said

    def times(self) -> tuple[float, float]:
        """Return when the process began and ended its round, monotonic seconds."""
        said = self.answer()
        assert isinstance(said, tuple)  # noqa: S101 - by the contract of the pipe
        began, ended = said
        return float(began), float(ended)


class Floor:
    """One bare process for the manager and one for every party that there can be."""

    def __init__(self, login: Login, servers: int, sources: int) -> None:
        credentials = make_credentials()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["bench.floor_hops"])
        self._started: list[_Bare] = []
        try:
            self._manager = self._start(context, login, "", credentials)
            self._consumer, *parties = (
                self._start(context, login, f"bench.floor.{number}", credentials)
                for number in range(1 + servers + sources)
            )
            self._servers, self._sources = parties[:servers], parties[servers:]
        except BaseException:
            self.stop()
            raise

    @property
    def manager_pid(self) -> int:
        """The process that stands for the manager."""
        pid = self._manager.process.pid
        assert pid is not None  # noqa: S101 - it was started
        return pid

    def round_ms(
        self, servers: int, sources: int, *, cold: bool = False, jobs: int = 1
    ) -> float:
        """Return the milliseconds of one round with so many servers and sources.

        From the consumer's first publication to the last start delivered; if
        ``cold``, to the last handshake done, of as many links as a job has.
        ``jobs``: how many are requested at once.
        """
        chosen = self._servers[:servers]
        clients = [self._consumer, *self._sources[:sources]]
        ports = tuple(server.port for server in chosen)
        orders = [
            (
                server,
                PartyRound(ports[index + 1 :], index + len(clients), False, jobs)
                if cold
                else PartyRound((), 0, begins=False, jobs=jobs),
            )
            for index, server in enumerate(chosen)
        ]
        orders += [
            (
                client,
                PartyRound(ports if cold else (), 0, client is self._consumer, jobs),
            )
            for client in clients
        ]
        queues = tuple(party.queue for party, _ in orders)
        return self._round_ms(ManagerRound(queues), orders)

    def exchange_ms(self) -> float:
        """Return the milliseconds of two hops: to the manager process and back."""
        return self._round_ms(
            ManagerRound((self._consumer.queue,), is_exchange=True),
            [(self._consumer, PartyRound((), 0, begins=True))],
        )

    def _round_ms(
        self, manager: ManagerRound, orders: Sequence[tuple[_Bare, PartyRound]]
    ) -> float:
        self._manager.pipe.send(manager)
        self._manager.answer()
        for party, order in orders:
            party.pipe.send(order)
        for party, _ in orders:
            party.answer()
        self._consumer.pipe.send(0)
        begun, done = 0.0, 0.0
        for party, order in orders:
            began, ended = party.times()
            done = max(done, ended)
            begun = began if order.begins else begun
        for party, _ in orders:
            party.pipe.send(0)
        for party, _ in orders:
            party.answer()
        return (done - begun) * 1000

    def stop(self) -> None:
        """End the processes."""
        for bare in self._started:
            bare.pipe.close()
        for bare in self._started:
            bare.process.join(STOP_SECONDS)
            if bare.process.is_alive():
                bare.process.kill()

    def _start(
        self,
        context: ForkServerContext,
        login: Login,
        queue: str,
        credentials: Credentials,
    ) -> _Bare:
        ours, theirs = context.Pipe()
        process = (
            context.Process(
                target=party_main, args=(login, queue, credentials, theirs), daemon=True
            )
            if queue
            else context.Process(target=manager_main, args=(login, theirs), daemon=True)
        )
        process.start()
        theirs.close()
        self._started.append(_Bare(process, ours))
        port = self._started[-1].answer()
        return _Bare(process, ours, queue, port if isinstance(port, int) else 0)


@contextmanager
def floor(realm: BenchRealm, servers: int, sources: int) -> Iterator[Floor]:
    """Run the floor's processes at a realm's broker, for at most so many parties."""
    access = broker_access(realm.settings)
    admin = access.credentials.admin
    login = Login(
        access.amqp_url, access.vhost, admin.user, admin.password, access.authority
    )
    running = Floor(login, servers, sources)
    try:
        yield running
    finally:
        running.stop()
