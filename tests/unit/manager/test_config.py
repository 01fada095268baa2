"""The manager's settings."""

from datetime import timedelta
from pathlib import Path

import pytest

from manager.config import load_settings
from shared.errors import ConfigError


def test_defaults_are_a_private_node_and_sqlite_in_the_home(tmp_path: Path) -> None:
    """A first user sets nothing."""
    settings = load_settings({"home": tmp_path})

    assert settings.broker_url is None
    assert settings.broker_folder == tmp_path / "broker"
    assert settings.database_url == f"sqlite:///{tmp_path}/manager.db"
    assert settings.presence_timeout == timedelta(seconds=90)
    assert settings.offer_timeout == timedelta(seconds=5)


def test_the_home_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its file is read then."""
    (tmp_path / "manager.toml").write_text('realm = "hospital"\n')
    monkeypatch.setenv("MPC_HOME", str(tmp_path))
    settings = load_settings({})

    assert (settings.home, settings.vhost) == (tmp_path, "hospital")


def test_another_file_may_be_named(tmp_path: Path) -> None:
    """``--config`` replaces the file in the home."""
    (tmp_path / "manager.toml").write_text('realm = "ignored"\n')
    other = tmp_path / "other.toml"
    other.write_text('realm = "other"\nstore_url = "postgresql+psycopg://db/mpc"\n')
    settings = load_settings({"home": tmp_path}, other)

    assert settings.vhost == "other"
    assert settings.database_url == "postgresql+psycopg://db/mpc"


def test_a_relative_home_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that outlives the command must not depend on its folder."""
    monkeypatch.chdir(tmp_path)

    assert load_settings({"home": Path("m")}).home == tmp_path / "m"


@pytest.mark.parametrize(
    "flags",
    [
        {"realm": "not a name"},
        {"broker_url": "amqp://broker"},
        {"broker_url": "amqp://user:secret@broker"},
        {"broker_url": "http://broker"},
        {"broker_management_url": "http://broker:15672"},
        {"broker_credentials_file": "secrets.json"},
        {"broker_port": 70_000},
        {"broker_listen": "hub.example", "broker_advertise": ("hub.example",)},
        {"broker_listen": "0.0.0.0"},
        {"broker_advertise": ("0.0.0.0",)},
        {"offer_timeout": "0s"},
        {"prefetch_count": 0},
        {"log_level": "loud"},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(flags: dict[str, object], tmp_path: Path) -> None:
    """Before anything is started, with what to do."""
    with pytest.raises(ConfigError) as caught:
        load_settings({"home": tmp_path, **flags})

    assert caught.value.hint
    assert "secret@" not in str(caught.value)


def test_the_home_cannot_be_named_in_its_own_file(tmp_path: Path) -> None:
    """The file lies in it."""
    (tmp_path / "manager.toml").write_text('home = "/elsewhere"\n')
    with pytest.raises(ConfigError, match="unknown setting 'home'"):
        load_settings({"home": tmp_path})


def test_an_external_broker_is_named_whole(tmp_path: Path) -> None:
    """Url, management url and credentials belong together."""
    settings = load_settings(
        {
            "home": tmp_path,
            "broker_url": "amqps://a,amqps://b",
            "broker_management_url": "https://a:15671",
            "broker_credentials_file": tmp_path / "credentials.json",
        }
    )

    assert settings.broker_url == "amqps://a,amqps://b"


def test_a_private_node_may_be_opened_to_others(tmp_path: Path) -> None:
    """With the name that they know it by; nothing listens for them unless told."""
    (tmp_path / "manager.toml").write_text(
        'broker_listen = "0.0.0.0"\nbroker_advertise = ["hub.example"]\n'
    )
    settings = load_settings({"home": tmp_path})

    assert str(settings.broker_listen) == "0.0.0.0"
    assert settings.broker_advertise == ("hub.example",)
    assert load_settings({"home": tmp_path / "other"}).broker_listen is None


def test_a_broker_of_others_does_not_listen_for_us(tmp_path: Path) -> None:
    """Its owner says where it listens."""
    with pytest.raises(ConfigError, match="broker_listen is for the private node"):
        load_settings(
            {
                "home": tmp_path,
                "broker_url": "amqps://a",
                "broker_listen": "0.0.0.0",
                "broker_advertise": ("hub.example",),
            }
        )
