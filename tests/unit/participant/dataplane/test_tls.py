"""TLS keys and leaves of a process; the handshakes are in the integration tests."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest

from participant.dataplane.tls import MAX_IDENTITIES, Identities, server_name
from shared.crypto.certificates import CertificateAuthority, read_csr
from shared.errors import CryptoError, LocalProtocolError
from shared.names import Principal, Realm, Role

REALM = Realm("realm")
NAME = Principal("MPC_server_001")
START = datetime(2026, 1, 1, tzinfo=UTC)
AUTHORITY = CertificateAuthority.create(REALM, START, START + timedelta(days=90))


def leaf_for(csr: bytes) -> bytes:
    """Return a leaf for the key of a request."""
    return AUTHORITY.issue_leaf(
        read_csr(csr), REALM, Role.MPCS, NAME, START, START + timedelta(days=1)
    )


def test_leaf_makes_contexts_that_speak_nothing_else() -> None:
    """TLS 1.3, both ends with certificates, only the realm's authorities."""
    identities = Identities()
    csr, spki = identities.make_key(NAME)
    identity = identities.use_leaf(spki, leaf_for(csr), [AUTHORITY.certificate_der])
    for context in (identity.dialler, identity.listener):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert len(context.get_ca_certs()) == 1
    assert identity.listener.num_tickets == 0
    assert not identity.dialler.check_hostname
    assert identities.newest() is identity
    assert identities.of(spki) is identity
    assert identities.of(b"x" * 32) is None


def test_name_of_a_leaf_is_the_start_of_its_hash() -> None:
    """The SNI of the protocol."""
    assert server_name(bytes(range(32))) == "000102030405060708090a0b0c0d0e0f.mpx1"


def test_newer_authorities_are_trusted_by_older_identities() -> None:
    """A realm's authority may change while a job of the old session runs."""
    identities = Identities()
    csr, older = identities.make_key(NAME)
    identities.use_leaf(older, leaf_for(csr), [AUTHORITY.certificate_der])
    successor = CertificateAuthority.create(REALM, START, START + timedelta(days=180))
    csr, newer = identities.make_key(NAME)
    cas = [AUTHORITY.certificate_der, successor.certificate_der]
    identities.use_leaf(newer, leaf_for(csr), cas)
    identity = identities.of(older)

    assert identity is not None
    assert len(identity.listener.get_ca_certs()) == 2
    assert identities.newest() is identities.of(newer)


def test_an_authority_is_trusted_as_soon_as_the_realm_names_it() -> None:
    """Peers may show leaves by it before this session has one."""
    identities = Identities()
    csr, spki = identities.make_key(NAME)
    identity = identities.use_leaf(spki, leaf_for(csr), [AUTHORITY.certificate_der])
    successor = CertificateAuthority.create(REALM, START, START + timedelta(days=180))
    identities.trust([AUTHORITY.certificate_der, successor.certificate_der])

    assert identities.newest() is identity
    for context in (identity.dialler, identity.listener):
        assert len(context.get_ca_certs()) == 2


def test_leaf_for_another_key_is_refused() -> None:
    """Neither a key that is not here nor a leaf of another one."""
    identities = Identities()
    csr, _ = identities.make_key(NAME)
    _, other = identities.make_key(NAME)
    with pytest.raises(CryptoError):
        identities.use_leaf(other, leaf_for(csr), [AUTHORITY.certificate_der])
    with pytest.raises(LocalProtocolError):
        identities.use_leaf(b"x" * 32, leaf_for(csr), [AUTHORITY.certificate_der])

    assert identities.newest() is None


def test_old_identities_are_forgotten() -> None:
    """Sessions come and go; keys of long ago do not stay in memory."""
    identities = Identities()
    hashes = []
    for _ in range(MAX_IDENTITIES + 1):
        csr, spki = identities.make_key(NAME)
        identities.use_leaf(spki, leaf_for(csr), [AUTHORITY.certificate_der])
        hashes.append(spki)

    assert identities.of(hashes[0]) is None
    assert all(identities.of(spki) is not None for spki in hashes[1:])
