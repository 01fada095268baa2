"""A private RabbitMQ node from start to stop."""

import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from manager.broker.access import BrokerAccess, broker_access
from manager.broker.node import STOP_PATIENCE, PrivateNode
from manager.broker.ports import NodePorts, answers, choose_ports
from manager.broker.processes import is_alive, wait_until_gone
from manager.cli.broker import broker as broker_group
from manager.config import ManagerSettings, load_settings
from shared.errors import ConfigError, TransportError
from shared.names import Realm

pytestmark = pytest.mark.broker


def listening_addresses(pid: int) -> set[str]:
    """Return the local addresses (hex, as the kernel writes them) that a process listens on."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(fields[1].split(":")[0])
    return found


def test_the_node_listens_on_the_loopback_address_only(node: PrivateNode) -> None:
    """Nobody from outside of this machine reaches it."""
    status = node.status()

    assert status is not None
    assert status.pid is not None
    assert listening_addresses(status.pid) == {"0100007F"}


def test_its_secrets_are_its_owners(node: PrivateNode) -> None:
    """Passwords and hashes are readable by their owner only."""
    folder = node.credentials_path.parent
    modes = {
        name: stat.S_IMODE((folder / name).stat().st_mode)
        for name in (
            "credentials.json",
            "monitor.json",
            "definitions.json",
            "node.key",
            "home/.erlang.cookie",
        )
    }

    assert modes == {
        "credentials.json": 0o600,
        "monitor.json": 0o600,
        "definitions.json": 0o600,
        "node.key": 0o600,
        "home/.erlang.cookie": 0o400,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_password_is_in_the_process_table(
    node: PrivateNode, broker: BrokerAccess
) -> None:
    """Neither in its arguments nor in its environment."""
    status = node.status()

    assert status is not None
    for name in ("cmdline", "environ"):
        content = Path(f"/proc/{status.pid}/{name}").read_bytes()
        for credential in (broker.credentials.admin, broker.credentials.manager):
            assert credential.password.encode() not in content
            assert credential.password not in repr(broker)


def test_starting_one_that_runs_changes_nothing(node: PrivateNode) -> None:
    """Also from another process: the folder knows."""
    before = node.status()
    said: list[str] = []
    after = PrivateNode(node.credentials_path.parent, Realm("test")).start(said.append)

    assert before == after
    assert said[-1] == "ready"


@pytest.mark.slow
def test_a_killed_node_comes_back_with_ports_and_passwords(tmp_path: Path) -> None:
    """Participants keep their broker's address; the orphaned port mapper is ended.

    What was removed, its key and its passwords, is made anew under the old authority.
    """
    node = PrivateNode(tmp_path / "b", Realm("again"))
    try:
        first = node.start()
        password = node.credentials().manager.password
        authority = first.authority_path.read_text()
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        wait_until_gone(first.pid, STOP_PATIENCE)
        down = node.status()
        second = node.start()
        kept = node.credentials().manager.password
        node.stop()
        node.credentials_path.unlink()
        (tmp_path / "b" / "node.key").unlink()
        third = node.start()  # which logs in, by the new key and password
        changed = node.credentials().manager.password
    finally:
        was_running = node.stop()
    ended = node.status()

    assert down is not None
    assert not down.is_running
    assert second.is_running
    assert second.ports == first.ports
    assert kept == password
    assert third.authority_path.read_text() == authority
    assert third.ports == first.ports
    assert changed != password
    assert was_running
    assert ended is not None
    assert not ended.is_running
    assert not is_alive(third.pid or 0)
    assert not any(answers(port) for port in (third.ports.amqp, third.ports.epmd))
    assert not node.stop()


def test_a_node_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user reads RabbitMQ's own words and where its logs are."""
    server = tmp_path / "root/usr/lib/rabbitmq/bin/rabbitmq-server"
    server.parent.mkdir(parents=True)
    server.write_text("#!/bin/sh\necho no memory left\nexit 1\n")
    server.chmod(0o755)
    epmd = tmp_path / "root/usr/bin/epmd"
    epmd.parent.mkdir(parents=True)
    epmd.write_text("#!/bin/sh\n")
    epmd.chmod(0o755)
    monkeypatch.setenv("MPC_RABBITMQ_ROOT", str(tmp_path / "root"))
    node = PrivateNode(tmp_path / "b", Realm("never"))
    with pytest.raises(TransportError, match="no memory left") as caught:
        node.start()

    assert str(tmp_path / "b" / "log") in (caught.value.hint or "")


def test_a_missing_rabbitmq_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names both ways: set-up and container."""
    monkeypatch.setenv("MPC_RABBITMQ_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match="holds no RabbitMQ") as caught:
        PrivateNode(tmp_path / "b", Realm("never")).start()

    assert "make setup" in (caught.value.hint or "")
    assert "container" in (caught.value.hint or "")


def test_a_wanted_port_that_is_taken_is_refused() -> None:
    """What the user insists on is not replaced in silence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        with pytest.raises(ConfigError, match="is taken"):
            choose_ports({"amqp": taken.getsockname()[1]}, None)


def test_a_kept_port_that_is_taken_is_chosen_anew() -> None:
    """The others stay."""
    free = choose_ports({}, None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        kept = NodePorts(
            taken.getsockname()[1],
            free.management,
            free.administration,
            free.prometheus,
            free.distribution,
            free.epmd,
        )
        chosen = choose_ports({}, kept)

    assert chosen.amqp != kept.amqp
    assert (chosen.management, chosen.distribution, chosen.epmd) == (
        free.management,
        free.distribution,
        free.epmd,
    )


def settings_of(broker: BrokerAccess, tmp_path: Path) -> ManagerSettings:
    """Return settings that name the session's node as somebody else's broker."""
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    users = {
        name: {"user": credential.user, "password": credential.password}
        for name, credential in (
            ("admin", broker.credentials.admin),
            ("manager", broker.credentials.manager),
        )
    }
    file.write_text(json.dumps(users))
    authority = tmp_path / "authority.pem"
    authority.write_text(broker.authority or "")
    return load_settings(
        {
            "home": tmp_path,
            "realm": str(broker.vhost),
            "broker_url": broker.amqp_url,
            "broker_management_url": broker.management_url,
            "broker_credentials_file": file,
            "broker_ca_file": authority,
        }
    )


def test_an_external_broker_is_prepared_and_shown(
    broker: BrokerAccess, tmp_path: Path
) -> None:
    """``broker apply`` and ``status`` work on a broker that is not ours."""
    settings = settings_of(broker, tmp_path)
    runner = CliRunner()
    applied = runner.invoke(broker_group, ["apply"], obj=settings)
    shown = runner.invoke(broker_group, ["status", "--json"], obj=settings)
    status = json.loads(shown.stdout)

    assert applied.exit_code == 0
    assert applied.stdout == ""
    assert status["running"] is True
    assert status["amqp_url"] == broker.amqp_url
    assert status["rabbitmq_version"]
    assert broker_access(settings).credentials == broker.credentials


def test_an_external_broker_is_not_started(
    broker: BrokerAccess, tmp_path: Path
) -> None:
    """Nor stopped."""
    settings = settings_of(broker, tmp_path)
    for command in ("start", "stop"):
        result = CliRunner().invoke(broker_group, [command], obj=settings)

        assert isinstance(result.exception, ConfigError)


@pytest.mark.slow
def test_the_commands_start_show_and_stop_a_node(tmp_path: Path) -> None:
    """What ``mpc-manager broker`` does, from the first start on."""
    settings = load_settings({"home": tmp_path, "realm": "cli"})
    runner = CliRunner()
    before = runner.invoke(
        broker_group, ["status", "--json"], obj=settings, standalone_mode=False
    )
    started = runner.invoke(broker_group, ["start", "--json"], obj=settings)
    try:
        shown = runner.invoke(broker_group, ["status", "--json"], obj=settings)
        people = runner.invoke(broker_group, ["status"], obj=settings)
        applied = runner.invoke(broker_group, ["apply"], obj=settings)
        watched = runner.invoke(broker_group, ["monitor"], obj=settings)
        secret = runner.invoke(
            broker_group, ["monitor", "--show-password", "--json"], obj=settings
        )
    finally:
        stopped = runner.invoke(broker_group, ["stop"], obj=settings)
    after = runner.invoke(broker_group, ["status"], obj=settings, standalone_mode=False)

    assert json.loads(before.stdout)["running"] is False
    assert before.return_value == 4
    assert json.loads(started.stdout) == json.loads(shown.stdout)
    assert json.loads(started.stdout)["running"] is True
    assert "amqps://127.0.0.1:" in people.stdout
    assert applied.exit_code == 0
    assert json.loads(started.stdout)["management_url"] in watched.stdout
    kept = json.loads((tmp_path / "broker" / "monitor.json").read_text())
    assert json.loads(secret.stdout)["password"] == kept["password"]
    assert kept["password"] not in watched.stdout + started.stdout + people.stdout
    assert stopped.exit_code == 0
    assert after.return_value == 4
