"""A private node's certificates: made once, made anew for another name."""

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from manager.broker.node_tls import NodeTls
from manager.broker.ports import NodePorts
from shared.crypto.broker_certificates import (
    BrokerAuthority,
    BrokerCertificate,
    create_broker_authority,
    create_broker_certificate,
    hosts_of,
)
from shared.errors import ConfigError
from shared.names import Realm

REALM = Realm("test")
NOW = datetime.now(UTC)  # noqa: TID251 - OpenSSL compares with the real time
DAY = timedelta(days=1)
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


def _signed(tls: NodeTls, begins: datetime, ends: datetime) -> BrokerCertificate:
    """Return what the authority in a folder signs for this machine."""
    authority = BrokerAuthority(
        tls.authority_path.read_text(), tls.authority_key_path.read_text()
    )
    return create_broker_certificate(authority, REALM, ("127.0.0.1",), begins, ends)


def _other_key(tls: NodeTls) -> None:
    tls.key_path.write_text(_signed(tls, NOW - DAY, NOW + DAY).key)


def _no_key(tls: NodeTls) -> None:
    tls.key_path.write_text("garbage")


def _locked_key(tls: NodeTls) -> None:
    own = load_pem_private_key(tls.key_path.read_bytes(), None)
    lock = BestAvailableEncryption(b"word")
    tls.key_path.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))


def _ended(tls: NodeTls) -> None:
    made = _signed(tls, NOW - 2 * DAY, NOW - DAY)
    tls.chain_path.write_text(made.chain)
    tls.key_path.write_text(made.key)


def _other_authority(tls: NodeTls) -> None:
    other = create_broker_authority(REALM, NOW - DAY, NOW + DAY)
    tls.authority_path.write_text(other.certificate)


def _no_authority(tls: NodeTls) -> None:
    tls.authority_path.write_text("garbage")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_key, r"node\.key is not the key of the certificate"),
        (_no_key, "a broker cannot use"),
        (_locked_key, "a broker cannot use"),
        (_ended, "certificate has expired"),
        (_other_authority, "nobody who trusts the broker's authority"),
        (_no_authority, "not a certificate in PEM"),
        (lambda tls: tls.authority_path.write_text(""), "not a certificate in PEM"),
        (lambda tls: tls.key_path.chmod(0o644), r"others may read .*node\.key"),
    ],
)
def test_what_others_signed_must_be_good_for_clients(
    change: Callable[[NodeTls], object], reason: str, tmp_path: Path
) -> None:
    """The broker would not start with it, or nobody could connect."""
    tls = NodeTls(tmp_path)
    tls.create(REALM, (), NOW)
    change(tls)
    tls.authority_key_path.unlink()
    with pytest.raises(ConfigError, match=reason) as caught:
        tls.create(REALM, (), NOW)

    assert caught.value.hint


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
