"""A broker that somebody else starts gets all it needs, and keeps what others pin."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from manager.broker.credentials import load_credentials
from manager.broker.prepared import PreparedBroker
from manager.cli.main import manager
from shared.cli import ExitCode
from shared.crypto.broker_certificates import hosts_of
from shared.errors import ConfigError
from shared.names import Realm
from shared.topology import EXCHANGES, QUEUES

REALM = Realm("health")
HOSTS = ("broker.example.org", "192.0.2.7")


def prepared(folder: Path) -> PreparedBroker:
    """Return what is to be written under a folder."""
    return PreparedBroker(folder / "node", folder / "access")


def settings(broker: PreparedBroker) -> dict[str, str]:
    """Return RabbitMQ's settings by name."""
    lines = broker.settings_path.read_text().splitlines()
    pairs = (line.split(" = ", 1) for line in lines if " = " in line)
    return {name: value for name, value in pairs if not name.startswith("#")}


def test_everything_that_rabbitmq_reads_is_there(tmp_path: Path) -> None:
    """TLS alone, for the hosts that were named, and the realm's own definitions."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS)
    found = settings(broker)
    named = [Path(value) for value in found.values() if value.startswith("/")]
    definitions = json.loads(Path(found["load_definitions"]).read_text())

    assert found["listeners.tcp"] == "none"
    assert "management.tcp.port" not in found
    assert all(path.parent == broker.node and path.exists() for path in named)
    assert "rabbitmq_management" in broker.plugins_path.read_text()
    assert set(HOSTS) < hosts_of((broker.node / "node.pem").read_text())
    assert definitions["vhosts"] == [{"name": "health"}]
    assert len(definitions["exchanges"]) == len(EXCHANGES)
    assert len(definitions["queues"]) == len(QUEUES)


def test_the_manager_gets_its_passwords_and_the_broker_only_their_hashes(
    tmp_path: Path,
) -> None:
    """Whoever runs the broker for a realm reads no password there."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS)
    credentials = load_credentials(broker.access / "credentials.json")
    text = "".join(path.read_text() for path in broker.node.iterdir())
    users = json.loads((broker.node / "definitions.json").read_text())["users"]

    assert {credentials.admin.user, credentials.manager.user} <= {
        user["name"] for user in users
    }
    assert credentials.admin.password not in text
    assert credentials.manager.password not in text
    assert {path.name for path in broker.access.iterdir()} == {
        "authority.pem",
        "credentials.json",
    }


def test_every_file_is_its_owners_alone(tmp_path: Path) -> None:
    """The programs refuse anything else."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS)
    paths = [broker.node, broker.access, *tmp_path.glob("*/*")]

    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_a_second_time_keeps_what_others_hold(tmp_path: Path) -> None:
    """Tokens pin the authority; the manager has the passwords already."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS)
    before = {path: path.read_text() for path in broker.access.iterdir()}
    broker.write(REALM, ("other.example.org",))

    assert {path: path.read_text() for path in broker.access.iterdir()} == before
    assert "other.example.org" in hosts_of((broker.node / "node.pem").read_text())


def test_nodes_of_a_cluster_find_each_other_and_share_a_cookie(tmp_path: Path) -> None:
    """The cookie stays: nodes that run know each other by it."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS, ["broker1", "broker2", "broker3"])
    cookie = broker.cookie_path.read_text()
    broker.write(REALM, HOSTS, ["broker1", "broker2", "broker3"])
    found = settings(broker)
    nodes = {
        value
        for name, value in found.items()
        if name.startswith("cluster_formation.classic_config.nodes.")
    }

    assert nodes == {"rabbit@broker1", "rabbit@broker2", "rabbit@broker3"}
    assert (
        found["quorum_queue.continuous_membership_reconciliation.target_group_size"]
        == "3"
    )
    assert len(cookie) == 64
    assert broker.cookie_path.read_text() == cookie
    assert broker.cookie_path.stat().st_mode & 0o077 == 0


def test_a_node_that_is_alone_has_nothing_of_a_cluster(tmp_path: Path) -> None:
    """An earlier RabbitMQ would refuse settings that it does not know."""
    broker = prepared(tmp_path)
    broker.write(REALM, HOSTS)

    assert not any("cluster" in name or "quorum" in name for name in settings(broker))
    assert not broker.cookie_path.exists()


@pytest.mark.parametrize("host", ["", "0.0.0.0", "two words", "user@host", "münchen"])
def test_a_host_that_is_none_is_refused_before_anything_is_written(
    host: str, tmp_path: Path
) -> None:
    """A certificate for nobody would be found out by the first participant."""
    with pytest.raises(ConfigError, match="not where others can reach"):
        prepared(tmp_path).write(REALM, (host,))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """The operator reads what is wrong, and what to do."""
    (tmp_path / "node").write_text("")

    with pytest.raises(ConfigError, match="cannot make"):
        prepared(tmp_path).write(REALM, HOSTS)


def test_the_command_says_how_to_start_the_broker(tmp_path: Path) -> None:
    """It names both files that RabbitMQ must be told of."""
    home = tmp_path / "home"
    arguments = ["--home", str(home), "broker", "prepare", str(tmp_path / "files")]
    done = CliRunner().invoke(manager, [*arguments, "--host", "localhost"])
    broker = prepared(tmp_path / "files")

    assert done.exit_code == ExitCode.DONE, done.output
    assert f"RABBITMQ_CONFIG_FILE={broker.settings_path}" in done.stderr
    assert f"RABBITMQ_ENABLED_PLUGINS_FILE={broker.plugins_path}" in done.stderr
