"""A whole realm of real processes for the ``test_realm_*`` files.

RabbitMQ, the manager, four MPC servers, three insurers, a client that both gives
and asks, and two consumers, of whom only one has a process running. Everything on
the loopback interface is recorded from before the first token on.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from manager.broker.processes import is_alive
from manager.cli.demo_cluster import Cluster, Party, _command, _environment
from manager.cli.opening import open_store
from manager.config import load_settings
from manager.protocol.job_state import JobState
from manager.store.store import Store
from shared import token as tokens
from shared.names import JobId
from tests.integration.pages import free_port, page
from tests.integration.recording import Relay

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "insurers"
SERVERS = ("server1", "server2", "server3")
"""Those at ``HERE``."""
SPARE = "server4"
HERE = ("--location", "here")
"""What a job says that only ``SERVERS`` shall compute."""
SOURCES = ("insurer_a", "insurer_b", "insurer_c")
BOTH = "both"
ANALYST = "analyst"
VISITOR = "visitor"
"""A consumer without a running process."""
REALM = "live"
PATIENCE = 30.0
"""Seconds that a condition may take on a busy machine."""

Json = dict[str, Any]
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> Json:
        """Return what it printed."""
        if not self.out.strip():
            raise AssertionError(f"exit {self.code}, nothing on stdout: {self.err}")
        found: Json = json.loads(self.out)
        return found


@dataclass
class Command:
    """A command that runs."""

    process: subprocess.Popen[str]
    began: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def wait(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=120)
        seconds = time.monotonic() - self.began
        return Done(self.process.returncode, out, err, seconds)


def until(
    check: Callable[[], _Found | None], what: str, seconds: float = PATIENCE
) -> _Found:
    """Wait for a condition and return what made it true.

    Raises:
        AssertionError: it does not come in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:.0f} s: {what}")
        time.sleep(0.02)


@dataclass
class LiveRealm(Cluster):
    """The realm, with the hands to break it and the eyes to see what follows.

    ``relay``: what participants take for the broker, where nothing else may listen.
    """

    relay: Relay | None = None
    metrics_ports: dict[str, int] = field(default_factory=dict)
    _store: Store | None = None
    _commands: tuple[subprocess.Popen[str], ...] = ()

    @property
    def store(self) -> Store:
        """The manager's store, beside the running manager."""
        if self._store is None:
            self._store = open_store(load_settings({"home": self.home("manager")}))
        return self._store

    # ---- commands ----

    def manager(self, *arguments: str) -> str:
        """Run one ``mpc-manager`` command; tokens lead to the relay, if there is one."""
        said = super().manager(*arguments)
        if self.relay is None or arguments[:2] != ("token", "create"):
            return said
        made = [tokens.parse(line) for line in said.split()]
        url = self.relay.url(made[0].broker_url)
        return "".join(f"{replace(token, broker_url=url).text()}\n" for token in made)

    def manage(self, *arguments: str) -> Done:
        """Run one ``mpc-manager`` command, whatever its end."""
        return self._begin("manager", "manager", arguments).wait()

    def start(self, name: str, *arguments: str) -> Command:
        """Begin one ``mpc-participant`` command of a party."""
        return self._begin("participant", name, arguments)

    def _begin(self, program: str, name: str, arguments: Sequence[str]) -> Command:
        process = subprocess.Popen(
            [*_command(program, self.home(name)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            start_new_session=True,
        )
        self._commands = (*self._commands, process)
        return Command(process)

    def run(self, name: str, *arguments: str) -> Done:
        """Run one ``mpc-participant`` command of a party, whatever its end."""
        return self.start(name, *arguments).wait()

    def ask(self, name: str, statistic: str, *arguments: str) -> Command:
        """Begin ``runmpc --json``; of ``visits`` unless another dataset is named."""
        dataset = () if "--dataset" in arguments else ("--dataset", "visits")
        return self.start(
            name, "runmpc", "--statistic", statistic, *dataset, *arguments, "--json"
        )

    def mean(self, name: str = ANALYST, *arguments: str) -> Json:
        """Ask for a mean, which must succeed, and return its job."""
        done = self.ask(name, "mean", "--column", "mdvis", *arguments).wait()
        if done.code != 0:
            raise AssertionError(f"exit {done.code}: {done.out} {done.err}")
        return done.json()

    def enrol_only(self, party: Party) -> None:
        """Register a party that has no process running."""
        token = self.manager("token", "create", *party.token)
        answer = self.participant(
            party.name, "register", "--token-file", "-", *party.register, feed=token
        )
        self.principals[party.name] = answer.split()[-1]

    def stop(self) -> None:
        """End everything, the commands of a test that failed too."""
        for process in self._commands:
            with process:  # closes its pipes, of one that nobody waited for too
                if process.poll() is None:
                    process.kill()
        super().stop()

    # ---- figures ----

    def _spawn(self, program: str, name: str) -> None:
        """Start a program that shows its figures, on a port that it keeps."""
        if name not in self.metrics_ports:
            self.metrics_ports[name] = free_port()
            with (self.home(name) / f"{program}.toml").open("a") as settings:
                settings.write(f"metrics_port = {self.metrics_ports[name]}\n")
        super()._spawn(program, name)

    @property
    def running_pages(self) -> dict[str, int]:
        """Ports of the pages of figures of everybody who runs."""
        return {
            name: port
            for name, port in self.metrics_ports.items()
            if name in self._running and self._running[name].poll() is None
        }

    def page(self, name: str) -> str:
        """Return the page of figures of the manager or a party."""
        return page(self.metrics_ports[name])

    # ---- processes ----

    def pid(self, name: str) -> int:
        """Return the id of a running process: the manager's, or a control process's."""
        return self._running[name].pid

    def data_pid(self, name: str) -> int:
        """Return the id of a party's data process."""
        return data_process_of(self.pid(name))

    def kill(self, name: str) -> None:
        """``kill -9`` the manager or a control process."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> int:
        """Send SIGTERM and return the exit code.

        Of the manager the store is opened anew afterwards: whoever reads the file's
        bytes in this process ends SQLite's lock on it (POSIX locks), so the manager
        takes itself for the last one and removes what this connection reads.
        """
        if name == "manager" and self._store is not None:
            self._store.close()
            self._store = None
        process = self._running.pop(name)
        process.terminate()
        return process.wait(PATIENCE)

    def restart(self, name: str) -> None:
        """Start a party again and wait until the manager has heard from it."""
        before = self.log(name).count("session began")
        self._spawn("participant", name)
        until(
            lambda: self.log(name).count("session began") > before,
            f"a session of {name}",
        )
        until(lambda: self.is_online(name), f"{name} is online")

    def restart_manager(self) -> None:
        """Start the manager again and wait until it is ready."""
        before = self.log("manager").count("manager ready")
        self._spawn("manager", "manager")
        until(
            lambda: self.log("manager").count("manager ready") > before,
            "the manager is ready",
        )

    # ---- what the manager knows ----

    def is_online(self, name: str) -> bool:
        """Say whether the manager takes a party for online and knows what it offers."""
        with self.store.transaction() as unit:
            presences = {p.principal: p for p in unit.sessions.presences()}
        found = presences.get(self.principals[name])  # type: ignore[call-overload]  # a principal as text
        return found is not None and found.is_online and found.seen > 0

    def offers(self, name: str) -> frozenset[str]:
        """Return the datasets that the manager knows a party to offer."""
        with self.store.transaction() as unit:
            presences = {str(p.principal): p for p in unit.sessions.presences()}
        found = presences[self.principals[name]]
        return frozenset(notice.name for notice in found.datasets)

    def sessions(self) -> frozenset[bytes]:
        """Return the ids of all sessions that the store holds.

        A new one is a new logon; a replaced one goes some time later.
        """
        with self.store.transaction() as unit:
            return frozenset(session.sid for session in unit.sessions.all())

    def newest(self) -> JobState | None:
        """Return the newest job."""
        with self.store.transaction() as unit:
            jobs = unit.jobs.latest(1)
        return jobs[0] if jobs else None

    def state(self, job: JobId) -> JobState:
        """Return a job.

        Raises:
            AssertionError: there is none.
        """
        with self.store.transaction() as unit:
            found = unit.jobs.get(job)
        assert found is not None
        return found

    def next_job(self, before: JobState | None) -> JobState:
        """Wait for a job that is not ``before`` and return it."""
        known = None if before is None else before.number

        def newer() -> JobState | None:
            found = self.newest()
            return found if found is not None and found.number != known else None

        return until(newer, "a new job")

    def shown(self, number: str) -> Json:
        """Return what ``jobs show --json`` says."""
        found: Json = json.loads(self.manager("jobs", "show", number, "--json"))
        return found

    def lines(self, name: str) -> Iterator[Json]:
        """Yield what a party logged, line by line."""
        for line in self.log(name).splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def ending(self, name: str, job: JobId) -> Json | None:
        """Return the log line with which a job ended at a party, if it did."""
        found = [
            line
            for line in self.lines(name)
            if line.get("event") == "job moved"
            and line.get("job_id") == job.hex()
            and line.get("stage") == "closed"
        ]
        return found[-1] if found else None


def data_process_of(control: int) -> int:
    """Return the id of a control process's data process."""

    def find() -> int | None:
        for pid in children(control):
            if b"participant.dataplane.process" in cmdline(pid):
                return pid
        return None

    return until(find, f"a data process of {control}")


def children(pid: int) -> Sequence[int]:
    """Return the ids of a process's children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return ()
    return [int(child) for child in text.split()]


def cmdline(pid: int) -> bytes:
    """Return a process's arguments; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Stop a process for a while; it may be killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def parties() -> Sequence[Party]:
    """Return everybody who has a process running."""
    servers = [
        Party(
            name,
            ("--role", "mpcs"),
            (
                *("--attr", f"operator={operator}", "--attr", "csp=metal"),
                *("--attr", f"location={location}"),
                *("--listen", "127.0.0.1:1270"),
            ),
        )
        for name, operator, location in (
            ("server1", "university", "here"),
            ("server2", "regulator", "here"),
            ("server3", "hospital", "here"),
            (SPARE, "charity", "elsewhere"),
        )
    ]
    sources = [
        Party(
            name,
            ("--role", "client", "--io", "input", "--prefix", prefix),
            (),
            EXAMPLES / f"{name}.csv",
        )
        for name, prefix in zip(
            SOURCES, ("Liberty", "Atlantic", "Pacific"), strict=True
        )
    ]
    return (
        *servers,
        *sources,
        Party(BOTH, ("--role", "client", "--io", "in/output", "--prefix", "Clinic")),
        Party(ANALYST, ("--role", "client", "--io", "output", "--prefix", "Analytics")),
    )


def visitor() -> Party:
    """Return the consumer without a process."""
    return Party(VISITOR, ("--role", "client", "--io", "output", "--prefix", "Visitor"))
