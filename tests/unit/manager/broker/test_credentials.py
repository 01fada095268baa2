"""The file of the manager's broker passwords, and where RabbitMQ is found."""

import stat
from pathlib import Path

import pytest

from manager.broker.credentials import (
    MONITOR_FILE,
    load_credentials,
    load_monitor,
    load_or_create_credentials,
    load_or_create_monitor,
)
from manager.broker.files import broker_config, find_programs, write_private
from manager.broker.node import PrivateNode
from shared.errors import ConfigError
from shared.names import Realm


def test_passwords_are_drawn_once_and_kept(tmp_path: Path) -> None:
    """A restart does not lock the running manager out."""
    path = tmp_path / "credentials.json"
    first = load_or_create_credentials(path)
    second = load_or_create_credentials(path)

    assert first == second
    assert first.admin.password != first.manager.password
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_password_is_never_printed(tmp_path: Path) -> None:
    """Neither by a log nor by a trace."""
    credentials = load_or_create_credentials(tmp_path / "credentials.json")

    assert credentials.admin.password not in repr(credentials)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The hint is the command that mends it."""
    path = tmp_path / "credentials.json"
    load_or_create_credentials(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read") as caught:
        load_credentials(path)

    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"admin": {"user": "a"}}',
        '{"admin": {"user": "a", "password": ""}}',
    ],
)
def test_a_malformed_file_is_refused(content: str, tmp_path: Path) -> None:
    """With the form that it must have, or that it must be restored."""
    path = tmp_path / "credentials.json"
    write_private(path, content)
    with pytest.raises(ConfigError) as caught:
        load_credentials(path)

    assert caught.value.hint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """As for a broker that somebody else runs."""
    with pytest.raises(ConfigError, match="no broker credentials"):
        load_credentials(tmp_path / "credentials.json")


def test_a_private_file_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """Nothing is left behind."""
    with pytest.raises(ConfigError, match="cannot write"):
        write_private(tmp_path / "none" / "file", "text")


def test_an_unpacked_rabbitmq_is_found_with_its_paths(tmp_path: Path) -> None:
    """Its own Erlang comes first, and its libraries are named."""
    for name in ("usr/lib/rabbitmq/bin/rabbitmq-server", "usr/bin/epmd"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir()
    programs = find_programs({"MPC_RABBITMQ_ROOT": str(tmp_path)})

    assert programs.search_path.startswith(f"{tmp_path}/usr/bin:")
    assert (
        programs.library_path
        == f"{tmp_path}/usr/lib/x86_64-linux-gnu:{tmp_path}/usr/lib"
    )


def test_a_missing_settings_file_is_refused() -> None:
    """A broken installation is named as such."""
    with pytest.raises(ConfigError, match=r"broker_config/none\.conf is missing"):
        broker_config("none.conf")


def test_a_node_that_never_ran_has_no_status(tmp_path: Path) -> None:
    """And stopping it does nothing, not even make its folder."""
    node = PrivateNode(tmp_path / "broker", Realm("test"))

    assert node.status() is None
    assert not node.stop()
    assert not (tmp_path / "broker").exists()


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"mark": "m", "ports": {"amqp": 1}, "pid": null}']
)
def test_a_damaged_folder_is_refused(content: str, tmp_path: Path) -> None:
    """A node that may still run is not forgotten in silence."""
    write_private(tmp_path / "node.json", content)
    with pytest.raises(ConfigError):
        PrivateNode(tmp_path, Realm("test")).status()


def test_who_may_watch_has_a_password_that_is_kept(tmp_path: Path) -> None:
    """In a file of its own, since people get it: it opens nothing else."""
    folder = tmp_path / "broker"
    first = load_or_create_monitor(folder)

    assert load_or_create_monitor(folder) == load_monitor(folder) == first
    assert stat.S_IMODE((folder / MONITOR_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert first.password not in repr(first)


def test_a_missing_password_of_who_may_watch_has_a_remedy(tmp_path: Path) -> None:
    """The hint is the command that makes it."""
    with pytest.raises(ConfigError, match=MONITOR_FILE) as caught:
        load_monitor(tmp_path)

    assert "broker apply" in str(caught.value.hint)
