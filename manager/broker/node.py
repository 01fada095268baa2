"""A private RabbitMQ node: real, one user's own.

It listens on the loopback address only, unless its operator opens AMQP to others.
Everything of it lies in one folder, ``HOME/broker/``: settings, data, log,
passwords, ports. Any user can run one; it outlives the command that starts it.
The same settings serve a container (see ``broker_config/`` and
``manager.broker.files``); the node adds its addresses and ports to them.
"""

import fcntl
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from manager.broker.api import ManagementApi
from manager.broker.credentials import (
    BrokerCredentials,
    load_credentials,
    load_or_create_credentials,
    load_or_create_monitor,
    monitor_user,
)
from manager.broker.files import (
    RabbitPrograms,
    broker_config,
    find_programs,
    read_json,
    write_private,
)
from manager.broker.node_environment import node_environment
from manager.broker.node_tls import NodeTls
from manager.broker.ports import LOOPBACK, NodePorts, answers, choose_ports, completed
from manager.broker.processes import (
    arguments_of,
    is_alive,
    spawn_detached,
    terminate,
)
from shared.clock import SystemClock
from shared.errors import ConfigError, TransportError
from shared.names import Realm
from shared.topology import render
from shared.transport.authority import context_for
from shared.transport.endpoint import Advertised, parse_advertised

START_PATIENCE = timedelta(seconds=90)
"""A start takes 4 to 13 s; a busy machine may need much longer."""
STOP_PATIENCE = timedelta(seconds=30)
MAPPER_SECONDS = 5.0
"""How long its port mapper may take, once the node is gone."""
_POLL_SECONDS = 0.1
_LOG_LINES = 5
_MARK = "-mpc_node"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What there is to know of a private node."""

    is_running: bool
    pid: int | None
    node_name: str
    ports: NodePorts
    amqp_url: str
    """Without user and password; those are in the file of credentials."""
    management_url: str
    """Of the management UI, for a browser on this machine."""
    administration_url: str
    """Of the same under TLS, for the manager."""
    advertised: tuple[Advertised, ...]
    """Where participants reach it; none: they are on this machine."""
    authority_path: Path
    """PEM of whom a client of the node trusts."""
    log_folder: Path


@dataclass(frozen=True, slots=True)
class _Kept:
    """What ``node.json`` holds. ``pid`` is of the last start."""

    mark: str
    ports: NodePorts
    pid: int | None

    @property
    def node_name(self) -> str:
        return f"mpc-{self.mark}@localhost"


class PrivateNode:
    """One RabbitMQ node in one folder.

    Args:
        folder: where everything of the node lies; made with mode 0700.
        realm: the vhost that the node holds.
        amqp_port: if set, exactly this port; else a free one, kept.
        management_port: likewise.
        listen: IP address where AMQP is taken, besides the loopback address.
        advertise: where participants reach it, ``host`` or ``host:port``.
    """

    def __init__(
        self,
        folder: Path,
        realm: Realm,
        amqp_port: int | None = None,
        management_port: int | None = None,
        listen: str | None = None,
        advertise: Sequence[str] = (),
    ) -> None:
        self._folder = folder.absolute()
        self._tls = NodeTls(self._folder)
        self._realm = realm
        self._listen = listen
        self._advertise = advertise
        wanted = {"amqp": amqp_port, "management": management_port}
        self._wanted = {name: port for name, port in wanted.items() if port is not None}

    @property
    def credentials_path(self) -> Path:
        """Where both passwords are, once the node was started."""
        return self._folder / "credentials.json"

    def credentials(self) -> BrokerCredentials:
        """Return both broker users.

        Raises:
            ConfigError: the node was never started, or the file is not usable.
        """
        return load_credentials(self.credentials_path)

    def status(self) -> NodeStatus | None:
        """Return what is known, or ``None`` if the node was never started.

        Raises:
            ConfigError: the node's folder is damaged.
        """
        kept = self._load()
        return None if kept is None else self._status_of(kept)

    def start(
        self,
        progress: Progress | None = None,
        patience: timedelta = START_PATIENCE,
    ) -> NodeStatus:
        """Start the node unless it runs, and wait until it serves.

        Args:
            progress: told in a few words what is going on.
            patience: how long the node may take.

        Raises:
            ConfigError: no RabbitMQ is installed, a wanted port is taken, or the
                folder cannot be used.
            TransportError: the node ended or did not become ready in time; it
                has been stopped.
        """
        tell = progress or _ignore
        programs = find_programs()
        with self._locked():
            kept = self._load(is_locked=True)
            if kept is None or not self._runs(kept):
                kept = self._launch(programs, kept, tell)
            else:
                tell(f"node {kept.node_name} runs already")
            self._wait_until_ready(programs, kept, patience)
        tell("ready")
        return self._status_of(kept)

    def stop(self, progress: Progress | None = None, *, now: bool = False) -> bool:
        """Stop the node and its port mapper; say whether it ran.

        Args:
            progress: is told what happens.
            now: kill it rather than let it end by itself.

        Raises:
            ConfigError: the node's folder is damaged.
        """
        kept = self._load()
        if kept is None:
            return False
        with self._locked():
            was_running = self._runs(kept)
            if was_running and kept.pid is not None:
                (progress or _ignore)(f"stopping node {kept.node_name}")
                terminate(kept.pid, timedelta() if now else STOP_PATIENCE)
            self._stop_port_mapper(kept.ports.epmd)
            self._save(_Kept(kept.mark, kept.ports, None))
        return was_running

    def _launch(
        self, programs: RabbitPrograms, kept: _Kept | None, tell: Progress
    ) -> _Kept:
        for name in ("home", "data", "log"):
            (self._folder / name).mkdir(exist_ok=True)
        if kept is not None:
            self._stop_port_mapper(kept.ports.epmd)
        ports = choose_ports(self._wanted, kept.ports if kept else None)
        if kept is not None and ports.amqp != kept.ports.amqp:
            tell(
                f"port {kept.ports.amqp} is taken: the broker moves to {ports.amqp},"
                " tell the participants"
            )
        kept = _Kept(kept.mark if kept else secrets.token_hex(4), ports, None)
        self._save(kept)
        self._write_settings(ports)
        environment = node_environment(
            programs, self._folder, kept.node_name, ports, f"{_MARK} {kept.mark}"
        )
        tell(f"starting node {kept.node_name}")
        subprocess.run(  # noqa: S603 - an absolute path, fixed arguments
            [str(programs.epmd), "-daemon"], env=environment, check=True
        )
        pid = spawn_detached(
            [str(programs.server)],
            environment,
            self._folder,
            self._folder / "log" / "start.log",
        )
        kept = _Kept(kept.mark, ports, pid)
        self._save(kept)
        return kept

    def _write_settings(self, ports: NodePorts) -> None:
        credentials = load_or_create_credentials(self.credentials_path)
        users = (
            credentials.admin_user(),
            credentials.manager_user(),
            monitor_user(load_or_create_monitor(self._folder)),
        )
        definitions = self._folder / "definitions.json"
        write_private(definitions, render(self._realm, users))
        hosts = [each.host for each in self._advertised(ports)]
        self._tls.create(self._realm, hosts, SystemClock().now())
        own = {
            **self._tls.listeners(ports, self._listen),
            "load_definitions": str(definitions),
            "log.console": "false",
            "log.file.level": "info",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in own.items())
        text = f"{broker_config('rabbitmq.conf')}\n# Of this node.\n{lines}"
        write_private(self._folder / "rabbitmq.conf", text)
        plugins = broker_config("enabled_plugins")
        write_private(self._folder / "enabled_plugins", plugins)
        cookie = self._folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, secrets.token_hex(16))
            cookie.chmod(0o400)

    def _wait_until_ready(
        self, programs: RabbitPrograms, kept: _Kept, patience: timedelta
    ) -> None:
        deadline = time.monotonic() + patience.total_seconds()
        while kept.pid is not None and is_alive(kept.pid):
            if answers(kept.ports.amqp) and self._serves(kept):
                return
            if time.monotonic() > deadline:
                terminate(kept.pid, STOP_PATIENCE)
                break
            time.sleep(_POLL_SECONDS)
        _run_epmd(programs, kept.ports.epmd)
        raise TransportError(
            f"the RabbitMQ node did not start: {self._last_words()}",
            f"read the logs in {self._folder / 'log'}",
        )

    def _serves(self, kept: _Kept) -> bool:
        status = self._status_of(kept)
        api = ManagementApi(
            status.administration_url,
            self.credentials().admin,
            timedelta(seconds=5),
            context_for(status.authority_path.read_text()),
        )
        with closing(api):
            try:
                api.get("whoami")
            except TransportError:
                return False
            return True

    def _last_words(self) -> str:
        try:
            text = (self._folder / "log" / "start.log").read_text(errors="replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-_LOG_LINES:]) or "it said nothing"

    def _runs(self, kept: _Kept) -> bool:
        if kept.pid is None:
            return False
        arguments = arguments_of(kept.pid)
        return _MARK in arguments and kept.mark in arguments

    def _stop_port_mapper(self, port: int) -> None:
        # It refuses to end until it has seen that its node is gone.
        deadline = time.monotonic() + MAPPER_SECONDS
        while answers(port) and time.monotonic() < deadline:
            _run_epmd(find_programs(), port)
            time.sleep(_POLL_SECONDS)

    def _status_of(self, kept: _Kept) -> NodeStatus:
        is_running = self._runs(kept)
        return NodeStatus(
            is_running=is_running,
            pid=kept.pid if is_running else None,
            node_name=kept.node_name,
            ports=kept.ports,
            amqp_url=f"amqps://{LOOPBACK}:{kept.ports.amqp}",
            management_url=f"http://{LOOPBACK}:{kept.ports.management}",
            administration_url=f"https://{LOOPBACK}:{kept.ports.administration}",
            advertised=self._advertised(kept.ports),
            authority_path=self._tls.authority_path,
            log_folder=self._folder / "log",
        )

    def _advertised(self, ports: NodePorts) -> tuple[Advertised, ...]:
        return parse_advertised(self._advertise, ports.amqp)

    @property
    def _state_path(self) -> Path:
        return self._folder / "node.json"

    def _load(self, *, is_locked: bool = False) -> _Kept | None:
        if not self._state_path.exists():
            return None
        content = read_json(self._state_path)
        kept = _parsed(content)
        if kept is None:
            raise ConfigError(
                f"{self._state_path} is damaged",
                f"stop the RabbitMQ that runs from {self._folder}, then remove the"
                " file",
            )
        if asdict(kept.ports) == content["ports"]:
            return kept
        if not is_locked:
            with self._locked():
                return self._load(is_locked=True)
        self._save(kept)  # else the port would be another one each time
        return kept

    def _save(self, kept: _Kept) -> None:
        write_private(self._state_path, json.dumps(asdict(kept), indent=2) + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise ConfigError(
                f"cannot use the folder {self._folder}: {error.strerror}",
                "choose another home with --home",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _parsed(content: Mapping[str, object]) -> _Kept | None:
    mark, ports, pid = (content.get(name) for name in ("mark", "ports", "pid"))
    if (
        isinstance(mark, str)
        and isinstance(ports, dict)
        and (pid is None or isinstance(pid, int))
    ):
        try:
            return _Kept(mark, completed(ports), pid)
        except TypeError:
            pass
    return None


def _ignore(_: str) -> None:
    return


def _run_epmd(programs: RabbitPrograms, port: int) -> None:
    environment: Mapping[str, str] = {"PATH": programs.search_path}
    subprocess.run(  # noqa: S603 - an absolute path, a number
        [str(programs.epmd), "-port", str(port), "-kill"],
        env=environment,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
