"""The certificates with which a private broker node shows who it is.

An authority of the node's own signs what the node shows and nothing else.
Participants pin the hash of its key, which their enrolment token holds, so the
node may change its key and its names as long as the authority stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.crypto import x509_parts
from shared.errors import CryptoError
from shared.names import Realm

HOST: Final = "localhost"

_Builder = x509.CertificateBuilder


@dataclass(frozen=True, slots=True)
class BrokerAuthority:
    """Who signs a node's certificate; both are PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BrokerCertificate:
    """What a node listens with, both PEM.

    ``chain``: its own certificate, then its authority's, so that it shows both.
    """

    chain: str
    key: str = field(repr=False)


def create_broker_authority(
    realm: Realm, not_before: datetime, not_after: datetime
) -> BrokerAuthority:
    """Return a fresh authority.

    Args:
        realm: shown in the name.
        not_before: an aware time, as ``not_after``.
        not_after: how long the certificate is good.
    """
    signer = ec.generate_private_key(x509_parts.CURVE)
    name = _name(realm, "broker authority")
    certificate = (
        _builder(name, name, signer, not_before, not_after)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509_parts.key_usage(is_authority=True), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return BrokerAuthority(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        key=x509_parts.private_pem(signer).decode(),
    )


def create_broker_certificate(
    authority: BrokerAuthority,
    realm: Realm,
    hosts: Iterable[str],
    not_before: datetime,
    not_after: datetime,
) -> BrokerCertificate:
    """Return a fresh key with its certificate.

    Args:
        authority: who signs.
        realm: shown in the name.
        hosts: names and IP addresses where the node is reached, besides the name
            ``localhost``.
        not_before: an aware time, as ``not_after``.
        not_after: how long the certificate is good.

    Raises:
        CryptoError: the authority is damaged.
    """
    issuer, signer = _loaded(authority)
    own = ec.generate_private_key(x509_parts.CURVE)
    leaf = (
        _builder(issuer.subject, _name(realm, "broker"), own, not_before, not_after)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509_parts.key_usage(is_authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(
            x509.SubjectAlternativeName(
                [_general_name(host) for host in sorted({HOST, *hosts})]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    return BrokerCertificate(
        chain=leaf.public_bytes(Encoding.PEM).decode() + authority.certificate,
        key=x509_parts.private_pem(own).decode(),
    )


def hosts_of(chain: str) -> frozenset[str]:
    """Return the names and addresses for which a node's certificate is good.

    Args:
        chain: PEM; the first certificate counts.

    Raises:
        CryptoError: it is no such certificate.
    """
    try:
        leaf = x509.load_pem_x509_certificate(chain.encode())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509_parts.MALFORMED as error:
        raise CryptoError("not a broker's certificate") from error
    return frozenset(str(name.value) for name in names.value)


def _loaded(
    authority: BrokerAuthority,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
        signer = serialization.load_pem_private_key(authority.key.encode(), None)
    except x509_parts.MALFORMED as error:
        raise CryptoError("the broker's authority is damaged") from error
    if (
        not isinstance(signer, ec.EllipticCurvePrivateKey)
        or signer.public_key() != issuer.public_key()
    ):
        raise CryptoError("the broker's authority has another key")
    return issuer, signer


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
) -> _Builder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    ).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(realm: Realm, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, realm),
            x509.NameAttribute(NameOID.COMMON_NAME, role),
        ]
    )
