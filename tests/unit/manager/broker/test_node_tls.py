"""A private node's certificates: made once, made anew for another name."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from manager.broker.node_tls import NodeTls
from manager.broker.ports import NodePorts
from shared.crypto.broker_certificates import hosts_of
from shared.errors import ConfigError
from shared.names import Realm

REALM = Realm("test")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PORTS = NodePorts(5671, 2, 3, 4, 5, 6)
LOCAL = {"localhost", "127.0.0.1"}


def test_certificates_are_made_once(tmp_path: Path) -> None:
    """A restart changes nothing that anybody could notice."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    tls.create(REALM, (), NOW)

    assert before == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(before) == {"authority.pem", "authority.key", "node.pem", "node.key"}
    assert hosts_of(before["node.pem"]) == LOCAL
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_name_takes_another_certificate(tmp_path: Path) -> None:
    """Of the same authority, which participants pin."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    authority, shown = tls.authority_path.read_text(), tls.chain_path.read_text()
    tls.create(REALM, ("hub.example", "10.0.0.1"), NOW)

    assert authority == tls.authority_path.read_text()
    assert shown != tls.chain_path.read_text()
    assert hosts_of(tls.chain_path.read_text()) == LOCAL | {"hub.example", "10.0.0.1"}


def test_a_key_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    """That is how the node's key is changed."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    authority, key = tls.authority_path.read_text(), tls.key_path.read_text()
    tls.key_path.unlink()
    tls.create(REALM, (), NOW)

    assert authority == tls.authority_path.read_text()
    assert key != tls.key_path.read_text()


@pytest.mark.parametrize("name", ["authority.key", "authority.pem", "node.pem"])
def test_damaged_certificates_are_refused(name: str, tmp_path: Path) -> None:
    """Participants pin the authority: it is not replaced in silence."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    (tmp_path / name).write_bytes(b"\xff damaged")
    with pytest.raises(ConfigError, match="are damaged") as caught:
        tls.create(REALM, ("hub.example",), NOW)

    assert "restore" in (caught.value.hint or "")


def test_an_authority_of_others_signs_for_itself(tmp_path: Path) -> None:
    """Its certificate is taken as it is, if it is good where the node is reached."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, ("hub.example", "other.example"), NOW)
    tls.authority_key_path.unlink()
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    tls.create(REALM, ("hub.example",), NOW)
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"not good for desk\.example") as caught:
        tls.create(REALM, ("hub.example", "desk.example"), NOW)

    assert before == after
    assert "let the authority" in (caught.value.hint or "")


def test_a_certificate_without_its_authority_is_not_replaced(tmp_path: Path) -> None:
    """Its owner forgot a file, and has perhaps no other copy of the key."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    tls.authority_path.unlink()
    tls.authority_key_path.unlink()
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"node\.pem is there, and authority\.pem"):
        tls.create(REALM, (), NOW)

    assert before == {path.name: path.read_text() for path in tmp_path.iterdir()}


def test_an_authority_of_others_without_a_certificate_is_refused(
    tmp_path: Path,
) -> None:
    """The node must show something."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    tls.authority_key_path.unlink()
    tls.key_path.unlink()
    with pytest.raises(ConfigError, match=r"not there, or not good for 127\.0\.0\.1"):
        tls.create(REALM, (), NOW)


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        (None, {"local": "127.0.0.1:5671"}),
        ("127.0.0.1", {"local": "127.0.0.1:5671"}),
        ("10.0.0.1", {"local": "127.0.0.1:5671", "outside": "10.0.0.1:5671"}),
        ("0.0.0.0", {"all": "0.0.0.0:5671"}),
        ("::", {"all": ":::5671"}),
    ],
)
def test_amqp_alone_is_opened(
    outside: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    """The management API stays on the loopback address, whatever is opened."""
    settings = NodeTls(tmp_path).listeners(PORTS, outside)
    found = {
        name.removeprefix("listeners.ssl."): value
        for name, value in settings.items()
        if name.startswith("listeners.ssl.")
    }

    assert found == expected
    assert settings["management.tcp.ip"] == settings["management.ssl.ip"] == "127.0.0.1"
