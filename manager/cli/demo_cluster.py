"""A whole realm on this machine: every process is a command a user could type."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import ConfigError, FrameworkError, TransportError

COMMAND_SECONDS = 120.0
"""How long one foreground command may take."""
READY_SECONDS = 60.0
"""How long the parties may take until the manager sees them online."""
STOP_SECONDS = 10.0
"""How long a process may take to end after SIGTERM."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Party:
    """One participant of the demo; ``name`` is its folder and log file.

    ``token``: arguments of ``token create``; ``register``: of ``register``;
    ``data``: a source's file.
    """

    name: str
    token: tuple[str, ...]
    register: tuple[str, ...] = ()
    data: Path | None = None


@dataclass
class Cluster:
    """Broker, manager and participants under one folder of their own."""

    note: Note
    folder: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="mpc-demo-"))
    )
    principals: dict[str, str] = field(default_factory=dict)
    broker: dict[str, Any] = field(default_factory=dict)
    """What ``broker start --json`` says."""
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _broker_started: bool = False

    def home(self, name: str) -> Path:
        """Return the home folder of the manager or of a party."""
        return self.folder / name

    def manager(self, *arguments: str) -> str:
        """Run one ``mpc-manager`` command and return what it printed."""
        return self._run("manager", "manager", arguments)

    def participant(self, name: str, *arguments: str, feed: str = "") -> str:
        """Run one ``mpc-participant`` command of a party."""
        return self._run("participant", name, arguments, feed)

    def start_realm(self, realm: str, parties: Sequence[Party] = ()) -> None:
        """Make a realm, start broker and manager, then bring in the parties."""
        self.folder.chmod(0o700)
        (self.folder / "logs").mkdir()
        password = self.folder / "root.password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24) + "\n")
        self.manager("init", "--realm", realm, "--root-password-file", str(password))
        self.note("starting RabbitMQ")
        with ThreadPoolExecutor(max_workers=1) as pool:
            # A home takes its data before it has an identity.
            offers = [pool.submit(self._offer, party) for party in parties]
            self._broker_started = True
            self.broker = json.loads(self.manager("broker", "start", "--json"))
            for offer in offers:
                offer.result()
        self.note("starting the manager")
        self._spawn("manager", "manager")
        if parties:
            self._enrol_all(parties)

    def add(self, parties: Sequence[Party]) -> None:
        """Bring further parties into the running realm; wait until they are online."""
        for party in parties:
            self._offer(party)
        self._enrol_all(parties)

    def _offer(self, party: Party) -> None:
        if party.data is not None:
            self.participant(party.name, "dataset", "add", "visits", str(party.data))

    def _enrol_all(self, parties: Sequence[Party]) -> None:
        """Register parties and start them, two at a time; wait until all are online."""
        self.note(f"registering {len(parties)} participants")
        kinds: dict[tuple[str, ...], list[Party]] = {}
        for party in parties:
            kinds.setdefault(party.token, []).append(party)
        with ThreadPoolExecutor(max_workers=2) as pool:
            enrolments = [
                pool.submit(self._enrol, party, token)
                for kind, members in kinds.items()
                for party, token in zip(
                    members, self._tokens(kind, len(members)), strict=True
                )
            ]
            for enrolment in enrolments:
                enrolment.result()
        self.note("waiting until everybody is online")
        self._wait_for_sessions([party.name for party in parties])

    def _tokens(self, kind: Sequence[str], count: int) -> list[str]:
        return self.manager("token", "create", *kind, "--count", str(count)).split()

    def _enrol(self, party: Party, token: str) -> None:
        answer = self.participant(
            party.name,
            "register",
            "--token-file",
            "-",
            *party.register,
            feed=token + "\n",
        )
        self.principals[party.name] = answer.split()[-1]
        self._spawn("participant", party.name)

    def _wait_for_sessions(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(names)
        while waiting:
            self._check_alive()
            if time.monotonic() > deadline:
                raise TransportError(
                    f"no session for {', '.join(waiting)} in {READY_SECONDS:.0f} s",
                    f"their logs are in {self.folder / 'logs'} while --keep is used",
                )
            waiting = [
                name for name in waiting if "session began" not in self.log(name)
            ]
            time.sleep(0.1)

    def log(self, name: str) -> str:
        """Return what the manager or a party has logged so far."""
        return (self.folder / "logs" / f"{name}.log").read_text()

    def closed_jobs(self, count: int) -> list[dict[str, Any]]:
        """Return so many jobs, oldest first, once their last reports are in."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            jobs: list[dict[str, Any]] = json.loads(
                self.manager("jobs", "list", "--json")
            )
            closed = [job for job in jobs if job["state"] == "closed"]
            if len(closed) >= count or time.monotonic() > deadline:
                return closed[::-1]
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process that was started here, then remove the folder."""
        running = list(self._running.values())
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        if self._broker_started:
            self.manager("broker", "stop", "--now")
            self._broker_started = False
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_alive(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ConfigError(
                    f"{name} ended with exit code {process.returncode}",
                    f"the end of its log: {self.log(name).strip().splitlines()[-1:]}",
                )

    def _spawn(self, program: str, name: str) -> None:
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own program
                [*_command(program, self.home(name)), "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )

    def _run(
        self, program: str, name: str, arguments: Sequence[str], feed: str = ""
    ) -> str:
        command = [*_command(program, self.home(name)), *arguments]
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            input=feed,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env=_environment(),
            start_new_session=True,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise FrameworkError(
                f"mpc-{program} {' '.join(arguments[:2])} of {name} ended with exit"
                f" code {done.returncode}: {said[-2:]}",
                f"its log is in {self.folder / 'logs'} while --keep is used",
            )
        return done.stdout


def _command(program: str, home: Path) -> list[str]:
    return [sys.executable, "-m", program, "--home", str(home)]


def _environment() -> dict[str, str]:
    # Settings of the caller must not leak into the demo's own realm.
    return {key: value for key, value in os.environ.items() if key[:4] != "MPC_"} | (
        {"MPC_RABBITMQ_ROOT": os.environ["MPC_RABBITMQ_ROOT"]}
        if "MPC_RABBITMQ_ROOT" in os.environ
        else {}
    )
