"""Nothing that is to stay secret is seen outside of where it belongs.

Negative tests 1 and 54: the wire, the broker's memory of it, logs, the store and
the process table of a realm at work are searched for everything secret in it.
"""

import base64
import contextlib
import os
import re
import signal
import socket
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from manager.broker.credentials import load_credentials
from manager.cli.opening import open_keys
from manager.config import load_settings
from participant.home.folder import Home
from participant.statistics.exact import sum_grid_bits
from participant.statistics.params import DEFAULT_FIXP
from shared import token as tokens
from shared.messages import JobStage
from tests.integration.realm_fixture import (
    ANALYST,
    HERE,
    SERVERS,
    VISITOR,
    Json,
    LiveRealm,
    parties,
    until,
)
from tests.integration.recording import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.slow]

CELLS = {"insurer_a": 987654321.1251953125, "insurer_c": 876543219.3330078125}
"""One row each, so that what a source encodes is its cell."""
COLUMN = "premium"
MARK = b"a marker that this test sends in clear"
SHORTEST = 6
"""Bytes of the shortest needle; less would be found by chance."""
_PEM = re.compile(r"-----[A-Z ]+-----|\s")


@dataclass
class Secrets:
    """Needles by what they are; only names are ever shown.

    ``processes``: arguments and environments of all that ran meanwhile. ``pages``:
    everybody's figures for Prometheus. ``temporary``: files outside of the homes while
    a job was under way. ``core_limits``: bytes of a core file, of every process.
    """

    needles: dict[str, bytes] = field(default_factory=dict, repr=False)
    processes: bytes = field(default=b"", repr=False)
    temporary: dict[Path, bytes] = field(default_factory=dict, repr=False)
    core_limits: dict[str, tuple[str, str]] = field(default_factory=dict)
    pages: bytes = field(default=b"", repr=False)

    def add(self, name: str, secret: bytes) -> None:
        """Look for a secret as it is, in hex and in base64."""
        forms = {
            "as it is": secret,
            "in hex": secret.hex().encode(),
            "in HEX": secret.hex().upper().encode(),
            "in base64": base64.b64encode(secret).rstrip(b"="),
            "in url base64": base64.urlsafe_b64encode(secret).rstrip(b"="),
        }
        for form, needle in forms.items():
            assert len(needle) >= SHORTEST, name
            self.needles[f"{name}, {form}"] = needle

    def add_text(self, name: str, text: str) -> None:
        """Look for a text as it is and in base64."""
        self.needles[name] = text.encode()
        self.needles[f"{name}, in base64"] = base64.b64encode(text.encode())[:-4]

    def add_number(self, name: str, value: float) -> None:
        """Look for a cell as text, as float64 and as what a source encodes."""
        self.needles[f"{name}, as text"] = repr(value).encode()
        for order in "<>":
            self.needles[f"{name}, as float64 {order}"] = struct.pack(
                f"{order}d", value
            )
        encoded = int(value * 2 ** sum_grid_bits(DEFAULT_FIXP))
        assert encoded / 2 ** sum_grid_bits(DEFAULT_FIXP) == value
        size = (encoded.bit_length() + 7) // 8
        for order in ("little", "big"):
            raw = encoded.to_bytes(size, order)  # type: ignore[arg-type]  # one of two
            self.needles[f"{name}, encoded, {order}"] = raw.strip(b"\0")

    def found_in(self, data: bytes) -> Sequence[str]:
        """Return the names of what is there."""
        return [name for name, needle in self.needles.items() if needle in data]


class ProcessTable:
    """Arguments and environments of all processes that there are meanwhile."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        known: set[tuple[str, bytes]] = set()
        while not self._stop.wait(0.02):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    arguments = (folder / "cmdline").read_bytes()
                    if (folder.name, arguments) not in known:
                        known.add((folder.name, arguments))
                        self.seen |= {arguments, (folder / "environ").read_bytes()}
                except OSError:
                    continue


def collect(live: LiveRealm, secrets: Secrets) -> None:
    """Add every long-term secret of the realm, from the homes."""
    for name in (*(party.name for party in parties()), VISITOR):
        identity = Home(live.home(name)).key_file(None).load()
        secrets.add(f"{name}: signing seed", identity.signing.seed)
        secrets.add(f"{name}: encryption key", identity.kem.secret)
        secrets.add(f"{name}: journal key", identity.journal_key)
        secrets.add_text(f"{name}: broker password", identity.broker.password)
        user = f"{identity.broker.user}:{identity.broker.password}"
        secrets.add_text(f"{name}: broker login", user)
    home = live.home("manager")
    settings = load_settings({"home": home})
    keys = open_keys(settings)
    secrets.add("manager: signing seed", keys.signer.seed)
    secrets.add("manager: encryption key", keys.kem.secret)
    secrets.add_text("manager: authority", body(keys.authority.key_pem.decode()))
    for _, session_key in keys.session_keys:
        secrets.add("manager: session wrapping key", session_key)
    with live.store.transaction() as unit:
        for session in unit.sessions.all():
            if session.wrapped:
                key = keys.unwrap_session(session.slot, session.sid, session.wrapped)
                secrets.add(f"{session.principal}: session key", key)
    users = load_credentials(home / "broker" / "credentials.json")
    for known in (users.admin, users.manager):
        secrets.add_text(f"broker password of {known.user}", known.password)
        login = f"{known.user}:{known.password}"
        secrets.add_text(f"broker login of {known.user}", login)
    secrets.add_text(
        "root password", (live.folder / "root.password").read_text().strip()
    )
    secrets.add_text("broker's key", body((home / "broker" / "node.key").read_text()))
    cookie = home / "broker" / "home" / ".erlang.cookie"
    secrets.add_text("broker's cookie", cookie.read_text())


def body(pem: str) -> str:
    """Return a part of a key in PEM that no other key has: its secret number."""
    return _PEM.sub("", pem)[48:88]


def canaries(live: LiveRealm, folder: Path) -> None:
    """Let two sources offer one cell each that is found nowhere else."""
    for name, cell in CELLS.items():
        path = folder / f"{name}.csv"
        path.write_text(f"{COLUMN}\n{cell!r}\n")
        live.participant(name, "dataset", "add", "canary", str(path))
    for name in CELLS:
        until(lambda name=name: "canary" in live.offers(name), f"{name} offers it")  # type: ignore[misc]  # a default as a closure


def run_jobs(live: LiveRealm, secrets: Secrets) -> Json:
    """Run two jobs; hold one, so that ticket keys and output shares can be read."""
    asked = ("--column", COLUMN, "--dataset", "canary", *HERE)
    first = live.ask(ANALYST, "mean", *asked).wait().json()
    before = live.newest()
    data = live.data_pid(ANALYST)
    os.kill(data, signal.SIGSTOP)
    try:
        command = live.ask(ANALYST, "sum", *asked)
        job = live.next_job(before)
        until(
            lambda: live.state(job.job).stage is JobStage.COMPUTED, "all have computed"
        )
        keys = open_keys(load_settings({"home": live.home("manager")}))
        epoch = live.state(job.job).epoch
        with live.store.transaction() as unit:
            for kept in unit.jobs.ticket_keys(job.job, epoch):
                name = (kept.job, kept.epoch, kept.server)
                key = keys.unwrap_ticket_key(kept.slot, name, kept.wrapped)
                secrets.add(f"{kept.server}: ticket key", key)
        for server in SERVERS:
            for path in (live.home(server) / "data" / job.job.hex()).iterdir():
                share = path.read_bytes()
                if len(share) >= 64:
                    secrets.add(f"{server}: {path.name} of the job", share[-48:])
        secrets.temporary = temporary_files(live)
        secrets.core_limits = core_limits(live)
    finally:
        os.kill(data, signal.SIGCONT)
    second = command.wait().json()
    for job_entry, figure in ((first, "mean"), (second, "sum")):
        assert job_entry["state"] == "done"
        value = job_entry["result"][figure][COLUMN]
        secrets.needles[f"the {figure}, as text"] = repr(value).encode()
        secrets.needles[f"the {figure}, as float64"] = struct.pack("<d", value)
    return second


def temporary_files(live: LiveRealm) -> dict[Path, bytes]:
    """Return the content of files for a while, outside of the realm and of tests."""
    found: dict[Path, bytes] = {}
    begun = (live.folder / "root.password").stat().st_mtime
    for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                is_known = live.folder in path.parents or "pytest-of-" in str(path)
                state = path.lstat()
                is_ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.getuid()
                if is_ours and state.st_mtime > begun and not is_known:
                    found[path] = path.read_bytes()
    return found


def core_limits(live: LiveRealm) -> dict[str, tuple[str, str]]:
    """Return how large a core file of each process may get."""
    broker = live.home("manager") / "broker" / "rabbitmq.pid"
    pids = {"manager": live.pid("manager"), "broker": int(broker.read_text())}
    for party in parties():
        pids[f"{party.name}, control"] = live.pid(party.name)
        pids[f"{party.name}, data"] = live.data_pid(party.name)
    return {
        name: re.findall(
            r"Max core file size +(\S+) +(\S+)", Path(f"/proc/{pid}/limits").read_text()
        )[0]
        for name, pid in pids.items()
    }


def late_comer(live: LiveRealm, folder: Path, secrets: Secrets) -> None:
    """Register somebody whose token is known here, and whose key file has a password."""
    text = live.manager("token", "create", "--role", "mpcs").strip()
    token = tokens.parse(text)
    password = folder / "password"
    password.write_text("correct horse battery staple 42\n")
    live.participant(
        "late_server",
        *("register", "--token-file", "-", "--password-file", str(password)),
        feed=text,
    )
    secrets.add_text("a token", text)
    secrets.add("a token's secret", token.secret)
    secrets.add_text("a token's broker password", token.broker_password)
    secrets.add_text("a key file's password", password.read_text().strip())


def mark() -> None:
    """Send something in clear over the loopback interface."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            client.sendall(MARK)

            assert accepted.recv(1024) == MARK


def files(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def secrets(
    started_realm: LiveRealm,
    recorder: Recorder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Secrets:
    """What must be found nowhere, after a registration and two jobs with canaries."""
    live, found = started_realm, Secrets()
    folder = tmp_path_factory.mktemp("canary")
    table = ProcessTable()
    with table.watched():
        late_comer(live, folder, found)
        canaries(live, folder)
        run_jobs(live, found)
        found.pages = "".join(live.page(name) for name in live.metrics_ports).encode()
        mark()
    for name, cell in CELLS.items():
        found.add_number(f"the cell of {name}", cell)
    collect(live, found)
    found.processes = b"\n".join(table.seen)
    recorder.stop()
    return found


def test_01_the_wire_holds_nothing_in_clear(
    secrets: Secrets, recorder: Recorder, live: LiveRealm
) -> None:
    """From the first token on: AMQP, management, data links, everything."""
    flows = recorder.flows()
    everything = b"".join(flows.values())
    amqp = live.broker["ports"]["amqp"]
    to_broker = [data for ports, data in flows.items() if ports[1] == amqp]

    assert recorder.dropped == 0
    assert secrets.found_in(everything) == []
    # It was looked at, and what is in clear would have been found.
    assert len(to_broker) >= len(parties())
    assert all(data.startswith(b"\x16\x03") for data in to_broker)
    if recorder.sees_everything:
        assert MARK in everything
        assert b"Authorization: Basic" not in everything


def test_the_broker_keeps_nothing_in_clear(secrets: Secrets, live: LiveRealm) -> None:
    """Its queues' files hold envelopes as they were published."""
    broker = live.home("manager") / "broker"
    kept = files(broker / "data") | files(broker / "log")
    everything = b"".join(kept.values())

    assert secrets.found_in(everything) == []
    # Bodies are in there: a realm descriptor is signed and not encrypted.
    assert b"realm.descriptor" in everything or b"job.request" in everything


def test_the_store_holds_no_secret(secrets: Secrets, live: LiveRealm) -> None:
    """Keys are wrapped, tokens hashed; data never come near it."""
    home = live.home("manager")
    kept = {path: path.read_bytes() for path in home.glob("manager.db*")}

    assert kept
    assert {str(path): secrets.found_in(data) for path, data in kept.items()} == {
        str(path): [] for path in kept
    }


def test_54_no_log_holds_a_secret(secrets: Secrets, live: LiveRealm) -> None:
    """Of anybody, at the level that a daemon logs with."""
    logs = files(live.folder / "logs") | {
        path: path.read_bytes() for path in live.folder.glob("*/control.log")
    }

    assert len(logs) > len(parties())
    assert {path.name: secrets.found_in(data) for path, data in logs.items()} == {
        path.name: [] for path in logs
    }


def test_no_page_of_figures_holds_a_secret_or_a_name(
    secrets: Secrets, live: LiveRealm
) -> None:
    """Whoever has an account on the machine may read it."""
    assert secrets.pages.count(b"mpc_broker_connected 1.0") == len(live.metrics_ports)
    assert secrets.found_in(secrets.pages) == []
    assert not [p for p in live.principals.values() if p.encode() in secrets.pages]


def test_no_process_shows_a_secret(secrets: Secrets) -> None:
    """Neither in its arguments nor in its environment."""
    assert b"participant.dataplane.process" in secrets.processes
    assert b"register" in secrets.processes
    assert secrets.found_in(secrets.processes) == []


def test_no_temporary_file_holds_a_secret(secrets: Secrets) -> None:
    """TLS keys reach OpenSSL through memory, for instance."""
    found = {path: secrets.found_in(data) for path, data in secrets.temporary.items()}

    assert {path: names for path, names in found.items() if names} == {}


def test_no_process_with_a_key_dumps_core(secrets: Secrets) -> None:
    """The manager, the broker, and both processes of every party."""
    assert len(secrets.core_limits) == 2 + 2 * len(parties())
    assert set(secrets.core_limits.values()) == {("0", "0")}


def test_a_party_keeps_only_its_own_secrets(secrets: Secrets, live: LiveRealm) -> None:
    """A source's cell is in its file alone; no home holds another's keys or data."""
    for name in (*SERVERS, ANALYST, VISITOR):
        everything = b"".join(files(live.home(name)).values())
        foreign = [found for found in secrets.found_in(everything) if "cell" in found]

        assert foreign == []


@pytest.fixture(scope="module", autouse=True)
def without_canaries(started_realm: LiveRealm) -> Iterator[None]:
    """Leave the realm as it was found."""
    yield
    for name in CELLS:
        started_realm.participant(name, "dataset", "remove", "canary")
