"""What docs/compose.md shows is what happens, in real containers."""

import csv
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean, median

import pytest

from tests.compose.engine import ROOT, Engine, NoEngineError, missing

PAGE = (ROOT / "docs" / "compose.md").read_text()
REPLICAS_SECONDS = 60.0
CARRIED = ("*.tar", "*.token")
"""What one organisation gives to another."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A container engine with the images."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    try:
        engine = Engine()
    except NoEngineError as error:
        pytest.skip(str(error))
    try:
        engine.make_images()
        yield engine
    finally:
        engine.stop()


class Host:
    """One host: a checkout of its own, and so a Compose project of its own.

    ``address``: where its ports are published, if somebody shall reach them.
    """

    def __init__(self, engine: Engine, folder: Path, address: str = "") -> None:
        self.folder = folder
        self.address = address
        self._engine = engine
        folder.mkdir()
        for name in ("docker-compose.yml", ".env"):
            shutil.copy(ROOT / name, folder / name)
        for path in ("docs/examples/compose", "examples/insurers"):
            shutil.copytree(ROOT / path, folder / path)
        for example in (folder / "docs/examples/compose").iterdir():
            example.chmod(0o644)

    def name(self, names: dict[str, str]) -> None:
        """Say where the hosts are that the example files name."""
        for path in (self.folder / "docs/examples/compose").iterdir():
            text = path.read_text()
            for name, address in names.items():
                text = text.replace(name, address)
            path.write_text(text.replace("0.0.0.0", self.address))

    def type(self, lines: Sequence[str]) -> str:
        """Type lines of the page into one shell; return what they printed."""
        script = "\n".join(lines)
        return self._engine.run(["bash", "-euo", "pipefail", "-c", script], self.folder)

    def clear(self) -> None:
        """Remove every container, network and volume of this host."""
        with suppress(AssertionError):
            self.type(["docker compose --profile '*' down --volumes --timeout 2"])


@pytest.fixture
def hosts(engine: Engine) -> Iterator[list[Host]]:
    """The hosts of a test; all of them are cleared at its end."""
    hosts: list[Host] = []
    try:
        yield hosts
    finally:
        for host in reversed(hosts):
            host.clear()
        engine.docker("network", "prune", "--force")


def blocks(heading: str) -> list[list[str]]:
    """Return the commands under a heading, one list a block."""
    _, _, text = PAGE.partition(f"# {heading}\n")
    text = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"(?:^ {4}.+\n)+", text, re.MULTILINE)
    assert found, heading
    return [[line.strip() for line in block.splitlines()] for block in found]


def section(heading: str) -> list[str]:
    """Return all commands under a heading."""
    return [line for block in blocks(heading) for line in block]


def await_replicas(host: Host, replicas: int) -> None:
    """Wait until every queue lies on so many nodes."""
    command = (
        "docker compose exec -T broker1 rabbitmqctl list_queues --vhost demo"
        " --formatter json name members"
    )
    deadline = time.monotonic() + REPLICAS_SECONDS
    while True:
        queues = json.loads(host.type([command]))
        few = [queue for queue in queues if len(queue["members"]) < replicas]
        if queues and not few:
            return
        assert time.monotonic() < deadline, few
        time.sleep(1.0)


def figure(name: str, text: str) -> float:
    """Return a figure that runmpc printed."""
    found = re.search(rf"{re.escape(name)}\s*│\s*([0-9.]+)", text)
    assert found is not None, text
    return float(found[1])


def column(name: str, *insurers: str) -> list[float]:
    """Return a column of these insurers' files."""
    values = []
    for insurer in insurers:
        path = ROOT / "examples" / "insurers" / f"insurer_{insurer}.csv"
        with path.open(newline="") as file:
            values += [float(row[name]) for row in csv.DictReader(file)]
    return values


def test_a_whole_realm_starts_computes_and_leaves_nothing(
    engine: Engine, hosts: list[Host], tmp_path: Path
) -> None:
    """One `up`, one question; then everything that the page says about it."""
    start, *look, watcher, restart, end = blocks("A whole realm on one host")
    host = Host(engine, tmp_path / "realm")
    hosts.append(host)

    mean = pytest.approx(fmean(column("mdvis", *"abc")), rel=1e-6)
    assert figure("mean.mdvis", host.type(start)) == mean

    shown = host.type([line for block in look for line in block])
    assert len(re.findall(r"\(healthy\)", shown)) >= 8
    assert len(re.findall(r"│ yes +│", shown)) == 7
    assert "mean.mdvis" in shown

    files = "/mpc/broker/access/credentials.json /mpc/home/broker/monitor.json"
    host.type(watcher)
    kept = host.type([f"docker compose exec -T manager cat {files}"])
    passwords = re.findall(r'"password": "([^"]+)"', kept)
    assert len(passwords) == 3
    containers = engine.docker("ps", "--all", "--quiet").split()
    told = engine.docker("inspect", *containers)
    told += engine.docker("inspect", "mpc-management")
    told += engine.docker("history", "--no-trunc", "mpc-management")
    told += host.type(["docker compose logs --no-color 2>&1"])
    assert [word for word in (*passwords, "mpxe1.") if word in told] == []

    spent = host.type(
        ["docker compose exec -T server1 stat -c '%s %a' /mpc/token/token"]
    )
    assert spent == "0 600\n"
    loose = [
        "docker compose exec -T manager find /mpc/home /mpc/broker/access -perm /077",
        "docker compose exec -T broker find /mpc/broker/node -perm /077",
        "docker compose exec -T server1 find /mpc/home -name '*.key' -perm /077",
    ]
    assert host.type(loose) == ""
    assert host.type(["! docker compose exec -T manager touch /mark 2>/dev/null"]) == ""

    # MPC servers compute a median in processes of their own, which confine themselves.
    host.type(restart)
    question = start[-1].replace("mean", "median").replace("mdvis", "disea")
    printed = host.type([question])
    middle = pytest.approx(median(column("disea", *"abc")), rel=1e-6)
    assert figure("median.disea", printed) == middle
    listed = host.type(
        ["docker compose exec -T manager mpc-manager participants list --json"]
    )
    assert len(json.loads(listed)) == 7

    host.type(end)
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert engine.docker("volume", "ls", "--quiet", "--filter", "name=realm_") == ""


def test_a_cluster_goes_on_without_a_manager_and_without_a_node(
    engine: Engine, hosts: list[Host], tmp_path: Path
) -> None:
    """Whichever manager is active and whichever node a party talks to."""
    start, look, lose_manager, lose_node, (back, end) = blocks("A cluster on one host")
    host = Host(engine, tmp_path / "cluster")
    hosts.append(host)
    mean = pytest.approx(fmean(column("mdvis", *"abc")), rel=1e-6)
    question = lose_node[-1]

    assert figure("mean.mdvis", host.type(start)) == mean
    shown = host.type(look)
    assert re.search(r"manager[12]:\d+", shown)
    running = shown.partition("Running Nodes")[2].partition("Versions")[0]
    assert set(re.findall(r"rabbit@(broker\d)", running)) == {
        "broker1",
        "broker2",
        "broker3",
    }
    await_replicas(host, 3)

    lost = host.type(lose_manager)
    assert figure("mean.mdvis", lost) == mean
    assert "manager2:" in lost
    assert figure("mean.mdvis", host.type(lose_node)) == mean

    # Now manager2 is the active one for sure.
    host.type([f"{back} --wait"])
    await_replicas(host, 3)
    host.type(["docker compose kill manager2 broker2"])
    assert figure("mean.mdvis", host.type(["sleep 15", question])) == mean
    assert "manager1:" in host.type(
        ["docker compose exec -T manager1 mpc-manager status"]
    )

    host.type([end])
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert engine.docker("volume", "ls", "--quiet", "--filter", "name=cluster_") == ""


def test_organisations_run_their_parts_on_hosts_of_their_own(
    engine: Engine, hosts: list[Host], tmp_path: Path
) -> None:
    """Each has one profile and its own volumes; only the documented ports are open."""
    names = ("broker", "manager", "server", "server-2", "source", "consumer")
    for name in names:
        engine.docker("network", "create", f"host-{name}")
        address = engine.docker(
            "network",
            "inspect",
            "--format",
            "{{(index .IPAM.Config 0).Gateway}}",
            f"host-{name}",
        ).strip()
        hosts.append(Host(engine, tmp_path / name, address))
    broker, manager, server, server_2, source, consumer = hosts
    for host in hosts:
        host.name(
            {"broker.example.org": broker.address, "mpc1.example.org": host.address}
        )

    def give(giver: Host, taker: Host) -> None:
        for pattern in CARRIED:
            for path in giver.folder.glob(pattern):
                assert path.stat().st_mode & 0o077 == 0
                shutil.copy(path, taker.folder)

    broker.type(section("The broker"))
    give(broker, manager)
    manager.type(section("The manager"))
    give(manager, server)
    give(manager, source)
    give(manager, consumer)
    server.type(section("An MPC server"))
    token = next(line for line in section("The manager") if "--role mpcs" in line)
    manager.type(["umask 077", token])
    give(manager, server_2)
    server_2.type(section("An MPC server"))
    source.type(section("A source"))
    printed = consumer.type(section("A consumer"))

    mean = pytest.approx(fmean(column("mdvis", "a")), rel=1e-6)
    assert figure("mean.mdvis", printed) == mean
