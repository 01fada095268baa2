"""What a private broker node shows is good for its addresses and nothing else."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.crypto.broker_certificates import (
    BrokerAuthority,
    BrokerCertificate,
    create_broker_authority,
    create_broker_certificate,
    hosts_of,
)
from shared.crypto.certificates import spki_hash_of_certificate
from shared.errors import CryptoError
from shared.names import Realm
from shared.transport.authority import context_for

NOW = datetime.now(UTC)  # noqa: TID251 - OpenSSL compares with the real time
DAY = timedelta(days=1)
LONGEST = Realm("r" * 63)


HOSTS = ("127.0.0.1", "::1", "hub.example")


def authority() -> BrokerAuthority:
    """Return a fresh authority."""
    return create_broker_authority(LONGEST, NOW - DAY, NOW + DAY)


def signed(by: BrokerAuthority, *hosts: str) -> BrokerCertificate:
    """Return what a node at these hosts shows."""
    return create_broker_certificate(by, LONGEST, hosts, NOW - DAY, NOW + DAY)


def handshake(
    shown: BrokerCertificate, trusted: BrokerAuthority, name: str, folder: Path
) -> bytes:
    """Return the DER that a server showed to a client who trusts the authority."""
    (folder / "chain").write_text(shown.chain)
    (folder / "key").write_text(shown.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain", folder / "key")
    client = context_for(trusted.certificate)
    assert client is not None
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(left, server_side=True).close()
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=name) as secured:
            leaf = secured.getpeercert(binary_form=True)
    finally:
        right.close()
        thread.join()
    return leaf or b""


@pytest.mark.parametrize("name", [*HOSTS, "localhost"])
def test_the_authority_vouches_for_the_node(name: str, tmp_path: Path) -> None:
    """Under its addresses and names, with the longest realm name."""
    signer = authority()
    shown = signed(signer, *HOSTS)
    leaf = handshake(shown, signer, name, tmp_path)

    assert ssl.DER_cert_to_PEM_cert(leaf) in shown.chain
    assert shown.chain.endswith(signer.certificate)
    assert hosts_of(shown.chain) == {*HOSTS, "localhost"}


@pytest.mark.parametrize("name", ["127.0.0.2", "broker.example", "a.hub.example"])
def test_it_is_nobody_else(name: str, tmp_path: Path) -> None:
    """Another address is refused."""
    signer = authority()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(signed(signer, *HOSTS), signer, name, tmp_path)


def test_a_node_that_moves_keeps_its_authority(tmp_path: Path) -> None:
    """Who pinned the authority accepts the new key and the new name."""
    signer = authority()
    before, after = signed(signer, "old.example"), signed(signer, "new.example")

    assert before.key != after.key
    assert handshake(after, signer, "new.example", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(after, signer, "old.example", tmp_path)


def test_another_authority_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Names prove nothing, keys do."""
    one, other = authority(), authority()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(signed(one, "hub.example"), other, "hub.example", tmp_path)

    pins = {
        spki_hash_of_certificate(ssl.PEM_cert_to_DER_cert(each.certificate))
        for each in (one, other)
    }

    assert len(pins) == 2


def test_a_damaged_authority_signs_nothing() -> None:
    """A certificate that nobody accepts would be found out by everybody else."""
    one, other = authority(), authority()
    for damaged in (
        BrokerAuthority("no certificate", one.key),
        BrokerAuthority(one.certificate, "no key"),
        BrokerAuthority(one.certificate, other.key),
    ):
        with pytest.raises(CryptoError):
            signed(damaged, "hub.example")


def test_hosts_are_read_from_a_node_s_certificate_only() -> None:
    """An authority is good for no host."""
    for text in ("no certificate", authority().certificate):
        with pytest.raises(CryptoError):
            hosts_of(text)


def test_the_keys_are_not_printed() -> None:
    """Not even by a test that fails."""
    signer = authority()

    assert "PRIVATE" not in repr(signer)
    assert "PRIVATE" not in repr(signed(signer))
