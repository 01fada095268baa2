"""A realm of real processes that the bench can ask, watch and cut.

Parties are registered by the code behind ``mpc-participant register``, called here
instead of in a process of its own each; what runs afterwards are the same processes
that a user starts.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from manager.cli.demo_cluster import READY_SECONDS, STOP_SECONDS, Cluster
from manager.cli.opening import open_store
from manager.config import ManagerSettings, load_settings
from manager.protocol.job_state import JobState, Moment
from manager.store.store import Store
from participant.home import dataset_list, secret_file
from participant.home.folder import Home
from participant.service import presence
from participant.service.control import request_of
from participant.service.local import Answer, ask_once
from participant.service.question import Question
from participant.service.registering import Application, TransportFactory, register
from participant.service.running import connect, context
from shared import token as tokens
from shared.errors import JobError, TransportError
from shared.names import MANAGER, JobId, Role

CONSUMER = "consumer"
SLOTS = 1000
SLOTS_STEP = 15
"""Servers differ by so many slots, so that the same ones are always the best."""
STARTED_AT_ONCE = 4
CLOSED_SECONDS = 30.0
POLL_SECONDS = 0.01
SETTLE_SECONDS = 0.05
"""For the last frames of a job, and for the other ends to see that a link is cut."""
MANAGER_READY = "manager ready"
DATA_PROCESS = "participant.dataplane.process"


@dataclass(frozen=True, slots=True)
class Member:
    """A party of the bench; ``datasets``: what it offers, by name."""

    name: str
    token: tuple[str, ...]
    settings: str = ""
    datasets: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that was asked for and is closed.

    ``requested``: when the consumer's control process had the request, in
    milliseconds since the Unix epoch, by the clock that the manager uses too.
    ``seconds``: until the consumer had the result.
    """

    state: JobState
    requested: int
    seconds: float

    def since_request(self, moment: Moment) -> int:
        """Return how many milliseconds after the request something happened."""
        at = self.state.time(moment)
        if at is None:
            raise JobError(f"the job was never {moment}: {self.state.reason}")
        return at - self.requested


def server(index: int) -> Member:
    """Return the MPC server of this index; the lower ones are chosen first."""
    return Member(
        f"server{index:02}",
        ("--role", "mpcs"),
        f'listen = ["127.0.0.1:1270"]\nport_tries = 1000\n'
        f"slots = {SLOTS - SLOTS_STEP * index}\n",
    )


def source(index: int, datasets: Sequence[tuple[str, Path]]) -> Member:
    """Return the source of this index with its datasets."""
    return Member(
        f"source{index:02}",
        ("--role", "client", "--io", "input", "--prefix", "Source"),
        datasets=tuple(datasets),
    )


def consumer() -> Member:
    """Return who asks."""
    return Member(
        CONSUMER, ("--role", "client", "--io", "output", "--prefix", "Consumer")
    )


class BenchRealm(Cluster):
    """A cluster whose parties the bench brings, asks and looks at."""

    _store: Store | None = None

    @property
    def settings(self) -> ManagerSettings:
        """The manager's settings."""
        return load_settings({"home": self.home(MANAGER)})

    @property
    def store(self) -> Store:
        """The manager's store, beside the running manager."""
        if self._store is None:
            self._store = open_store(self.settings)
        return self._store

    def pid(self, name: str) -> int:
        """Return the process of the manager, or the control process of a party."""
        return self._running[name].pid

    def data_pid(self, name: str) -> int:
        """Return the data process of a party."""
        found = [
            child
            for child in processes.children(self.pid(name))
            if DATA_PROCESS in processes.arguments(child)
        ]
        return found[0]

    def bring(self, members: Sequence[Member]) -> None:
        """Register parties and start them; all are online when this returns."""
        if not members:
            return
        self.note(f"registering {len(members)} participants")
        asyncio.run(self._register_all(members))
        for start in range(0, len(members), STARTED_AT_ONCE):
            batch = [m.name for m in members[start : start + STARTED_AT_ONCE]]
            self.note(f"starting {', '.join(batch)}")
            for name in batch:
                self._spawn("participant", name)
            self._wait_for_sessions(batch)

    def restart_manager(self) -> None:
        """Stop the manager and start it again; nobody has to log on anew."""
        process = self._running[MANAGER]
        process.terminate()
        process.wait(STOP_SECONDS)
        began = self.log(MANAGER).count(MANAGER_READY)
        self._spawn("manager", MANAGER)
        deadline = time.monotonic() + READY_SECONDS
        while self.log(MANAGER).count(MANAGER_READY) == began:
            if time.monotonic() > deadline:
                raise TransportError("the manager does not come up again")
            time.sleep(POLL_SECONDS)

    def tokens(self, kind: Sequence[str], count: int) -> list[str]:
        """Make tokens of one kind."""
        return self._tokens(kind, count)

    def ask(self, question: Question) -> Asked:
        """Ask through the consumer's control process; wait until it is all over.

        Raises:
            JobError: the job failed.
        """
        return asyncio.run(self.ask_now(question))

    async def ask_now(self, question: Question) -> Asked:
        """Do as ``ask``, inside an event loop."""
        began = time.perf_counter()
        answer = await self.result_of(question)
        seconds = time.perf_counter() - began
        requested = answer["requested"]
        assert isinstance(requested, int)  # noqa: S101 - by the socket's contract
        state = await self._closed(JobId(bytes.fromhex(str(answer["id"]))))
        return Asked(state, requested, seconds)

    async def result_of(self, question: Question) -> Answer:
        """Ask and wait for the result; the manager may still hear reports.

        Raises:
            JobError: the job failed.
        """
        answer = await ask_once(Home(self.home(CONSUMER)), request_of(question))
        if answer.get("state") != "done":
            raise JobError(f"a job of the bench failed: {answer.get('reason')!r}")
        return answer

    def cut_links(self, names: Sequence[str]) -> None:
        """Break every data link of these servers; no party has it any more then."""
        pids = [self.data_pid(name) for name in names]
        deadline = time.monotonic() + CLOSED_SECONDS
        time.sleep(SETTLE_SECONDS)
        while sum(processes.cut_connections(pid) for pid in pids) > 0:
            if time.monotonic() > deadline:
                raise JobError("links that were cut do not go away")
            time.sleep(SETTLE_SECONDS)

    def links(self, names: Sequence[str]) -> frozenset[str]:
        """Return the kernel's names of the sockets of these servers' data planes."""
        return frozenset[str]().union(
            *(processes.sockets(self.data_pid(name)) for name in names)
        )

    async def _closed(self, job: JobId) -> JobState:
        deadline = time.monotonic() + CLOSED_SECONDS
        while time.monotonic() < deadline:
            with self.store.transaction() as unit:
                state = unit.jobs.get(job)
            if state is not None and state.is_closed:
                return state
            await asyncio.sleep(POLL_SECONDS)
        raise JobError("a job of the bench is not closed in time")

    async def _register_all(self, members: Sequence[Member]) -> None:
        kinds: dict[tuple[str, ...], list[Member]] = {}
        for member in members:
            kinds.setdefault(member.token, []).append(member)
        with ThreadPoolExecutor(max_workers=len(kinds)) as pool:
            made = [
                (group, pool.submit(self._tokens, kind, len(group)))
                for kind, group in kinds.items()
            ]
        for group, future in made:
            for member, text in zip(group, future.result(), strict=True):
                self.principals[member.name] = await register_member(
                    Home(self.home(member.name)), member, text
                )


async def register_member(
    home: Home, member: Member, text: str, connecting: TransportFactory = connect
) -> str:
    """Register a party in its home and return its principal."""
    if member.settings:
        secret_file.write(home.settings_path, member.settings.encode())
    for name, path in member.datasets:
        dataset_list.add(home.datasets_path, name, path)
    token = tokens.parse(text)
    application = Application(
        token=token,
        role=token.role or Role.CLIENT,
        io=token.io,
        prefix=None,
        attributes=presence.attributes({}),
    )
    with home.lock():
        identity = await register(home, application, None, connecting, context)
    return identity.principal
