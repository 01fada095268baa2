"""What a private broker node shows is good for its addresses and nothing else."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.crypto.broker_certificates import (
    BrokerCertificates,
    create_broker_certificates,
)
from shared.crypto.certificates import spki_hash_of_certificate
from shared.names import Realm
from shared.transport.authority import context_for

NOW = datetime.now(UTC)  # noqa: TID251 - OpenSSL compares with the real time
DAY = timedelta(days=1)
LONGEST = Realm("r" * 63)


def made(realm: Realm = LONGEST) -> BrokerCertificates:
    """Return fresh certificates for the loopback address."""
    return create_broker_certificates(realm, ("127.0.0.1",), NOW - DAY, NOW + DAY)


def handshake(
    shown: BrokerCertificates, authority: str, name: str, folder: Path
) -> list[bytes]:
    """Return the DER that a server showed to a client who trusts the authority."""
    (folder / "chain").write_text(shown.chain)
    (folder / "key").write_text(shown.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain", folder / "key")
    client = context_for(authority)
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
    return [leaf or b""]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_authority_vouches_for_the_node(name: str, tmp_path: Path) -> None:
    """Under its address and the machine's own name, with the longest realm name."""
    shown = made()
    [leaf] = handshake(shown, shown.authority, name, tmp_path)

    assert ssl.DER_cert_to_PEM_cert(leaf) in shown.chain
    assert shown.chain.endswith(shown.authority)


@pytest.mark.parametrize("name", ["127.0.0.2", "broker.example"])
def test_it_is_nobody_else(name: str, tmp_path: Path) -> None:
    """Another address is refused."""
    shown = made()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(shown, shown.authority, name, tmp_path)


def test_another_authority_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Names prove nothing, keys do."""
    shown, other = made(), made()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(shown, other.authority, "127.0.0.1", tmp_path)

    pins = {
        spki_hash_of_certificate(ssl.PEM_cert_to_DER_cert(each.authority))
        for each in (shown, other)
    }

    assert len(pins) == 2


def test_the_key_is_not_printed() -> None:
    """Not even by a test that fails."""
    shown = made()

    assert "PRIVATE" not in repr(shown)
