"""docs/deploy.md, typed on hosts that see of one another what its table opens."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from manager.cli.opening import open_store
from manager.config import load_settings
from manager.store.store import Store
from participant.service.broker_tls import TIMEOUT_SECONDS
from tests.integration.networks import (
    Networks,
    NotHereError,
    firewall,
    networks,
)
from tests.integration.realm_fixture import EXAMPLES, Done, until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
BROKER, DATA, FORWARDED = 5671, 1270, 4270
OUTSIDE = {
    "hub.example": "192.0.2.10",
    "compute.example": "192.0.2.20",
    "gate.example": "192.0.2.30",
    "desk.example": "192.0.2.40",
}
INSIDE = {"ward": "10.77.0.2", "north": "10.77.0.3", "south": "10.77.0.4"}
DATASETS = {"north": "insurer_a.csv", "south": "insurer_b.csv"}
ROUTER = "10.77.0.1"
RULES = {
    "hub.example": ([BROKER], []),
    "compute.example": ([DATA], [BROKER, FORWARDED]),
    "ward": ([DATA], [BROKER, DATA]),
    "north": ([], [BROKER, DATA, FORWARDED]),
    "south": ([], [BROKER, DATA, FORWARDED]),
    "desk.example": ([], [BROKER, DATA, FORWARDED]),
}
"""Ports in and out, as the page's table has them."""
GATE = f"""
table inet filter {{
  chain input {{ type filter hook input priority 0; policy drop; }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ip daddr {INSIDE["ward"]} ct status dnat tcp dport {DATA} accept
    iifname lan tcp dport {{ {BROKER}, {DATA} }} accept
  }}
}}
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority -100;
    ip daddr {OUTSIDE["gate.example"]} tcp dport {FORWARDED} dnat to {INSIDE["ward"]}:{DATA}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname net masquerade
    oifname lan ct status dnat masquerade
  }}
}}
"""

LOOPBACK = ("0100007F", f"{1 << 24:032X}")
"""127.0.0.1 and ::1, as the kernel writes them."""
_KEPT = ("LANG", "MPC_RABBITMQ_ROOT")
"""What of this process's environment the hosts' commands see."""
SHUT = GATE.replace(f"tcp dport {DATA} accept", "reject with tcp reset")
"""The router's, that lets nobody in to the server behind it."""
_HEADING = re.compile(r"^### On `([a-z.]+)`(.*)$")
_SETTINGS = re.compile(r"`~/([^`]+\.toml)`")
_TOKEN = re.compile(r"--token-file (\S+)")


def steps() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return what the page does: commands, and settings by file.

    By host and what follows it in the heading.
    """
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    host, file = None, ""
    page = (ROOT / "docs" / "deploy.md").read_text().splitlines()
    lines = iter(page)
    for line in lines:
        if line.startswith("#"):
            heading = _HEADING.match(line)
            host = (heading[1], heading[2]) if heading else None
        elif host and line.startswith("    mpc-"):
            found.setdefault(host, []).append(("command", line.strip()))
        elif host and (named := _SETTINGS.search(line)):
            file = named[1]
        elif host and line == "```toml":
            text = "".join(f"{each}\n" for each in iter(lines.__next__, "```"))
            found.setdefault(host, []).append((file, text))
    return found


@dataclass
class Deployment:
    """The page's hosts, each with a folder that is its user's home."""

    networks: Networks
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    """What runs on each host, as it was typed."""
    said: list[Done] = field(default_factory=list)

    def home(self, host: str) -> Path:
        """Return the folder of a host's user."""
        return self.folder / host

    @property
    def store(self) -> Store:
        """The manager's store, beside the running manager."""
        home = self.home("hub.example") / ".mpc-manager"
        return open_store(load_settings({"home": home}))

    def build(self) -> None:
        """Make the hosts: a public network, and a private one behind the router."""
        net = self.networks
        net.add("switch")
        net.switch("switch", "wan")
        for host, address in OUTSIDE.items():
            net.add(host)
            net.plug(host, f"{address}/24", ("switch", "wan"))
        net.switch("gate.example", "lan", f"{ROUTER}/24")
        for host, address in INSIDE.items():
            net.add(host)
            net.plug(host, f"{address}/24", ("gate.example", "lan"), ROUTER)
        for host, (inbound, outbound) in RULES.items():
            net.rules(host, firewall(inbound, outbound))
            self.home(host).mkdir()
        net.rules("gate.example", GATE)
        subprocess.run(
            net.command(
                "gate.example", ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
            ),
            check=True,
        )
        for host, name in DATASETS.items():
            shutil.copy(EXAMPLES / name, self.home(host) / "visits.csv")

    def follow(self, host: str, topic: str = "") -> None:
        """Do what the page does on a host."""
        for kind, text in steps()[host, topic]:
            if kind == "command":
                self.type(host, text)
            else:
                file = self.home(host) / kind
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with file.open("a") as stream:
                    stream.write(text)

    def type(self, host: str, line: str) -> Done:
        """Run one line of the page; it must succeed."""
        if " init " in line:  # there is no terminal that could be asked
            password = self.home(host) / "password"
            password.write_text("of the root key\n")
            line += f" --root-password-file {password}"
        for token in _TOKEN.findall(line):
            shutil.copy(self.home("hub.example") / token, self.home(host))
        if line.endswith(" run"):
            self._keep_running(host, line)
            return Done(0, "", "", 0)
        done = self.run(host, line)
        if done.code != 0:
            raise AssertionError(f"{line} on {host}: {done.code}: {done.err}")
        self.said.append(done)
        return done

    def run(self, host: str, line: str) -> Done:
        """Run one line, whatever its end."""
        done = subprocess.run(
            self.networks.command(host, ["sh", "-c", line]),
            check=False,
            cwd=self.home(host),
            env=self._environment(host),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr, 0)

    def listening(self, host: str) -> set[int]:
        """Return the ports of a host that somebody could reach from elsewhere."""
        found = set()
        for table in ("tcp", "tcp6"):
            text = self.run(host, f"cat /proc/net/{table}").out
            for line in text.splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if fields[3] == "0A" and address not in LOOPBACK:
                    found.add(int(port, 16))
        return found

    def stop(self) -> None:
        """End everything that runs."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(20)
        if (self.home("hub.example") / ".mpc-manager" / "broker").exists():
            self.run("hub.example", "mpc-manager broker stop --now")

    def end(self, host: str) -> None:
        """Let what runs on a host come to its end."""
        process = self.running.pop(host)
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    def revive(self) -> None:
        """Start again what ended by itself, as systemd does."""
        for host, process in list(self.running.items()):
            if process.poll() is not None:
                self._spawn(host)

    def log(self, host: str) -> str:
        """Return what has been logged on a host."""
        return (self.home(host) / "run.log").read_text()

    def _keep_running(self, host: str, line: str) -> None:
        self.lines[host] = line
        ready = "manager ready" if "mpc-manager" in line else "session began"
        path = self.home(host) / "run.log"
        before = path.read_text().count(ready) if path.exists() else 0
        self._spawn(host)
        until(lambda: self.log(host).count(ready) > before, f"{ready}: {host}", 60)

    def _spawn(self, host: str) -> None:
        with (self.home(host) / "run.log").open("ab") as log:
            self.running[host] = subprocess.Popen(
                self.networks.command(host, self.lines[host].split()),
                cwd=self.home(host),
                env=self._environment(host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _environment(self, host: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Who does not yet know that its session is gone hears it soon.
        often = {"MPC_STATUS_INTERVAL": "1s"}
        return kept | often | {"HOME": str(self.home(host)), "PATH": path}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """Everything that the page sets up."""
    with tempfile.TemporaryDirectory(prefix="mpc-") as name:
        folder = Path(name)
        (folder / "nft").mkdir()
        names = OUTSIDE | INSIDE
        try:
            with networks(folder / "nft", names) as net:
                made = Deployment(net, folder)
                made.build()
                try:
                    made.follow("hub.example")
                    with ThreadPoolExecutor(4) as pool:
                        hosts = ("compute.example", "ward", "north", "south")
                        for done in [pool.submit(made.follow, host) for host in hosts]:
                            done.result()
                    until(lambda: offered(made) == 2, "both sources offer their data")
                    made.follow("desk.example")
                    yield made
                finally:
                    made.stop()
        except NotHereError as reason:
            pytest.skip(str(reason))


def offered(made: Deployment) -> int:
    """Return how many participants offer data that the manager knows of."""
    with made.store.transaction() as unit:
        return sum(bool(each.datasets) for each in unit.sessions.presences())


def ask(made: Deployment) -> Done:
    """Ask on the analyst's host as the page does, whatever comes of it."""
    _, question = steps()["desk.example", ""][-1]
    return made.run("desk.example", question)


def mean() -> str:
    """Return the row of the table that a right answer prints, computed in clear."""
    tables = [
        np.genfromtxt(EXAMPLES / name, delimiter=",", names=True)["mdvis"]
        for name in DATASETS.values()
    ]
    return f"mean.mdvis │ {np.concatenate(tables).mean():.9f}"[:-4]


def test_a_job_runs_with_the_documented_ports_open(deployment: Deployment) -> None:
    """Through a router with address translation, too; nothing else listens."""
    listening = {host: deployment.listening(host) for host in RULES}

    assert mean() in deployment.said[-1].out
    assert listening == {host: set(inbound) for host, (inbound, _) in RULES.items()}


def test_a_closed_port_is_named(deployment: Deployment) -> None:
    """The broker's to who registers, a server's to who asks; nobody waits for ever."""
    deployment.type(
        "hub.example",
        "mpc-manager token create --role client --io output > late.token",
    )
    shutil.copy(deployment.home("hub.example") / "late.token", deployment.home("north"))
    net = deployment.networks
    net.rules("gate.example", SHUT)
    net.rules("north", firewall([], [DATA]))
    try:
        with ThreadPoolExecutor(2) as pool:
            asking = pool.submit(ask, deployment)
            late = deployment.run(
                "north", "mpc-participant --home late register --token-file late.token"
            )
            asked = asking.result()
    finally:
        net.rules("gate.example", GATE)
        net.rules("north", firewall(*RULES["north"]))

    assert late.code == 4
    assert f"no broker answers at hub.example:{BROKER}" in late.err
    assert f"no answer in {TIMEOUT_SECONDS} s" in late.err
    assert asked.code == 1
    assert f"is to be reached at gate.example:{FORWARDED}" in asked.err, asked.err


def test_a_lost_manager_is_restored(deployment: Deployment) -> None:
    """On an empty host of the same name; nobody registers again."""
    hub = deployment.home("hub.example")
    deployment.follow("hub.example", ": backup")
    deployment.end("hub.example")
    deployment.run("hub.example", "mpc-manager broker stop --now")
    shutil.rmtree(hub / ".mpc-manager")
    deployment.follow("hub.example", ": restore")

    def everybody_is_back() -> bool:
        deployment.revive()
        with deployment.store.transaction() as unit:
            return sum(each.is_online for each in unit.sessions.presences()) == 4

    until(everybody_is_back, "everybody logs on to the restored manager", 60)
    asked = ask(deployment)

    assert mean() in asked.out, asked.err
